//! The rows of sessions that sleep.

use super::Transaction;
use crate::{MailboxId, Sleeping, StoreError};

impl Transaction<'_> {
    pub(crate) fn put_sleeping(&mut self, sessions: &[Sleeping]) -> Result<(), StoreError> {
        for Sleeping { session, count, mailbox, state } in sessions {
            self.execute(
                "INSERT OR REPLACE INTO sleeping (session, count, mailbox, state) VALUES (?1, ?2, ?3, ?4)",
                (session.cast_signed(), count, mailbox.map(|mailbox| mailbox.0), state),
            )?;
        }
        Ok(())
    }

    pub(crate) fn take_sleeping(&mut self, session: u64) -> Result<Option<Sleeping>, StoreError> {
        let sql = "DELETE FROM sleeping WHERE session = ?1 RETURNING count, mailbox, state";
        self.row(sql, [session.cast_signed()], |row| {
            let mailbox: Option<i64> = row.get(1)?;
            let mailbox = mailbox.map(MailboxId);
            Ok(Sleeping { session, count: row.get(0)?, mailbox, state: row.get(2)? })
        })
    }

    /// `sessions` are sorted.
    pub(crate) fn keep_sleeping(&mut self, sessions: &[u64]) -> Result<(), StoreError> {
        let sql = "SELECT session FROM sleeping WHERE session >= ?1 ORDER BY session LIMIT 1";
        let mut from = Some(i64::MIN);
        while let Some(next) = from {
            let Some(session) = self.row(sql, [next], |row| row.get::<_, i64>(0))? else { break };
            if sessions.binary_search(&session.cast_unsigned()).is_err() {
                self.execute("DELETE FROM sleeping WHERE session = ?1", [session])?;
            }
            from = session.checked_add(1);
        }
        Ok(())
    }
}
