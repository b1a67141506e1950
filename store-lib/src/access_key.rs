//! The keys of mailboxes, with which URLs are authorised (RFC 4467 §2.2). They are made at random, one for each mailbox,
//! and none ever leaves this module: it makes tokens, and says whether one is right.

use rusqlite::OptionalExtension;

use crate::{MailboxId, Origin, Reader, Store, StoreError, sys};

/// For [`crate::schema`].
pub(crate) const MIGRATION: &str = "
    -- With which URLs of messages in the mailbox are authorised. It goes with the mailbox.
    CREATE TABLE access_key (mailbox INTEGER PRIMARY KEY, key BLOB NOT NULL) STRICT;
";

/// Octets of a key, and of a token.
pub(crate) const OCTETS: usize = 32;

impl Store {
    /// The token of a text that is to be authorised with the mailbox's key, which is made if there is none.
    pub fn authorise(&self, mailbox: MailboxId, text: &[u8]) -> Result<[u8; OCTETS], StoreError> {
        let key = match self.read(&Default::default(), |reader| reader.access_key(mailbox))? {
            Some(key) => key,
            None => self.session(1, move |transaction| transaction.access_key(mailbox))?,
        };
        Ok(*token(&key, text).as_bytes())
    }

    /// Gives a mailbox another key: what was authorised is so no more.
    pub fn reset_access_key(&self, mailbox: MailboxId, origin: Origin) -> Result<(), StoreError> {
        self.session(1, move |transaction| transaction.reset_access_key(mailbox, origin))
    }

    /// Takes all keys of the account away.
    pub fn remove_access_keys(&self, origin: Origin) -> Result<(), StoreError> {
        self.session(1, move |transaction| transaction.remove_access_keys(origin))
    }
}

impl Reader<'_> {
    /// Whether `token` is the one of `text`. The time that this takes says nothing of the right one.
    pub fn is_authorised(
        &self,
        mailbox: MailboxId,
        text: &[u8],
        token: &[u8; OCTETS],
    ) -> Result<bool, StoreError> {
        let key = self.access_key(mailbox)?;
        // Hashes are compared in constant time.
        Ok(key.is_some_and(|key| self::token(&key, text) == blake3::Hash::from_bytes(*token)))
    }

    fn access_key(&self, mailbox: MailboxId) -> Result<Option<[u8; OCTETS]>, StoreError> {
        let sql = "SELECT key FROM access_key WHERE mailbox = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let key: Option<Vec<u8>> = statement.query_row([mailbox.0], |row| row.get(0)).optional()?;
        let sized =
            |key: Vec<u8>| key.try_into().map_err(|_| StoreError::damaged("access key of another size"));
        key.map(sized).transpose()
    }
}

pub(crate) fn random() -> Result<[u8; OCTETS], StoreError> {
    let mut key = [0; OCTETS];
    sys::random(&mut key).map_err(|error| StoreError::file(&error))?;
    Ok(key)
}

fn token(key: &[u8; OCTETS], text: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key, text)
}
