//! The one writer: a thread that takes what waits, runs it in one transaction, and answers after the commit.
//!
//! ```text
//! take up to 64 ─▶ BEGIN IMMEDIATE ─▶ each: SAVEPOINT, run, RELEASE or ROLLBACK TO ─▶ COMMIT ─▶ publish ─▶ answer
//!                                        └─ the transaction is gone: each again, alone ─┘
//! ```
//!
//! A full disk, an I/O error or an interrupt inside a savepoint can roll back the whole transaction; the next
//! SAVEPOINT would then silently begin one of its own. So after every job the writer looks whether its transaction
//! still stands. Deliveries go before what sessions ask for; of that, one group takes one slice.

mod access_key;
mod acl;
mod aging;
mod chores;
mod filing;
mod flags;
mod headings;
mod import;
mod kept;
mod log;
mod mailboxes;
mod metadata;
mod queue;
mod quota;
mod sleeping;
mod threads;
mod tombstones;
mod transaction;
mod transfer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rusqlite::Connection;

pub(crate) use filing::{PIECES, delivered};
pub(crate) use kept::Keeping;
pub(crate) use queue::{Queue, Rank, SLICE};
pub(crate) use tombstones::EXPUNGED_KEPT;
pub(crate) use transaction::Transaction;
pub(crate) use transfer::{Expunge, Originals};

use crate::change::Hub;
use crate::files::Files;
use crate::quota::InForce;
use crate::search::Backlog;
use crate::{StoreError, writer::chores::Chores};
use log::Log;
use queue::{Gathering, Job, Taken};
use transaction::{Effects, Numbers};

/// What became of a job.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It is durable.
    Committed,
    /// Nothing of it is stored.
    Failed(StoreError),
    /// COMMIT itself failed: nothing of it shows, but the log may hold it after a power cut.
    Unknown(StoreError),
}

/// How one job of a group ended.
#[derive(Debug)]
enum Step {
    /// Part of the transaction.
    Done(Effects),
    /// Failed and undone; the transaction stands.
    Undone(StoreError),
    /// Failed, and the transaction is gone or not to be trusted.
    Lost(StoreError),
}

/// The thread's own.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    dir: PathBuf,
    files: Arc<Files>,
    hub: Hub,
    queue: Arc<Queue>,
    numbers: Numbers,
    keeping: Arc<Keeping>,
    chores: Chores,
    log: Log,
    /// Nothing is looked into.
    raw: Arc<AtomicBool>,
    backlog: Arc<Backlog>,
}

/// What the store's callers and the writer both look at.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keeping: Arc<Keeping>,
    /// Nothing is looked into.
    pub(crate) raw: Arc<AtomicBool>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) quota: Arc<InForce>,
}

impl Writer {
    pub(crate) fn new(
        mut connection: Connection,
        dir: PathBuf,
        files: Arc<Files>,
        hub: Hub,
        queue: Arc<Queue>,
        shared: Shared,
    ) -> Result<Self, StoreError> {
        let Shared { keeping, raw, backlog, quota } = shared;
        let numbers = Numbers::load(&connection, quota)?;
        let log = Log::watch(&mut connection, &dir)?;
        let chores = Chores::load(&connection)?;
        Ok(Self { connection, dir, files, hub, queue, numbers, keeping, chores, log, raw, backlog })
    }

    /// The thread: until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut gathering = Gathering::default();
        loop {
            let chores = self.chores_waiting();
            match self.queue.take(chores, gathering) {
                Taken::Group { jobs, deliveries } => {
                    let begun = Instant::now();
                    self.work(jobs);
                    gathering = Gathering::after(deliveries, begun.elapsed());
                    let tended = self.log.tend(&self.connection, log::BUSY);
                    self.warn(tended);
                }
                Taken::Idle => self.idle(),
                Taken::Closed => break,
            }
        }
        let ended = self.log.end();
        self.warn(ended);
    }

    /// Runs, commits and answers a group.
    fn work(&mut self, mut group: Vec<Box<dyn Job>>) {
        if let Some((outcomes, effects)) = self.attempt(&mut group) {
            return self.conclude(group.into_iter().zip(outcomes), effects);
        }
        for job in group {
            let mut alone = vec![job];
            let (outcomes, effects) = self.attempt(&mut alone).unwrap_or_else(|| {
                let lost = StoreError::Fault("the transaction was lost".to_owned());
                (vec![Outcome::Failed(lost)], Effects::default())
            });
            self.conclude(alone.into_iter().zip(outcomes), effects);
        }
    }

    /// Publishes, then answers: a session that got its answer finds its own events.
    fn conclude(&mut self, jobs: impl Iterator<Item = (Box<dyn Job>, Outcome)>, effects: Effects) {
        self.chores.note(&effects);
        if effects.filed > 0 {
            self.backlog.note(effects.filed, effects.octets);
        }
        self.hub.publish(&effects.events, &effects.names);
        for (job, outcome) in jobs {
            if let Outcome::Failed(StoreError::NoSpace) | Outcome::Unknown(StoreError::NoSpace) = outcome {
                self.chores.make_room();
            }
            job.answer(match outcome {
                Outcome::Committed => Outcome::Committed,
                Outcome::Failed(error) => Outcome::Failed(error.within(&self.dir)),
                Outcome::Unknown(error) => Outcome::Unknown(error.within(&self.dir)),
            });
        }
    }

    /// One transaction for all. `None`: it was lost on the way, nothing is stored, nobody was answered.
    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Option<(Vec<Outcome>, Effects)> {
        let nothing =
            |error: StoreError, count: usize| Some((vec![Outcome::Failed(error); count], Effects::default()));
        let count = group.len();
        let alone = count == 1;
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            return nothing(error, count);
        }
        let mut outcomes = Vec::with_capacity(count);
        let mut effects = Effects::default();
        for job in group {
            match self.step(job.as_mut(), alone) {
                Step::Done(done) => {
                    effects.append(done);
                    outcomes.push(Outcome::Committed);
                }
                Step::Undone(error) => outcomes.push(Outcome::Failed(error)),
                Step::Lost(error) => {
                    self.roll_back();
                    // Alone, its own error is the answer; with others, who lost it is found out one by one.
                    return if alone { nothing(error, 1) } else { None };
                }
            }
        }
        let committed = self.numbers.save(&self.connection).and_then(|()| self.execute("COMMIT"));
        if let Err(error) = committed {
            self.roll_back();
            self.numbers.forget_saved();
            for outcome in &mut outcomes {
                if matches!(outcome, Outcome::Committed) {
                    *outcome = Outcome::Unknown(error.clone());
                }
            }
            return Some((outcomes, Effects::default()));
        }
        Some((outcomes, effects))
    }

    /// One job in its savepoint. Alone it needs none: undoing it is losing the transaction.
    fn step(&mut self, job: &mut dyn Job, alone: bool) -> Step {
        if !alone && let Err(error) = self.execute("SAVEPOINT job") {
            return Step::Lost(error);
        }
        let mut transaction = Transaction::new(&self.connection, &mut self.numbers, &self.keeping);
        let result = job.run(&mut transaction).map(|()| transaction.effects);
        let stands = !self.connection.is_autocommit();
        match result {
            Ok(effects) if alone && stands => Step::Done(effects),
            Ok(effects) if stands => match self.execute("RELEASE job") {
                Ok(()) => Step::Done(effects),
                Err(error) => Step::Lost(error),
            },
            Ok(_) => Step::Lost(StoreError::Fault("the transaction was lost".to_owned())),
            Err(error) if !alone && stands => {
                match self.execute("ROLLBACK TO job").and_then(|()| self.execute("RELEASE job")) {
                    Ok(()) => Step::Undone(error),
                    Err(error) => Step::Lost(error),
                }
            }
            Err(error) => Step::Lost(error),
        }
    }

    /// Ends what is left of the transaction.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(error = %error.within(&self.dir), "a transaction could not be rolled back");
        }
    }

    /// What nobody waits for failed: it is tried again some time.
    fn warn(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(error = %error.within(&self.dir), "housekeeping of the account's store failed");
        }
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute(())?;
        Ok(())
    }
}

impl Drop for Writer {
    /// Also when the thread panics: whoever waits gets an answer.
    fn drop(&mut self) {
        self.queue.close();
    }
}
