//! What the front asks authd and queued.

use std::{future::Future, os::fd::OwnedFd, pin::Pin, sync::Arc, task::Poll, time::Duration};

use ipc_proto::{
    CallError,
    authd::{AuthdToSmtpd, RecipientQuery, SmtpdToAuthd},
    delivery::{Deliver, Outcome, QueuedToSmtpd, SmtpdQueued, SmtpdToQueued, SpoolNumber},
    stream::Link,
};
use smtpd::{MessageVerdict, RecipientVerdict, Refusal};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{Front, body::Octets};

/// Queueds that are asked for one spool file, one after the other.
const ATTEMPTS: usize = 3;

/// How long a lost answer is asked for again. Clients wait ten minutes (RFC 5321 §4.5.3.2.6).
const PATIENCE: Duration = Duration::from_secs(300);

/// Answers that may be lost for another reason than a restart: that may be the message's doing.
const DROPPED: u32 = 3;

/// Before a lost answer is asked for again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who gives places for messages that are too large for memory.
pub(crate) trait Spool {
    /// A write-only file, or `None` when there is no place now.
    fn spool(&self) -> impl Future<Output = Option<(OwnedFd, Spooled)>> + Send;
}

/// A spool file. It stays, whoever asks for it how often, until this is dropped: then queued is told.
#[derive(Debug)]
pub(crate) struct Spooled {
    number: SpoolNumber,
    queued: Arc<Link<SmtpdQueued>>,
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // Without a runtime this process is at its end, and queued learns of that.
        let Ok(runtime) = Handle::try_current() else { return };
        let (number, queued) = (self.number, Arc::clone(&self.queued));
        runtime.spawn(async move {
            if let Err(error) = queued.call(&SmtpdToQueued::Forget(number), Vec::new()).await {
                tracing::debug!(%error, "queued was not told of a spool file");
            }
        });
    }
}

impl Spool for Front {
    async fn spool(&self) -> Option<(OwnedFd, Spooled)> {
        for _ in 0..ATTEMPTS {
            match self.queued.call(&SmtpdToQueued::Spool, Vec::new()).await {
                Ok((QueuedToSmtpd::Spool(number), fds)) => {
                    let spooled = Spooled { number, queued: Arc::clone(&self.queued) };
                    return fds.into_iter().next().map(|fd| (fd, spooled));
                }
                Ok((QueuedToSmtpd::NoSpool, _)) => return None,
                Ok((QueuedToSmtpd::Delivered(_) | QueuedToSmtpd::Refused | QueuedToSmtpd::Forgotten, _)) => {
                    tracing::warn!("queued answered another question than for a spool file");
                    return None;
                }
                Err(CallError::PeerRestarted) => {}
                Err(error) => {
                    tracing::warn!(%error, "no spool file from queued");
                    return None;
                }
            }
        }
        None
    }
}

impl Front {
    /// Whose these are: asked all at once, answered in their order.
    pub(super) async fn recipients(&self, queries: Vec<RecipientQuery>) -> Vec<RecipientVerdict> {
        let mut calls: Vec<_> =
            queries.into_iter().map(|query| Call::Asked(Box::pin(self.recipient(query)))).collect();
        std::future::poll_fn(|context| {
            let mut all = true;
            for call in &mut calls {
                if let Call::Asked(future) = call {
                    match future.as_mut().poll(context) {
                        Poll::Ready(verdict) => *call = Call::Answered(verdict),
                        Poll::Pending => all = false,
                    }
                }
            }
            if all { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        calls
            .into_iter()
            .map(|call| match call {
                Call::Answered(verdict) => verdict,
                Call::Asked(_) => RecipientVerdict::Failed,
            })
            .collect()
    }

    async fn recipient(&self, query: RecipientQuery) -> RecipientVerdict {
        match self.authd.link().call(&SmtpdToAuthd::Recipient(query), Vec::new()).await {
            Ok((AuthdToSmtpd::Recipient(recipient), _)) => recipient.into(),
            Ok((AuthdToSmtpd::Client(_), _)) => {
                tracing::warn!("authd answered another question than whose a recipient is");
                RecipientVerdict::Failed
            }
            Err(error) => {
                tracing::warn!(%error, "authd did not say whose a recipient is");
                RecipientVerdict::Failed
            }
        }
    }

    /// Has a message delivered. What is not known to be on disk counts as not kept: the client tries again.
    ///
    /// If the answer is lost, the message may be on disk all the same, and the client, told to come again, would bring
    /// a second copy under another id. So the same is asked again, of the next queued if need be, until there is an
    /// answer: by the message's id it is known what is done already.
    pub(super) async fn deliver(&self, mut deliver: Deliver, octets: &Octets) -> MessageVerdict {
        deliver.spool = match octets {
            Octets::Memory { .. } => None,
            Octets::Spool(spooled) => Some(spooled.number),
        };
        let (id, count) = (deliver.id, deliver.recipients.len());
        let request = SmtpdToQueued::Deliver(deliver);
        let began = Instant::now();
        // Set when an answer was lost; until then what is said holds.
        let mut pause = None;
        let mut dropped = 0;
        loop {
            let (answer, may_change) = match self.ask(&request, count, octets).await {
                Ok(outcomes) => {
                    let later = outcomes.iter().any(|outcome| matches!(outcome, Outcome::TryLater { .. }));
                    (MessageVerdict::of(id, &outcomes), later)
                }
                Err(Unanswered::Lost(error)) => {
                    tracing::warn!(mail = %id, %error, "queued did not say what became of the message");
                    pause.get_or_insert(FIRST_PAUSE);
                    dropped += u32::from(error != CallError::PeerRestarted);
                    (MessageVerdict::Refused(Refusal::Fault), dropped < DROPPED)
                }
                Err(Unanswered::NotTaken(what)) => {
                    tracing::error!(mail = %id, "queued {what}");
                    (MessageVerdict::Refused(Refusal::Fault), false)
                }
            };
            match &mut pause {
                Some(pause) if may_change && began.elapsed() < PATIENCE => {
                    sleep(*pause).await;
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                }
                Some(_) | None => return answer,
            }
        }
    }

    async fn ask(
        &self,
        request: &SmtpdToQueued,
        recipients: usize,
        octets: &Octets,
    ) -> Result<Vec<Outcome>, Unanswered> {
        let fds = match octets {
            Octets::Memory { fd, .. } => {
                vec![fd.try_clone().map_err(|_| Unanswered::NotTaken("cannot be handed the message"))?]
            }
            Octets::Spool(_) => Vec::new(),
        };
        match self.queued.call(request, fds).await {
            Ok((QueuedToSmtpd::Delivered(outcomes), _)) if outcomes.len() == recipients => Ok(outcomes),
            Ok((QueuedToSmtpd::Delivered(_), _)) => {
                Err(Unanswered::NotTaken("answered for other recipients"))
            }
            Ok((QueuedToSmtpd::Refused, _)) => Err(Unanswered::NotTaken("did not take the message")),
            Ok((QueuedToSmtpd::Spool(_) | QueuedToSmtpd::NoSpool | QueuedToSmtpd::Forgotten, _)) => {
                Err(Unanswered::NotTaken("answered another question"))
            }
            Err(CallError::TooLarge) => Err(Unanswered::NotTaken("cannot be sent so much")),
            Err(error) => Err(Unanswered::Lost(error)),
        }
    }
}

/// Why there are no outcomes.
enum Unanswered {
    /// Nobody knows what became of it.
    Lost(CallError),
    /// It was not looked at, or not as it should be.
    NotTaken(&'static str),
}

/// One of several calls.
enum Call<F> {
    Asked(Pin<Box<F>>),
    Answered(RecipientVerdict),
}
