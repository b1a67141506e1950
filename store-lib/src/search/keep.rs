//! When the index catches up: behind the deliveries, in groups, and not while somebody else has work to do.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::catch_up;
use crate::{Store, StoreError};

/// So many messages, or octets, are worth a group; fewer are searched as fast without the index.
const MESSAGES: u64 = 200;
const OCTETS: u64 = 1 << 20;

/// A process that is here for one delivery is not to work for the index.
const AT_FIRST: Duration = Duration::from_secs(2);

/// Nobody wanted anything for so long.
const QUIET: Duration = Duration::from_millis(250);
/// How often it is looked whether it is quiet.
const LOOK: Duration = Duration::from_millis(50);
/// It begins at the latest so long after it was due.
const LATEST: Duration = Duration::from_secs(30);

/// Work between two looks at what others do.
const STRETCH: Duration = Duration::from_millis(4);
/// Others have the machine for so long at most, each time.
const GIVE_WAY: Duration = Duration::from_millis(400);

/// After a failure.
const AGAIN: Duration = Duration::from_secs(300);

/// What was filed and is not in the index.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Mutex<Waiting>,
    woken: Condvar,
}

#[derive(Debug)]
struct Waiting {
    messages: u64,
    octets: u64,
    /// When something was filed last.
    last: Instant,
    /// The index was found damaged.
    damaged: bool,
    /// Whoever keeps the index is to end.
    ending: bool,
}

impl Default for Backlog {
    fn default() -> Self {
        let last = Instant::now();
        let waiting = Waiting { messages: 0, octets: 0, last, damaged: false, ending: false };
        Self { waiting: Mutex::new(waiting), woken: Condvar::new() }
    }
}

impl Waiting {
    fn is_due(&self) -> bool {
        self.damaged || self.messages >= MESSAGES || self.octets >= OCTETS
    }
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many messages were filed.
    pub(crate) fn note(&self, messages: u64, octets: u64) {
        let mut waiting = self.lock();
        let was_due = waiting.is_due();
        waiting.messages = waiting.messages.saturating_add(messages);
        waiting.octets = waiting.octets.saturating_add(octets);
        waiting.last = Instant::now();
        let wake = !was_due && waiting.is_due();
        drop(waiting);
        if wake {
            self.woken.notify_all();
        }
    }

    /// The index has to be made anew.
    pub(super) fn wake(&self) {
        self.lock().damaged = true;
        self.woken.notify_all();
    }

    fn end(&self) {
        self.lock().ending = true;
        self.woken.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Waits for `time`. `false`: it is to end.
    fn sleep(&self, time: Duration) -> bool {
        let waiting = self.lock();
        let ending = |waiting: &mut Waiting| !waiting.ending;
        let (waiting, _) =
            self.woken.wait_timeout_while(waiting, time, ending).unwrap_or_else(PoisonError::into_inner);
        !waiting.ending
    }

    /// Waits until there is enough for a group. `false`: it is to end.
    fn wait(&self) -> bool {
        let idle = |waiting: &mut Waiting| !waiting.ending && !waiting.is_due();
        let waiting = self.woken.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        !waiting.ending
    }

    fn quiet_for(&self) -> Duration {
        self.lock().last.elapsed()
    }
}

impl Store {
    /// Keeps the index up to date until [`Store::stop_keeping`], on the caller's thread.
    ///
    /// It waits for a group's worth of messages, then for a quiet moment, and gives way to deliveries and sessions
    /// every few milliseconds. What is not worth a group yet waits for the next one, also in a process that comes later.
    pub fn keep_index(&self) {
        if self.backlog().sleep(AT_FIRST) {
            self.look_back();
        }
        while self.backlog().wait() {
            if !self.wait_until_quiet() {
                return;
            }
            {
                // What comes while it works is for the next group, unless this one gets it.
                let mut waiting = self.backlog().lock();
                (waiting.messages, waiting.octets, waiting.damaged) = (0, 0, false);
            }
            let begun = Instant::now();
            let mut since = begun;
            let done = self.catch_up(&mut || self.give_way(&mut since));
            let again = match done {
                Ok(indexed) if indexed.complete => {
                    let messages = indexed.messages;
                    tracing::debug!(messages, took = ?begun.elapsed(), "the search index is up to date");
                    continue;
                }
                Ok(_) => self.is_raw(),
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the search index is behind; searches are slower");
                    true
                }
            };
            if again && !self.backlog().sleep(AGAIN) {
                return;
            }
            self.look_back();
        }
    }

    /// Ends [`Store::keep_index`] within a few milliseconds, now or when it begins.
    pub fn stop_keeping(&self) {
        self.backlog().end();
    }

    /// What earlier processes left to do.
    fn look_back(&self) {
        match catch_up::behind(self, u32::try_from(MESSAGES).unwrap_or(u32::MAX)) {
            Ok((messages, octets)) => {
                let mut waiting = self.backlog().lock();
                waiting.messages = waiting.messages.max(messages);
                waiting.octets = waiting.octets.max(octets);
            }
            Err(StoreError::Closed) => {}
            Err(error) => tracing::warn!(%error, "the search index cannot be looked at"),
        }
    }

    /// `false`: it is to end.
    fn wait_until_quiet(&self) -> bool {
        let due = Instant::now();
        while self.quiet_for() < QUIET && due.elapsed() < LATEST {
            if !self.backlog().sleep(LOOK) {
                return false;
            }
        }
        true
    }

    fn give_way(&self, since: &mut Instant) -> ControlFlow<()> {
        if since.elapsed() < STRETCH {
            return ControlFlow::Continue(());
        }
        let waiting = Instant::now();
        while self.quiet_for() < LOOK && waiting.elapsed() < GIVE_WAY {
            if !self.backlog().sleep(STRETCH) {
                return ControlFlow::Break(());
            }
        }
        thread::yield_now();
        *since = Instant::now();
        if self.backlog().is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// How long nobody has filed or read anything.
    fn quiet_for(&self) -> Duration {
        self.backlog().quiet_for().min(self.pool().quiet_for())
    }
}
