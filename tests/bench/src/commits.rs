//! What the disk can do: single-row synchronous commits, the same SQLite and settings as the store's.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::failure::Failure;

/// For so long.
const MEASURED: Duration = Duration::from_secs(2);

/// How long one commit takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawCommit(Duration);

impl RawCommit {
    pub(crate) fn a_second(self) -> f64 {
        1.0 / self.0.as_secs_f64()
    }

    pub(crate) fn milliseconds(self) -> f64 {
        self.0.as_secs_f64() * 1000.0
    }
}

/// One row, one commit, one fsync, in a new database at `path`.
pub(crate) fn rate(path: &Path) -> Result<RawCommit, Failure> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", ())?;
    let mut insert = database.prepare("INSERT INTO row (text) VALUES ('a row of no great length')")?;
    let start = Instant::now();
    let mut commits = 0_u32;
    while start.elapsed() < MEASURED {
        insert.execute(())?;
        commits += 1;
    }
    Ok(RawCommit(start.elapsed() / commits.max(1)))
}
