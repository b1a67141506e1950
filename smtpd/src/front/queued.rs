//! What both servers ask queued: places for large messages, and what becomes of messages.

use std::{fmt::Debug, future::Future, os::fd::OwnedFd, sync::Arc, time::Duration};

use ipc_proto::{
    CallError, Channel,
    delivery::{Deliver, Outcome, SpoolNumber},
    stream::Link,
    submission::{SubmissionRefusal, Ungranted},
    types::Timestamp,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{Front, body::Octets, role::Role};
use crate::{MessageVerdict, Refusal};

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

/// A role's channel to queued: the part that both roles have.
pub(crate) trait QueuedChannel: Channel<Request: Sync> {
    /// Asks for a spool file.
    fn spool() -> Self::Request;
    /// Has one forgotten.
    fn forget(number: SpoolNumber) -> Self::Request;
    /// Hands a message over, which is not to go before `hold`.
    fn deliver(deliver: Deliver, hold: Option<Timestamp>) -> Self::Request;
    /// The answer, as both roles know it.
    fn answer(reply: Self::Reply) -> Answer;
}

/// What queued answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its fd is attached.
    Spool(SpoolNumber),
    NoSpool,
    /// One outcome per recipient, in their order.
    Delivered(Vec<Outcome>),
    /// The message is not taken from whoever logged in.
    NotSubmitted(SubmissionRefusal),
    /// It was not looked at.
    Refused,
    /// To another question.
    Other,
}

/// Who gives places for messages that are too large for memory.
pub(crate) trait Spool {
    /// A write-only file, or `None` when there is no place now.
    fn spool(&self) -> impl Future<Output = Option<(OwnedFd, Spooled)>> + Send;
}

/// A spool file. It stays, whoever asks for it how often, until this is dropped: then queued is told.
#[derive(Debug)]
pub(crate) struct Spooled {
    number: SpoolNumber,
    queued: Arc<dyn Forget>,
}

/// Whom to tell.
trait Forget: Debug + Send + Sync {
    fn forget(self: Arc<Self>, number: SpoolNumber);
}

impl<Q: QueuedChannel> Forget for Link<Q> {
    fn forget(self: Arc<Self>, number: SpoolNumber) {
        // Without a runtime this process is at its end, and queued learns of that.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = self.call(&Q::forget(number), Vec::new()).await {
                tracing::debug!(%error, "queued was not told of a spool file");
            }
        });
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        Arc::clone(&self.queued).forget(self.number);
    }
}

impl<R: Role> Spool for Front<R> {
    async fn spool(&self) -> Option<(OwnedFd, Spooled)> {
        for _ in 0..ATTEMPTS {
            let (answer, fds) = match self.queued.call(&R::Queued::spool(), Vec::new()).await {
                Ok((reply, fds)) => (R::Queued::answer(reply), fds),
                Err(CallError::PeerRestarted) => continue,
                Err(error) => {
                    tracing::warn!(%error, "no spool file from queued");
                    return None;
                }
            };
            return match answer {
                Answer::Spool(number) => {
                    let queued = Arc::<Link<R::Queued>>::clone(&self.queued);
                    let spooled = Spooled { number, queued };
                    fds.into_iter().next().map(|fd| (fd, spooled))
                }
                Answer::NoSpool => None,
                Answer::Delivered(_) | Answer::NotSubmitted(_) | Answer::Refused | Answer::Other => {
                    tracing::warn!("queued answered another question than for a spool file");
                    None
                }
            };
        }
        None
    }
}

impl<R: Role> Front<R> {
    /// Has a message delivered. What is not known to be on disk counts as not kept: the client tries again.
    ///
    /// If the answer is lost, the message may be on disk all the same, and the client, told to come again, would bring
    /// a second copy under another id. So the same is asked again, of the next queued if need be, until there is an
    /// answer: by the message's id it is known what is done already.
    pub(super) async fn deliver(
        &self,
        mut deliver: Deliver,
        hold: Option<Timestamp>,
        octets: &Octets,
    ) -> MessageVerdict {
        deliver.spool = match octets {
            Octets::Memory { .. } => None,
            Octets::Spool(spooled) => Some(spooled.number),
        };
        let (id, count) = (deliver.id, deliver.recipients.len());
        let request = R::Queued::deliver(deliver, hold);
        let began = Instant::now();
        // Set when an answer was lost; until then what is said holds.
        let mut pause = None;
        let mut dropped = 0;
        loop {
            let (answer, may_change) = match self.ask(&request, count, octets).await {
                Ok(Kept::Outcomes(outcomes)) => {
                    let later = outcomes.iter().any(|outcome| matches!(outcome, Outcome::TryLater { .. }));
                    (MessageVerdict::of(id, &outcomes), later)
                }
                Ok(Kept::Nothing(refusal)) => {
                    // A queued that has just started does not know yet who may submit.
                    let later = refusal == SubmissionRefusal::Ungranted(Ungranted::TryLater);
                    (MessageVerdict::NotSubmitted(refusal), later)
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
        request: &<R::Queued as Channel>::Request,
        recipients: usize,
        octets: &Octets,
    ) -> Result<Kept, Unanswered> {
        let fds = match octets {
            Octets::Memory { fd, .. } => {
                vec![fd.try_clone().map_err(|_| Unanswered::NotTaken("cannot be handed the message"))?]
            }
            Octets::Spool(_) => Vec::new(),
        };
        let answer = match self.queued.call(request, fds).await {
            Ok((reply, _)) => R::Queued::answer(reply),
            Err(CallError::TooLarge) => return Err(Unanswered::NotTaken("cannot be sent so much")),
            Err(error) => return Err(Unanswered::Lost(error)),
        };
        match answer {
            Answer::Delivered(outcomes) if outcomes.len() == recipients => Ok(Kept::Outcomes(outcomes)),
            Answer::Delivered(_) => Err(Unanswered::NotTaken("answered for other recipients")),
            Answer::NotSubmitted(refusal) => Ok(Kept::Nothing(refusal)),
            Answer::Refused => Err(Unanswered::NotTaken("did not take the message")),
            Answer::Spool(_) | Answer::NoSpool | Answer::Other => {
                Err(Unanswered::NotTaken("answered another question"))
            }
        }
    }
}

/// What queued made of a message.
enum Kept {
    /// For each recipient.
    Outcomes(Vec<Outcome>),
    /// It was not taken.
    Nothing(SubmissionRefusal),
}

/// Why there are no outcomes.
enum Unanswered {
    /// Nobody knows what became of it.
    Lost(CallError),
    /// It was not looked at, or not as it should be.
    NotTaken(&'static str),
}
