//! The directory on disk: `directory.sqlite`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipc_proto::{AccountId, authd::Pattern, capability::Capabilities};
use mail_lib::address::Domain;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, config::DbConfig, params};
use zeroize::Zeroizing;

use super::{
    alias, app,
    book::{Account, Book},
    key, quota, share,
};
use crate::{
    limits::Network,
    name::AccountName,
    verifier::{Credential, MAX_ROUNDS, Verifier, random},
};

pub(crate) const FILE_NAME: &str = "directory.sqlite";

/// One script for each version of the schema; `user_version` counts those that were run.
const SCHEMA: [&str; 7] = [
    "
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    next_account INTEGER NOT NULL CHECK (next_account > 0)
) STRICT;
CREATE TABLE domain (
    name TEXT PRIMARY KEY,
    disabled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE account (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    name TEXT NOT NULL UNIQUE,
    disabled INTEGER NOT NULL DEFAULT 0,
    prepared INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    last_login INTEGER
) STRICT;
CREATE TABLE verifier (
    account INTEGER PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    salt BLOB NOT NULL,
    rounds INTEGER NOT NULL,
    stored_key BLOB NOT NULL CHECK (length(stored_key) = 32),
    server_key BLOB NOT NULL CHECK (length(server_key) = 32)
) STRICT;
CREATE TABLE address (
    key TEXT PRIMARY KEY,
    pattern TEXT NOT NULL,
    domain TEXT REFERENCES domain,
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX address_account ON address (account);
CREATE TABLE network (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    network BLOB NOT NULL,
    last_login INTEGER NOT NULL,
    PRIMARY KEY (account, network)
) STRICT, WITHOUT ROWID;
",
    "
ALTER TABLE address ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
CREATE TABLE app_password (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    name TEXT NOT NULL,
    salt BLOB NOT NULL,
    rounds INTEGER NOT NULL,
    stored_key BLOB NOT NULL CHECK (length(stored_key) = 32),
    server_key BLOB NOT NULL CHECK (length(server_key) = 32),
    imap INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    last_use INTEGER,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL UNIQUE,
    account INTEGER REFERENCES account ON DELETE CASCADE,
    user TEXT,
    address BLOB NOT NULL,
    protocol INTEGER NOT NULL,
    mechanism INTEGER,
    app_password TEXT,
    result INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX attempt_account ON attempt (account, id);
",
    "
CREATE TABLE login_key (
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    name TEXT NOT NULL,
    imap INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    last_use INTEGER,
    UNIQUE (account, name)
) STRICT, WITHOUT ROWID;
",
    "
CREATE TABLE alias (
    key TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    domain TEXT NOT NULL REFERENCES domain,
    members_post INTEGER NOT NULL,
    list_members INTEGER NOT NULL,
    members_from INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE alias_member (
    alias TEXT NOT NULL REFERENCES alias ON DELETE CASCADE,
    address TEXT NOT NULL REFERENCES address ON DELETE CASCADE,
    PRIMARY KEY (alias, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_member_address ON alias_member (address);
",
    "
CREATE TABLE quota (
    key TEXT PRIMARY KEY,
    account INTEGER REFERENCES account ON DELETE CASCADE,
    domain TEXT REFERENCES domain ON DELETE CASCADE,
    octets INTEGER,
    messages INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX quota_account ON quota (account);
CREATE INDEX quota_domain ON quota (domain);
",
    super::share::SCHEMA,
    "
ALTER TABLE account ADD COLUMN without TEXT NOT NULL DEFAULT '';
",
];

/// Why the directory cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a database of ours, or not all of it.
    #[error(
        "{path} is damaged ({what}); it was left as it is: restore the directory from a backup (an empty one would give \
         old accounts' numbers to new accounts)"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// From the future.
    #[error(
        "{path} was written by a newer moxd (schema {found}, this one knows {known}); start the newer moxd"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// The file system.
    #[error("cannot open {path}: {error}; is the disk full, or the file not authd's own?")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The settings.
    #[error("{0:?} is not a host name; set `[host] name` in moxd.toml to one like mail.example.org")]
    Hostname(String),
}

/// The file's path and what can be wrong with it.
struct At(PathBuf);

impl At {
    fn damaged(&self, what: impl ToString) -> OpenError {
        OpenError::Damaged { path: self.0.clone(), what: what.to_string().replace('\n', " ") }
    }

    fn unusable(&self, error: io::Error) -> OpenError {
        OpenError::Unusable { path: self.0.clone(), error }
    }

    fn sqlite(&self, error: rusqlite::Error) -> OpenError {
        match error.sqlite_error_code() {
            Some(
                rusqlite::ErrorCode::CannotOpen
                | rusqlite::ErrorCode::PermissionDenied
                | rusqlite::ErrorCode::ReadOnly
                | rusqlite::ErrorCode::DiskFull
                | rusqlite::ErrorCode::DatabaseBusy
                | rusqlite::ErrorCode::DatabaseLocked
                | rusqlite::ErrorCode::SystemIoFailure,
            ) => self.unusable(io::Error::other(error)),
            Some(_) | None => self.damaged(error),
        }
    }
}

/// Opens or makes the database.
pub(super) fn open(directory: &Path) -> Result<Connection, OpenError> {
    let at = At(directory.join(FILE_NAME));
    if !at.0.try_exists().map_err(|error| at.unusable(error))? {
        // SQLite would play a log without its database into the new one.
        let log = directory.join(format!("{FILE_NAME}-wal"));
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(at.damaged("its log is there and the database is not"));
        }
        create(directory).map_err(|error| at.unusable(error))?;
    }
    let connect = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(&at.0, flags)?;
        // Until it is known to be sound, closing it must not write to it.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        prepare(&database)?;
        Ok(database)
    };
    let database = connect().map_err(|error| at.sqlite(error))?;
    let ask = |pragma: &str| -> Result<String, OpenError> {
        let answer = database
            .query_row(pragma, [], |row| Ok(row.get_ref(0)?.as_str().map(str::to_owned).unwrap_or_default()));
        answer.map_err(|error| at.sqlite(error))
    };
    let found = database
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map_err(|error| at.sqlite(error))?;
    match usize::try_from(found) {
        Ok(0) | Err(_) => return Err(at.damaged("it is empty or not moxd's")),
        Ok(found) if found > SCHEMA.len() => {
            return Err(OpenError::Newer { path: at.0, found, known: SCHEMA.len() });
        }
        Ok(_) => {}
    }
    let check = ask("PRAGMA quick_check(1)")?;
    if check != "ok" {
        return Err(at.damaged(check));
    }
    let dangling = database.query_row("PRAGMA foreign_key_check", [], |_| Ok(())).optional();
    if dangling.map_err(|error| at.sqlite(error))?.is_some() {
        return Err(at.damaged("an entry belongs to nobody"));
    }
    upgrade(&database, usize::try_from(found).unwrap_or_default()).map_err(|error| at.sqlite(error))?;
    database
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(|error| at.sqlite(error))?;
    Ok(database)
}

/// From an older schema to this one, all of it or nothing.
fn upgrade(database: &Connection, found: usize) -> rusqlite::Result<()> {
    let scripts = SCHEMA.get(found..).unwrap_or_default();
    if scripts.is_empty() {
        return Ok(());
    }
    let transaction = database.unchecked_transaction()?;
    for script in scripts {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

fn prepare(database: &Connection) -> rusqlite::Result<()> {
    database.busy_timeout(std::time::Duration::from_secs(5))?;
    database.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON;",
    )
}

/// Makes the database under another name and renames it when it is whole and on disk: under its own name there is
/// never half a directory, whenever the process dies.
fn create(directory: &Path) -> io::Result<()> {
    let path = directory.join("new.sqlite");
    for leftover in ["new.sqlite", "new.sqlite-journal", "new.sqlite-wal", "new.sqlite-shm"] {
        match fs::remove_file(directory.join(leftover)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    fill(&path)?;
    File::open(&path)?.sync_all()?;
    fs::rename(&path, directory.join(FILE_NAME))?;
    File::open(directory)?.sync_all()
}

fn fill(path: &Path) -> io::Result<()> {
    let secret = Zeroizing::new(random::<32>().map_err(io::Error::other)?);
    let write = || -> rusqlite::Result<()> {
        let mut database = Connection::open(path)?;
        prepare(&database)?;
        let transaction = database.transaction()?;
        for script in SCHEMA {
            transaction.execute_batch(script)?;
        }
        transaction.execute(
            "INSERT INTO meta (only, secret, next_account) VALUES (1, ?1, 1)",
            params![secret.as_slice()],
        )?;
        transaction.pragma_update(None, "user_version", i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX))?;
        transaction.commit()?;
        // The mode is kept in the file.
        database.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        database.close().map_err(|(_, error)| error)
    };
    write().map_err(io::Error::other)
}

pub(super) fn insert_address(
    database: &Connection,
    account: AccountId,
    pattern: &Pattern,
    domain: Option<&str>,
) -> rusqlite::Result<()> {
    database.execute(
        "INSERT INTO address (key, pattern, domain, account) VALUES (?1, ?2, ?3, ?4)",
        params![super::book::pattern_key(pattern), pattern.to_string(), domain, account.number()],
    )?;
    Ok(())
}

/// A value that the schema allows and this program does not.
#[derive(Debug, thiserror::Error)]
#[error("a {0} that cannot be")]
struct Nonsense(&'static str);

pub(super) fn nonsense(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, Box::new(Nonsense(what)))
}

/// Reads it all into memory; everything is checked as if it came from a stranger.
pub(super) fn load(
    database: &Connection,
    directory: &Path,
    hostname: Domain,
) -> Result<(Book, Zeroizing<Vec<u8>>), OpenError> {
    let at = At(directory.join(FILE_NAME));
    read(database, hostname).map_err(|error| at.sqlite(error))
}

fn read(database: &Connection, hostname: Domain) -> rusqlite::Result<(Book, Zeroizing<Vec<u8>>)> {
    let (secret, next_account) = database.query_row("SELECT secret, next_account FROM meta", [], |row| {
        Ok((Zeroizing::new(row.get::<_, Vec<u8>>(0)?), row.get::<_, u32>(1)?))
    })?;
    let mut book = Book::new(hostname, next_account);
    for_each(database, "SELECT name, disabled FROM domain", |row| {
        let name: String = row.get(0)?;
        let domain = Domain::parse(&name).map_err(|_| nonsense("domain"))?;
        book.insert_domain(domain.as_str(), row.get(1)?);
        Ok(())
    })?;
    for_each(
        database,
        "SELECT id, name, disabled, prepared, last_login, salt, rounds, stored_key, server_key, without
         FROM account LEFT JOIN verifier ON verifier.account = account.id",
        |row| {
            let account = account(row)?;
            if account.id.number() >= next_account {
                return Err(nonsense("number of an account"));
            }
            book.insert_account(account);
            Ok(())
        },
    )?;
    app::read(database, &mut book)?;
    key::read(database, &mut book)?;
    for_each(database, "SELECT pattern, account, disabled FROM address", |row| {
        let pattern: String = row.get(0)?;
        let pattern = Pattern::parse(&pattern).map_err(|_| nonsense("address"))?;
        let key = super::book::pattern_key(&pattern);
        book.insert_address(pattern, id(row, 1)?);
        book.disable_address(&key, row.get(2)?);
        Ok(())
    })?;
    alias::read(database, &mut book)?;
    quota::read(database, &mut book)?;
    share::read(database, &mut book)?;
    for_each(database, "SELECT network, account, last_login FROM network ORDER BY last_login", |row| {
        let octets: Vec<u8> = row.get(0)?;
        let network = Network::from_octets(&octets).ok_or_else(|| nonsense("network"))?;
        let (account, last): (AccountId, i64) = (id(row, 1)?, row.get(2)?);
        book.logged_in(account, network, last, &Credential::Password);
        Ok(())
    })?;
    Ok((book, secret))
}

pub(super) fn for_each(
    database: &Connection,
    query: &str,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = database.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(row)?;
    }
    Ok(())
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<AccountId> {
    AccountId::new(row.get(column)?).ok_or_else(|| nonsense("number of an account"))
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let name: String = row.get(1)?;
    let name = AccountName::parse(&name).map_err(|_| nonsense("name of an account"))?;
    let mut account = Account::new(id(row, 0)?, name);
    account.disabled = row.get(2)?;
    account.prepared = row.get(3)?;
    account.last_login = row.get(4)?;
    let without: String = row.get(9)?;
    account.without =
        Capabilities::parse(without.split_ascii_whitespace()).map_err(|_| nonsense("capability"))?;
    if row.get::<_, Option<Vec<u8>>>(5)?.is_some() {
        account.verifier = Some(Arc::new(verifier(row, 5)?));
    }
    Ok(account)
}

/// From four columns.
pub(super) fn verifier(row: &Row<'_>, from: usize) -> rusqlite::Result<Verifier> {
    let rounds = NonZeroU32::new(row.get(from + 1)?).filter(|rounds| rounds.get() <= MAX_ROUNDS);
    Ok(Verifier {
        salt: row.get(from)?,
        rounds: rounds.ok_or_else(|| nonsense("number of rounds"))?,
        stored_key: row.get(from + 2)?,
        server_key: row.get(from + 3)?,
    })
}
