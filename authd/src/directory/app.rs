//! App passwords: made up here, for one program each, limited to protocols and in time.

use std::{collections::btree_map, sync::Arc};

use ipc_proto::{
    AccountId, Secret,
    authd::AuthdToAdmin,
    logins::{AppPasswordInfo, MAX_APP_PASSWORDS, Protocols},
    types::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    Applied, Directory, Refusal,
    book::{AppPassword, Book},
    database::{for_each, id, nonsense, verifier},
};
use crate::{
    password::Password,
    verifier::{NoRandomness, Verifier, random},
};

/// The longest name, octets.
const MAX_NAME: usize = 64;

/// Letters and figures that are not taken for one another: 32 of them, five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Groups of four letters: 100 bits.
const GROUPS: usize = 5;

/// Five groups of four, such as `abcd-efgh-ijkm-npqr-stuv`.
fn make_up() -> Result<Secret, NoRandomness> {
    let dice = zeroize::Zeroizing::new(random::<{ 4 * GROUPS }>()?);
    let mut text = Vec::with_capacity(5 * GROUPS);
    for group in dice.chunks(4) {
        if !text.is_empty() {
            text.push(b'-');
        }
        text.extend(group.iter().filter_map(|die| ALPHABET.get(usize::from(die % 32))));
    }
    Ok(Secret(text))
}

/// May an app password or a login key be called so?
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn checked(name: &str) -> Result<Arc<str>, Refusal> {
    if is_name(name) { Ok(name.into()) } else { Err(Refusal::AppPasswordName) }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: 0 }
}

impl Directory {
    pub(super) fn add_app_password(
        &mut self,
        account: &str,
        name: &str,
        protocols: Protocols,
        expires: Option<Timestamp>,
    ) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        let name = checked(name)?;
        let (created, expires) = (Timestamp::now().seconds, expires.map(|expires| expires.seconds));
        if expires.is_some_and(|expires| expires <= created) || !(protocols.imap || protocols.submission) {
            return Err(Refusal::AppPasswordUseless);
        }
        let salted = {
            let book = self.book.read();
            let account = book.account(id);
            let apps = account.map(|account| &account.apps);
            if apps.is_some_and(|apps| apps.contains_key(&name)) {
                return Err(Refusal::AppPasswordExists(name.to_string()));
            }
            if apps.is_some_and(|apps| apps.len() >= MAX_APP_PASSWORDS) {
                return Err(Refusal::TooManyAppPasswords);
            }
            account.and_then(|account| account.salted().cloned())
        };
        let secret = make_up()?;
        let password = Password::choose(&secret)?;
        let verifier = Arc::new(match salted {
            Some(salted) => salted.beside(&password),
            None => Verifier::new(&password, self.rounds)?,
        });
        self.database.execute(
            "INSERT INTO app_password (account, name, salt, rounds, stored_key, server_key, imap, submission, created,
                                       expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                id.number(),
                &*name,
                verifier.salt,
                verifier.rounds,
                verifier.stored_key,
                verifier.server_key,
                protocols.imap,
                protocols.submission,
                created,
                expires
            ],
        )?;
        let app = AppPassword { verifier, protocols, created, expires, last_use: None };
        self.book.write().change_account(id, |account| drop(account.apps.insert(name, app)));
        Ok(AuthdToAdmin::AppPassword(secret).into())
    }

    pub(super) fn remove_app_password(&mut self, account: &str, name: &str) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        let removed = self.database.execute(
            "DELETE FROM app_password WHERE account = ?1 AND name = ?2",
            params![id.number(), name],
        )?;
        if removed == 0 {
            return Err(Refusal::NoAppPassword { account: account.chars().take(64).collect() });
        }
        self.book.write().change_account(id, |account| drop(account.apps.remove(name)));
        Ok(Applied { cut: Some(id), ..AuthdToAdmin::Done.into() })
    }

    pub(super) fn app_passwords(&self, account: &str) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        let book = self.book.read();
        let apps = book.account(id).into_iter().flat_map(|account| &account.apps);
        let infos = apps.map(|(name, app)| AppPasswordInfo {
            name: name.to_string(),
            protocols: app.protocols,
            created: at(app.created),
            expires: app.expires.map(at),
            last_use: app.last_use.map(at),
        });
        Ok(AuthdToAdmin::AppPasswords(infos.collect()).into())
    }
}

/// Keeps when each was used last.
pub(super) fn save_use(database: &Connection, book: &Book, id: AccountId) -> rusqlite::Result<()> {
    for (name, app) in book.account(id).into_iter().flat_map(|account| &account.apps) {
        database.execute(
            "UPDATE app_password SET last_use = ?3 WHERE account = ?1 AND name = ?2",
            params![id.number(), &**name, app.last_use],
        )?;
    }
    Ok(())
}

/// All of them, into accounts that are there.
pub(super) fn read(database: &Connection, book: &mut Book) -> rusqlite::Result<()> {
    for_each(
        database,
        "SELECT account, name, salt, rounds, stored_key, server_key, imap, submission, created, expires, last_use
         FROM app_password",
        |row| {
            let name: String = row.get(1)?;
            let app = AppPassword {
                verifier: Arc::new(verifier(row, 2)?),
                protocols: Protocols { imap: row.get(6)?, submission: row.get(7)? },
                created: row.get(8)?,
                expires: row.get(9)?,
                last_use: row.get(10)?,
            };
            let mut sound = false;
            book.change_account(id(row, 0)?, |account| {
                let other = account.salted().map(|other| (other.salt.clone(), other.rounds));
                let same = other.is_none_or(|(salt, rounds)| {
                    salt == app.verifier.salt && rounds == app.verifier.rounds
                });
                let room = account.apps.len() < MAX_APP_PASSWORDS;
                if let btree_map::Entry::Vacant(place) = account.apps.entry(name.into()) {
                    place.insert(app);
                    sound = same && room;
                }
            });
            if sound { Ok(()) } else { Err(nonsense("app password")) }
        },
    )
}
