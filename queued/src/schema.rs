//! The queue's tables, and opening them without damage.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::queue::QueueError;

/// The database's name in the queue's directory.
pub(crate) const FILE: &str = "queue.sqlite";
/// While it is made; what begins so is removed at the next start.
const NEW: &str = "new-queue.sqlite";

/// One step per version; `user_version` counts the steps that were made.
const STEPS: [&str; 5] = [
    "
    CREATE TABLE message (
        id BLOB PRIMARY KEY NOT NULL,
        connection INTEGER NOT NULL,
        -- NULL: the null reverse-path
        reverse_path TEXT,
        trace BLOB NOT NULL,
        received_s INTEGER NOT NULL,
        received_ns INTEGER NOT NULL,
        size INTEGER NOT NULL,
        -- BLAKE3
        hash BLOB NOT NULL,
        stored_ms INTEGER NOT NULL,
        -- since it last got anywhere
        attempts INTEGER NOT NULL,
        next_ms INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX message_next ON message (next_ms);
    -- who has not got it yet
    CREATE TABLE recipient (
        message BLOB NOT NULL REFERENCES message (id),
        address TEXT NOT NULL,
        PRIMARY KEY (message, address)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- of a small message; a larger one is a file
    CREATE TABLE body (
        message BLOB PRIMARY KEY NOT NULL REFERENCES message (id),
        octets BLOB NOT NULL
    ) STRICT;
",
    "
    -- of the last attempt, see `recipient`
    ALTER TABLE recipient ADD COLUMN reason INTEGER;
    -- of a recipient that is an alias and whose members were asked: who of them has not got it yet
    CREATE TABLE member (
        message BLOB NOT NULL,
        address TEXT NOT NULL,
        account INTEGER NOT NULL,
        PRIMARY KEY (message, address, account),
        FOREIGN KEY (message, address) REFERENCES recipient (message, address) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
",
    "
    -- what accounts submitted in the last 24 hours
    CREATE TABLE submitted (
        account INTEGER NOT NULL,
        -- hash of the id and the recipients
        key BLOB NOT NULL,
        at_ms INTEGER NOT NULL,
        -- times that it was asked for, without those that came to nothing
        takers INTEGER NOT NULL,
        PRIMARY KEY (account, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX submitted_at ON submitted (at_ms);
    -- whom accounts wrote to
    CREATE TABLE correspondent (
        account INTEGER NOT NULL,
        -- of the address
        hash BLOB NOT NULL,
        first_ms INTEGER NOT NULL,
        -- of the only message that went there so far; NULL: there were more
        key BLOB,
        PRIMARY KEY (account, hash)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX correspondent_first ON correspondent (account, first_ms);
    CREATE INDEX correspondent_key ON correspondent (account, key) WHERE key IS NOT NULL;
",
    "
    -- not to be tried before: the same as next_ms, until the first attempt
    ALTER TABLE message ADD COLUMN hold_ms INTEGER;
    DROP INDEX message_next;
    CREATE INDEX message_next ON message (next_ms, hold_ms);
",
];

/// The version after all steps.
fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Opens the database, or makes it where there is none and `messages` says that none is missing. One that is there is never
/// made anew: what it held was acknowledged.
pub(crate) fn open(path: &Path, messages: bool) -> Result<Connection, QueueError> {
    let missing = || QueueError::Missing { path: path.to_owned() };
    let named = |error: io::Error| QueueError::Open { path: path.to_owned(), detail: error.to_string() };
    let size = match fs::symlink_metadata(path) {
        Ok(metadata) => Some(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(named(error)),
    };
    let sort = |error| match error {
        OpenError::Sqlite(error) => sorted(path, &error),
        OpenError::Empty => missing(),
        OpenError::File(error) => QueueError::from(error),
        OpenError::Damaged(detail) => QueueError::Damaged { path: path.to_owned(), detail },
        OpenError::Newer(found) => QueueError::NewerSchema { path: path.to_owned(), found, known: newest() },
    };
    let log = || fs::metadata(path.with_extension("sqlite-wal")).is_ok_and(|log| log.len() > 0);
    match size {
        Some(0) => return Err(missing()),
        Some(_) => {}
        // SQLite would play a log without its database into the new one.
        None if messages || log() => return Err(missing()),
        None => make(path).map_err(sort)?,
    }
    prepare(path).map_err(sort)
}

/// Makes an empty database under another name and renames it when it is whole and on disk: under its own name there is never
/// half of one, whenever the process dies.
fn make(path: &Path) -> Result<(), OpenError> {
    let new = path.with_file_name(NEW);
    for leftover in [new.clone(), path.with_file_name(format!("{NEW}-journal"))] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    let mut database = connect(&new, OpenFlags::SQLITE_OPEN_CREATE)?;
    database.execute_batch("PRAGMA synchronous = FULL;")?;
    upgrade(&mut database, &STEPS)?;
    database.close().map_err(|(_, error)| error)?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
    Ok(())
}

enum OpenError {
    Sqlite(rusqlite::Error),
    File(io::Error),
    Empty,
    Damaged(String),
    Newer(i64),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

fn connect(path: &Path, create: OpenFlags) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(path, flags | create)
}

fn prepare(path: &Path) -> Result<Connection, OpenError> {
    let mut database = connect(path, OpenFlags::empty())?;
    // Exclusive, because one process owns a queue; that also spares the shared-memory file. Another one does not go
    // away by waiting.
    database.busy_timeout(std::time::Duration::ZERO)?;
    database.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;",
    )?;
    let version: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = usize::try_from(version)
        .ok()
        .and_then(|version| STEPS.get(version..))
        .ok_or(OpenError::Newer(version))?;
    // SQLite takes a file that was cut short in its header for an empty one. With that as the queue, all messages would
    // be lost, or leftovers that belong to nobody.
    if version == 0 {
        return Err(OpenError::Empty);
    }
    let found: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(OpenError::Damaged(found));
    }
    database.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    database.execute_batch("PRAGMA synchronous = FULL;")?;
    upgrade(&mut database, missing)?;
    Ok(database)
}

fn upgrade(database: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", newest())?;
    transaction.commit()
}

fn sorted(path: &Path, error: &rusqlite::Error) -> QueueError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => QueueError::NoSpace,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => QueueError::Damaged { path, detail },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => QueueError::InUse { path },
        _ => QueueError::Open { path, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    const OCTETS: &[u8] = b"From: a@x.org\r\n\r\nhello\r\n";

    /// Attack class 40: an upgrade keeps what was acknowledged.
    #[test]
    fn a_queue_of_any_earlier_version_opens_and_keeps_its_messages() {
        for version in 1..STEPS.len() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(FILE);
            let id = [7_u8; 16];
            let older = Connection::open(&path).unwrap();
            for step in STEPS.iter().take(version) {
                older.execute_batch(step).unwrap();
            }
            older.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
            let hash = *blake3::hash(OCTETS).as_bytes();
            let size = i64::try_from(OCTETS.len()).unwrap();
            older
                .execute(
                    "INSERT INTO message (id, connection, trace, received_s, received_ns, size, hash, stored_ms, attempts,
                                          next_ms)
                     VALUES (?1, 1, x'', 2, 3, ?2, ?3, 4, 5, 6)",
                    rusqlite::params![id, size, hash],
                )
                .unwrap();
            older.execute("INSERT INTO recipient (message, address) VALUES (?1, '1@x.org')", [id]).unwrap();
            if version == 1 {
                let name = format!("message-{}", ipc_proto::DeliveryId(id));
                fs::write(directory.path().join(name), OCTETS).unwrap();
            } else {
                older.execute("INSERT INTO body VALUES (?1, ?2)", rusqlite::params![id, OCTETS]).unwrap();
            }
            drop(older);

            let mut queue = Queue::open(directory.path()).unwrap();
            let due = queue.due(6, 9, |_| false).unwrap();
            assert_eq!(due.len(), 1, "{version}");
            assert_eq!((due[0].envelope.id.0, due[0].attempts), (id, 5));
            assert_eq!(due[0].recipients[0].address.to_string(), "1@x.org");
            assert_eq!(queue.body(due[0].envelope.id).unwrap().size(), OCTETS.len() as u64);
            let found: i64 = queue.database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(found, newest());
        }
    }
}
