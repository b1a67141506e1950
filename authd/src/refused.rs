//! Wrong passwords that were tried lately. The same one again is no new guess: it is refused at once and charged to
//! nobody, so that a forgotten phone with last year's password does not use up its owner's budget.
//!
//! As with [`crate::proven`] no password is held, only hashes under a key of this process, and they are good for one
//! version of an account and for the network they came from: nobody else learns from it what the owner's devices try.
//! Names that are nobody's are treated alike, so that this tells nobody whether a name exists.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::hmac;
use ipc_proto::AccountId;
use subtle::ConstantTimeEq;

use crate::{
    directory::Version,
    limits::Network,
    password::Password,
    proven::keyed_hash,
    verifier::{NoRandomness, random},
};

/// Accounts and names, each from each network, remembered at once.
pub const CAPACITY: usize = 4096;

/// Wrong passwords of each.
const EACH: usize = 4;

/// For whom a password was wrong, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tried {
    /// For whom.
    pub who: Who,
    /// From where.
    pub network: Network,
}

/// For whom a password was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// This state of this account.
    Account(AccountId, Version),
    /// A name that is nobody's, hashed.
    Nobody(u64),
}

/// The memory: the oldest name makes room.
pub struct Refused {
    key: hmac::Key,
    hashes: HashMap<Tried, VecDeque<hmac::Tag>>,
    order: VecDeque<Tried>,
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refused({} names)", self.order.len())
    }
}

impl Refused {
    /// Empty, under a new random key.
    pub fn new() -> Result<Self, NoRandomness> {
        let key = zeroize::Zeroizing::new(random::<32>()?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
        Ok(Self { key, hashes: HashMap::new(), order: VecDeque::new() })
    }

    /// Was this very password wrong lately?
    #[must_use]
    pub fn knows(&self, tried: Tried, password: &Password) -> bool {
        let Some(hashes) = self.hashes.get(&tried) else { return false };
        let hash = keyed_hash(&self.key, password.octets());
        hashes.iter().any(|known| bool::from(known.as_ref().ct_eq(hash.as_ref())))
    }

    /// It was wrong.
    pub fn remember(&mut self, tried: Tried, password: &Password) {
        if !self.hashes.contains_key(&tried) {
            if self.order.len() >= CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.hashes.remove(&oldest);
            }
            self.order.push_back(tried);
        }
        let hashes = self.hashes.entry(tried).or_default();
        hashes.push_front(keyed_hash(&self.key, password.octets()));
        hashes.truncate(EACH);
    }
}

#[cfg(test)]
mod tests {
    use ipc_proto::Secret;

    use super::*;

    fn password(text: &str) -> Password {
        Password::prepare(&Secret(text.as_bytes().to_vec())).unwrap()
    }

    fn from(address: &str, who: Who) -> Tried {
        Tried { who, network: Network::of(address.parse().unwrap()) }
    }

    fn nobody(name: u64) -> Tried {
        from("192.0.2.1", Who::Nobody(name))
    }

    #[test]
    fn only_what_was_wrong_for_that_state_of_that_account_is_known() {
        let mut refused = Refused::new().unwrap();
        let account = |number, version| {
            from("192.0.2.1", Who::Account(AccountId::new(number).unwrap(), Version(version)))
        };
        refused.remember(account(1, 1), &password("lastyears"));
        for (who, typed, known, why) in [
            (account(1, 1), "lastyears", true, "the same again"),
            (account(1, 1), "thisyears", false, "a new guess"),
            (account(1, 2), "lastyears", false, "it may be the new password"),
            (account(2, 1), "lastyears", false, "another account"),
            (nobody(1), "lastyears", false, "another name"),
            (from("192.0.2.99", account(1, 1).who), "lastyears", false, "from another network"),
        ] {
            assert_eq!(refused.knows(who, &password(typed)), known, "{why}");
        }
    }

    #[test]
    fn it_has_a_bound_for_each_name_and_in_all() {
        let mut refused = Refused::new().unwrap();
        for number in 0..10 {
            refused.remember(nobody(0), &password(&format!("guess{number}")));
        }
        let known = (0..10).filter(|number| refused.knows(nobody(0), &password(&format!("guess{number}"))));
        assert_eq!(known.collect::<Vec<_>>(), [6, 7, 8, 9]);
        let word = password("guess");
        for name in 1..5000 {
            refused.remember(nobody(name), &word);
        }
        assert_eq!((refused.hashes.len(), refused.order.len()), (CAPACITY, CAPACITY));
        assert!(refused.knows(nobody(4999), &word) && !refused.knows(nobody(1), &word));
    }
}
