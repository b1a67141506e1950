//! Ports 465 and 587: who somebody is says authd; what they may do says queued, by the connection's number.

use std::sync::Arc;

use ipc_proto::{
    CallError, ConnectionId,
    authd::{AuthdToSubmitd, Login, RecipientQuery, SubmitdAuthd, SubmitdToAuthd},
    control::{self, RoleSettings, Service},
    delivery::{Deliver, SpoolNumber},
    sasl::{SaslReply, SaslStep},
    submission::{QueuedToSubmitd, Submit, SubmitdQueued, SubmitdToQueued, Submitted},
    tls::SubmitdKeyd,
    types::Timestamp,
};
use mail_lib::address::Address;
use net_lib::at_least_one;
use tokio::time::sleep;

use super::{
    Front,
    queued::{Answer, QueuedChannel},
    role::{Entrance, Role},
    settings::Settings,
};
use crate::{Limits, Privacy, RecipientVerdict, SenderVerdict, Session};

/// submitd.
#[derive(Debug)]
pub(crate) struct Submission;

impl Role for Submission {
    type Keyd = SubmitdKeyd;
    type Authd = SubmitdAuthd;
    type Queued = SubmitdQueued;

    const LOGINS: bool = true;

    fn settings(all: &control::Settings) -> Option<Settings> {
        let RoleSettings::Submitd(own) = &all.own else { return None };
        Some(Settings {
            fresh: at_least_one(own.pre_login_connections),
            plain_login_on_loopback: own.plain_login_on_loopback,
            ..Settings::new(all, &own.smtp)
        })
    }

    fn entrance(service: Service) -> Option<Entrance> {
        match service {
            Service::Submission => Some(Entrance::StartTls),
            Service::Submissions => Some(Entrance::Tls),
            Service::Smtp | Service::Imap | Service::Imaps | Service::Http | Service::Https => None,
        }
    }

    fn session(limits: Arc<Limits>, privacy: Privacy) -> Session {
        Session::submission(limits, privacy)
    }

    async fn recipients(
        front: &Front<Self>,
        connection: ConnectionId,
        queries: Vec<RecipientQuery>,
        // Who posts is known by the login.
        _: Option<Address>,
    ) -> Vec<RecipientVerdict> {
        let count = queries.len();
        match ask(front, SubmitdToQueued::Recipients(connection, queries)).await {
            Ok(QueuedToSubmitd::Recipients(Ok(recipients))) if recipients.len() == count => {
                recipients.into_iter().map(RecipientVerdict::from).collect()
            }
            Ok(QueuedToSubmitd::Recipients(Err(why))) => vec![RecipientVerdict::Ungranted(why); count],
            Ok(_) => {
                tracing::warn!(%connection, "queued answered another question than what recipients are");
                vec![RecipientVerdict::Failed; count]
            }
            Err(error) => {
                tracing::warn!(%connection, %error, "queued did not say what recipients are");
                vec![RecipientVerdict::Failed; count]
            }
        }
    }

    async fn sender(front: &Front<Self>, connection: ConnectionId, from: Option<Address>) -> SenderVerdict {
        match ask(front, SubmitdToQueued::Sender(connection, from)).await {
            Ok(QueuedToSubmitd::Sender(sender)) => SenderVerdict::Judged(sender),
            Ok(_) => {
                tracing::warn!(%connection, "queued answered another question than about a sender");
                SenderVerdict::Failed
            }
            Err(error) => {
                tracing::warn!(%connection, %error, "queued did not judge a sender");
                SenderVerdict::Failed
            }
        }
    }

    /// A denial comes after the pause that authd wants.
    async fn authenticate(front: &Front<Self>, connection: ConnectionId, step: SaslStep) -> SaslReply {
        let request = SubmitdToAuthd::Sasl(connection, step);
        let reply = front.authd.link().call(&request, Vec::new()).await;
        drop(request);
        let reply = match reply {
            Ok((AuthdToSubmitd::Sasl(reply), _)) => reply,
            Ok((AuthdToSubmitd::Client(_), _)) => {
                tracing::warn!(%connection, "authd answered another question than the login");
                SaslReply::Ended(Login::TryLater)
            }
            Err(error) => {
                tracing::warn!(%connection, %error, "login not judged");
                SaslReply::Ended(Login::TryLater)
            }
        };
        if let SaslReply::Ended(login) = &reply {
            match login {
                Login::Ok(session) => tracing::info!(%connection, %session, "logged in"),
                Login::Denied { .. } => tracing::info!(%connection, "login denied"),
                Login::TryLater => tracing::info!(%connection, "login put off"),
                Login::OnlyAsYourself => tracing::info!(%connection, "login as another refused"),
            }
            sleep(login.wait()).await;
        }
        reply
    }
}

async fn ask(front: &Front<Submission>, request: SubmitdToQueued) -> Result<QueuedToSubmitd, CallError> {
    front.queued.call(&request, Vec::new()).await.map(|(reply, _)| reply)
}

impl QueuedChannel for SubmitdQueued {
    fn spool() -> SubmitdToQueued {
        SubmitdToQueued::Spool
    }

    fn forget(number: SpoolNumber) -> SubmitdToQueued {
        SubmitdToQueued::Forget(number)
    }

    fn deliver(deliver: Deliver, hold: Option<Timestamp>) -> SubmitdToQueued {
        SubmitdToQueued::Submit(Submit { deliver, hold })
    }

    fn answer(reply: QueuedToSubmitd) -> Answer {
        match reply {
            QueuedToSubmitd::Spool(number) => Answer::Spool(number),
            QueuedToSubmitd::NoSpool => Answer::NoSpool,
            QueuedToSubmitd::Submitted(Submitted::Delivered(outcomes)) => Answer::Delivered(outcomes),
            QueuedToSubmitd::Submitted(Submitted::Refused(refusal)) => Answer::NotSubmitted(refusal),
            QueuedToSubmitd::Refused => Answer::Refused,
            QueuedToSubmitd::Sender(_) | QueuedToSubmitd::Recipients(_) | QueuedToSubmitd::Forgotten => {
                Answer::Other
            }
        }
    }
}
