//! SQLite's log and its way into the database.
//!
//! ```text
//! commits ─▶ the log grows ─▶ a thread folds in what is there, while commits go on behind it
//!                             └─▶ the writer folds in the little that came meanwhile ─▶ the next commit begins the log anew
//! ```
//!
//! To fold in a long log takes as long as dozens of commits: a writer that did it by itself would keep all who deliver
//! waiting. The thread has a connection of its own and lives for one log only, so that a quiet account has neither.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::{StoreError, schema};

/// Pages from which the log is folded in when nobody waits: 1 MiB.
pub(super) const IDLE: u32 = 256;
/// Pages from which it is folded in although others wait: 8 MiB. Readers have to look through it, and an open takes
/// longer with it.
pub(super) const BUSY: u32 = 2048;
/// So few pages are a matter of one more commit, for the writer itself.
const REST: u32 = 64;
/// Commits go on meanwhile: each round has less to do than the one before.
const ROUNDS: usize = 4;

/// The writer's view of the log.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    /// Pages in it, as of the last commit.
    pages: Arc<AtomicU32>,
    /// Pages of it that are in the database too, or that could not be folded in.
    folded: u32,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Log {
    /// From now on the connection says how long its log is.
    pub(super) fn watch(connection: &mut Connection, dir: &Path) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            seen.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { dir: dir.to_owned(), pages, folded: 0, thread: None })
    }

    /// Whether there is something to look after when nobody waits.
    pub(super) fn is_waiting(&mut self) -> bool {
        self.thread.is_some() || self.unfolded() >= IDLE
    }

    /// Goes on with what is under way, or begins when the log has `least` pages that are not in the database. Takes
    /// the writer a commit or two; longer only where commits outrun the thread, being fast.
    pub(super) fn tend(&mut self, connection: &Connection, least: u32) -> Result<(), StoreError> {
        match self.thread.take() {
            Some(thread) if !thread.is_finished() => self.thread = Some(thread),
            Some(thread) => {
                let pages = self.pages.load(Ordering::Relaxed);
                let folded = join(thread).and_then(|()| fold(connection));
                // Also what could not be folded in, because somebody reads it or the disk is full: not at every commit.
                self.folded = pages;
                return folded.map(drop);
            }
            None if self.unfolded() >= least => {
                let (dir, pages) = (self.dir.clone(), Arc::clone(&self.pages));
                let thread = std::thread::Builder::new().name("store-log".to_owned());
                let thread = thread.spawn(move || fold_while_it_grows(&dir, &pages));
                self.thread = Some(thread.map_err(|error| {
                    self.folded = self.pages.load(Ordering::Relaxed);
                    StoreError::Fault(error.to_string())
                })?);
            }
            None => {}
        }
        Ok(())
    }

    /// The writer ends: waits for the thread, so that the writer's connection is the last one.
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        self.thread.take().map_or(Ok(()), join)
    }

    fn unfolded(&mut self) -> u32 {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.folded {
            // A commit began it anew.
            self.folded = 0;
        }
        pages - self.folded
    }
}

fn join(thread: JoinHandle<Result<(), StoreError>>) -> Result<(), StoreError> {
    thread.join().unwrap_or_else(|_| Err(StoreError::Fault("folding in the log panicked".to_owned())))
}

fn fold_while_it_grows(dir: &Path, pages: &AtomicU32) -> Result<(), StoreError> {
    let connection = schema::open_folder(dir)?;
    for _ in 0..ROUNDS {
        let folded = fold(&connection)?;
        if pages.load(Ordering::Relaxed).saturating_sub(folded) <= REST {
            break;
        }
    }
    Ok(())
}

/// Folds in what no reader holds back, waiting for nobody. How many pages of the log are in the database then.
fn fold(connection: &Connection) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    Ok(statement.query_row((), |row| row.get::<_, i64>(2)).map(|pages| u32::try_from(pages).unwrap_or(0))?)
}
