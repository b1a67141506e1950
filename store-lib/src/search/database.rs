//! `search.sqlite`: opening it, or doing without. Whatever is wrong with it, it is removed and made anew.

use std::fs::symlink_metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::segment::{Block, Damaged, Entry, Reading, read_roll, write_roll};
use super::trigram;
use crate::{StoreError, schema};

/// In the account's directory.
pub(super) const FILE_NAME: &str = "search.sqlite";

/// "moxs".
const APPLICATION_ID: i64 = 0x6d6f_7873;

/// Of the tables, and of what a text is and how its characters are compared: change it with either, and every index is
/// made anew.
const VERSION: i64 = 1;

/// Page cache in KiB.
const CACHE_KIB: i64 = 256;

/// Rows are written once and found by their number: of a block, `segment * trigram::END + first`.
const TABLES: &str = "
    -- Bodies up to this one were looked at.
    CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), body INTEGER NOT NULL) STRICT;
    INSERT INTO progress VALUES (1, 0);
    CREATE TABLE segment (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        messages INTEGER NOT NULL,
        pairs INTEGER NOT NULL,
        roll BLOB NOT NULL
    ) STRICT;
    CREATE TABLE block (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
";

/// Why the index cannot be used.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is to be removed and made anew.
    Damaged(String),
    /// The system refused, or there is no room: later, or not at all.
    Failed(StoreError),
}

impl From<Damaged> for Trouble {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged("a checksum or a number is wrong".to_owned())
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    /// What the system did not refuse is damage: what is asked of it is always the same.
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory,
            ) => Self::Failed(StoreError::from(error)),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// One segment without its blocks.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) entries: Vec<Entry>,
}

impl Segment {
    pub(super) fn messages(&self) -> u16 {
        u16::try_from(self.entries.len()).unwrap_or(u16::MAX)
    }
}

/// An open index.
#[derive(Debug)]
pub(super) struct Database(pub(super) Connection);

impl Database {
    /// `None`: there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, Trouble> {
        let path = dir.join(FILE_NAME);
        match symlink_metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(Trouble::Damaged("not a regular file".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::file(&error).into()),
        }
        let database = Self::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let number = |sql: &str| database.0.query_row(sql, (), |row| row.get::<_, i64>(0));
        if (number("PRAGMA application_id")?, number("PRAGMA user_version")?) != (APPLICATION_ID, VERSION) {
            return Err(Trouble::Damaged("of another version".to_owned()));
        }
        Ok(Some(database))
    }

    /// An empty one.
    pub(super) fn create(dir: &Path) -> Result<Self, Trouble> {
        remove(dir)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut database = Self::connect(&dir.join(FILE_NAME), flags)?;
        database.0.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL")?;
        let transaction = database.0.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        Ok(database)
    }

    fn connect(path: &Path, access: OpenFlags) -> Result<Self, Trouble> {
        let connection = Connection::open_with_flags(path, access | schema::FLAGS)?;
        schema::prepare(&connection, CACHE_KIB)?;
        // A power cut may cost the last segments, never make one of them half: they are made again.
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304")?;
        Ok(Self(connection))
    }

    /// Bodies up to this one were looked at.
    pub(super) fn progress(&self) -> Result<i64, Trouble> {
        Ok(self.0.query_row("SELECT body FROM progress", (), |row| row.get(0))?)
    }

    /// All segments, oldest messages first.
    pub(super) fn segments(&self) -> Result<Vec<u32>, Trouble> {
        let mut statement = self.0.prepare_cached("SELECT id FROM segment ORDER BY id")?;
        let ids = statement.query_map((), |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Its sizes, as its row has them: for planning, nothing depends on them.
    pub(super) fn sizes(&self) -> Result<Vec<(u32, u64, u64)>, Trouble> {
        let mut statement = self.0.prepare_cached("SELECT id, messages, pairs FROM segment ORDER BY id")?;
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        let sizes = statement.query_map((), |row| Ok((row.get(0)?, number(row, 1)?, number(row, 2)?)))?;
        Ok(sizes.collect::<Result<_, _>>()?)
    }

    pub(super) fn segment(&self, id: u32) -> Result<Segment, Trouble> {
        let mut statement = self.0.prepare_cached("SELECT roll FROM segment WHERE id = ?1")?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Err(Damaged.into()) };
        let roll = row.get_ref(0)?.as_blob().map_err(|_| Damaged)?;
        Ok(Segment { id, entries: read_roll(id, roll)? })
    }

    /// Gives each place in `segment` of a message that has the trigram.
    pub(super) fn places(
        &self,
        segment: &Segment,
        number: u32,
        each: impl FnMut(u16),
    ) -> Result<(), Trouble> {
        let mut statement =
            self.0.prepare_cached("SELECT data FROM block WHERE id <= ?1 ORDER BY id DESC LIMIT 1")?;
        let mut rows = statement.query([block_id(segment.id, number)])?;
        let Some(row) = rows.next()? else { return Err(Damaged.into()) };
        let data = row.get_ref(0)?.as_blob().map_err(|_| Damaged)?;
        if let Some(places) = Reading::new(segment.id, segment.messages(), data)?.find(number)? {
            Reading::places(segment.messages(), places, each)?;
        }
        Ok(())
    }

    /// The block that begins at `first`.
    pub(super) fn block(&self, segment: u32, first: u32) -> Result<Vec<u8>, Trouble> {
        let mut statement = self.0.prepare_cached("SELECT data FROM block WHERE id = ?1")?;
        let data = statement.query_row([block_id(segment, first)], |row| row.get(0)).optional()?;
        data.ok_or_else(|| Damaged.into())
    }

    /// A new segment, above all others, without blocks. Inside a transaction.
    pub(super) fn insert_segment(&self, entries: &[Entry], pairs: u64) -> Result<u32, Trouble> {
        let mut statement = self
            .0
            .prepare_cached("INSERT INTO segment (messages, pairs, roll) VALUES (?1, ?2, zeroblob(0))")?;
        let messages = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        statement.execute((messages, i64::try_from(pairs).unwrap_or(i64::MAX)))?;
        let id = u32::try_from(self.0.last_insert_rowid()).map_err(|_| Damaged)?;
        let mut statement = self.0.prepare_cached("UPDATE segment SET roll = ?2 WHERE id = ?1")?;
        statement.execute((id, write_roll(id, entries)))?;
        Ok(id)
    }

    pub(super) fn set_pairs(&self, segment: u32, pairs: u64) -> Result<(), Trouble> {
        let mut statement = self.0.prepare_cached("UPDATE segment SET pairs = ?2 WHERE id = ?1")?;
        statement.execute((segment, i64::try_from(pairs).unwrap_or(i64::MAX)))?;
        Ok(())
    }

    pub(super) fn insert_block(&self, segment: u32, block: &Block) -> Result<(), Trouble> {
        let mut statement = self.0.prepare_cached("INSERT INTO block (id, data) VALUES (?1, ?2)")?;
        statement.execute((block_id(segment, block.first), &block.data))?;
        Ok(())
    }

    pub(super) fn remove_segment(&self, id: u32) -> Result<(), Trouble> {
        self.0.prepare_cached("DELETE FROM segment WHERE id = ?1")?.execute([id])?;
        let (first, last) = (block_id(id, 0), block_id(id, trigram::END - 1));
        self.0.prepare_cached("DELETE FROM block WHERE id BETWEEN ?1 AND ?2")?.execute((first, last))?;
        Ok(())
    }

    pub(super) fn set_progress(&self, body: i64) -> Result<(), Trouble> {
        self.0.prepare_cached("UPDATE progress SET body = ?1")?.execute([body])?;
        Ok(())
    }

    pub(super) fn execute(&self, sql: &str) -> Result<(), Trouble> {
        self.0.prepare_cached(sql)?.execute(())?;
        Ok(())
    }

    /// Whether it is about the messages that the account has. After an older database of the account was put back, new
    /// messages get ids that the index knows as others'.
    pub(super) fn is_of(&self, account: &Connection) -> Result<bool, Trouble> {
        let next = account.query_row("SELECT next_body FROM account", (), |row| row.get::<_, i64>(0));
        if self.progress()? > next.map_err(StoreError::from)? {
            return Ok(false);
        }
        let hash = account.prepare_cached("SELECT hash FROM body WHERE id = ?1");
        let mut hash = hash.map_err(StoreError::from)?;
        for id in self.segments()?.into_iter().rev() {
            for entry in self.segment(id)?.entries.iter().rev() {
                let found = hash.query_row([entry.body], |row| row.get::<_, [u8; 32]>(0)).optional();
                if let Some(found) = found.map_err(StoreError::from)? {
                    return Ok(found.starts_with(&entry.hash));
                }
            }
        }
        Ok(true)
    }
}

/// The index and its log. No connection to it may be open.
pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
    for name in files(dir) {
        match std::fs::remove_file(name) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::file(&error)),
        }
    }
    Ok(())
}

/// The log last: without it an older state would be taken for the whole one.
fn files(dir: &Path) -> [PathBuf; 3] {
    ["", "-shm", "-wal"].map(|end| dir.join(format!("{FILE_NAME}{end}")))
}

fn block_id(segment: u32, first: u32) -> i64 {
    i64::from(segment) * i64::from(trigram::END) + i64::from(first)
}
