//! What SORT and THREAD go by, kept in rows of its own since delivery: no message is opened to sort a mailbox.
//!
//! `heading` has a row for each body that was looked into, beside the wide rows of `body`, so that a hundred thousand of
//! them are read in one go. Texts are stored as they are compared; ids and subjects that are only compared for being
//! equal are stored as hashes.

use std::borrow::Cow;
use std::ops::{ControlFlow, RangeInclusive};

use mail_lib::header::Headers;
use mail_lib::mime::{Index, MAX_HEADER, Section};
use mail_lib::ordering::OrderKeys;
use rusqlite::Connection;

use crate::read::{blob, text, uid};
use crate::{MailboxId, Problem, Reader, Report, StoreError, Uid, UnixSeconds};

/// For [`crate::schema`].
pub(crate) const MIGRATION: &str = "
    -- What SORT and THREAD go by, of each body that was looked into: see the module `ordering`.
    CREATE TABLE heading (
        body INTEGER PRIMARY KEY,
        sent INTEGER,
        reply INTEGER NOT NULL,
        topic INTEGER,
        message_id INTEGER,
        subject TEXT NOT NULL,
        from_mailbox TEXT NOT NULL,
        to_mailbox TEXT NOT NULL,
        cc_mailbox TEXT NOT NULL,
        display_from TEXT NOT NULL,
        display_to TEXT NOT NULL,
        refs BLOB
    ) STRICT;
    -- Bodies from `next` to `last` were filed before there was such a table.
    CREATE TABLE heading_backlog (next INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
    INSERT INTO heading_backlog SELECT min(id), max(id) FROM body HAVING count(*) > 0;
";

/// What messages can be ordered by (RFC 5256 §3, RFC 5957).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// When it was received.
    Arrival,
    /// The first Cc address: its mailbox.
    Cc,
    /// When it was sent, else received.
    Date,
    /// The first From address as it is displayed.
    DisplayFrom,
    /// The first To address as it is displayed.
    DisplayTo,
    /// The first From address: its mailbox.
    From,
    /// Octets.
    Size,
    /// The base subject.
    Subject,
    /// The first To address: its mailbox.
    To,
}

/// What one message has for a [`SortKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortValue<'a> {
    /// Seconds or octets.
    Number(i64),
    /// Ordered by its octets.
    Text(&'a str),
}

/// What one message is threaded by. Ids and subjects are hashes, to be compared for being equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadKeys<'a> {
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// The Date field, else INTERNALDATE.
    pub sent: UnixSeconds,
    /// Of the base subject; `None`: it is empty.
    pub topic: Option<i64>,
    /// Whether the subject said that the message is a reply or forward.
    pub is_reply: bool,
    /// Of the Message-ID.
    pub id: Option<i64>,
    references: Cow<'a, [u8]>,
}

impl ThreadKeys<'_> {
    /// Of References, oldest first, else of In-Reply-To; at most [`mail_lib::ordering::MAX_REFERENCES`].
    pub fn references(&self) -> impl Iterator<Item = i64> {
        self.references.chunks_exact(8).filter_map(|id| id.first_chunk().map(|id| i64::from_le_bytes(*id)))
    }
}

/// The references of a message as they are stored.
pub(crate) fn stored_references(keys: &OrderKeys) -> Vec<u8> {
    keys.references.iter().flat_map(|id| hash(id).to_le_bytes()).collect()
}

/// The hash of the base subject, if there is one.
pub(crate) fn topic(keys: &OrderKeys) -> Option<i64> {
    (!keys.subject.is_empty()).then(|| hash(keys.subject.as_bytes()))
}

/// Equal ids and subjects have equal hashes. Others may, too: one pair in billions, and it takes both an id and a
/// subject to bring a message into a thread.
pub(crate) fn hash(text: &[u8]) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text).as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Reader<'_> {
    /// Gives `each` what the messages of a range of UIDs are ordered by, rising by UID, until it breaks. Messages that
    /// are gone are left out.
    pub fn sort_values(
        &self,
        mailbox: MailboxId,
        uids: RangeInclusive<Uid>,
        key: SortKey,
        mut each: impl FnMut(Uid, SortValue<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(statement_for(key))?;
        let mut rows = statement.query((mailbox.0, uids.start().value(), uids.end().value()))?;
        while let Some(row) = rows.next()? {
            let uid = uid(row, 0)?;
            let flow = match key {
                SortKey::Arrival | SortKey::Size => each(uid, SortValue::Number(row.get(2)?)),
                // Without a row it is looked for in the message, as was done before there were rows.
                SortKey::Date if row.get(3)? => {
                    let sent = self.order_keys(row.get(1)?)?.and_then(|keys| keys.sent);
                    each(uid, SortValue::Number(sent.map_or_else(|| row.get(2), Ok)?))
                }
                SortKey::Date => each(uid, SortValue::Number(row.get(2)?)),
                SortKey::Cc
                | SortKey::DisplayFrom
                | SortKey::DisplayTo
                | SortKey::From
                | SortKey::Subject
                | SortKey::To => match text(row, 2)? {
                    Some(text) => each(uid, SortValue::Text(text)),
                    None => {
                        let keys = self.order_keys(row.get(1)?)?.unwrap_or_default();
                        each(uid, SortValue::Text(text_of(&keys, key)))
                    }
                },
            };
            if flow.is_break() {
                break;
            }
            if self.budget.is_over() {
                return Err(StoreError::OutOfBudget);
            }
        }
        Ok(())
    }

    /// Gives `each` what the messages of a range of UIDs are threaded by, rising by UID, until it breaks. Messages that
    /// are gone are left out.
    pub fn thread_keys(
        &self,
        mailbox: MailboxId,
        uids: RangeInclusive<Uid>,
        mut each: impl FnMut(Uid, ThreadKeys<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT uid, message.body, message.received, heading.body IS NULL, sent, topic, reply, message_id, refs
             FROM message LEFT JOIN heading ON heading.body = message.body
             WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
        )?;
        let mut rows = statement.query((mailbox.0, uids.start().value(), uids.end().value()))?;
        while let Some(row) = rows.next()? {
            let received = UnixSeconds(row.get(2)?);
            let keys = if row.get(3)? {
                let found = self.order_keys(row.get(1)?)?.unwrap_or_default();
                ThreadKeys {
                    received,
                    sent: found.sent.map_or(received, UnixSeconds),
                    topic: topic(&found),
                    is_reply: found.is_reply,
                    id: found.message_id.as_deref().map(hash),
                    references: Cow::Owned(stored_references(&found)),
                }
            } else {
                ThreadKeys {
                    received,
                    sent: row.get::<_, Option<i64>>(4)?.map_or(received, UnixSeconds),
                    topic: row.get(5)?,
                    is_reply: row.get(6)?,
                    id: row.get(7)?,
                    references: Cow::Borrowed(blob(row, 8)?.unwrap_or_default()),
                }
            };
            if each(uid(row, 0)?, keys).is_break() {
                break;
            }
            if self.budget.is_over() {
                return Err(StoreError::OutOfBudget);
            }
        }
        Ok(())
    }

    /// Looks for them in the message itself; `None`: it is gone, or was filed without parsing.
    pub(crate) fn order_keys(&self, body: i64) -> Result<Option<OrderKeys>, StoreError> {
        let sql = "SELECT id, size, prefix, file, parts FROM body WHERE id = ?1 AND parts IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([body])?;
        let Some(body) = rows.next()?.map(|row| self.body_of(row)).transpose()?.flatten() else {
            return Ok(None);
        };
        let Some(Ok(index)) = body.parts().map(Index::from_bytes) else { return Ok(None) };
        let header = index.locate(&[], Section::Header).unwrap_or(0..0);
        let size = usize::try_from(header.end).unwrap_or(MAX_HEADER).min(MAX_HEADER);
        let mut octets = vec![0; size];
        let read = body.read_at(0, &mut octets)?;
        octets.truncate(read);
        Ok(Some(OrderKeys::find(Headers::new(&octets))))
    }
}

fn statement_for(key: SortKey) -> &'static str {
    macro_rules! text {
        ($column:literal) => {
            concat!(
                "SELECT uid, message.body, ",
                $column,
                " FROM message LEFT JOIN heading ON heading.body = message.body
                  WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            )
        };
    }
    match key {
        SortKey::Arrival => {
            "SELECT uid, body, received FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
        }
        SortKey::Size => {
            "SELECT uid, body, size FROM message WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
        }
        SortKey::Date => {
            "SELECT uid, message.body, ifnull(sent, message.received), heading.body IS NULL
             FROM message LEFT JOIN heading ON heading.body = message.body
             WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
        }
        SortKey::Cc => text!("cc_mailbox"),
        SortKey::DisplayFrom => text!("display_from"),
        SortKey::DisplayTo => text!("display_to"),
        SortKey::From => text!("from_mailbox"),
        SortKey::Subject => text!("subject"),
        SortKey::To => text!("to_mailbox"),
    }
}

fn text_of(keys: &OrderKeys, key: SortKey) -> &str {
    match key {
        SortKey::Arrival | SortKey::Date | SortKey::Size => "",
        SortKey::Cc => &keys.cc,
        SortKey::DisplayFrom => &keys.display_from,
        SortKey::DisplayTo => &keys.display_to,
        SortKey::From => &keys.from,
        SortKey::Subject => keys.subject_key(),
        SortKey::To => &keys.to,
    }
}

/// Every body that was looked into has its row, or waits for it; no other row is there.
pub(crate) fn check(connection: &Connection, report: &mut Report) -> Result<(), StoreError> {
    let mut statement = connection.prepare(
        "SELECT body FROM heading WHERE body NOT IN (SELECT id FROM body WHERE parts IS NOT NULL)
         UNION ALL SELECT id FROM body WHERE parts IS NOT NULL AND id NOT IN (SELECT body FROM heading)
             AND NOT EXISTS (SELECT 1 FROM heading_backlog WHERE id BETWEEN next AND last)",
    )?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let body: i64 = row.get(0)?;
        report.problems.push(Problem::Body(format!("{body}: its row in heading is missing or one too many")));
    }
    Ok(())
}
