//! What the front asks authd and queued.

use std::{future::Future, os::fd::OwnedFd, pin::Pin, task::Poll};

use ipc_proto::{
    CallError, DeliveryId,
    authd::{AuthdToSmtpd, RecipientQuery, SmtpdToAuthd},
    delivery::{Deliver, QueuedToSmtpd, SmtpdToQueued, SpoolNumber},
};
use smtpd::{MessageVerdict, RecipientVerdict, Refusal};

use super::Front;

/// Queueds that are asked for one message, one after the other.
const ATTEMPTS: usize = 3;

/// Who gives places for messages that are too large for memory.
pub(crate) trait Spool {
    /// A write-only file, or `None` when there is no place now.
    fn spool(&self) -> impl Future<Output = Option<(OwnedFd, SpoolNumber)>> + Send;
}

impl Spool for Front {
    async fn spool(&self) -> Option<(OwnedFd, SpoolNumber)> {
        match self.queued.call(&SmtpdToQueued::Spool, Vec::new()).await {
            Ok((QueuedToSmtpd::Spool(number), fds)) => fds.into_iter().next().map(|fd| (fd, number)),
            Ok((QueuedToSmtpd::NoSpool, _)) => None,
            Ok((QueuedToSmtpd::Delivered(_) | QueuedToSmtpd::Refused, _)) => {
                tracing::warn!("queued answered another question than for a spool file");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "no spool file from queued");
                None
            }
        }
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
    /// If queued dies meanwhile, the next one is asked the same: by the message's id it knows what is done already. The
    /// client, told to come again, would bring the message under another id, and a second copy.
    pub(super) async fn deliver(&self, deliver: Deliver, fd: OwnedFd) -> MessageVerdict {
        let (id, count) = (deliver.id, deliver.recipients.len());
        let refused = |what: &str| {
            tracing::error!(mail = %id, "queued {what}");
            MessageVerdict::Refused(Refusal::Fault)
        };
        let spooled = deliver.spool.is_some();
        let request = SmtpdToQueued::Deliver(deliver);
        let mut answer = Err(CallError::PeerRestarted);
        if spooled {
            // A second handle would be a writer that is left, and a queued that died has no spool files.
            answer = self.queued.call(&request, vec![fd]).await;
        } else {
            for _ in 0..ATTEMPTS {
                let Ok(fd) = fd.try_clone() else { break };
                answer = self.queued.call(&request, vec![fd]).await;
                if !matches!(answer, Err(CallError::PeerRestarted)) {
                    break;
                }
            }
        }
        match answer {
            Ok((QueuedToSmtpd::Delivered(outcomes), _)) if outcomes.len() == count => {
                MessageVerdict::of(id, &outcomes)
            }
            Ok((QueuedToSmtpd::Delivered(_), _)) => refused("answered for other recipients"),
            Ok((QueuedToSmtpd::Refused, _)) => refused("did not take the message"),
            Ok((QueuedToSmtpd::Spool(_) | QueuedToSmtpd::NoSpool, _)) => refused("answered another question"),
            Err(error) => unanswered(id, error),
        }
    }
}

fn unanswered(id: DeliveryId, error: CallError) -> MessageVerdict {
    tracing::warn!(mail = %id, %error, "queued did not say what became of the message");
    MessageVerdict::Refused(Refusal::Fault)
}

/// One of several calls.
enum Call<F> {
    Asked(Pin<Box<F>>),
    Answered(RecipientVerdict),
}
