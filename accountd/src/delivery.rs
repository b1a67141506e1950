//! Messages from queued: checked, copied and indexed here, committed by the store's writer, answered after the commit.
//!
//! The delivery thread takes the next request as soon as a message is staged; the writer answers for all messages of a
//! commit. A large message is staged by a thread of its own, so that its fsync holds up nobody.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use ipc_proto::{
    ChannelId, Violation,
    blocking::{Answerer, Question, Responder},
    delivery::{AccountDelivery, AccountRefusal, AccountdToQueued, QueuedAccountd, QueuedToAccountd},
};
use store_lib::{Delivery, DeliveryId, Flags, MailboxName, Parse, Staged, Store, StoreError, UnixSeconds};

use crate::{
    account::{STACK, Supervisor},
    activity::{Activity, Busy},
    body::Body,
    safe_mode,
};

/// Deliveries taken and not yet answered. Their octets are in memory while they wait for the commit, small ones with up
/// to 64 KiB each.
const IN_FLIGHT: usize = 64;

/// Larger messages become files, which are synced before their commit.
const LARGE: u64 = 64 * 1024;

/// Threads for large messages; when all are busy the delivery thread does it itself, and queued waits.
const HELPERS: usize = 2;

/// What deliveries need.
#[derive(Debug)]
pub(crate) struct Deliveries {
    pub(crate) store: Store,
    pub(crate) activity: Activity,
    pub(crate) supervisor: Arc<dyn Supervisor>,
    /// The largest message, octets.
    pub(crate) message_size: u64,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) helpers: AtomicUsize,
}

/// One of the threads for large messages; its place is given back when it is dropped.
struct Helper(Arc<Deliveries>);

impl Helper {
    fn free(deliveries: &Arc<Deliveries>) -> Option<Self> {
        let one_more = |count: usize| (count < HELPERS).then_some(count + 1);
        let taken = deliveries.helpers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self(Arc::clone(deliveries)))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.helpers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One delivery and the duty to answer it.
#[derive(Debug)]
struct Task {
    delivery: AccountDelivery,
    body: Body,
    responder: Responder<QueuedAccountd>,
    busy: Busy,
}

impl Deliveries {
    /// Serves one channel of queued until it is over.
    pub(crate) fn serve(self: &Arc<Self>, stream: UnixStream) {
        let mut answerer = match Answerer::<QueuedAccountd>::new(stream, IN_FLIGHT) {
            Ok(answerer) => answerer,
            // queued is gone already.
            Err(error) => return tracing::debug!("the channel of queued did not start: {error}"),
        };
        loop {
            match answerer.next_question() {
                Ok(Some(question)) => {
                    if let Err(violation) = self.take(question) {
                        return self.supervisor.violation(ChannelId::QueuedAccountd, violation);
                    }
                }
                Ok(None) => return,
                Err(violation) => return self.supervisor.violation(ChannelId::QueuedAccountd, violation),
            }
        }
    }

    fn take(self: &Arc<Self>, question: Question<QueuedAccountd>) -> Result<(), Violation> {
        let Question { request, fds, responder } = question;
        match request {
            QueuedToAccountd::Have(id) => {
                // Only what is committed counts. One that still waits for its commit is sent again and gets the same
                // answer then.
                match self.store.delivered(DeliveryId(id.0)) {
                    Ok(filed) => responder.reply(&AccountdToQueued::Known(filed.is_some()), &[]),
                    // Dropped unanswered, queued asks again.
                    Err(error) => tracing::error!(mail = %id, "cannot look up a delivery: {error}"),
                }
                Ok(())
            }
            // Dropped unanswered, queued sends it to the next process.
            QueuedToAccountd::Deliver(delivery) => {
                // In this order: who stops looks afterwards whether anything is under way.
                let busy = self.activity.begin();
                if self.stopping.load(Ordering::Relaxed) {
                    Ok(())
                } else {
                    self.deliver(delivery, fds, responder, busy)
                }
            }
        }
    }

    fn deliver(
        self: &Arc<Self>,
        delivery: AccountDelivery,
        fds: Vec<OwnedFd>,
        responder: Responder<QueuedAccountd>,
        busy: Busy,
    ) -> Result<(), Violation> {
        let body = fds
            .into_iter()
            .next()
            .ok_or(crate::body::BodyError::Missing)
            .and_then(|fd| Body::check(fd, delivery.size))
            .map_err(|error| {
                tracing::warn!(mail = %delivery.id, "refused a message from queued: {error}");
                Violation::FdCount
            })?;
        let task = Task { delivery, body, responder, busy };
        if task.body.size() <= LARGE {
            self.file(task);
            return Ok(());
        }
        match Helper::free(self) {
            None => self.file(task),
            Some(helper) => {
                let thread = thread::Builder::new().name("large message".to_owned()).stack_size(STACK);
                if let Err(error) = thread.spawn(move || helper.0.file(task)) {
                    // The task went with the closure; dropped unanswered, queued asks and sends it again.
                    tracing::error!("cannot start a thread: {error}");
                }
            }
        }
        Ok(())
    }

    /// Stages the message and gives it to the writer, which answers.
    fn file(&self, task: Task) {
        let Task { delivery, mut body, responder, busy } = task;
        let id = DeliveryId(delivery.id.0);
        // The writer finds repeats by itself; a large one is spared the copy.
        if body.size() > LARGE && matches!(self.store.delivered(id), Ok(Some(_))) {
            tracing::info!(mail = %delivery.id, connection = %delivery.connection, "filed before");
            return responder.reply(&AccountdToQueued::Filed, &[]);
        }
        let staged = match self.stage(&delivery, &mut body) {
            Ok(staged) => staged,
            Err(error) => return refuse(&delivery, responder, &error, &*self.supervisor),
        };
        let parsed = staged.is_parsed();
        let order = Delivery {
            id,
            mailbox: MailboxName::inbox(),
            flags: Flags::default(),
            received: UnixSeconds(delivery.received.seconds),
        };
        let supervisor = Arc::clone(&self.supervisor);
        // Runs in the writer's thread. The answer is a few octets, and at most IN_FLIGHT of them are unread: the
        // socket has room for them, the writer does not wait.
        self.store.deliver(staged, order, move |result| {
            match result {
                Ok(delivered) => {
                    responder.reply(&AccountdToQueued::Filed, &[]);
                    tracing::info!(mail = %delivery.id, connection = %delivery.connection,
                        size = delivery.size, uid = delivered.filed.uid.value(), repeat = delivered.repeat,
                        parsed, "filed");
                }
                Err(error) => refuse(&delivery, responder, &error, &*supervisor),
            }
            drop(busy);
        });
    }

    /// Copies and hashes the message, and looks into it unless that has killed us before.
    fn stage(&self, delivery: &AccountDelivery, body: &mut Body) -> Result<Staged, StoreError> {
        let id = DeliveryId(delivery.id.0);
        let mut stage = |parse| {
            let staged = self.store.stage(&delivery.prefix, body, parse, self.message_size)?;
            let expected = delivery.size.saturating_add(delivery.prefix.len() as u64);
            if staged.size() == expected {
                Ok(staged)
            } else {
                Err(StoreError::Source(format!("{} octets came, {expected} were stated", staged.size())))
            }
        };
        if self.store.is_poisoned(id) {
            tracing::warn!(mail = %delivery.id, "this message was being parsed when the process died");
            return stage(Parse::No);
        }
        if safe_mode::look(&self.store, UnixSeconds::now()) {
            tracing::debug!(mail = %delivery.id, "safe mode after several crashes: filed without parsing");
            return stage(Parse::No);
        }
        let in_hand = self.store.begin_parse(id)?;
        let parsed = catch_unwind(AssertUnwindSafe(|| stage(Parse::Yes)));
        drop(in_hand);
        match parsed {
            Ok(result) => result,
            Err(_) => {
                tracing::error!(mail = %delivery.id, "parsing panicked: filed without");
                stage(Parse::No)
            }
        }
    }
}

/// Says why not. Nothing of the message is kept.
fn refuse(
    delivery: &AccountDelivery,
    responder: Responder<QueuedAccountd>,
    error: &StoreError,
    supervisor: &dyn Supervisor,
) {
    if let StoreError::OverQuota = error {
        tracing::info!(mail = %delivery.id, connection = %delivery.connection, size = delivery.size, "over quota");
        supervisor.full();
    } else {
        tracing::error!(mail = %delivery.id, connection = %delivery.connection, "cannot file a message: {error}");
    }
    let refusal = match error {
        StoreError::NoSpace => AccountRefusal::NoSpace,
        StoreError::OverQuota => AccountRefusal::MailboxFull,
        StoreError::Fault(_)
        | StoreError::Damaged { .. }
        | StoreError::Missing { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::InUse { .. }
        | StoreError::Open { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Source(_)
        | StoreError::NoSuchMailbox
        | StoreError::MailboxExists
        | StoreError::HasChildren
        | StoreError::NoSuchMessage
        | StoreError::UseTaken
        | StoreError::NotAllowed
        | StoreError::TooMany(_)
        | StoreError::OutOfBudget
        | StoreError::Closed => AccountRefusal::Fault,
    };
    responder.reply(&AccountdToQueued::Refused(refusal), &[]);
}
