//! Threads, kept in the store: each message belongs to one from the moment it is filed.
//!
//! A message joins the thread of what it answers, if that has the same base subject; without References and In-Reply-To
//! a reply joins the latest thread of its base subject within four weeks. What it answers may come later: until then its
//! ids wait in `awaited`, others that answer the same join it, and what comes joins them. The name of a message's thread
//! never changes once it was told (RFC 8474 §5.2); that two threads turned out to be one is said beside it.

use std::fmt;

use rusqlite::OptionalExtension;

use crate::{MessageId, Problem, Reader, Report, StoreError};

/// For [`crate::schema`].
pub(crate) const MIGRATION: &str = "
    -- The thread, as it was told first; when the message came in, where that is known; whether the message that it
    -- answers is missing.
    ALTER TABLE heading ADD COLUMN thread INTEGER;
    ALTER TABLE heading ADD COLUMN received INTEGER;
    ALTER TABLE heading ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX heading_message_id ON heading (message_id) WHERE message_id IS NOT NULL;
    CREATE INDEX heading_thread ON heading (thread) WHERE thread IS NOT NULL;
    -- `id` is the body of the thread's first message; `parent` the thread that this one turned out to belong to.
    CREATE TABLE thread (
        id INTEGER PRIMARY KEY,
        topic INTEGER,
        latest INTEGER NOT NULL,
        parent INTEGER,
        muted INTEGER NOT NULL DEFAULT 0,
        collapsed INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX thread_topic ON thread (topic, latest) WHERE topic IS NOT NULL;
    CREATE INDEX thread_parent ON thread (parent) WHERE parent IS NOT NULL;
    -- Ids that a message refers to and no message has.
    CREATE TABLE awaited (id INTEGER NOT NULL, body INTEGER NOT NULL, PRIMARY KEY (id, body)) WITHOUT ROWID, STRICT;
    -- Bodies from `next` to `last` are to be threaded anew; `clearing`: first they lose the threads they have.
    CREATE TABLE thread_backlog (next INTEGER NOT NULL, last INTEGER NOT NULL, clearing INTEGER NOT NULL) STRICT;
    INSERT INTO thread_backlog SELECT min(id), max(id), 0 FROM body HAVING count(*) > 0;
";

/// Threads that were joined one by one are followed so far; what is beyond stays apart.
pub(crate) const JOINED_LIMIT: usize = 100;

/// Names a thread for all time (RFC 8474 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(pub(crate) i64);

impl ThreadId {
    /// Reads what was displayed. `None`: no thread is called so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('T')?;
        let id = digits.parse().ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

/// A thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// Its name; another one than was asked for if that thread turned out to belong to this one.
    pub id: ThreadId,
    /// What comes in it is not to be looked at.
    pub muted: bool,
    /// It is shown as one line.
    pub collapsed: bool,
}

impl Reader<'_> {
    /// The thread of a message; `None`: nobody has looked yet. A message that was filed without parsing is one of its
    /// own.
    pub fn thread_of(&self, message: MessageId) -> Result<Option<ThreadId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT CASE WHEN parts IS NULL THEN body.id ELSE thread END
             FROM body LEFT JOIN heading ON heading.body = body.id WHERE body.id = ?1",
        )?;
        let thread = statement.query_row([message.0], |row| row.get::<_, Option<i64>>(0)).optional()?;
        Ok(thread.flatten().map(ThreadId))
    }

    /// The messages that were told to be of this thread, oldest first.
    pub fn messages_told_of(&self, thread: ThreadId) -> Result<Vec<MessageId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT body FROM heading WHERE thread = ?1
             UNION ALL SELECT id FROM body WHERE id = ?1 AND parts IS NULL ORDER BY 1",
        )?;
        let mut rows = statement.query([thread.0])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(MessageId(row.get(0)?));
        }
        Ok(messages)
    }

    /// The messages of a thread and of all that turned out to belong to it, oldest first.
    pub fn messages_of(&self, thread: ThreadId) -> Result<Vec<MessageId>, StoreError> {
        let mut threads = vec![self.root(thread.0)?];
        let mut at = 0;
        while let Some(thread) = threads.get(at).copied().filter(|_| at < JOINED_LIMIT) {
            let mut statement = self.connection.prepare_cached("SELECT id FROM thread WHERE parent = ?1")?;
            let mut rows = statement.query([thread])?;
            while let Some(row) = rows.next()? {
                threads.push(row.get(0)?);
            }
            at += 1;
        }
        let mut messages = Vec::new();
        for thread in threads {
            messages.append(&mut self.messages_told_of(ThreadId(thread))?);
        }
        messages.sort_unstable_by_key(|message| message.0);
        messages.dedup();
        Ok(messages)
    }

    /// The thread as it is now; `None`: there is none of that name.
    pub fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, StoreError> {
        let sql = "SELECT id, muted, collapsed FROM thread WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([self.root(thread.0)?], |row| {
            Ok(Thread { id: ThreadId(row.get(0)?), muted: row.get(1)?, collapsed: row.get(2)? })
        });
        Ok(found.optional()?)
    }

    /// Whether the message answers one that is not there.
    pub fn is_link_missing(&self, message: MessageId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT missing FROM heading WHERE body = ?1")?;
        Ok(statement.query_row([message.0], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    fn root(&self, thread: i64) -> Result<i64, StoreError> {
        root(self.connection, thread)
    }
}

/// The thread that this one turned out to belong to in the end.
pub(crate) fn root(connection: &rusqlite::Connection, thread: i64) -> Result<i64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT parent FROM thread WHERE id = ?1")?;
    let mut at = thread;
    for _ in 0..JOINED_LIMIT {
        match statement.query_row([at], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    Ok(at)
}

/// Every row in `heading` has a thread that is there, or waits for it; what is awaited has not come.
pub(crate) fn check(connection: &rusqlite::Connection, report: &mut Report) -> Result<(), StoreError> {
    let mut statement = connection.prepare(
        "SELECT body, 'is of no thread' FROM heading WHERE (thread IS NULL OR thread NOT IN (SELECT id FROM thread))
             AND NOT EXISTS (SELECT 1 FROM heading_backlog) AND NOT EXISTS (SELECT 1 FROM thread_backlog)
         UNION ALL SELECT id, 'is a thread of nothing' FROM thread WHERE id NOT IN
             (SELECT thread FROM heading WHERE thread IS NOT NULL) AND parent IS NULL
             AND id NOT IN (SELECT parent FROM thread WHERE parent IS NOT NULL)
             AND NOT EXISTS (SELECT 1 FROM thread_backlog)
         UNION ALL SELECT body, 'waits, and should not' FROM awaited
             WHERE body NOT IN (SELECT body FROM heading WHERE missing)",
    )?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (body, what): (i64, String) = (row.get(0)?, row.get(1)?);
        report.problems.push(Problem::Body(format!("{body} {what}")));
    }
    Ok(())
}
