//! [`Account`]: the open store and what the supervisor's orders do with it.

use std::{
    fmt,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use imapd_session::{SessionLimits, Sharing};
use ipc_proto::{
    AccountId, ChannelId, SessionId, Violation,
    control::{AccountdSettings, Order, PreviousEnd},
};
use store_lib::{LastEnd, Quota, Store, StoreError, UnixSeconds};

use crate::{
    Activity, admin, delivery::Deliveries, indexing::Indexing, neighbours::Neighbours, safe_mode,
    sessions::Sessions,
};

/// Of every thread: nothing here recurses deeply. Address space, of which only what is used costs memory.
pub(crate) const STACK: usize = 512 * 1024;

/// In seconds.
const DAY: i64 = 24 * 3600;

/// How often it is looked whether all has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What the account tells the supervisor.
pub trait Supervisor: fmt::Debug + Send + Sync + 'static {
    /// Nothing to do for a while: may the process leave?
    fn quiet(&self);
    /// A session was put to sleep, so many times by now.
    fn asleep(&self, session: SessionId, count: u32);
    /// A session is over.
    fn session_ended(&self, session: SessionId);
    /// A message was refused because the account is over its quota.
    fn full(&self);
    /// A peer broke the rules of its channel, which is closed.
    fn violation(&self, channel: ChannelId, violation: Violation);
}

/// What to do after an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next.
    Continue,
    /// The supervisor wants the process to leave, if nothing is under way.
    Leave {
        /// Because the process asked to; otherwise others need its place.
        asked: bool,
    },
    /// End within this time.
    Stop(Duration),
}

/// Why the account's process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Its store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An order that is not for this role, or for another account.
    #[error("an order that is not for account {0}; restart moxd")]
    Order(AccountId),
    /// No thread can be started.
    #[error("cannot start a thread: {0}; raise the limit of threads")]
    Thread(std::io::Error),
}

/// One account, open.
#[derive(Debug)]
pub struct Account {
    number: AccountId,
    pub(crate) store: Store,
    activity: Activity,
    supervisor: Arc<dyn Supervisor>,
    pub(crate) sessions: Sessions,
    pub(crate) deliveries: Arc<Deliveries>,
    indexing: Indexing,
    pub(crate) neighbours: Arc<Neighbours>,
}

/// As the store knows it.
fn quota(ipc_proto::quota::Quota { octets, messages }: ipc_proto::quota::Quota) -> Quota {
    Quota { octets, messages }
}

impl Account {
    /// Opens the account in `directory`. `message_size`: the largest message that is taken, octets.
    pub fn open(
        directory: &Path,
        settings: &AccountdSettings,
        message_size: u64,
        supervisor: Arc<dyn Supervisor>,
    ) -> Result<Self, AccountError> {
        let last = match settings.previous {
            PreviousEnd::Harmless => LastEnd::Harmless,
            PreviousEnd::Crash { sessions } => LastEnd::Crash { busy: sessions },
        };
        let store = Store::open_after(directory, last)?;
        store.set_quota(quota(settings.quota));
        if safe_mode::look(&store, UnixSeconds::now()) {
            tracing::warn!(account = %settings.account,
                "safe mode after several crashes: for a while messages are filed and shown without being looked into");
        }
        store.keep_sleeping(settings.asleep.iter().map(|session| session.0).collect())?;
        store.keep_deleted(i64::from(settings.undelete_days) * DAY, settings.undelete_size);
        let activity = Activity::new();
        let limits = SessionLimits {
            idle: Duration::from_millis(u64::from(settings.idle_timeout_ms)),
            asleep: Duration::from_millis(u64::from(settings.hibernate_expiry_ms)),
            write: Duration::from_millis(u64::from(settings.write_timeout_ms)),
            message: message_size,
            ..SessionLimits::default()
        };
        let neighbours = Arc::new(Neighbours::new(store.clone(), Arc::clone(&supervisor)));
        let sharing = Sharing {
            neighbours: Some(Arc::<Neighbours>::clone(&neighbours)),
            own: Some(settings.account.0),
            guest: None,
        };
        let sessions = Sessions::new(
            store.clone(),
            sharing,
            activity.clone(),
            Arc::clone(&supervisor),
            limits,
            usize::try_from(settings.sessions).unwrap_or(usize::MAX),
            Duration::from_millis(u64::from(settings.hibernate_after_ms)),
        );
        let deliveries = Arc::new(Deliveries {
            store: store.clone(),
            activity: activity.clone(),
            supervisor: Arc::clone(&supervisor),
            message_size,
            stopping: Arc::new(AtomicBool::new(false)),
            helpers: AtomicUsize::new(0),
        });
        let indexing = Indexing::start(&store);
        Ok(Self {
            number: settings.account,
            store,
            activity,
            supervisor,
            sessions,
            deliveries,
            indexing,
            neighbours,
        })
    }

    /// What is going on.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Carries out one order.
    pub fn take(&self, order: Order, fds: Vec<OwnedFd>) -> Result<Next, AccountError> {
        let stream = fds.into_iter().next().map(UnixStream::from);
        match (order, stream) {
            (Order::Channel { channel: ChannelId::QueuedAccountd, .. }, Some(stream)) => {
                // A new one comes when queued has lost the old one, whose thread ends by itself.
                let deliveries = Arc::clone(&self.deliveries);
                self.spawn("delivery", move || deliveries.serve(stream))?;
                Ok(Next::Continue)
            }
            (Order::Channel { channel: ChannelId::AdminAccountd, .. }, Some(stream)) => {
                let (store, supervisor) = (self.store.clone(), Arc::clone(&self.supervisor));
                let (busy, message_size) = (self.activity.begin(), self.deliveries.message_size);
                self.spawn("admin", move || {
                    admin::serve(&store, message_size, &*supervisor, stream);
                    drop(busy);
                })?;
                Ok(Next::Continue)
            }
            (Order::Session(facts), Some(stream)) if facts.account == self.number => {
                self.sessions.start(facts, stream);
                Ok(Next::Continue)
            }
            (Order::Channel { channel: ChannelId::AccountdAuthd, .. }, Some(stream)) => {
                if self.neighbours.connected(stream) {
                    let neighbours = Arc::clone(&self.neighbours);
                    // What authd knows may be older. If it cannot be told now, the next start will.
                    self.spawn("neighbours", move || {
                        let _ = imapd_session::Neighbours::shares_changed(&*neighbours);
                    })?;
                }
                Ok(Next::Continue)
            }
            (Order::Guest { facts, principal }, Some(stream)) if facts.account == self.number => {
                self.sessions.start_guest(facts, principal, stream);
                Ok(Next::Continue)
            }
            (Order::Shared { owner }, Some(stream)) => {
                self.neighbours.arrived(owner, Some(stream));
                Ok(Next::Continue)
            }
            (Order::SharedRefused { owner }, None) => {
                self.neighbours.arrived(owner, None);
                Ok(Next::Continue)
            }
            (Order::Resume(sleeper), Some(stream)) if sleeper.facts.account == self.number => {
                self.sessions.resume(sleeper, stream);
                Ok(Next::Continue)
            }
            (Order::Leave { asked }, None) => Ok(Next::Leave { asked }),
            (Order::Quota(most), None) => {
                self.store.set_quota(quota(most));
                Ok(Next::Continue)
            }
            // The settings of an account's process are those that it started with.
            (Order::Settings(_), None) => Ok(Next::Continue),
            (Order::Stop { grace_ms }, None) => Ok(Next::Stop(Duration::from_millis(u64::from(grace_ms)))),
            (
                Order::Start(_)
                | Order::Channel { .. }
                | Order::ChannelRefused(_)
                | Order::Listener(_)
                | Order::Session(_)
                | Order::Guest { .. }
                | Order::Shared { .. }
                | Order::SharedRefused { .. }
                | Order::SessionRefused(_)
                | Order::Connected(_)
                | Order::ConnectRefused(_)
                | Order::SessionEnded(_)
                | Order::AccountReady(_)
                | Order::AccountRefused(_)
                | Order::Crashed { .. }
                | Order::Quota(_)
                | Order::Full(_)
                | Order::Leave { .. }
                | Order::ListenerGone(_)
                | Order::Settings(_)
                | Order::Stop { .. }
                | Order::Ping(_)
                | Order::Attack(_)
                | Order::Waking(_)
                | Order::Resume(_),
                _,
            ) => Err(AccountError::Order(self.number)),
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), AccountError> {
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        thread.spawn(work).map(drop).map_err(AccountError::Thread)
    }

    /// Tells the clients, takes no more deliveries, waits for what is under way, at most `grace`, and closes the
    /// store. What was acknowledged is on disk in any case.
    pub fn close(self, grace: Duration) -> Result<(), AccountError> {
        let until = Instant::now() + grace;
        self.deliveries.stopping.store(true, Ordering::Relaxed);
        self.sessions.stop();
        while !self.activity.is_idle() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        drop(self.indexing);
        Ok(self.store.close()?)
    }
}
