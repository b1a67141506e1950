//! Sessions: one thread each, started by the supervisor's order, ended alone.

use std::{
    collections::HashMap,
    io::Write,
    net::Shutdown,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use imapd_session::{Bed, Facts, SessionLimits, Sharing};
use ipc_proto::{
    AccountId, SessionId,
    control::{SessionFacts, Sleeper},
    types::Protocol,
};
use store_lib::{Store, UnixSeconds};

use crate::{
    account::{STACK, Supervisor},
    activity::{Activity, Busy},
    safe_mode,
    sleeping::{self, Bunk},
};

/// What a client is told beyond the number of sessions (RFC 5530 §3 LIMIT): its front has answered the login with OK.
const TOO_MANY: &[u8] = b"* BYE [LIMIT] Too many sessions of this account, close one and try again\r\n";

/// Guests' sessions at once, and those of one account.
const MOST_GUESTS: usize = 32;
const MOST_OF_ONE: usize = 8;

/// What a client is told when no thread can be started.
const UNAVAILABLE: &[u8] = b"* BYE [UNAVAILABLE] Internal error, try again later\r\n";

/// All sessions that run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    sharing: Sharing,
    activity: Activity,
    supervisor: Arc<dyn Supervisor>,
    limits: SessionLimits,
    most: usize,
    /// Zero: none sleeps.
    hibernate_after: Duration,
    /// All were put to sleep: their streams are no longer ours to end.
    left: AtomicBool,
    running: Mutex<HashMap<SessionId, Running>>,
}

/// What it takes to end a session from outside.
#[derive(Debug)]
struct Running {
    stream: UnixStream,
    stopping: Arc<AtomicBool>,
    /// Another account's that is a guest.
    guest: Option<AccountId>,
    bunk: Option<Arc<Bunk>>,
}

/// A session's place in the table; given back, and the supervisor told, whatever ends it.
#[derive(Debug)]
struct Place {
    sessions: Sessions,
    session: SessionId,
    busy: Arc<Busy>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.running().remove(&self.session);
        if !self.busy.is_left_behind() {
            self.sessions.0.supervisor.session_ended(self.session);
        }
    }
}

impl Sessions {
    pub(crate) fn new(
        store: Store,
        sharing: Sharing,
        activity: Activity,
        supervisor: Arc<dyn Supervisor>,
        limits: SessionLimits,
        most: usize,
        hibernate_after: Duration,
    ) -> Self {
        let (running, left) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner {
            store,
            sharing,
            activity,
            supervisor,
            limits,
            most,
            hibernate_after,
            left,
            running,
        }))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SessionId, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a session.
    pub(crate) fn start(&self, facts: SessionFacts, stream: UnixStream) {
        match facts.protocol {
            Protocol::Imap => self.start_with(facts, None, 0, stream, imapd_session::run),
            // Who submits has no session here: the stream ends with this.
            Protocol::Submission => tracing::warn!(session = %facts.session, "not a protocol of sessions"),
        }
    }

    /// Starts a session of another account as a guest: its commands need rights to mailboxes.
    pub(crate) fn start_guest(&self, facts: SessionFacts, principal: AccountId, stream: UnixStream) {
        self.start_with(facts, Some(principal), 0, stream, imapd_session::run);
    }

    /// Whether there is a place for one more. Guests take none of the owner's.
    fn has_place(&self, guest: Option<AccountId>) -> bool {
        let running = self.running();
        let (guests, own): (Vec<_>, Vec<_>) = running.values().partition(|one| one.guest.is_some());
        match guest {
            None => own.len() < self.0.most,
            Some(_) => {
                let of_same = guests.iter().filter(|one| one.guest == guest).count();
                guests.len() < MOST_GUESTS && of_same < MOST_OF_ONE
            }
        }
    }

    /// The same with what serves it. `slept`: how often it has done so.
    pub(crate) fn start_with<T>(
        &self,
        facts: SessionFacts,
        guest: Option<AccountId>,
        slept: u32,
        mut stream: UnixStream,
        serve: impl FnOnce(Store, UnixStream, Facts, SessionLimits) -> T + Send + 'static,
    ) {
        if safe_mode::look(&self.0.store, UnixSeconds::now()) {
            tracing::info!(connection = %facts.connection, "safe mode: messages are shown as plain text");
        }
        let busy = Arc::new(self.0.activity.begin());
        let place = Place { sessions: self.clone(), session: facts.session, busy: Arc::clone(&busy) };
        if !self.has_place(guest) {
            tracing::warn!(connection = %facts.connection, "too many sessions of this account");
            let _ = stream.write_all(TOO_MANY);
            return;
        }
        let stopping = Arc::new(AtomicBool::new(false));
        // A guest's session is at the mercy of the one on the other side.
        let sleeps = guest.is_none() && !self.0.hibernate_after.is_zero();
        let bunk = sleeps.then(|| {
            let (sessions, asleep) = (self.clone(), Mutex::default());
            Arc::new(Bunk { sessions, session: facts.session, count: slept, busy, asleep })
        });
        match stream.try_clone() {
            Ok(stream) => {
                let running = Running { stream, stopping: Arc::clone(&stopping), guest, bunk: bunk.clone() };
                self.running().insert(facts.session, running);
            }
            Err(error) => {
                tracing::error!(connection = %facts.connection, "cannot start a session: {error}");
                let _ = stream.write_all(UNAVAILABLE);
                return;
            }
        }
        let thread = thread::Builder::new().name("session".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || place.run(facts, guest, stream, stopping, bunk, serve)) {
            // The stream went with the closure, and with it the session.
            tracing::error!(connection = %facts.connection, "cannot start a thread: {error}");
        }
    }

    /// Goes on with one that was put to sleep.
    pub(crate) fn resume(&self, sleeper: Sleeper, stream: UnixStream) {
        sleeping::resume(self, sleeper, stream);
    }

    pub(crate) fn hibernate_after(&self) -> Duration {
        self.0.hibernate_after
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running().is_empty()
    }

    pub(crate) fn ask_to_leave(&self, now: Instant) {
        if self.0.activity.is_due(now) {
            self.0.supervisor.quiet();
        }
    }

    /// Puts all to sleep, in one commit, and hands them over. `false`: they stay as they are.
    pub(crate) fn put_to_sleep(&self, store: &Store) -> bool {
        let running = self.running();
        let Some(rows) = sleeping::rows(running.values().map(|running| running.bunk.as_ref())) else {
            return false;
        };
        let sessions: Vec<_> = rows.iter().map(|row| (SessionId(row.session), row.count)).collect();
        if let Err(error) = store.put_sleeping(rows) {
            tracing::warn!("sessions stay awake: {error}");
            return false;
        }
        self.0.left.store(true, Ordering::Relaxed);
        for (session, count) in sessions {
            self.0.supervisor.asleep(session, count);
        }
        true
    }

    /// Ends all: each client is told BYE.
    pub(crate) fn stop(&self) {
        if self.0.left.load(Ordering::Relaxed) {
            return;
        }
        for running in self.running().values() {
            running.stopping.store(true, Ordering::Relaxed);
            if running.stream.shutdown(Shutdown::Read).is_err() {
                // Then without BYE: the front sees the end and closes its side.
                let _ = running.stream.shutdown(Shutdown::Write);
            }
        }
    }
}

impl Place {
    /// On the session's own thread. A panic ends this session and is logged.
    fn run<T>(
        self,
        facts: SessionFacts,
        guest: Option<AccountId>,
        stream: UnixStream,
        stopping: Arc<AtomicBool>,
        bunk: Option<Arc<Bunk>>,
        serve: impl FnOnce(Store, UnixStream, Facts, SessionLimits) -> T,
    ) {
        let Inner { store, limits, sharing, .. } = &*self.sessions.0;
        let sharing = Sharing { guest: guest.map(|account| account.0), ..sharing.clone() };
        let bed = bunk.map(|bunk| bunk as Arc<dyn Bed>);
        let connection = facts.connection.to_string();
        let without = facts.without;
        let known = Facts { connection, read_only: false, without, stopping, sharing, bed };
        let mut limits = *limits;
        if guest.is_some() {
            // The session on the other side ends first, and says so to its client.
            limits.idle *= 2;
        }
        let served = catch_unwind(AssertUnwindSafe(|| serve(store.clone(), stream, known, limits)));
        if served.is_err() {
            tracing::error!(connection = %facts.connection, session = %facts.session,
                "a session panicked and was ended; please report this");
        }
    }
}
