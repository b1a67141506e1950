//! One message from smtpd: checked, delivered, what is left of it stored, answered.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipc_proto::{
    AccountId, ChannelId,
    authd::{Owner, QueuedAuthd},
    control::{QueuedSettings, ViolationKind},
    delivery::{Deliver, MAX_RECIPIENTS, Outcome, QueuedToSmtpd, SmtpdQueued, SmtpdToQueued, SpoolNumber},
    queue::AdminQueued,
    stream::{End, Link, Responder, serve},
};
use mail_lib::address::Address;
use tokio::sync::{Notify, watch};
use worker_lib::Live;

use crate::{
    accounts::{Accounts, Switchboard},
    body::{Body, BodyError},
    change::Change,
    disk::Disk,
    grants::Grants,
    group, listing,
    outcome::{self, Standing},
    owners::Owners,
    queue::{Envelope, Millis, QueueError, millis},
    recipient::Recipient,
    retry,
    spool::{ChannelNumber, Front, Spool, Spooled},
};

/// The most that smtpd's trace fields may be, octets.
const MAX_TRACE: usize = 8 * 1024;

/// What the time is, milliseconds since 1970; tests bring their own.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| millis(ipc_proto::types::Timestamp::now()))
}

/// What does not change while the process lives.
#[derive(Debug, Clone)]
pub struct Host {
    /// This host's name, A-labels.
    pub name: String,
    /// The largest message that is taken, octets.
    pub message_size: u64,
}

/// All that queued does, without the process around it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Live<QueuedSettings>,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) authd: Link<QueuedAuthd>,
    pub(crate) grants: Grants,
    pub(crate) owners: Owners,
    pub(crate) accounts: Arc<Accounts>,
    /// Told when a message was stored.
    pub(crate) stored: Notify,
    pub(crate) stopping: AtomicBool,
    /// This host's name, for fields of its own.
    pub(crate) hostname: String,
    message_size: u64,
    pub(crate) switchboard: Arc<dyn Switchboard>,
    /// Files of smtpd.
    pub(crate) spool: Spool,
    /// Files of submitd.
    pub(crate) submitted: Spool,
    /// Messages in hand.
    busy: watch::Sender<usize>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Counts one message in hand until dropped.
pub(crate) struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Shared {
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.send_modify(|count| *count += 1);
        Busy(Arc::clone(self))
    }
}

impl Service {
    /// With a queue that is open, and the spool files that were in it.
    #[must_use]
    pub fn new(
        settings: QueuedSettings,
        host: Host,
        disk: Disk,
        spooled: Vec<Spooled>,
        clock: Clock,
        switchboard: Arc<dyn Switchboard>,
    ) -> Self {
        let (spooled, submitted) = spooled.into_iter().partition(|spooled| spooled.front == Front::Smtpd);
        let places = settings.spool_files;
        Self(Arc::new(Shared {
            accounts: Accounts::new(Arc::clone(&switchboard)),
            authd: Link::default(),
            stored: Notify::new(),
            stopping: AtomicBool::new(false),
            busy: watch::Sender::new(0),
            spool: Spool::new(disk.clone(), Front::Smtpd, places, spooled),
            submitted: Spool::new(disk.clone(), Front::Submitd, places, submitted),
            grants: Grants::default(),
            owners: Owners::default(),
            settings: Live::new(settings),
            disk,
            clock,
            hostname: host.name,
            message_size: host.message_size,
            switchboard,
        }))
    }

    /// From now on with these settings; the number of spool files stays.
    pub fn change(&self, settings: QueuedSettings) {
        self.0.settings.set(settings);
    }

    /// Takes the channel to authd.
    pub fn authd(&self, stream: UnixStream) -> std::io::Result<()> {
        let shared = Arc::downgrade(&self.0);
        self.0.owners.forget();
        self.0.authd.set(stream, move |violation| {
            let Some(shared) = shared.upgrade() else { return };
            shared.owners.forget();
            if let Some(violation) = violation {
                shared.switchboard.violation(ChannelId::QueuedAuthd, None, violation);
            }
        })
    }

    /// Takes the channel to an account that was asked for.
    pub fn account(&self, account: AccountId, stream: UnixStream) -> std::io::Result<()> {
        self.0.accounts.opened(account, stream)
    }

    /// The channel to an account that was asked for cannot be had now.
    pub fn account_refused(&self, account: AccountId) {
        self.0.accounts.refused(account);
    }

    /// Takes a channel from smtpd and serves it in a task of its own.
    pub fn smtpd(&self, stream: UnixStream) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let channel = shared.spool.channel();
        let serving = serve::<SmtpdQueued>(stream, move |request, fds, responder| {
            tokio::spawn(answer(Arc::clone(&shared), channel, request, fds, responder));
        })?;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let end = serving.await;
            shared.spool.channel_ended(channel);
            match end {
                End::Closed => {}
                End::Violation(violation) => {
                    shared.switchboard.violation(ChannelId::SmtpdQueued, None, violation);
                }
            }
        });
        Ok(())
    }

    /// Takes a channel from the admin and serves it in a task of its own.
    pub fn admin(&self, stream: UnixStream) -> std::io::Result<()> {
        let shared = Arc::clone(&self.0);
        let serving = serve::<AdminQueued>(stream, move |request, _, responder| {
            tokio::spawn(listing::answer(shared.disk.clone(), request, responder));
        })?;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            match serving.await {
                End::Closed => {}
                End::Violation(violation) => {
                    shared.switchboard.violation(ChannelId::AdminQueued, None, violation);
                }
            }
        });
        Ok(())
    }

    /// Tries stored messages again, for ever.
    pub async fn retry(&self) {
        retry::run(&self.0).await;
    }

    /// Removes, after a while, the spool files of an earlier queued that nobody asked for again.
    pub async fn forget_spooled(&self) {
        tokio::join!(self.0.spool.forget_earlier(), self.0.submitted.forget_earlier());
    }

    /// Takes nothing new and waits until what is in hand is answered, at most `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.0.stopping.store(true, Ordering::Relaxed);
        let mut busy = self.0.busy.subscribe();
        if tokio::time::timeout(grace, busy.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!("some messages were not answered within the grace; their clients will send again");
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    channel: ChannelNumber,
    request: SmtpdToQueued,
    fds: Vec<OwnedFd>,
    responder: Responder<SmtpdQueued>,
) {
    let _busy = shared.busy();
    match request {
        SmtpdToQueued::Spool => match open_spool(&shared, &shared.spool, channel).await {
            Some((number, writer)) => responder.reply(&QueuedToSmtpd::Spool(number), vec![writer]),
            None => responder.reply(&QueuedToSmtpd::NoSpool, Vec::new()),
        },
        SmtpdToQueued::Deliver(deliver) => {
            let reply = match check(&shared, &shared.spool, &deliver, fds) {
                Ok(body) => QueuedToSmtpd::Delivered(shared.deliver(deliver, body).await),
                Err(error) => {
                    tracing::warn!(mail = %deliver.id, connection = %deliver.connection,
                        "refused a message from smtpd: {error}");
                    shared.switchboard.refused(ChannelId::SmtpdQueued, error.kind());
                    QueuedToSmtpd::Refused
                }
            };
            responder.reply(&reply, Vec::new());
        }
        SmtpdToQueued::Forget(number) => {
            shared.spool.forget(number);
            responder.reply(&QueuedToSmtpd::Forgotten, Vec::new());
        }
    }
}

pub(crate) async fn open_spool(
    shared: &Shared,
    spool: &Spool,
    channel: ChannelNumber,
) -> Option<(SpoolNumber, OwnedFd)> {
    if shared.stopping.load(Ordering::Relaxed) {
        return None;
    }
    match spool.open(channel).await {
        Ok(Some(spooled)) => Some(spooled),
        Ok(None) => {
            tracing::warn!("all spool files are in use; raise `limits.spool_files` if this is usual");
            None
        }
        Err(error) => {
            tracing::error!("cannot make a spool file: {error}");
            None
        }
    }
}

/// Why a request from below is not looked at further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} recipients; 1 to {MAX_RECIPIENTS} can be")]
    Recipients(usize),
    #[error("trace fields that are too long or not whole header fields")]
    Trace,
    #[error("a trace field that is not Received (RFC 5321 §4.4)")]
    NotReceived,
    #[error("{0} octets are more than a message may have")]
    TooLarge(u64),
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Refusal {
    pub(crate) fn kind(&self) -> ViolationKind {
        match self {
            Self::Recipients(_) | Self::Trace | Self::NotReceived => ViolationKind::Malformed,
            Self::TooLarge(_) => ViolationKind::TooLarge,
            Self::Body(_) => ViolationKind::Fds,
        }
    }
}

/// Everything about a request that can be wrong without asking anybody.
pub(crate) fn check(
    shared: &Shared,
    spool: &Spool,
    deliver: &Deliver,
    fds: Vec<OwnedFd>,
) -> Result<Body, Refusal> {
    if deliver.recipients.is_empty() || deliver.recipients.len() > MAX_RECIPIENTS {
        return Err(Refusal::Recipients(deliver.recipients.len()));
    }
    if !is_sound_trace(&deliver.trace) {
        return Err(Refusal::Trace);
    }
    if deliver.size > shared.message_size {
        return Err(Refusal::TooLarge(deliver.size));
    }
    Ok(match deliver.spool {
        Some(number) => spool.body(number, deliver.size)?,
        // The channel has seen to it that there is exactly one.
        None => Body::sealed(fds.into_iter().next().ok_or(BodyError::NotAFile)?, deliver.size)?,
    })
}

/// Whole header fields: bounded, every line non-empty and ended by CRLF, the first not a continuation, so that what
/// comes behind is still the header.
fn is_sound_trace(trace: &[u8]) -> bool {
    let sound = |line: &[u8]| {
        line.strip_suffix(b"\r\n")
            .is_some_and(|line| !line.is_empty() && !line.iter().any(|octet| matches!(octet, b'\r' | b'\0')))
    };
    trace.len() <= MAX_TRACE
        && !matches!(trace.first(), Some(b' ' | b'\t'))
        && trace.split_inclusive(|octet| *octet == b'\n').all(sound)
}

/// When a message that is stored is tried.
#[derive(Debug, Clone, Copy)]
enum NextTry {
    AtOnce,
    AfterPause,
    /// As its sender asked (RFC 4865).
    NotBefore(Millis),
}

impl Shared {
    /// One outcome per recipient.
    async fn deliver(&self, deliver: Deliver, body: Body) -> Vec<Outcome> {
        let Deliver { id, connection, reverse_path, recipients, trace, received, size: _, spool: _ } =
            deliver;
        let later = Outcome::TryLater { no_space: false };
        if self.stopping.load(Ordering::Relaxed) {
            return vec![later; recipients.len()];
        }
        let addresses: Vec<_> = recipients.iter().collect();
        let Some(owners) = self.owners_of(&addresses, reverse_path.as_ref()).await else {
            return vec![later; recipients.len()];
        };
        let envelope = Envelope { id, connection, reverse_path, trace, received };
        self.deliver_to(&envelope, &recipients, &owners, body, None).await
    }

    /// The same, to those of whom it is known whose they are; held back until then.
    pub(crate) async fn deliver_to(
        &self,
        envelope: &Envelope,
        recipients: &[Address],
        owners: &[Owner],
        body: Body,
        hold: Option<Millis>,
    ) -> Vec<Outcome> {
        let (id, connection, size) = (envelope.id, envelope.connection, body.size());
        let addresses: Vec<_> = recipients.iter().collect();
        let mut standings: Vec<_> = owners.iter().map(Standing::of).collect();
        let groups = group::by_account(owners);
        // An alias is one recipient and may be many accounts.
        let most = self.settings.now().direct_recipients as usize;
        if hold.is_none() && recipients.len().max(groups.len()) <= most {
            let answers = group::deliver(&self.accounts, envelope, &addresses, groups, &body).await;
            for (group, answer) in answers {
                for place in group.places {
                    if let (Some(standing), Some(owner)) = (standings.get_mut(place), owners.get(place)) {
                        standing.note(owner, group.account, answer);
                    }
                }
            }
        }
        let mut outcomes: Vec<_> = standings.iter().map(Standing::outcome).collect();
        let left = outcome::to_store(&standings);
        if !left.is_empty() {
            let to = left.iter().filter_map(|place| {
                let (address, standing) = (recipients.get(*place)?.clone(), standings.get(*place)?);
                Some(Recipient { address, members: standing.left(), reason: standing.reason() })
            });
            let to = to.collect();
            let due = match hold {
                Some(time) => NextTry::NotBefore(time),
                // What nobody was asked about.
                None if standings.contains(&Standing::Waiting) => NextTry::AtOnce,
                None => NextTry::AfterPause,
            };
            let stored = match self.store(envelope, body, to, due).await {
                Ok(()) => Outcome::Stored,
                Err(error) => {
                    tracing::error!(mail = %id, "cannot store a message: {error}");
                    Outcome::TryLater { no_space: matches!(error, QueueError::NoSpace) }
                }
            };
            for place in left {
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = stored;
                }
            }
        }
        let count = |wanted: Outcome| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        let (filed, stored) = (count(Outcome::Filed), count(Outcome::Stored));
        // smtpd and the accounts have a line each about what went as it should.
        if filed == recipients.len() {
            tracing::debug!(mail = %id, connection = %connection, size, filed, "message");
        } else {
            tracing::info!(mail = %id, connection = %connection, size, recipients = recipients.len(), filed, stored,
                "message");
        }
        outcomes
    }

    async fn store(
        &self,
        envelope: &Envelope,
        body: Body,
        recipients: Vec<Recipient>,
        due: NextTry,
    ) -> Result<(), QueueError> {
        let now = (self.clock)();
        let (next, is_held) = match due {
            NextTry::AtOnce => (now, false),
            NextTry::AfterPause => (now.saturating_add(retry::pause(0, self.settings.now().retry_ms)), false),
            NextTry::NotBefore(time) => (time, true),
        };
        let envelope = envelope.clone();
        self.disk.change(Change::Store { envelope, body, recipients, now, next, is_held }).await?;
        self.stored.notify_one();
        Ok(())
    }
}
