//! Port 25: whose a recipient is says authd.

use std::{pin::Pin, sync::Arc, task::Poll};

use ipc_proto::{
    ConnectionId,
    authd::{AuthdToSmtpd, RecipientQuery, SmtpdAuthd, SmtpdToAuthd},
    control::{self, RoleSettings, Service},
    delivery::{Deliver, QueuedToSmtpd, SmtpdQueued, SmtpdToQueued, SpoolNumber},
    tls::SmtpdKeyd,
    types::Timestamp,
};
use mail_lib::address::Address;

use super::{
    Front,
    queued::{Answer, QueuedChannel},
    role::{Entrance, Role},
    settings::Settings,
};
use crate::{Limits, Privacy, RecipientVerdict, Session, TlsOffer};

/// smtpd.
#[derive(Debug)]
pub(crate) struct Incoming;

impl Role for Incoming {
    type Keyd = SmtpdKeyd;
    type Authd = SmtpdAuthd;
    type Queued = SmtpdQueued;

    const LOGINS: bool = false;

    fn settings(all: &control::Settings) -> Option<Settings> {
        let RoleSettings::Smtpd(own) = &all.own else { return None };
        Some(Settings::new(all, own))
    }

    fn entrance(service: Service) -> Option<Entrance> {
        match service {
            Service::Smtp => Some(Entrance::StartTls),
            Service::Imap
            | Service::Imaps
            | Service::Http
            | Service::Https
            | Service::Submission
            | Service::Submissions => None,
        }
    }

    fn session(limits: Arc<Limits>, _: Privacy) -> Session {
        Session::incoming(limits, TlsOffer::StartTls)
    }

    /// Asks about all at once.
    async fn recipients(
        front: &Front<Self>,
        _: ConnectionId,
        queries: Vec<RecipientQuery>,
        from: Option<Address>,
    ) -> Vec<RecipientVerdict> {
        let mut calls: Vec<_> = queries
            .into_iter()
            .map(|query| Call::Asked(Box::pin(recipient(front, query, from.clone()))))
            .collect();
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
}

/// One of several calls.
enum Call<F> {
    Asked(Pin<Box<F>>),
    Answered(RecipientVerdict),
}

async fn recipient(
    front: &Front<Incoming>,
    query: RecipientQuery,
    from: Option<Address>,
) -> RecipientVerdict {
    match front.authd.link().call(&SmtpdToAuthd::Recipient(query, from), Vec::new()).await {
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

impl QueuedChannel for SmtpdQueued {
    fn spool() -> SmtpdToQueued {
        SmtpdToQueued::Spool
    }

    fn forget(number: SpoolNumber) -> SmtpdToQueued {
        SmtpdToQueued::Forget(number)
    }

    /// Nobody asks for a message of another server's to be held back.
    fn deliver(deliver: Deliver, _: Option<Timestamp>) -> SmtpdToQueued {
        SmtpdToQueued::Deliver(deliver)
    }

    fn answer(reply: QueuedToSmtpd) -> Answer {
        match reply {
            QueuedToSmtpd::Spool(number) => Answer::Spool(number),
            QueuedToSmtpd::NoSpool => Answer::NoSpool,
            QueuedToSmtpd::Delivered(outcomes) => Answer::Delivered(outcomes),
            QueuedToSmtpd::Refused => Answer::Refused,
            QueuedToSmtpd::Forgotten => Answer::Other,
        }
    }
}
