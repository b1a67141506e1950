//! What the two servers do each in its way.

use std::{fmt::Debug, future::Future, sync::Arc};

use ipc_proto::{
    ConnectionId,
    authd::{Login, RecipientQuery},
    control::{self, Service},
    sasl::{SaslReply, SaslStep},
};
use mail_lib::address::Address;
use net_lib::{ClientChannel, KeydChannel};

use super::{Front, queued::QueuedChannel, settings::Settings};
use crate::{Limits, Privacy, RecipientVerdict, SenderVerdict, Session};

/// How a listener's connections begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// In the clear, with STARTTLS.
    StartTls,
    /// With a TLS handshake.
    Tls,
}

/// One of the two servers.
pub(crate) trait Role: Debug + Sized + Send + Sync + 'static {
    /// Its channel to keyd.
    type Keyd: KeydChannel;
    /// Its channel to authd.
    type Authd: ClientChannel;
    /// Its channel to queued.
    type Queued: QueuedChannel;

    /// Whether people log in: then passwords come in, and where somebody is stays out of the trace field.
    const LOGINS: bool;

    /// From the supervisor's; `None`: they are another role's.
    fn settings(all: &control::Settings) -> Option<Settings>;

    /// How connections of this service begin; `None`: it is another role's.
    fn entrance(service: Service) -> Option<Entrance>;

    /// A new client's session.
    fn session(limits: Arc<Limits>, privacy: Privacy) -> Session;

    /// Whose these are, for a message from there; answered in their order.
    fn recipients(
        front: &Front<Self>,
        connection: ConnectionId,
        queries: Vec<RecipientQuery>,
        from: Option<Address>,
    ) -> impl Future<Output = Vec<RecipientVerdict>> + Send;

    /// Whether it may be the sender of whoever logged in. No session asks where nobody does.
    fn sender(
        front: &Front<Self>,
        connection: ConnectionId,
        from: Option<Address>,
    ) -> impl Future<Output = SenderVerdict> + Send {
        let _ = (front, connection, from);
        async { SenderVerdict::Failed }
    }

    /// A step of a login. Likewise.
    fn authenticate(
        front: &Front<Self>,
        connection: ConnectionId,
        step: SaslStep,
    ) -> impl Future<Output = SaslReply> + Send {
        let _ = (front, connection, step);
        async { SaslReply::Ended(Login::TryLater) }
    }
}
