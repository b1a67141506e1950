//! Short reads: one transaction per closure, never held while waiting for a client.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use crate::files::{BodyName, Files};
use crate::message::Content;
use crate::writer::{EXPUNGED_KEPT, PIECES};
use crate::{
    Body, Columns, Flags, Mailbox, MailboxId, MailboxName, Message, MessageId, ModSeq, Store, StoreError,
    Summary, Uid, UnixSeconds, schema,
};

/// Connections for reading: more than this many reads wait for one another.
const MAX_READERS: usize = 3;
/// Steps of SQLite's machine between two looks at the budget: well under a millisecond.
const STEPS: i32 = 10_000;

/// How long a read may take, and who can stop it before. Passed: [`StoreError::OutOfBudget`].
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Stop then.
    pub deadline: Option<Instant>,
    /// Stop when this becomes true.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Budget {
    /// Whether it is used up.
    pub(crate) fn is_over(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// One consistent view of the account, for the time of one closure.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(crate) connection: &'a Connection,
    files: &'a Files,
    pub(crate) budget: &'a Budget,
    /// No tables of parts are given.
    pub(crate) raw: bool,
}

/// The reader connections, opened when first needed.
#[derive(Debug)]
pub(crate) struct Pool {
    dir: PathBuf,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    idle: Vec<Connected>,
    lent: usize,
    open: bool,
    /// When the last one was given back.
    used: Instant,
}

#[derive(Debug)]
struct Connected {
    connection: Connection,
    /// Of the read that runs on it; the progress handler looks at it.
    budget: Arc<Mutex<Budget>>,
}

impl Pool {
    pub(crate) fn new(dir: &Path) -> Self {
        let state = State { idle: Vec::new(), lent: 0, open: true, used: Instant::now() };
        Self { dir: dir.to_owned(), state: Mutex::new(state), returned: Condvar::new() }
    }

    /// How long nobody has read anything.
    pub(crate) fn quiet_for(&self) -> Duration {
        let state = self.lock();
        if state.lent > 0 { Duration::ZERO } else { state.used.elapsed() }
    }

    /// Lends nothing more, and closes what is idle.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
        self.returned.notify_all();
    }

    fn lend(&self, budget: &Budget) -> Result<Connected, StoreError> {
        let mut state = self.lock();
        let idle = loop {
            if !state.open {
                return Err(StoreError::Closed);
            }
            if budget.is_over() {
                return Err(StoreError::OutOfBudget);
            }
            if let Some(idle) = state.idle.pop() {
                break Some(idle);
            }
            if state.lent < MAX_READERS {
                break None;
            }
            state = match budget.deadline {
                None => self.returned.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        state.lent += 1;
        drop(state);
        let connected = match idle {
            Some(connected) => Ok(connected),
            None => Connected::open(&self.dir),
        };
        if connected.is_err() {
            self.give_back(None);
        }
        connected
    }

    fn give_back(&self, connected: Option<Connected>) {
        let mut state = self.lock();
        state.lent = state.lent.saturating_sub(1);
        state.used = Instant::now();
        let refused = match connected {
            Some(connected) if state.open => {
                state.idle.push(connected);
                None
            }
            other => other,
        };
        drop(state);
        drop(refused);
        self.returned.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let mut connection = schema::open_reader(dir)?;
        let budget = Arc::new(Mutex::new(Budget::default()));
        let current = Arc::clone(&budget);
        let stop = move || current.lock().unwrap_or_else(PoisonError::into_inner).is_over();
        connection.progress_handler(STEPS, Some(stop))?;
        Ok(Self { connection, budget })
    }

    fn set_budget(&self, budget: Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }
}

/// Gives the connection back also when the closure panics; a transaction that stands then is ended by closing it.
struct Lent<'a> {
    pool: &'a Pool,
    connected: Option<Connected>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let connected = self.connected.take().filter(|connected| {
            connected.set_budget(Budget::default());
            connected.connection.is_autocommit()
        });
        self.pool.give_back(connected);
    }
}

impl Store {
    /// Runs `read` on one of the few reader connections; waits while all are busy. Keep it short: collect what fits
    /// the session's output buffer, return, write it to the client, come back for more. Never call it from inside
    /// itself.
    pub fn read<T>(
        &self,
        budget: &Budget,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.read_inner(budget, read).map_err(|error| error.within(self.dir()))
    }

    fn read_inner<T>(
        &self,
        budget: &Budget,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let pool = self.pool();
        let lent = Lent { pool, connected: Some(pool.lend(budget)?) };
        let Some(connected) = &lent.connected else { return Err(StoreError::Closed) };
        connected.set_budget(budget.clone());
        let connection = &connected.connection;
        connection.prepare_cached("BEGIN")?.execute(())?;
        let value = read(&Reader { connection, files: self.files(), budget, raw: self.is_raw() });
        // An interrupt has ended it already.
        if !connection.is_autocommit() {
            connection.prepare_cached("COMMIT")?.execute(())?;
        }
        value
    }
}

impl<'a> Reader<'a> {
    /// The writer's own view, within its transaction.
    pub(crate) fn of_writer(connection: &'a Connection, files: &'a Files) -> Self {
        static UNLIMITED: Budget = Budget { deadline: None, cancel: None };
        Self { connection, files, budget: &UNLIMITED, raw: false }
    }

    /// On a connection of one's own, inside a transaction.
    pub(crate) fn new(connection: &'a Connection, files: &'a Files, budget: &'a Budget) -> Self {
        Self { connection, files, budget, raw: false }
    }
}

impl Reader<'_> {
    /// All mailboxes, by name.
    pub fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        Mailbox::all(self.connection)
    }

    /// Subscribed names, of mailboxes that exist and of others.
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT name FROM subscription ORDER BY name")?;
        let mut rows = statement.query(())?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().ok().and_then(|name| MailboxName::parse(name).ok());
            names.push(name.ok_or_else(|| StoreError::damaged("subscription with a bad name"))?);
        }
        Ok(names)
    }

    /// By name.
    pub fn find(&self, name: &MailboxName) -> Result<Option<Mailbox>, StoreError> {
        Mailbox::named(self.connection, name)
    }

    /// By id; `None` when it was deleted.
    pub fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError> {
        Mailbox::with_id(self.connection, id)
    }

    /// The UIDs of a mailbox, rising: sequence number N is at N-1.
    pub fn uids(&self, mailbox: MailboxId) -> Result<Vec<Uid>, StoreError> {
        self.uids_by("SELECT uid FROM message WHERE mailbox = ?1 ORDER BY uid", mailbox)
    }

    /// The UIDs of the messages with `\Flagged`, rising.
    pub fn flagged(&self, mailbox: MailboxId) -> Result<Vec<Uid>, StoreError> {
        let sql = "SELECT uid FROM message INDEXED BY message_flagged
                   WHERE mailbox = ?1 AND flags & 4 <> 0 ORDER BY uid";
        self.uids_by(sql, mailbox)
    }

    fn uids_by(&self, sql: &str, mailbox: MailboxId) -> Result<Vec<Uid>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([mailbox.0])?;
        let mut uids = Vec::new();
        while let Some(row) = rows.next()? {
            uids.push(uid(row, 0)?);
        }
        Ok(uids)
    }

    /// Gives `each` the messages of a range of UIDs, rising, until it breaks. Messages that are gone are left out.
    pub fn fetch(
        &self,
        mailbox: MailboxId,
        uids: RangeInclusive<Uid>,
        columns: Columns,
        mut each: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(match columns {
            Columns::Flags => {
                "SELECT uid, modseq, flags, keywords, received, size, body, saved FROM message
                 WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
            Columns::Sent => {
                "SELECT uid, modseq, flags, keywords, message.received, size, message.body, saved, sent
                 FROM message LEFT JOIN heading ON heading.body = message.body
                 WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
            // CROSS JOIN: in the order of the mailbox, one look into `body` for each.
            Columns::Summary => {
                "SELECT uid, modseq, flags, keywords, received, message.size, message.body, saved,
                 parts, body.body, bodystructure, envelope
                 FROM message CROSS JOIN body ON body.id = message.body
                 WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
        })?;
        let mut rows = statement.query((mailbox.0, uids.start().value(), uids.end().value()))?;
        while let Some(row) = rows.next()? {
            let summary = match columns {
                Columns::Flags | Columns::Sent => None,
                Columns::Summary if self.raw => None,
                Columns::Summary => summary(row)?,
            };
            let sent = match columns {
                Columns::Sent if !self.raw => row.get::<_, Option<i64>>(8)?.map(UnixSeconds),
                Columns::Sent | Columns::Flags | Columns::Summary => None,
            };
            let message = Message {
                sent,
                uid: uid(row, 0)?,
                modseq: ModSeq(row.get(1)?),
                flags: Flags::from_columns(row.get(2)?, text(row, 3)?),
                received: UnixSeconds(row.get(4)?),
                saved: row.get::<_, Option<i64>>(7)?.map(UnixSeconds),
                size: row.get::<_, i64>(5)?.unsigned_abs(),
                id: MessageId(row.get(6)?),
                summary,
            };
            if each(message).is_break() {
                break;
            }
            if self.budget.is_over() {
                return Err(StoreError::OutOfBudget);
            }
        }
        Ok(())
    }

    /// The octets of a message; `None` when it is gone.
    pub fn body(&self, mailbox: MailboxId, uid: Uid) -> Result<Option<Body>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT body.id, body.size, prefix, file, parts FROM message CROSS JOIN body ON body.id = message.body
             WHERE mailbox = ?1 AND uid = ?2",
        )?;
        let mut rows = statement.query((mailbox.0, uid.value()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        self.body_of(row)
    }

    /// From a row with the body's id, size, prefix, file and parts.
    pub(crate) fn body_of(&self, row: &Row<'_>) -> Result<Option<Body>, StoreError> {
        let id: i64 = row.get(0)?;
        let size = row.get::<_, i64>(1)?.unsigned_abs();
        let prefix = blob(row, 2)?.unwrap_or_default();
        let parts = if self.raw { None } else { blob(row, 4)?.map(Box::from) };
        let content = match text(row, 3)? {
            None => Content::Memory(self.octets(id, prefix, size)?),
            Some(file) => {
                let name =
                    BodyName::parse(file).ok_or_else(|| StoreError::damaged("body row with a bad file"))?;
                match self.files.open_body(&name)? {
                    Some(file) => Content::File { prefix: prefix.to_vec(), file },
                    None => {
                        // Expunged since this read began, or lost; `verify` knows which.
                        tracing::warn!(file = name.as_str(), "a message's file is not there");
                        return Ok(None);
                    }
                }
            }
        };
        Ok(Some(Body { size, parts, content }))
    }

    /// Prefix and pieces of a body in the database.
    fn octets(&self, id: i64, prefix: &[u8], size: u64) -> Result<Vec<u8>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT piece FROM octets WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
        let first = id.saturating_mul(PIECES);
        let mut rows = statement.query((first, first.saturating_add(PIECES - 1)))?;
        let mut octets = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        octets.extend_from_slice(prefix);
        while let Some(row) = rows.next()? {
            octets.extend_from_slice(blob(row, 0)?.unwrap_or_default());
        }
        Ok(octets)
    }

    /// The messages expunged after `since`, rising (VANISHED). `None`: that is longer ago than is remembered, or they
    /// are very many; then all that are not there have to be taken for expunged.
    pub fn expunged_since(&self, mailbox: &Mailbox, since: ModSeq) -> Result<Option<Vec<Uid>>, StoreError> {
        if since < mailbox.expunged_from {
            return Ok(None);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT uid FROM expunged WHERE mailbox = ?1 AND modseq > ?2 ORDER BY modseq, uid LIMIT ?3",
        )?;
        let mut rows = statement.query((mailbox.id.0, since.0, EXPUNGED_KEPT + 1))?;
        let mut expunged = Vec::new();
        while let Some(row) = rows.next()? {
            expunged.push(uid(row, 0)?);
        }
        if expunged.len() > EXPUNGED_KEPT as usize {
            return Ok(None);
        }
        expunged.sort_unstable();
        Ok(Some(expunged))
    }
}

/// `None`: filed without parsing.
fn summary<'a>(row: &'a Row<'_>) -> Result<Option<Summary<'a>>, StoreError> {
    let Some(parts) = blob(row, 8)? else { return Ok(None) };
    Ok(Some(Summary {
        parts,
        body: blob(row, 9)?.unwrap_or_default(),
        bodystructure: blob(row, 10)?.unwrap_or_default(),
        envelope: blob(row, 11)?.unwrap_or_default(),
    }))
}

pub(crate) fn uid(row: &Row<'_>, column: usize) -> Result<Uid, StoreError> {
    Uid::new(row.get(column)?).ok_or_else(|| StoreError::damaged("message row without a UID"))
}

/// Text that may be NULL, without copying it.
pub(crate) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, StoreError> {
    row.get_ref(column)?.as_str_or_null().map_err(|_| StoreError::damaged("a column is not text"))
}

pub(crate) fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a [u8]>, StoreError> {
    row.get_ref(column)?.as_blob_or_null().map_err(|_| StoreError::damaged("a column is not octets"))
}
