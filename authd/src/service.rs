//! The service: channels in, answers and events out. It knows nothing of the process it runs in.
//!
//! Everything here runs on one thread and waits for nothing but time: look-ups and admissions are answered where they
//! are read; a login waits for the hashing threads ([`crate::pool`]) and the supervisor in a task of its own; an admin's
//! wish waits for the clerk, the thread that owns the database.

mod abuse;
mod clerk;
mod connection;
mod crashed;
mod external;
mod grant;
mod login;
mod neighbours;
mod open;
mod quota;
mod sasl;
mod session;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipc_proto::{
    AccountId, ChannelId, ConnectionId,
    authd::{
        AdminAuthd, AdminToAuthd, AuthdToAdmin, AuthdToImapd, AuthdToSmtpd, AuthdToSubmitd, Client,
        ClientReply, ImapdAuthd, ImapdToAuthd, QueuedAuthd, SmtpdAuthd, SmtpdToAuthd, SubmitdAuthd,
        SubmitdToAuthd, TurnedAway, WebdAuthd,
    },
    channel::Channel,
    control::{AuthdSettings, Event, Order, Role, RoleSettings},
    grant::{AuthdQueued, Notice},
    stream::{End, Link, Responder, serve},
    types::{Run, Timestamp},
};
use tokio::{sync::oneshot, time::Instant};

use self::{
    clerk::Clerk,
    connection::{Connections, Front},
    crashed::Lately,
    quota::{Quotas, changes_quotas},
    session::Sessions,
};
use crate::{
    attempts::Attempts,
    directory::{Applied, Directory, Refusal, SharedBook},
    limits::{Limits, Moment, Network},
    pool::Pool,
    proven::Proven,
    refused::Refused,
    verifier::{NoRandomness, Pretender},
};

/// How long the supervisor may take to join a session or to make an account's directory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads.
    #[error("cannot start threads ({0}); raise the limit of processes")]
    Threads(#[from] io::Error),
    /// No key.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What goes up to the supervisor.
pub type Up = Box<dyn Fn(Event) + Send + Sync>;

/// The running service. Clones are the same one.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service(..)")
    }
}

struct Shared {
    book: SharedBook,
    pool: Pool,
    clerk: Clerk,
    /// Who is told of grants and changes.
    queued: Link<AuthdQueued>,
    pretender: Pretender,
    up: Up,
    started: Instant,
    names: RandomState,
    state: Mutex<State>,
    /// Login attempts that the clerk has not written down yet.
    attempts: Arc<Mutex<Attempts>>,
}

/// What changes. Locked for the length of one look-up; nothing waits inside.
struct State {
    limits: Limits,
    proven: Proven,
    refused: Refused,
    connections: Connections,
    lately: Lately,
    sessions: Sessions,
    quotas: Quotas,
    /// Accounts whose directories are being made, and who waits for that.
    preparing: HashMap<AccountId, oneshot::Sender<bool>>,
}

impl Service {
    /// Starts the threads and asks the supervisor for directories that were not made yet. Inside a runtime.
    pub fn start(directory: Directory, settings: &AuthdSettings, up: Up) -> Result<Self, StartError> {
        let book = directory.book();
        let attempts = Arc::<Mutex<Attempts>>::default();
        let shared = Shared {
            pretender: directory.pretender(),
            pool: Pool::start(settings.hash_threads)?,
            clerk: Clerk::start(directory, Arc::clone(&attempts))?,
            queued: Link::default(),
            up,
            started: Instant::now(),
            names: RandomState::new(),
            state: Mutex::new(State {
                limits: Limits::new(settings),
                proven: Proven::new()?,
                refused: Refused::new()?,
                connections: Connections::default(),
                lately: Lately::default(),
                sessions: Sessions::default(),
                quotas: Quotas::default(),
                preparing: HashMap::new(),
            }),
            attempts,
            book,
        };
        let unprepared = shared.book.read().unprepared();
        unprepared.into_iter().for_each(|account| (shared.up)(Event::CreateAccount(account)));
        shared.tell_quotas();
        Ok(Self(Arc::new(shared)))
    }

    /// Takes one end of a channel until its other end is gone. Who asks follows from the channel; `run`: which start of
    /// it.
    pub fn channel(&self, channel: ChannelId, run: Run, stream: UnixStream) -> io::Result<()> {
        match channel {
            ChannelId::SmtpdAuthd => {
                let front = self.front(Role::Smtpd, run);
                let shared = Arc::clone(&self.0);
                self.serve::<SmtpdAuthd>(stream, Some(front), move |request, responder| match request {
                    SmtpdToAuthd::Client(client) => {
                        responder.reply(&AuthdToSmtpd::Client(shared.client(front, client)), Vec::new());
                    }
                    SmtpdToAuthd::Recipient(query, from) => {
                        let recipient = shared.book.read().recipient(query, from.as_ref());
                        let recipient = shared.with_room(recipient);
                        responder.reply(&AuthdToSmtpd::Recipient(recipient), Vec::new());
                    }
                })
            }
            ChannelId::ImapdAuthd => {
                let front = self.front(Role::Imapd, run);
                let shared = Arc::clone(&self.0);
                self.serve::<ImapdAuthd>(stream, Some(front), move |request, responder| match request {
                    ImapdToAuthd::Client(client) => {
                        responder.reply(&AuthdToImapd::Client(shared.client(front, client)), Vec::new());
                    }
                    ImapdToAuthd::Login { connection, user, password } => {
                        login::login(&shared, front, connection, &user, &password, None, move |login| {
                            responder.reply(&AuthdToImapd::Login(login), Vec::new());
                        });
                    }
                    ImapdToAuthd::Sasl(connection, step) => {
                        sasl::step(&shared, front, connection, step, move |reply| {
                            responder.reply(&AuthdToImapd::Sasl(reply), Vec::new());
                        });
                    }
                })
            }
            ChannelId::SubmitdAuthd => {
                let front = self.front(Role::Submitd, run);
                let shared = Arc::clone(&self.0);
                self.serve::<SubmitdAuthd>(stream, Some(front), move |request, responder| match request {
                    SubmitdToAuthd::Client(client) => {
                        responder.reply(&AuthdToSubmitd::Client(shared.client(front, client)), Vec::new());
                    }
                    SubmitdToAuthd::Sasl(connection, step) => {
                        sasl::step(&shared, front, connection, step, move |reply| {
                            responder.reply(&AuthdToSubmitd::Sasl(reply), Vec::new());
                        });
                    }
                })
            }
            ChannelId::AuthdQueued => grant::channel(&self.0, stream),
            ChannelId::WebdAuthd => {
                let front = self.front(Role::Webd, run);
                let shared = Arc::clone(&self.0);
                self.serve::<WebdAuthd>(stream, Some(front), move |client, responder| {
                    responder.reply(&shared.client(front, client), Vec::new());
                })
            }
            ChannelId::QueuedAuthd => {
                let shared = Arc::clone(&self.0);
                self.serve::<QueuedAuthd>(stream, None, move |request, responder| {
                    responder.reply(&shared.answer_queued(request), Vec::new());
                })
            }
            ChannelId::AdminAuthd => {
                let shared = Arc::clone(&self.0);
                self.serve::<AdminAuthd>(stream, None, move |request, responder| match request {
                    AdminToAuthd::AbuseList { skip } => {
                        let infos = shared.state().limits.list(skip, shared.now());
                        responder.reply(&AuthdToAdmin::Abuse(infos), Vec::new());
                    }
                    AdminToAuthd::AbuseClear(what) => {
                        responder.reply(&abuse::clear(&shared, &what), Vec::new());
                    }
                    request => drop(tokio::spawn(administer(Arc::clone(&shared), request, responder))),
                })
            }
            ChannelId::SmtpdKeyd
            | ChannelId::ImapdKeyd
            | ChannelId::WebdKeyd
            | ChannelId::SmtpdQueued
            | ChannelId::QueuedAccountd
            | ChannelId::AdminAccountd
            | ChannelId::AdminSupervisor
            | ChannelId::SubmitdKeyd
            | ChannelId::SubmitdQueued
            | ChannelId::AdminQueued
            | ChannelId::AccountdAuthd => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "authd has no part in this channel"))
            }
        }
    }

    /// Takes one end of a channel that this account's process asks on.
    pub fn account_channel(&self, account: AccountId, stream: UnixStream) -> io::Result<()> {
        neighbours::channel(&self.0, account, stream)
    }

    /// A new channel of this front.
    fn front(&self, role: Role, run: Run) -> Front {
        let state = &mut *self.0.state();
        let front = state.connections.new_front(role, run);
        state.lately.begun(role, front);
        front
    }

    fn serve<C: Channel>(
        &self,
        stream: UnixStream,
        front: Option<Front>,
        mut handle: impl FnMut(C::Request, Responder<C>) + Send + 'static,
    ) -> io::Result<()> {
        // No message of these channels carries fds: the frame was checked for that.
        let served = serve::<C>(stream, move |request, _fds, responder| handle(request, responder))?;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let end = served.await;
            if let Some(front) = front {
                shared.front_gone(front);
            }
            match end {
                End::Closed => {}
                End::Violation(violation) => {
                    tracing::warn!(channel = ?C::ID, "channel closed: {violation}");
                    (shared.up)(Event::Violation { channel: C::ID, account: None, kind: violation.into() });
                }
            }
            if let Some(front) = front {
                tokio::time::sleep(crashed::PATIENCE).await;
                shared.state().lately.forget(front);
            }
        });
        Ok(())
    }

    /// An order of the supervisor that is about sessions or accounts; others are not for the service.
    pub fn order(&self, order: &Order) {
        match order {
            Order::Connected(session) => {
                if !self.0.state().sessions.connected(*session, true) {
                    // Its login was given up, or answered by an authd before this one: nobody was told of it.
                    (self.0.up)(Event::Disconnect(*session));
                }
            }
            Order::ConnectRefused(session) => {
                self.0.state().sessions.connected(*session, false);
            }
            Order::SessionEnded(session) => self.0.state().session_ended(*session),
            Order::Waking(session) => {
                let stands = self.0.state().sessions.stands(*session);
                (self.0.up)(if stands { Event::Awaken(*session) } else { Event::Disconnect(*session) });
            }
            Order::AccountReady(account) => {
                self.0.clerk.prepared(*account);
                self.0.tell_quota_again(*account);
                if let Some(waiting) = self.0.state().preparing.remove(account) {
                    let _ = waiting.send(true);
                }
            }
            Order::AccountRefused(account) => {
                if let Some(waiting) = self.0.state().preparing.remove(account) {
                    let _ = waiting.send(false);
                }
            }
            Order::Crashed { front, connections } => self.0.crashed(*front, connections),
            Order::Full(account) => self.0.state().quotas.note_full(*account),
            Order::Settings(settings) => {
                if let RoleSettings::Authd(own) = &settings.own {
                    self.0.state().limits.change(own);
                }
            }
            Order::Start(_)
            | Order::Channel { .. }
            | Order::ChannelRefused(_)
            | Order::Listener(_)
            | Order::Session(_)
            | Order::Guest { .. }
            | Order::Shared { .. }
            | Order::SharedRefused { .. }
            | Order::SessionRefused(_)
            | Order::Quota(_)
            | Order::Leave { .. }
            | Order::ListenerGone(_)
            | Order::Stop { .. }
            | Order::Ping(_)
            | Order::Attack(_)
            | Order::Resume(_) => {}
        }
    }

    /// Rounds of PBKDF2 that logins have cost so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.0.pool.rounds()
    }

    /// Waits until all that the admin asked for so far is done and answered, and what is kept of logins is on disk.
    pub async fn stop(&self) {
        self.0.clerk.stop().await;
        // The answers are written by tasks that are ready now.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::since_start(self.started.elapsed())
    }

    /// Names that are nobody's are counted by a hash that changes with every start.
    fn hash(&self, name: &str) -> u64 {
        self.names.hash_one(name)
    }

    /// A front speaks of one of its connections.
    fn client(self: &Arc<Self>, front: Front, client: Client) -> ClientReply {
        let now = self.now();
        let mut state = self.state();
        match client {
            Client::Admit(connection, address) => {
                // A number that is used again means that the front forgot to say that the first one is gone.
                drop(state);
                self.close(front, connection);
                let mut state = self.state();
                match state.admit(&self.book, front, connection, address.0, now) {
                    Ok(()) => ClientReply::Admitted,
                    Err(reason) => {
                        tracing::debug!(%connection, "turned away: {reason}");
                        ClientReply::TurnedAway(reason)
                    }
                }
            }
            Client::Closed(connection) => {
                drop(state);
                self.close(front, connection);
                ClientReply::Noted
            }
            Client::Charge(connection, offence) => {
                if let Some(found) = state.connections.get(front, connection) {
                    let (address, account) = (found.address, found.account());
                    tracing::debug!(%connection, ?offence, "charged");
                    state.limits.charge(address, account, offence, now);
                }
                ClientReply::Noted
            }
        }
    }

    /// The supervisor found another account's mail under this number, which is not given again.
    async fn take_back(&self, account: AccountId, name: String) -> AuthdToAdmin {
        let refusal = match self.clerk.ask(AdminToAuthd::AccountRemove(name)).await {
            Ok(_) => Refusal::NumberInUse(account),
            Err(refusal) => refusal,
        };
        AuthdToAdmin::Refused(refusal.to_string())
    }

    /// One connection is gone, and its grant with it.
    fn close(self: &Arc<Self>, front: Front, connection: ConnectionId) {
        let mut state = self.state();
        let grant = state.connections.grant(front, connection);
        if let Some(closed) = state.connections.remove(front, connection) {
            state.limits.closed(closed.address);
        }
        drop(state);
        if let Some(grant) = grant {
            self.tell_queued(Notice::Ended(grant.run, grant.connection));
        }
    }

    /// All connections of a channel that ended.
    fn front_gone(self: &Arc<Self>, front: Front) {
        let mut state = self.state();
        let grants: Vec<_> = state.connections.grants_of(front).collect();
        if let Some((role, gone)) = state.connections.remove_front(front) {
            let state = &mut *state;
            state.lately.ended(role, front, &gone);
            for closed in gone.values() {
                state.limits.closed(closed.address);
            }
        }
        drop(state);
        for grant in grants {
            self.tell_queued(Notice::Ended(grant.run, grant.connection));
        }
    }

    /// Ends all sessions of an account whose password or state changed, those too that an authd before this one opened:
    /// the supervisor knows them all.
    fn cut(self: &Arc<Self>, account: AccountId) {
        {
            let mut state = self.state();
            state.sessions.refuse(account);
            state.connections.revoke(account);
        }
        self.tell_queued(Notice::AccountEnded(account));
        (self.up)(Event::DisconnectAccount(account));
    }
}

impl State {
    fn admit(
        &mut self,
        book: &SharedBook,
        front: Front,
        connection: ConnectionId,
        address: std::net::IpAddr,
        now: Moment,
    ) -> Result<(), TurnedAway> {
        if !self.connections.has_room(front) {
            return Err(TurnedAway::Concurrent);
        }
        let home = self.connections.access(front).is_some()
            && book.read().is_home(Network::of(address), Timestamp::now().seconds);
        self.limits.admit(address, home, now)?;
        self.connections.insert(front, connection, address);
        Ok(())
    }

    fn session_ended(&mut self, session: ipc_proto::SessionId) {
        self.sessions.remove(session);
    }
}

/// One wish of the admin, from the clerk's queue to the answer.
async fn administer(shared: Arc<Shared>, request: AdminToAuthd, responder: Responder<AdminAuthd>) {
    let added = if let AdminToAuthd::AccountAdd { name, .. } = &request { Some(name.clone()) } else { None };
    let changes = !request.only_looks();
    let quotas = changes_quotas(&request);
    let reply = match shared.clerk.ask(request).await {
        Ok(Applied { reply, cut, create }) => {
            if changes {
                shared.tell_of_change().await;
            }
            if let Some(account) = cut {
                shared.cut(account);
            }
            if let Some(account) = create {
                let (ready, waiting) = oneshot::channel();
                shared.state().preparing.insert(account, ready);
                (shared.up)(Event::CreateAccount(account));
                // Without its directory the account exists all the same: it is asked for again at the next start.
                let made = tokio::time::timeout(PATIENCE, waiting).await;
                shared.state().preparing.remove(&account);
                if let (Ok(Ok(false)), Some(name)) = (made, added) {
                    return responder.reply(&shared.take_back(account, name).await, Vec::new());
                }
            }
            if quotas {
                shared.tell_quotas();
            }
            reply
        }
        Err(refusal) => AuthdToAdmin::Refused(refusal.to_string()),
    };
    responder.reply(&reply, Vec::new());
}

#[cfg(test)]
mod tests;
