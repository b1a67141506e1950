//! What waits for the writer: two queues, deliveries and everything else, both bounded.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Outcome, Transaction};
use crate::StoreError;

/// Jobs in one transaction.
const MAX_GROUP: usize = 64;
/// Deliveries that wait; then who delivers waits.
const MAX_DELIVERIES: usize = 256;
/// Jobs of sessions that wait; then sessions wait.
const MAX_OTHERS: usize = 64;
/// Messages that the session jobs of one group touch together: a slice.
pub(crate) const SLICE: usize = 500;
/// Without work for so long, the writer does its chores.
const IDLE: Duration = Duration::from_millis(50);
/// Nobody waits longer for company.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

/// Which queue, and how much of a group it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Somebody waits for a 250.
    Delivery,
    /// A session's, touching so many messages.
    Session {
        /// At most [`SLICE`].
        messages: usize,
    },
}

/// One thing to be done in a transaction.
pub(crate) trait Job: Send + fmt::Debug {
    /// May run again: when the transaction of its group was lost.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError>;
    /// After the commit, or the failure.
    fn answer(self: Box<Self>, outcome: Outcome);
}

/// Work, its value, and who waits for it.
struct Task<T, W, D: FnOnce(Result<T, StoreError>, &Outcome)> {
    work: Option<W>,
    value: Option<T>,
    done: Option<D>,
}

impl<T, W, D: FnOnce(Result<T, StoreError>, &Outcome)> fmt::Debug for Task<T, W, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// A job that the writer gives itself.
pub(super) fn job<T: Send + 'static>(
    work: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    done: impl FnOnce(Result<T, StoreError>, &Outcome) + Send + 'static,
) -> Box<dyn Job> {
    Box::new(Task { work: Some(work), value: None, done: Some(done) })
}

impl<T, W, D> Job for Task<T, W, D>
where
    T: Send,
    W: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send,
    D: FnOnce(Result<T, StoreError>, &Outcome) + Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.value = match &mut self.work {
            Some(work) => Some(work(transaction)?),
            None => None, // answered already
        };
        Ok(())
    }

    fn answer(mut self: Box<Self>, outcome: Outcome) {
        let result = match (&outcome, self.value.take()) {
            (Outcome::Committed, Some(value)) => Ok(value),
            (Outcome::Committed, None) => Err(StoreError::Closed),
            (Outcome::Failed(error) | Outcome::Unknown(error), _) => Err(error.clone()),
        };
        self.finish(result, &outcome);
    }
}

impl<T, W, D: FnOnce(Result<T, StoreError>, &Outcome)> Task<T, W, D> {
    fn finish(&mut self, result: Result<T, StoreError>, outcome: &Outcome) {
        // With it goes what it holds: a file that was not filed is gone when the caller hears of it.
        self.work = None;
        if let Some(done) = self.done.take() {
            // A caller's panic is the caller's: the writer goes on.
            if catch_unwind(AssertUnwindSafe(|| done(result, outcome))).is_err() {
                tracing::error!("the answer to a job of the store panicked");
            }
        }
    }
}

impl<T, W, D: FnOnce(Result<T, StoreError>, &Outcome)> Drop for Task<T, W, D> {
    /// Never run, or run by a writer that panicked: answered all the same.
    fn drop(&mut self) {
        self.finish(Err(StoreError::Closed), &Outcome::Unknown(StoreError::Closed));
    }
}

/// The two queues.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
    room: Condvar,
}

#[derive(Debug)]
struct Waiting {
    deliveries: VecDeque<Box<dyn Job>>,
    others: VecDeque<(usize, Box<dyn Job>)>,
    open: bool,
    /// The writer sleeps until so many deliveries are there, or anything else.
    wakes_at: Option<usize>,
}

/// What the writer waits for, for a moment, when it has something to do already: as many deliveries as it had the last
/// time. Those who deliver side by side come back at about the same time, and share a commit. One who delivers alone
/// is never waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gathering {
    pub(super) deliveries: usize,
    /// From the end of that one.
    pub(super) patience: Duration,
}

impl Gathering {
    /// After a group with so many deliveries, whose commit took so long: half of that is worth waiting.
    pub(super) fn after(deliveries: usize, took: Duration) -> Self {
        Self { deliveries, patience: (took / 2).min(LONGEST_GATHERING) }
    }
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Taken {
    /// These, in this order.
    Group {
        /// Deliveries first.
        jobs: Vec<Box<dyn Job>>,
        /// So many of them.
        deliveries: usize,
    },
    /// Nothing came for a while.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let waiting =
            Waiting { deliveries: VecDeque::new(), others: VecDeque::new(), open: true, wakes_at: None };
        Self { waiting: Mutex::new(waiting), work: Condvar::new(), room: Condvar::new() }
    }

    /// Queues `work`; `done` is called exactly once, from the writer's thread, or at once when it has ended.
    pub(crate) fn push<T: Send + 'static>(
        &self,
        rank: Rank,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>, &Outcome) + Send + 'static,
    ) {
        let job = job(work, done);
        let mut waiting = self.lock();
        while waiting.open && waiting.is_full(rank) {
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if !waiting.open {
            drop(waiting);
            return job.answer(Outcome::Failed(StoreError::Closed));
        }
        match rank {
            Rank::Delivery => waiting.deliveries.push_back(job),
            Rank::Session { messages } => waiting.others.push_back((messages, job)),
        }
        let wakes = waiting.wakes_writer();
        drop(waiting);
        // A writer that is at work looks by itself.
        if wakes {
            self.work.notify_one();
        }
    }

    /// The next group. With `chores` it gives up waiting after a while.
    pub(super) fn take(&self, chores: bool, gathering: Gathering) -> Taken {
        let until = Instant::now() + gathering.patience;
        let mut waiting = self.lock();
        while waiting.is_empty() {
            waiting.wakes_at = Some(1);
            if !waiting.open {
                return Taken::Closed;
            }
            if chores {
                let (guard, timeout) =
                    self.work.wait_timeout(waiting, IDLE).unwrap_or_else(PoisonError::into_inner);
                waiting = guard;
                if timeout.timed_out() && waiting.is_empty() && waiting.open {
                    return Taken::Idle;
                }
            } else {
                waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
        waiting = self.gather(waiting, gathering.deliveries, until);
        waiting.wakes_at = None;
        let group = waiting.next_group();
        drop(waiting);
        self.room.notify_all();
        group
    }

    fn gather<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
        deliveries: usize,
        until: Instant,
    ) -> MutexGuard<'a, Waiting> {
        while waiting.deliveries.len() < deliveries && waiting.others.is_empty() && waiting.open {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.wakes_at = Some(deliveries);
            waiting = self.work.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting
    }

    /// Whether anybody waits: housekeeping makes room then.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes nothing more; what waits is still done.
    pub(crate) fn close(&self) {
        self.lock().open = false;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// After the writer's end: answers whatever it left.
    pub(crate) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.open = false;
        let left: (VecDeque<_>, VecDeque<_>) =
            (std::mem::take(&mut waiting.deliveries), std::mem::take(&mut waiting.others));
        drop(waiting);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.others.is_empty()
    }

    fn wakes_writer(&self) -> bool {
        self.wakes_at.is_some_and(|deliveries| self.deliveries.len() >= deliveries || !self.others.is_empty())
    }

    fn is_full(&self, rank: Rank) -> bool {
        match rank {
            Rank::Delivery => self.deliveries.len() >= MAX_DELIVERIES,
            Rank::Session { .. } => self.others.len() >= MAX_OTHERS,
        }
    }

    /// Deliveries first, leaving one place: sessions always get on, by one slice.
    fn next_group(&mut self) -> Taken {
        let reserved = usize::from(!self.others.is_empty());
        let deliveries = self.deliveries.len().min(MAX_GROUP - reserved);
        let mut jobs: Vec<_> = self.deliveries.drain(..deliveries).collect();
        let mut messages = 0;
        while jobs.len() < MAX_GROUP {
            match self.others.pop_front() {
                Some((next, job)) if messages == 0 || messages + next <= SLICE => {
                    messages += next.max(1);
                    jobs.push(job);
                }
                Some(later) => {
                    self.others.push_front(later);
                    break;
                }
                None => break,
            }
        }
        Taken::Group { jobs, deliveries }
    }
}
