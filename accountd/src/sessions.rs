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
};

use imapd_session::{Facts, SessionLimits, Sharing};
use ipc_proto::{AccountId, SessionId, control::SessionFacts, types::Protocol};
use store_lib::{Store, UnixSeconds};

use crate::{
    account::{STACK, Supervisor},
    activity::{Activity, Busy},
    safe_mode,
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
    running: Mutex<HashMap<SessionId, Running>>,
}

/// What it takes to end a session from outside.
#[derive(Debug)]
struct Running {
    stream: UnixStream,
    stopping: Arc<AtomicBool>,
    /// Another account's that is a guest.
    guest: Option<AccountId>,
}

/// A session's place in the table; given back, and the supervisor told, whatever ends it.
#[derive(Debug)]
struct Place {
    sessions: Sessions,
    session: SessionId,
    _busy: Busy,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.running().remove(&self.session);
        self.sessions.0.supervisor.session_ended(self.session);
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
    ) -> Self {
        let running = Mutex::default();
        Self(Arc::new(Inner { store, sharing, activity, supervisor, limits, most, running }))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SessionId, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a session.
    pub(crate) fn start(&self, facts: SessionFacts, stream: UnixStream) {
        match facts.protocol {
            Protocol::Imap => self.start_with(facts, None, stream, imapd_session::run),
            // Who submits has no session here: the stream ends with this.
            Protocol::Submission => tracing::warn!(session = %facts.session, "not a protocol of sessions"),
        }
    }

    /// Starts a session of another account as a guest: its commands need rights to mailboxes.
    pub(crate) fn start_guest(&self, facts: SessionFacts, principal: AccountId, stream: UnixStream) {
        self.start_with(facts, Some(principal), stream, imapd_session::run);
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

    /// The same with what serves it.
    pub(crate) fn start_with<T>(
        &self,
        facts: SessionFacts,
        guest: Option<AccountId>,
        mut stream: UnixStream,
        serve: impl FnOnce(Store, UnixStream, Facts, SessionLimits) -> T + Send + 'static,
    ) {
        if safe_mode::look(&self.0.store, UnixSeconds::now()) {
            tracing::info!(connection = %facts.connection, "safe mode: messages are shown as plain text");
        }
        let place = Place { sessions: self.clone(), session: facts.session, _busy: self.0.activity.begin() };
        if !self.has_place(guest) {
            tracing::warn!(connection = %facts.connection, "too many sessions of this account");
            let _ = stream.write_all(TOO_MANY);
            return;
        }
        let stopping = Arc::new(AtomicBool::new(false));
        match stream.try_clone() {
            Ok(stream) => {
                let running = Running { stream, stopping: Arc::clone(&stopping), guest };
                self.running().insert(facts.session, running);
            }
            Err(error) => {
                tracing::error!(connection = %facts.connection, "cannot start a session: {error}");
                let _ = stream.write_all(UNAVAILABLE);
                return;
            }
        }
        let thread = thread::Builder::new().name("session".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || place.run(facts, guest, stream, stopping, serve)) {
            // The stream went with the closure, and with it the session.
            tracing::error!(connection = %facts.connection, "cannot start a thread: {error}");
        }
    }

    /// Ends all: each client is told BYE.
    pub(crate) fn stop(&self) {
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
        serve: impl FnOnce(Store, UnixStream, Facts, SessionLimits) -> T,
    ) {
        let Inner { store, limits, sharing, .. } = &*self.sessions.0;
        let sharing = Sharing { guest: guest.map(|account| account.0), ..sharing.clone() };
        let known = Facts { connection: facts.connection.to_string(), read_only: false, stopping, sharing };
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
