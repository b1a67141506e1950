//! How much an account may submit in 24 hours, kept over restarts.
//!
//! A message is charged before it is delivered, once for all times that it is asked for, and given back when nobody was to
//! keep any of it. submitd may be captured: an id of its that comes with other recipients is another message.

use ipc_proto::{AccountId, DeliveryId, submission::SubmissionRefusal};
use mail_lib::address::Address;
use rusqlite::{Transaction, params};

use crate::queue::{Millis, QueueError};

/// What the limits are for.
pub(crate) const DAY_MS: i64 = 24 * 3_600_000;

/// Addresses that are remembered for one account; of more, those that it wrote to first are forgotten.
const MAX_CORRESPONDENTS: u32 = 100_000;

/// Rows that are too old to count and go with one charge, at most.
const SWEEP: u32 = 1000;

/// Half of a BLAKE3 hash.
pub(crate) type Short = [u8; 16];

/// One message of an account, to be counted.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) account: AccountId,
    pub(crate) key: Short,
    /// Hashes of addresses.
    recipients: Vec<Short>,
    pub(crate) limits: Limits,
    pub(crate) now: Millis,
}

/// In 24 hours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) messages: u32,
    pub(crate) new_recipients: u32,
}

impl Charge {
    pub(crate) fn new(
        account: AccountId,
        id: DeliveryId,
        recipients: &[Address],
        limits: Limits,
        now: Millis,
    ) -> Self {
        let texts: Vec<_> = recipients.iter().map(ToString::to_string).collect();
        let mut key = blake3::Hasher::new();
        key.update(&id.0);
        for text in &texts {
            // No address has a NUL.
            key.update(text.as_bytes()).update(&[0]);
        }
        let mut recipients: Vec<_> = texts.iter().map(|text| short(&blake3::hash(text.as_bytes()))).collect();
        recipients.sort_unstable();
        recipients.dedup();
        Self { account, key: short(&key.finalize()), recipients, limits, now }
    }

    /// Counts it, unless that is too much.
    pub(crate) fn make(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<Result<(), SubmissionRefusal>, QueueError> {
        let account = self.account.number();
        let Limits { messages, new_recipients } = self.limits;
        // What is later than a day ahead was written before the clock jumped back.
        let (after, until) = (self.now.saturating_sub(DAY_MS), self.now.saturating_add(DAY_MS));
        transaction
            .prepare_cached(
                "DELETE FROM submitted WHERE (account, key) IN
                     (SELECT account, key FROM submitted WHERE at_ms <= ?1 OR at_ms > ?2 LIMIT ?3)",
            )?
            .execute(params![after, until, SWEEP])?;
        let again = transaction
            .prepare_cached("UPDATE submitted SET takers = takers + 1 WHERE account = ?1 AND key = ?2")?
            .execute(params![account, self.key])?;
        if again > 0 {
            return Ok(Ok(()));
        }
        let sent: u32 = transaction
            .prepare_cached(
                "SELECT count(*) FROM submitted WHERE account = ?1 AND at_ms > ?2 AND at_ms <= ?3",
            )?
            .query_row(params![account, after, until], |row| row.get(0))?;
        if sent >= messages {
            return Ok(Err(SubmissionRefusal::TooManyMessages { limit: messages }));
        }
        let (known, new) = self.sorted_out(transaction)?;
        if !new.is_empty() {
            let met: u32 = transaction
                .prepare_cached(
                    "SELECT count(*) FROM correspondent WHERE account = ?1 AND first_ms > ?2 AND first_ms <= ?3",
                )?
                .query_row(params![account, after, until], |row| row.get(0))?;
            if new.len() > new_recipients.saturating_sub(met) as usize {
                return Ok(Err(SubmissionRefusal::TooManyNewRecipients { limit: new_recipients }));
            }
        }
        transaction
            .prepare_cached("INSERT INTO submitted (account, key, at_ms, takers) VALUES (?1, ?2, ?3, 1)")?
            .execute(params![account, self.key, self.now])?;
        self.meet(transaction, &known, &new)?;
        Ok(Ok(()))
    }

    /// Those that the account wrote to before in a message that could be given back, and those that it never wrote to.
    fn sorted_out(&self, transaction: &Transaction<'_>) -> Result<(Vec<Short>, Vec<Short>), QueueError> {
        let (mut known, mut new) = (Vec::new(), Vec::new());
        let mut find = transaction
            .prepare_cached("SELECT key IS NOT NULL FROM correspondent WHERE account = ?1 AND hash = ?2")?;
        for recipient in &self.recipients {
            let mut rows = find.query(params![self.account.number(), recipient])?;
            match rows.next()? {
                Some(row) if row.get(0)? => known.push(*recipient),
                Some(_) => {}
                None => new.push(*recipient),
            }
        }
        Ok((known, new))
    }

    fn meet(&self, transaction: &Transaction<'_>, known: &[Short], new: &[Short]) -> Result<(), QueueError> {
        let account = self.account.number();
        let mut keep = transaction
            .prepare_cached("UPDATE correspondent SET key = NULL WHERE account = ?1 AND hash = ?2")?;
        for recipient in known {
            keep.execute(params![account, recipient])?;
        }
        let mut add = transaction.prepare_cached(
            "INSERT INTO correspondent (account, hash, first_ms, key) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for recipient in new {
            add.execute(params![account, recipient, self.now, self.key])?;
        }
        if !new.is_empty() {
            transaction
                .prepare_cached(
                    "DELETE FROM correspondent WHERE account = ?1 AND hash IN
                         (SELECT hash FROM correspondent WHERE account = ?1
                          ORDER BY first_ms DESC LIMIT -1 OFFSET ?2)",
                )?
                .execute(params![account, MAX_CORRESPONDENTS])?;
        }
        Ok(())
    }
}

/// Takes a charge back, once all who asked for that message gave it back: one of them may have been served.
pub(crate) fn refund(
    transaction: &Transaction<'_>,
    account: AccountId,
    key: Short,
) -> Result<(), QueueError> {
    let account = account.number();
    transaction
        .prepare_cached("UPDATE submitted SET takers = takers - 1 WHERE account = ?1 AND key = ?2")?
        .execute(params![account, key])?;
    let gone = transaction
        .prepare_cached("DELETE FROM submitted WHERE account = ?1 AND key = ?2 AND takers <= 0")?
        .execute(params![account, key])?;
    if gone > 0 {
        transaction
            .prepare_cached("DELETE FROM correspondent WHERE account = ?1 AND key = ?2")?
            .execute(params![account, key])?;
    }
    Ok(())
}

fn short(hash: &blake3::Hash) -> Short {
    let mut short = Short::default();
    short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    short
}
