//! Rows of `heading`: written with the message, and behind for those of an older version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mail_lib::ordering::OrderKeys;

use super::{Transaction, Writer};
use crate::files::Files;
use crate::ordering::{hash, stored_references, topic};
use crate::{Reader, StoreError, UnixSeconds};

/// Messages opened in one go when nothing waits.
const FILL_LIMIT: i64 = 100;

impl Transaction<'_> {
    pub(super) fn insert_heading(
        &mut self,
        body: i64,
        keys: &OrderKeys,
        received: Option<UnixSeconds>,
    ) -> Result<(), StoreError> {
        let references = stored_references(keys);
        self.execute(
            "INSERT INTO heading (body, sent, reply, topic, message_id, subject, from_mailbox, to_mailbox, cc_mailbox,
                                  display_from, display_to, refs, received)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            rusqlite::params![
                body,
                keys.sent,
                keys.is_reply,
                topic(keys),
                keys.message_id.as_deref().map(hash),
                keys.subject_key(),
                keys.from,
                keys.to,
                keys.cc,
                keys.display_from,
                keys.display_to,
                (!references.is_empty()).then_some(references),
                received.map(|received| received.0),
            ],
        )?;
        Ok(())
    }

    pub(super) fn remove_heading(&mut self, body: i64) -> Result<(), StoreError> {
        self.leave_thread(body)?;
        self.execute("DELETE FROM heading WHERE body = ?1", [body])?;
        Ok(())
    }

    /// Looks into a slice of the messages that were filed before there were such rows; whether there are more.
    pub(super) fn fill_headings(&mut self, files: &Files) -> Result<bool, StoreError> {
        let find = "SELECT next, last FROM heading_backlog";
        let backlog = self.row(find, (), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let Some((next, last)) = backlog else { return Ok(false) };
        let bodies: Vec<i64> = {
            let sql = "SELECT id FROM body WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map((next, last, FILL_LIMIT), |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for body in &bodies {
            let there = "SELECT 1 FROM heading WHERE body = ?1";
            if self.row(there, [body], |_| Ok(()))?.is_none()
                && let Some(keys) = Reader::of_writer(self.connection, files).order_keys(*body)?
            {
                self.insert_heading(*body, &keys, None)?;
            }
        }
        match bodies.last().filter(|filled| **filled < last) {
            Some(filled) => self.execute("UPDATE heading_backlog SET next = ?1", [filled + 1])?,
            None => self.execute("DELETE FROM heading_backlog", ())?,
        };
        Ok(true)
    }
}

impl Writer {
    pub(super) fn headings_wait(&self) -> bool {
        self.chores.headings && self.chores.headings_due && !self.raw.load(Ordering::Relaxed)
    }

    pub(super) fn fill_headings(&mut self) -> Result<(), StoreError> {
        // When it fails it is tried again at the next open.
        self.chores.headings = false;
        let files = Arc::clone(&self.files);
        let mut more = true;
        self.alone(|transaction| {
            more = transaction.fill_headings(&files)?;
            Ok(())
        })?;
        self.chores.headings = more;
        Ok(())
    }
}
