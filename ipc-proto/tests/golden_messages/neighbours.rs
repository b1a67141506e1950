//! What an account's process asks about others.

use ipc_proto::neighbours::*;

use super::{Sample, account, samples_of};

pub(super) fn samples() -> Vec<Sample> {
    let (ask, answer) = (super::request::<AccountdAuthd>, super::reply::<AccountdAuthd>);
    let mut all = samples_of!(ask, AccountdToAuthd {
        AccountdToAuthd::Who(_) => "Who": AccountdToAuthd::Who("bob".to_owned()),
        AccountdToAuthd::Names(_) => "Names": AccountdToAuthd::Names(vec![account(7), account(8)]),
        AccountdToAuthd::Shares { .. } => "Shares":
            AccountdToAuthd::Shares { with: vec![account(8)], anyone: true },
        AccountdToAuthd::Owners => "Owners": AccountdToAuthd::Owners,
        AccountdToAuthd::Open(_) => "Open": AccountdToAuthd::Open(account(8)),
    });
    all.extend(samples_of!(answer, AuthdToAccountd {
        AuthdToAccountd::Number(_) => "Number": AuthdToAccountd::Number(Some(account(8))),
        AuthdToAccountd::Names(_) => "Names": AuthdToAccountd::Names(vec![Some("bob".to_owned()), None]),
        AuthdToAccountd::Noted => "Noted": AuthdToAccountd::Noted,
        AuthdToAccountd::Busy => "Busy": AuthdToAccountd::Busy,
        AuthdToAccountd::Owners(_) => "Owners":
            AuthdToAccountd::Owners(vec![(account(8), "bob".to_owned())]),
        AuthdToAccountd::Opening => "Opening": AuthdToAccountd::Opening,
        AuthdToAccountd::NotShared => "NotShared": AuthdToAccountd::NotShared,
    }));
    all
}
