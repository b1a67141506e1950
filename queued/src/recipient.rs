//! Who still has to get a message, and why not yet.

use ipc_proto::{AccountId, authd::Owner, delivery::AccountRefusal, queue::WaitReason};
use mail_lib::address::Address;

use crate::accounts::Answer;

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// As the client gave it.
    pub(crate) address: Address,
    /// Of an alias whose members were asked: those who have not got it. Empty: everybody whose the address is.
    pub(crate) members: Vec<AccountId>,
    /// Of the last attempt.
    pub(crate) reason: Option<WaitReason>,
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self { address, members: Vec::new(), reason: None }
    }
}

impl Recipient {
    /// Who gets it now, of those whose the address is. `None`: nobody who has not got it is a member any more, so there is
    /// nothing left to do; nobody is told, least of all the sender.
    pub(crate) fn narrow(&self, owner: Owner) -> Option<Owner> {
        if self.members.is_empty() {
            return Some(owner);
        }
        let left = |accounts: Vec<AccountId>| {
            let left: Vec<_> =
                accounts.into_iter().filter(|account| self.members.contains(account)).collect();
            if left.is_empty() { None } else { Some(Owner::Members(left)) }
        };
        match owner {
            Owner::Account(account) => left(vec![account]),
            Owner::Members(accounts) => left(accounts),
            Owner::Nobody => None,
            Owner::Disabled => Some(Owner::Disabled),
        }
    }
}

/// Why this answer leaves something to do.
pub(crate) fn reason_of(answer: Answer) -> Option<WaitReason> {
    match answer {
        Answer::Filed => None,
        Answer::Unreachable => Some(WaitReason::Unreachable),
        Answer::Refused(AccountRefusal::MailboxFull) => Some(WaitReason::MailboxFull),
        Answer::Refused(AccountRefusal::NoSpace) => Some(WaitReason::NoSpace),
        Answer::Refused(AccountRefusal::Fault) => Some(WaitReason::Fault),
    }
}

/// As the database has it.
pub(crate) fn to_number(reason: WaitReason) -> u8 {
    match reason {
        WaitReason::Disabled => 1,
        WaitReason::Gone => 2,
        WaitReason::NoAnswer => 3,
        WaitReason::Unreachable => 4,
        WaitReason::MailboxFull => 5,
        WaitReason::NoSpace => 6,
        WaitReason::Fault => 7,
        WaitReason::Damaged => 8,
    }
}

/// One that is not known is left out: it is only shown.
pub(crate) fn from_number(number: u8) -> Option<WaitReason> {
    [
        WaitReason::Disabled,
        WaitReason::Gone,
        WaitReason::NoAnswer,
        WaitReason::Unreachable,
        WaitReason::MailboxFull,
        WaitReason::NoSpace,
        WaitReason::Fault,
        WaitReason::Damaged,
    ]
    .into_iter()
    .find(|reason| to_number(*reason) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u32) -> AccountId {
        AccountId::new(number).unwrap()
    }

    #[test]
    fn members_who_have_it_or_are_none_any_more_get_nothing() {
        let plain = Recipient::from(Address::parse("team@x.org").unwrap());
        let left = Recipient { members: vec![account(2), account(3)], ..plain.clone() };
        let members = |numbers: &[u32]| Owner::Members(numbers.iter().copied().map(account).collect());
        for (owner, narrowed, reason) in [
            (members(&[1, 2, 3, 4]), Some(members(&[2, 3])), "1 has it, 4 came later"),
            (members(&[1, 3]), Some(members(&[3])), "2 was removed"),
            (members(&[1]), None, "both were removed"),
            (Owner::Account(account(2)), Some(members(&[2])), "the address is an account's now"),
            (Owner::Account(account(9)), None, "the address is a stranger's now"),
            (Owner::Nobody, None, "the alias is gone"),
            (Owner::Disabled, Some(Owner::Disabled), "the alias is disabled for now"),
        ] {
            assert_eq!(left.narrow(owner.clone()), narrowed, "{reason}");
            assert_eq!(plain.narrow(owner.clone()), Some(owner), "nobody was asked yet");
        }
    }

    #[test]
    fn every_reason_comes_back_from_its_number() {
        for number in 1..=8 {
            assert_eq!(from_number(number).map(to_number), Some(number));
        }
        assert_eq!((from_number(0), from_number(9)), (None, None));
    }
}
