//! Forgetting expunged messages: what is kept of them is bounded for each mailbox, and up to where it was forgotten is
//! noted in the same transaction, so that no session takes silence for "nothing was expunged".

use rusqlite::Connection;

use super::Transaction;
use crate::StoreError;

/// Expunged messages that are remembered for each mailbox.
pub(crate) const EXPUNGED_KEPT: u32 = 50_000;
/// Rows removed at once, and those of the same change.
const SLICE: i64 = 5_000;

/// A mailbox and how many rows too many it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excess {
    mailbox: i64,
    rows: i64,
}

impl Excess {
    /// All there is beyond `kept`.
    pub(super) fn find(connection: &Connection, kept: u32) -> Result<Vec<Self>, StoreError> {
        let sql = "SELECT mailbox, count(*) - ?1 FROM expunged GROUP BY mailbox HAVING count(*) > ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let found =
            statement.query_map([kept], |row| Ok(Self { mailbox: row.get(0)?, rows: row.get(1)? }))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Removes a slice of the oldest rows; what is left to do.
    pub(super) fn remove(self, transaction: &Transaction<'_>) -> Result<Option<Self>, StoreError> {
        let Self { mailbox, rows } = self;
        let slice = rows.min(SLICE);
        let last = "SELECT modseq FROM expunged WHERE mailbox = ?1 ORDER BY modseq LIMIT 1 OFFSET ?2";
        let last = transaction.row(last, (mailbox, slice.saturating_sub(1)), |row| row.get::<_, i64>(0))?;
        // Its mailbox was erased meanwhile.
        let Some(modseq) = last else { return Ok(None) };
        transaction.execute("UPDATE mailbox SET expunged_from = ?2 WHERE id = ?1", (mailbox, modseq))?;
        // Messages of one change go together.
        let removed = transaction
            .execute("DELETE FROM expunged WHERE mailbox = ?1 AND modseq <= ?2", (mailbox, modseq))?;
        let rows = rows.saturating_sub(i64::try_from(removed).unwrap_or(i64::MAX));
        Ok((rows > 0).then_some(Self { mailbox, rows }))
    }
}

impl Transaction<'_> {
    /// Forgets all but the latest `kept` expunged messages of each mailbox.
    pub(crate) fn forget_expunged(&self, kept: u32) -> Result<(), StoreError> {
        for excess in Excess::find(self.connection, kept)? {
            let mut next = Some(excess);
            while let Some(excess) = next {
                next = excess.remove(self)?;
            }
        }
        Ok(())
    }
}
