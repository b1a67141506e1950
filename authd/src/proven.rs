//! Passwords that were proved lately, so that a mail client that logs in every minute is not hashed every time.
//!
//! It holds no password: a keyed hash under a key that this process made up and that dies with it. An entry is good for
//! one version of an account; every change of the password or of the account's state makes a new version, so an entry
//! cannot outlive what it proved.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use ipc_proto::AccountId;
use subtle::ConstantTimeEq;

use crate::{
    directory::Version,
    limits::Moment,
    password::Password,
    verifier::{Credential, NoRandomness, random},
};

/// How long a proof counts.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(600);

/// Accounts remembered at once.
pub const CAPACITY: usize = 16_384;

/// Passwords of one account: its own, and those of a few programs.
const EACH: usize = 4;

/// The cache: a few entries an account.
pub struct Proven {
    key: hmac::Key,
    entries: HashMap<AccountId, Vec<Entry>>,
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proven({} accounts)", self.entries.len())
    }
}

struct Entry {
    version: Version,
    credential: Credential,
    hash: hmac::Tag,
    until: Moment,
}

impl Proven {
    /// Empty, under a new random key.
    pub fn new() -> Result<Self, NoRandomness> {
        let key = zeroize::Zeroizing::new(random::<32>()?);
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), entries: HashMap::new() })
    }

    /// Was this very password proved lately, for this very version of the account, and which one was it?
    #[must_use]
    pub fn knows(
        &self,
        account: AccountId,
        version: Version,
        password: &Password,
        now: Moment,
    ) -> Option<Credential> {
        let entries = self.entries.get(&account)?;
        let hash = self.hash(account, password);
        let same = |entry: &&Entry| bool::from(hash.as_ref().ct_eq(entry.hash.as_ref()));
        let mut good = entries.iter().filter(|entry| entry.version == version && now < entry.until);
        good.find(same).map(|entry| entry.credential.clone())
    }

    /// It was proved now.
    pub fn remember(
        &mut self,
        account: AccountId,
        version: Version,
        credential: Credential,
        password: &Password,
        now: Moment,
    ) {
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&account) {
            self.entries.retain(|_, entries| entries.iter().any(|entry| now < entry.until));
            if self.entries.len() >= CAPACITY {
                return;
            }
        }
        let hash = self.hash(account, password);
        let entries = self.entries.entry(account).or_default();
        entries.retain(|entry| entry.version == version && entry.credential != credential);
        entries.insert(0, Entry { version, credential, hash, until: now.after(LIFETIME) });
        entries.truncate(EACH);
    }

    /// Accounts remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is none remembered?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn hash(&self, account: AccountId, password: &Password) -> hmac::Tag {
        keyed_hash(&self.key, &password.after(account.number()))
    }
}

/// A hash that leaves nothing of a password on the stack: what hashes keeps the last octets beside its state, and the
/// place where that lay is not written again before the next login.
pub(crate) fn keyed_hash(key: &hmac::Key, octets: &[u8]) -> hmac::Tag {
    let tag = sign(key, octets);
    wipe_stack();
    tag
}

#[inline(never)]
fn sign(key: &hmac::Key, octets: &[u8]) -> hmac::Tag {
    hmac::sign(key, octets)
}

/// As much as [`sign`] uses, and more.
#[inline(never)]
fn wipe_stack() {
    std::hint::black_box(&mut [0_u8; 8192]);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipc_proto::Secret;

    use super::*;

    fn password(text: &str) -> Password {
        Password::prepare(&Secret(text.as_bytes().to_vec())).unwrap()
    }

    fn account(number: u32) -> AccountId {
        AccountId::new(number).unwrap()
    }

    #[test]
    fn only_the_proved_password_of_that_version_counts_and_only_for_ten_minutes() {
        let (mut proven, start) = (Proven::new().unwrap(), Moment::default());
        proven.remember(account(1), Version(7), Credential::Password, &password("moxmoxmox"), start);
        let late = start.after(LIFETIME);
        for (who, version, typed, now, known, why) in [
            (1, 7, "moxmoxmox", start, true, "proved"),
            (1, 7, "moxmoxmo", start, false, "another password"),
            (1, 8, "moxmoxmox", start, false, "the account changed since"),
            (2, 7, "moxmoxmox", start, false, "another account"),
            (1, 7, "moxmoxmox", late, false, "too long ago"),
        ] {
            let found = proven.knows(account(who), Version(version), &password(typed), now);
            assert_eq!(found, known.then_some(Credential::Password), "{why}");
        }
    }

    #[test]
    fn two_processes_never_make_the_same_hash() {
        let (one, two) = (Proven::new().unwrap(), Proven::new().unwrap());
        let hash = |proven: &Proven| proven.hash(account(1), &password("moxmoxmox")).as_ref().to_vec();
        assert_ne!(hash(&one), hash(&two));
    }

    #[test]
    fn it_has_a_bound_and_makes_room_when_proofs_expire() {
        let (mut proven, start) = (Proven::new().unwrap(), Moment::default());
        let word = password("moxmoxmox");
        for number in 1..=20_000 {
            proven.remember(account(number), Version(1), Credential::Password, &word, start);
        }
        assert_eq!(proven.len(), CAPACITY);
        let later = start.after(LIFETIME + Duration::from_secs(1));
        proven.remember(account(20_000), Version(1), Credential::Password, &word, later);
        assert_eq!(proven.len(), 1);
        assert!(proven.knows(account(20_000), Version(1), &word, later).is_some());
        for number in 0..100 {
            let app = Credential::App(number.to_string().into());
            proven.remember(account(20_000), Version(1), app, &password(&format!("app{number}")), later);
        }
        let known = (0..100).filter(|number| {
            proven.knows(account(20_000), Version(1), &password(&format!("app{number}")), later).is_some()
        });
        assert_eq!(known.collect::<Vec<_>>(), [96, 97, 98, 99]);
    }
}
