//! Login attempts, counted until they are written down: the admin sees who tried what, and a flood of them is one line.
//!
//! Attempts of one kind (whose, from which network, how, with what result) within an hour are one entry with a count.
//! What a stranger typed as a name is kept only where it has the form of a name: people type passwords there.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipc_proto::{
    AccountId,
    logins::LoginResult,
    sasl::Mechanism,
    types::{ClientAddress, Protocol},
};

use crate::{limits::Network, name::LoginName};

/// Kinds held in memory at once; names that are nobody's have half of it.
pub const CAPACITY: usize = 4096;

/// Seconds that one entry covers.
const SPAN: i64 = 3600;

/// What makes attempts one entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Whose.
    pub account: Option<AccountId>,
    /// The name that was typed, folded.
    pub user: Option<String>,
    /// From where.
    pub network: Network,
    /// For what.
    pub protocol: Protocol,
    /// How.
    pub mechanism: Option<Mechanism>,
    /// With which app password or login key.
    pub app_password: Option<Arc<str>>,
    /// What came of it.
    pub result: LoginResult,
    /// Hours since 1970.
    pub hour: i64,
}

impl Kind {
    /// Now.
    #[must_use]
    pub fn hour_of(now: i64) -> i64 {
        now.div_euclid(SPAN)
    }

    /// What a stranger typed, if it has the form of a name.
    #[must_use]
    pub fn user_of(name: &LoginName) -> Option<String> {
        match name {
            LoginName::Address(text) => Some(text.clone()),
            LoginName::Account(name) => Some(name.as_str().to_owned()),
            LoginName::Nobody(_) => None,
        }
    }
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Seconds since 1970.
    pub first: i64,
    /// Seconds since 1970.
    pub last: i64,
    /// How many.
    pub count: u32,
    /// Of the last one.
    pub address: ClientAddress,
}

/// Those that are not written down yet.
#[derive(Debug, Default)]
pub struct Attempts {
    counted: HashMap<Kind, Counted>,
    /// Of names that are nobody's.
    strange: usize,
    dropped: u64,
}

impl Attempts {
    /// One more. Where there is no room for its kind it is only counted.
    pub fn note(&mut self, kind: Kind, address: IpAddr, now: i64) {
        let address = ClientAddress(address.to_canonical());
        if let Some(counted) = self.counted.get_mut(&kind) {
            counted.last = now;
            counted.count = counted.count.saturating_add(1);
            counted.address = address;
            return;
        }
        let strange = kind.account.is_none();
        if self.counted.len() >= CAPACITY || strange && self.strange >= CAPACITY / 2 {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.strange += usize::from(strange);
        self.counted.insert(kind, Counted { first: now, last: now, count: 1, address });
    }

    /// To be written down, and how many found no room.
    pub fn take(&mut self) -> (HashMap<Kind, Counted>, u64) {
        self.strange = 0;
        (std::mem::take(&mut self.counted), std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(account: Option<u32>, user: &str, result: LoginResult) -> Kind {
        Kind {
            account: account.and_then(AccountId::new),
            user: Kind::user_of(&LoginName::parse(user)),
            network: Network::of("192.0.2.1".parse().unwrap()),
            protocol: Protocol::Imap,
            mechanism: None,
            app_password: None,
            result,
            hour: Kind::hour_of(7300),
        }
    }

    #[test]
    fn attempts_of_one_kind_are_one_entry() {
        let mut attempts = Attempts::default();
        for (second, address) in [(7300, "192.0.2.1"), (7301, "::ffff:192.0.2.2")] {
            attempts.note(kind(Some(1), "mox", LoginResult::Denied), address.parse().unwrap(), second);
        }
        attempts.note(kind(Some(1), "mox", LoginResult::Ok), "192.0.2.1".parse().unwrap(), 7302);
        let (taken, dropped) = attempts.take();
        assert_eq!((taken.len(), dropped), (2, 0));
        let address = ClientAddress("192.0.2.2".parse().unwrap());
        let counted = Counted { first: 7300, last: 7301, count: 2, address };
        assert_eq!(taken[&kind(Some(1), "mox", LoginResult::Denied)], counted);
        assert!(attempts.take().0.is_empty());
    }

    /// Attack class 16: a flood of made-up names takes no room from those that are somebody's.
    #[test]
    fn a_flood_of_names_is_bounded_and_leaves_room_for_accounts() {
        let (mut attempts, from) = (Attempts::default(), "192.0.2.1".parse().unwrap());
        for number in 0..10_000 {
            attempts.note(kind(None, &format!("nobody{number}"), LoginResult::Denied), from, 7300);
        }
        attempts.note(kind(Some(1), "mox", LoginResult::Denied), from, 7300);
        let (taken, dropped) = attempts.take();
        assert_eq!((taken.len(), dropped), (CAPACITY / 2 + 1, 10_000 - CAPACITY as u64 / 2));
    }

    #[test]
    fn what_may_be_a_password_in_the_wrong_place_is_not_kept() {
        for (typed, kept) in [
            ("Mox@Example.org", Some("mox@example.org")),
            ("mox", Some("mox")),
            ("correct horse battery", None),
            ("p@ss word!", None),
            ("", None),
        ] {
            assert_eq!(Kind::user_of(&LoginName::parse(typed)).as_deref(), kept, "{typed}");
        }
    }
}
