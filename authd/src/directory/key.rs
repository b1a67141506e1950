//! Login keys: public keys whose holders are let in (SASL EXTERNAL), limited to protocols and in time. The directory
//! knows a key by its fingerprint alone.

use std::{collections::btree_map, sync::Arc};

use ipc_proto::{
    AccountId,
    authd::AuthdToAdmin,
    logins::{Fingerprint, LoginKeyInfo, MAX_LOGIN_KEYS, Protocols},
    types::{Protocol, Timestamp},
};
use rusqlite::{Connection, params};

use super::{
    Applied, Directory, Refusal,
    app::{at, is_name},
    book::{Account, Book},
    database::{for_each, id, nonsense},
};

/// A public key of an account's.
#[derive(Debug, Clone)]
pub struct LoginKey {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) protocols: Protocols,
    /// Seconds since 1970, as the others.
    pub(crate) created: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) last_use: Option<i64>,
}

impl LoginKey {
    /// Does it open that, at this time?
    #[must_use]
    pub fn counts(&self, protocol: Protocol, now: i64) -> bool {
        self.protocols.contains(protocol) && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Directory {
    pub(super) fn add_login_key(
        &mut self,
        account: &str,
        name: &str,
        fingerprint: Fingerprint,
        protocols: Protocols,
        expires: Option<Timestamp>,
    ) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        if !is_name(name) {
            return Err(Refusal::LoginKeyName);
        }
        let (created, expires) = (Timestamp::now().seconds, expires.map(|expires| expires.seconds));
        if expires.is_some_and(|expires| expires <= created) || !(protocols.imap || protocols.submission) {
            return Err(Refusal::LoginKeyUseless);
        }
        {
            let book = self.book.read();
            if let Some((holder, held, _)) = book.login_key(fingerprint) {
                return Err(Refusal::LoginKeyTaken { name: held.to_string(), account: holder.name.clone() });
            }
            let keys = book.account(id).map(|account| &account.keys);
            if keys.is_some_and(|keys| keys.contains_key(name)) {
                return Err(Refusal::LoginKeyExists(name.to_owned()));
            }
            if keys.is_some_and(|keys| keys.len() >= MAX_LOGIN_KEYS) {
                return Err(Refusal::TooManyLoginKeys);
            }
        }
        self.database.execute(
            "INSERT INTO login_key (fingerprint, account, name, imap, submission, created, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![fingerprint.0, id.number(), name, protocols.imap, protocols.submission, created, expires],
        )?;
        let key = LoginKey { fingerprint, protocols, created, expires, last_use: None };
        self.book.write().insert_login_key(id, name.into(), key);
        Ok(AuthdToAdmin::Done.into())
    }

    pub(super) fn remove_login_key(&mut self, account: &str, name: &str) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        let removed = self
            .database
            .execute("DELETE FROM login_key WHERE account = ?1 AND name = ?2", params![id.number(), name])?;
        if removed == 0 {
            return Err(Refusal::NoLoginKey { account: account.chars().take(64).collect() });
        }
        self.book.write().remove_login_key(id, name);
        Ok(Applied { cut: Some(id), ..AuthdToAdmin::Done.into() })
    }

    pub(super) fn login_keys(&self, account: &str) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        let book = self.book.read();
        let keys = book.account(id).into_iter().flat_map(|account| &account.keys);
        let infos = keys.map(|(name, key)| LoginKeyInfo {
            name: name.to_string(),
            fingerprint: key.fingerprint,
            protocols: key.protocols,
            created: at(key.created),
            expires: key.expires.map(at),
            last_use: key.last_use.map(at),
        });
        Ok(AuthdToAdmin::LoginKeys(infos.collect()).into())
    }
}

impl Book {
    /// Whose key that is, and what it is called there.
    #[must_use]
    pub fn login_key(&self, fingerprint: Fingerprint) -> Option<(&Account, &Arc<str>, &LoginKey)> {
        let (account, name) = self.login_keys.get(&fingerprint)?;
        let account = self.account(*account)?;
        let (name, key) = account.keys.get_key_value(name)?;
        Some((account, name, key))
    }

    fn insert_login_key(&mut self, id: AccountId, name: Arc<str>, key: LoginKey) {
        self.login_keys.insert(key.fingerprint, (id, Arc::clone(&name)));
        self.change_account(id, |account| {
            account.keys.insert(name, key);
        });
    }

    fn remove_login_key(&mut self, id: AccountId, name: &str) {
        let mut removed = None;
        self.change_account(id, |account| removed = account.keys.remove(name));
        if let Some(key) = removed {
            self.login_keys.remove(&key.fingerprint);
        }
    }
}

/// Keeps when each was used last.
pub(super) fn save_use(database: &Connection, book: &Book, id: AccountId) -> rusqlite::Result<()> {
    for key in book.account(id).into_iter().flat_map(|account| account.keys.values()) {
        database.execute(
            "UPDATE login_key SET last_use = ?2 WHERE fingerprint = ?1",
            params![key.fingerprint.0, key.last_use],
        )?;
    }
    Ok(())
}

/// All of them, into accounts that are there.
pub(super) fn read(database: &Connection, book: &mut Book) -> rusqlite::Result<()> {
    for_each(
        database,
        "SELECT account, name, fingerprint, imap, submission, created, expires, last_use FROM login_key",
        |row| {
            let (id, name): (_, String) = (id(row, 0)?, row.get(1)?);
            let name: Arc<str> = name.into();
            let key = LoginKey {
                fingerprint: Fingerprint(row.get(2)?),
                protocols: Protocols { imap: row.get(3)?, submission: row.get(4)? },
                created: row.get(5)?,
                expires: row.get(6)?,
                last_use: row.get(7)?,
            };
            let fingerprint = key.fingerprint;
            let mut sound = false;
            book.change_account(id, |account| {
                let room = account.keys.len() < MAX_LOGIN_KEYS;
                if let btree_map::Entry::Vacant(place) = account.keys.entry(Arc::clone(&name)) {
                    place.insert(key);
                    sound = room;
                }
            });
            let alone = book.login_keys.insert(fingerprint, (id, name)).is_none();
            if sound && alone { Ok(()) } else { Err(nonsense("login key")) }
        },
    )
}
