//! The tables, and opening the database: check first, change only what is sound.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{SpecialUse, StoreError, UnixSeconds};

/// The database in the account's directory.
pub(crate) const FILE_NAME: &str = "account.sqlite";
const NEW_FILE_NAME: &str = "account.sqlite.new";

/// "moxd", so that another program's database is not taken for ours.
const APPLICATION_ID: i64 = 0x6d6f_7864;

/// Page cache of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: i64 = 512;
const READER_CACHE_KIB: i64 = 256;

/// Each entry brings the schema from its index to the next version. Never edit one that was released: add another.
///
/// Listings read `message` only, which is narrow and lies in the order of a mailbox. A `body` row is written once
/// and then never changes: that a copy shares it is counted in `shared`, which is nearly always empty.
const MIGRATIONS: &[&str] = &[
    "
    -- One row: numbers that only rise. Written with each commit that used one.
    CREATE TABLE account (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        modseq INTEGER NOT NULL,
        next_body INTEGER NOT NULL,
        next_uidvalidity INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE mailbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        uidvalidity INTEGER NOT NULL UNIQUE,
        uidnext INTEGER NOT NULL,
        recent_from INTEGER NOT NULL,
        createseq INTEGER NOT NULL,
        modseq INTEGER NOT NULL,
        special_use INTEGER,
        total INTEGER NOT NULL DEFAULT 0,
        unseen INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0,
        keywords TEXT
    ) STRICT;
    CREATE TABLE subscription (name TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;
    -- Deleted mailboxes whose messages still have to go.
    CREATE TABLE doomed (mailbox INTEGER PRIMARY KEY) STRICT;

    CREATE TABLE message (
        mailbox INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        modseq INTEGER NOT NULL,
        createseq INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        keywords TEXT,
        received INTEGER NOT NULL,
        size INTEGER NOT NULL,
        body INTEGER NOT NULL,
        PRIMARY KEY (mailbox, uid)
    ) WITHOUT ROWID, STRICT;
    -- What is left of an expunged message.
    CREATE TABLE expunged (
        mailbox INTEGER NOT NULL,
        modseq INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        PRIMARY KEY (mailbox, modseq, uid)
    ) WITHOUT ROWID, STRICT;

    CREATE TABLE body (
        id INTEGER PRIMARY KEY,
        size INTEGER NOT NULL,
        hash BLOB NOT NULL,
        file TEXT,
        prefix BLOB NOT NULL,
        parts BLOB,
        body BLOB,
        bodystructure BLOB,
        envelope BLOB
    ) STRICT;
    CREATE UNIQUE INDEX body_file ON body (file) WHERE file IS NOT NULL;
    -- Messages beyond the first that have this body.
    CREATE TABLE shared (body INTEGER PRIMARY KEY, more INTEGER NOT NULL) STRICT;
    -- The octets as received of a body without a file, in pieces: body * 8 + n.
    CREATE TABLE octets (id INTEGER PRIMARY KEY, piece BLOB NOT NULL) STRICT;
    -- Files whose body row is gone.
    CREATE TABLE unlinked (file TEXT PRIMARY KEY) WITHOUT ROWID, STRICT;

    CREATE TABLE delivered (
        id BLOB PRIMARY KEY,
        at INTEGER NOT NULL,
        mailbox INTEGER NOT NULL,
        uidvalidity INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        modseq INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
",
    "
    -- Annotations; mailbox 0 is the account as a whole.
    CREATE TABLE metadata (
        mailbox INTEGER NOT NULL,
        entry TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (mailbox, entry)
    ) STRICT;
",
    "
    -- Rows of `expunged` up to this modseq may have been removed.
    ALTER TABLE mailbox ADD COLUMN expunged_from INTEGER NOT NULL DEFAULT 0;
",
    crate::ordering::MIGRATION,
    "
    -- Expunged messages that can come back, in the order in which they went. Each counts as one message of its body.
    CREATE TABLE kept (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        mailbox INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        keywords TEXT,
        received INTEGER NOT NULL,
        size INTEGER NOT NULL,
        body INTEGER NOT NULL
    ) STRICT;
    -- Deleted mailboxes whose messages can come back.
    CREATE TABLE gone (mailbox INTEGER PRIMARY KEY, name TEXT NOT NULL, special_use INTEGER) STRICT;
",
    "
    -- How long messages of a mailbox stay, and what becomes of them then.
    CREATE TABLE retention (mailbox INTEGER PRIMARY KEY, days INTEGER NOT NULL, outcome INTEGER NOT NULL) STRICT;
    -- Once a day: the changes made by then.
    CREATE TABLE day (at INTEGER PRIMARY KEY, modseq INTEGER NOT NULL) STRICT;
",
    "
    -- When the message came into this mailbox; NULL for those that were there before this column.
    ALTER TABLE message ADD COLUMN saved INTEGER;
",
    "
    -- Where mail was imported from, and into which mailbox. UIDs below the limit are the source's.
    CREATE TABLE import_source (
        id INTEGER PRIMARY KEY,
        mailbox INTEGER NOT NULL,
        name TEXT NOT NULL,
        uid_limit INTEGER,
        UNIQUE (mailbox, name)
    ) STRICT;
    -- Its messages that came, so that none comes twice.
    CREATE TABLE imported (
        source INTEGER NOT NULL,
        key BLOB NOT NULL,
        PRIMARY KEY (source, key)
    ) WITHOUT ROWID, STRICT;
",
    "
    -- One row: what all mailboxes hold together. Changed in the same transaction.
    CREATE TABLE usage (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        octets INTEGER NOT NULL,
        messages INTEGER NOT NULL
    ) STRICT;
    INSERT INTO usage SELECT 1, ifnull(sum(size), 0), ifnull(sum(total), 0) FROM mailbox;
",
    crate::threads::MIGRATION,
    crate::access_key::MIGRATION,
    "
    -- Messages that are flagged, which are few.
    CREATE INDEX message_flagged ON message (mailbox, uid) WHERE flags & 4 <> 0;
",
    crate::acl::MIGRATION,
    crate::sleeping::MIGRATION,
];

/// What an account begins with.
const INITIAL: [(&str, Option<SpecialUse>); 6] = [
    ("INBOX", None),
    ("Archive", Some(SpecialUse::Archive)),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Sent", Some(SpecialUse::Sent)),
    ("Trash", Some(SpecialUse::Trash)),
];

/// Opens the writer's connection. `used`: other files show that this account had a database before, so that a
/// missing one is not silently replaced by an empty one. `Err`: no octet of the database was changed.
pub(crate) fn open_writer(dir: &Path, dir_fd: &File, used: bool) -> Result<Connection, StoreError> {
    let path = dir.join(FILE_NAME);
    match std::fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() => {
            return Err(StoreError::Open { path, detail: "not a regular file".to_owned() });
        }
        Ok(found) if found.size() == 0 => {
            return Err(StoreError::Damaged { path, detail: "the file is empty".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let log = dir.join(format!("{FILE_NAME}-wal"));
            if used || std::fs::symlink_metadata(log).is_ok() {
                return Err(StoreError::Missing { path });
            }
            create(dir, dir_fd)?;
        }
        Err(error) => return Err(StoreError::Open { path, detail: error.to_string() }),
    }
    let sort = |error: rusqlite::Error| opening(&path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | FLAGS;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(sort)?;
    // Until the database has proved sound, closing it must not write the log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sort)?;
    let application: i64 =
        connection.query_row("PRAGMA application_id", (), |row| row.get(0)).map_err(sort)?;
    if application != APPLICATION_ID {
        return Err(StoreError::Damaged { path, detail: "not an account's database".to_owned() });
    }
    let found: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(sort)?;
    let known = known_version();
    if found > known {
        return Err(StoreError::NewerSchema { path, found, known });
    }
    connection.query_row("SELECT modseq FROM account", (), |_| Ok(())).map_err(sort)?;
    prepare(&connection, WRITER_CACHE_KIB).map_err(sort)?;
    // A log that begins anew keeps its length: commits that write over old pages wait for data only, those that make
    // the file longer for the file system's journal too.
    connection
        .execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216")
        .map_err(sort)?;
    migrate(&mut connection).map_err(sort)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sort)?;
    Ok(connection)
}

/// Opens a connection that cannot write. The writer's has to be open.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection, StoreError> {
    open_beside(dir, OpenFlags::SQLITE_OPEN_READ_ONLY, |_| Ok(()))
}

/// Opens a connection that folds in the log. The writer's has to be open.
pub(crate) fn open_folder(dir: &Path) -> Result<Connection, StoreError> {
    open_beside(dir, OpenFlags::SQLITE_OPEN_READ_WRITE, |connection| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Only a connection that has read knows that there is a log.
        connection.query_row("SELECT modseq FROM account", (), |_| Ok(()))
    })
}

fn open_beside(
    dir: &Path,
    access: OpenFlags,
    set_up: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Connection, StoreError> {
    let path = dir.join(FILE_NAME);
    let opened = Connection::open_with_flags(&path, access | FLAGS).and_then(|connection| {
        prepare(&connection, READER_CACHE_KIB)?;
        set_up(&connection)?;
        Ok(connection)
    });
    opened.map_err(|error| opening(&path, &error))
}

/// One thread at a time uses a connection, which the type system sees to; links are never followed.
pub(crate) const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

pub(crate) fn prepare(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(48);
    // Plans do not depend on bound values; otherwise some cached statements are compiled anew at every use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib};
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;
         PRAGMA busy_timeout = 5000; PRAGMA mmap_size = 0"
    ))
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// All missing steps in one transaction.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i64 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if found == known_version() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known_version())?;
    transaction.commit()
}

/// Makes the database under another name and renames it when it is complete and durable: an `account.sqlite` that
/// is empty or has no tables is therefore always damage, never a start that was interrupted.
fn create(dir: &Path, dir_fd: &File) -> Result<(), StoreError> {
    for leftover in [NEW_FILE_NAME, "account.sqlite.new-journal"] {
        match unlinkat(dir_fd, leftover, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let path = dir.join(NEW_FILE_NAME);
    let sort = |error: rusqlite::Error| opening(&path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | FLAGS;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(sort)?;
    // One fsync at the end is enough: before the rename nobody sees the file.
    connection
        .execute_batch("PRAGMA page_size = 4096; PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
        .map_err(sort)?;
    migrate(&mut connection).map_err(sort)?;
    fill(&mut connection).map_err(sort)?;
    connection.execute_batch("PRAGMA journal_mode = WAL").map_err(sort)?;
    connection.close().map_err(|(_, error)| sort(error))?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(|error| StoreError::file(&error))?;
    renameat(dir_fd, NEW_FILE_NAME, dir_fd, FILE_NAME)?;
    dir_fd.sync_all().map_err(|error| StoreError::file(&error))
}

fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    // Above those of an earlier account with the same name, as long as it made fewer than one mailbox a second.
    let first = UnixSeconds::now().0.clamp(1, i64::from(u32::MAX) / 2);
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    for ((name, special_use), uidvalidity) in INITIAL.iter().zip(first..) {
        transaction.execute(
            "INSERT INTO mailbox (name, uidvalidity, uidnext, recent_from, createseq, modseq, special_use)
             VALUES (?1, ?2, 1, 1, 1, 1, ?3)",
            (name, uidvalidity, special_use.map(SpecialUse::code)),
        )?;
        transaction.execute("INSERT INTO subscription (name) VALUES (?1)", [name])?;
    }
    let used = i64::try_from(INITIAL.len()).unwrap_or_default();
    transaction.execute("INSERT INTO account VALUES (1, 1, 1, ?1)", [first + used])?;
    transaction.commit()
}

/// Sorts an error of opening: what a person does depends on whether the file or the system is at fault.
fn opening(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace,
        Some(ErrorCode::SystemIoFailure) => StoreError::Fault(detail),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StoreError::Open { path, detail }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path },
        // NOTADB, CORRUPT, and statements that fail because a table or row is not there.
        _ => StoreError::Damaged { path, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MailboxName;

    #[test]
    fn initial_mailbox_names_are_names() {
        for (name, _) in INITIAL {
            assert_eq!(MailboxName::parse(name).unwrap().as_str(), name);
        }
    }
}
