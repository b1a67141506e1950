//! Channels to the accounts' processes: opened when a message comes, kept while the process lives.

use std::{
    collections::HashMap,
    fmt,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use ipc_proto::{
    AccountId, CallError, ChannelId, DeliveryId, Violation,
    control::ViolationKind,
    delivery::{AccountDelivery, AccountRefusal, AccountdToQueued, QueuedAccountd, QueuedToAccountd},
    stream::Asker,
};
use tokio::sync::oneshot;

use crate::body::Body;

/// How long the supervisor may take to open an account's channel: it starts the process if need be.
const OPENING: Duration = Duration::from_secs(10);

/// How often one message is tried with one account before it goes to the queue.
const ATTEMPTS: u32 = 3;

/// How long one message may take with one account in all. Storing it still fits into smtpd's deadline then.
const PATIENCE: Duration = Duration::from_secs(150);

/// What queued asks of the supervisor, and tells it.
pub trait Switchboard: fmt::Debug + Send + Sync + 'static {
    /// Asks for a channel to this account's process. The answer is an order.
    fn open_delivery(&self, account: AccountId);
    /// A peer broke the rules of its channel, which is closed.
    fn violation(&self, channel: ChannelId, account: Option<AccountId>, violation: Violation);
    /// A request was refused for what it carries. The channel stays: other clients' messages are under way on it.
    fn refused(&self, channel: ChannelId, kind: ViolationKind);
}

/// What an account made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Filed and on disk.
    Filed,
    /// It does not take it now.
    Refused(AccountRefusal),
    /// Its process cannot be had now, or went away each time; whether it filed the message is unknown. The delivery's
    /// id makes a later try safe.
    Unreachable,
}

/// All channels to accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    switchboard: Arc<dyn Switchboard>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Tells a channel from the one that came before it.
    generation: u64,
    channels: HashMap<AccountId, Entry>,
}

#[derive(Debug)]
enum Entry {
    /// Asked for; these wait, and are dropped when the answer is no.
    Opening(Vec<oneshot::Sender<Channel>>),
    /// In use.
    Open(Channel),
}

#[derive(Debug, Clone)]
struct Channel {
    generation: u64,
    asker: Asker<QueuedAccountd>,
}

impl Accounts {
    pub(crate) fn new(switchboard: Arc<dyn Switchboard>) -> Arc<Self> {
        Arc::new(Self { switchboard, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor made a channel.
    pub(crate) fn opened(self: &Arc<Self>, account: AccountId, stream: UnixStream) -> std::io::Result<()> {
        let mut state = self.state();
        state.generation += 1;
        let generation = state.generation;
        let me = Arc::downgrade(self);
        let asker = Asker::start(stream, move |violation| ended(&me, account, generation, violation))?;
        let channel = Channel { generation, asker };
        if let Some(Entry::Opening(waiting)) = state.channels.insert(account, Entry::Open(channel.clone())) {
            for waiter in waiting {
                let _ = waiter.send(channel.clone());
            }
        }
        Ok(())
    }

    /// The supervisor cannot have this account's process now.
    pub(crate) fn refused(&self, account: AccountId) {
        let mut state = self.state();
        if matches!(state.channels.get(&account), Some(Entry::Opening(_))) {
            // Dropped senders tell those who wait.
            state.channels.remove(&account);
        }
    }

    /// Forgets one channel, not a newer one.
    fn forget(&self, account: AccountId, generation: u64) {
        let mut state = self.state();
        let same = |entry: &Entry| matches!(entry, Entry::Open(channel) if channel.generation == generation);
        if state.channels.get(&account).is_some_and(same) {
            state.channels.remove(&account);
        }
    }

    /// The channel of the moment, opened if there is none.
    async fn channel(&self, account: AccountId) -> Option<Channel> {
        let (waiter, opened) = oneshot::channel();
        {
            let mut state = self.state();
            match state.channels.get_mut(&account) {
                Some(Entry::Open(channel)) => return Some(channel.clone()),
                Some(Entry::Opening(waiting)) => waiting.push(waiter),
                None => {
                    state.channels.insert(account, Entry::Opening(vec![waiter]));
                    self.switchboard.open_delivery(account);
                }
            }
        }
        match tokio::time::timeout(OPENING, opened).await {
            Ok(channel) => channel.ok(),
            Err(_) => {
                tracing::warn!(%account, "the account's channel was not opened in time");
                self.refused(account);
                None
            }
        }
    }

    /// Delivers one message to one account, exactly once.
    pub(crate) async fn deliver(&self, account: AccountId, delivery: AccountDelivery, body: &Body) -> Answer {
        match tokio::time::timeout(PATIENCE, self.attempts(account, delivery, body)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Unreachable,
        }
    }

    /// When an answer is lost, the account is asked whether it has the delivery before it is sent again.
    async fn attempts(&self, account: AccountId, delivery: AccountDelivery, body: &Body) -> Answer {
        let id = delivery.id;
        let request = QueuedToAccountd::Deliver(delivery);
        let mut lost = false;
        for _ in 0..ATTEMPTS {
            let Some(channel) = self.channel(account).await else { return Answer::Unreachable };
            if lost {
                match channel.asker.call(&QueuedToAccountd::Have(id), Vec::new()).await {
                    Ok((AccountdToQueued::Known(true), _)) => return Answer::Filed,
                    Ok((AccountdToQueued::Known(false), _)) => {}
                    Ok((AccountdToQueued::Filed | AccountdToQueued::Refused(_), _)) => {
                        self.nonsense(account, &channel);
                        continue;
                    }
                    Err(error) => {
                        self.lost(account, id, &channel, error);
                        continue;
                    }
                }
            }
            let fd = match body.fd() {
                Ok(fd) => fd,
                Err(error) => {
                    tracing::error!(mail = %id, "cannot hand on a message: {error}");
                    return Answer::Refused(AccountRefusal::Fault);
                }
            };
            match channel.asker.call(&request, vec![fd]).await {
                Ok((AccountdToQueued::Filed, _)) => return Answer::Filed,
                Ok((AccountdToQueued::Refused(refusal), _)) => return Answer::Refused(refusal),
                Ok((AccountdToQueued::Known(_), _)) => self.nonsense(account, &channel),
                Err(CallError::Busy) => return Answer::Unreachable,
                Err(CallError::TooLarge) => {
                    tracing::error!(mail = %id, "header fields too large for an account's channel");
                    return Answer::Refused(AccountRefusal::Fault);
                }
                Err(error) => self.lost(account, id, &channel, error),
            }
            lost = true;
        }
        Answer::Unreachable
    }

    /// An answer did not come. `Dropped` leaves the channel as it is; after all else a new one is asked for.
    fn lost(&self, account: AccountId, id: DeliveryId, channel: &Channel, error: CallError) {
        tracing::warn!(mail = %id, %account, "an account's answer was lost: {error}");
        match error {
            CallError::Dropped | CallError::Busy | CallError::TooLarge => {}
            CallError::PeerRestarted | CallError::Deadline | CallError::Violation(_) => {
                self.forget(account, channel.generation);
            }
        }
    }

    /// An answer of the channel, but not to this question.
    fn nonsense(&self, account: AccountId, channel: &Channel) {
        self.switchboard.violation(ChannelId::QueuedAccountd, Some(account), Violation::Unexpected);
        self.forget(account, channel.generation);
    }
}

/// A channel is over: its process left, died, or broke the rules.
fn ended(accounts: &Weak<Accounts>, account: AccountId, generation: u64, violation: Option<Violation>) {
    let Some(accounts) = accounts.upgrade() else { return };
    accounts.forget(account, generation);
    if let Some(violation) = violation {
        accounts.switchboard.violation(ChannelId::QueuedAccountd, Some(account), violation);
    }
}
