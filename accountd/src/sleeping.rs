//! Sessions put to sleep, all together, and taken up again, each by itself.
//!
//! While a session rests its state lies here ([`Bunk`]). When all rest and the supervisor lets the process leave, the states
//! become rows of the account's database in one commit, the supervisor is told, and the process ends without touching
//! the sessions' streams: the supervisor has a handle of each. What their clients send stays in those streams. The next
//! process takes a row away when it is handed the stream.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use imapd_session::{Asleep, Bed};
use ipc_proto::{
    SessionId,
    control::{MAX_ASLEEP, Sleeper},
};
use store_lib::Sleeping;

use crate::{Account, activity::Busy, sessions::Sessions};

/// How long a delivery that came in at the last moment may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(5);

/// Where one session's state lies while it rests.
#[derive(Debug)]
pub(crate) struct Bunk {
    pub(crate) sessions: Sessions,
    pub(crate) session: SessionId,
    /// How often it has slept so far.
    pub(crate) count: u32,
    pub(crate) busy: Arc<Busy>,
    pub(crate) asleep: Mutex<Option<Asleep>>,
}

impl Bunk {
    fn asleep(&self) -> MutexGuard<'_, Option<Asleep>> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self) -> Option<Sleeping> {
        let Asleep { mailbox, state } = self.asleep().clone()?;
        Some(Sleeping { session: self.session.0, count: self.count.checked_add(1)?, mailbox, state })
    }
}

impl Bed for Bunk {
    fn after(&self) -> Duration {
        self.sessions.hibernate_after()
    }

    fn lie_down(&self, asleep: Asleep) {
        *self.asleep() = Some(asleep);
        self.busy.rest();
        // The last one asks at once.
        self.sessions.ask_to_leave(Instant::now());
    }

    fn get_up(&self) -> bool {
        let awake = self.busy.go_on();
        if awake {
            *self.asleep() = None;
        }
        awake
    }
}

impl Account {
    /// The process may leave. `true`: every session that rests is on disk and the supervisor's, and nothing else is under
    /// way; `false`: the process has to stay.
    #[must_use]
    pub fn put_to_sleep(&self) -> bool {
        if self.sessions.is_empty() {
            return true;
        }
        // A delivery that comes from here on goes to the next process; one that came before this has to be told.
        self.deliveries.stopping.store(true, Ordering::Relaxed);
        let until = Instant::now() + PATIENCE;
        while !self.activity().is_idle() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        let put = self.activity().is_as_asked() && self.sessions.put_to_sleep(&self.store);
        if !put {
            self.deliveries.stopping.store(false, Ordering::Relaxed);
        }
        put
    }
}

/// Goes on with a session where it was; without its row its client is told BYE.
pub(crate) fn resume(sessions: &Sessions, sleeper: Sleeper, stream: UnixStream) {
    let Sleeper { facts, count } = sleeper;
    sessions.start_with(facts, None, count, stream, move |store, stream, known, limits| {
        match store.take_sleeping(facts.session.0, count) {
            Ok(Some(Sleeping { session: _, count: _, mailbox, state })) => {
                imapd_session::resume(store, stream, known, limits, Asleep { mailbox, state })
            }
            Ok(None) => {
                tracing::warn!(connection = %facts.connection, session = %facts.session, "no state to go on from");
                imapd_session::lost(store, stream, known, limits)
            }
            Err(error) => {
                tracing::error!(connection = %facts.connection, "cannot go on with a session: {error}");
                imapd_session::lost(store, stream, known, limits)
            }
        }
    });
}

/// The rows of sessions, if all of these rest.
pub(crate) fn rows<'b>(bunks: impl Iterator<Item = Option<&'b Arc<Bunk>>>) -> Option<Vec<Sleeping>> {
    let rows: Vec<_> = bunks.map(|bunk| bunk?.row()).collect::<Option<_>>()?;
    (rows.len() <= MAX_ASLEEP).then_some(rows)
}
