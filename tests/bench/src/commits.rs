//! What the disk can do: single-row synchronous commits, the same SQLite and settings as the store's.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use rusqlite::Connection;

use crate::failure::Failure;

/// For so long.
const MEASURED: Duration = Duration::from_secs(2);

/// What one commit takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawCommit {
    took: Duration,
    /// 99 of 100 took no longer.
    slow: Duration,
    processor: Duration,
}

impl RawCommit {
    pub(crate) fn a_second(self) -> f64 {
        1.0 / self.took.as_secs_f64()
    }

    pub(crate) fn milliseconds(self) -> f64 {
        self.took.as_secs_f64() * 1000.0
    }

    /// 99 of 100 took no longer.
    pub(crate) fn p99_milliseconds(self) -> f64 {
        self.slow.as_secs_f64() * 1000.0
    }

    /// Of which a processor was busy, with the file system mostly.
    pub(crate) fn processor_milliseconds(self) -> f64 {
        self.processor.as_secs_f64() * 1000.0
    }
}

/// One row, one commit, one fsync, in a new database at `path`.
pub(crate) fn rate(path: &Path) -> Result<RawCommit, Failure> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", ())?;
    let mut insert = database.prepare("INSERT INTO row (text) VALUES ('a row of no great length')")?;
    let before = processor_time()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < MEASURED {
        let begun = Instant::now();
        insert.execute(())?;
        times.push(begun.elapsed());
    }
    let (took, processor) = (start.elapsed(), processor_time()?.saturating_sub(before));
    let commits = u32::try_from(times.len()).unwrap_or(u32::MAX).max(1);
    times.sort_unstable();
    let slow = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(RawCommit { took: took / commits, slow, processor: processor / commits })
}

/// Of this process.
fn processor_time() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    let usage = usage.map_err(|error| Failure::io("this process's own times", error.into()))?;
    let duration = |time: nix::sys::time::TimeVal| {
        let microseconds = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(u64::try_from(microseconds).unwrap_or_default())
    };
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}
