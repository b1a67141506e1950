//! authd's say over who stays connected.

use std::{
    fmt,
    net::SocketAddr,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ipc_proto::{
    CallError, Channel, ConnectionId, Violation,
    authd::{
        AuthdToImapd, AuthdToSmtpd, AuthdToSubmitd, Client, ClientReply, ImapdAuthd, ImapdToAuthd, Offence,
        SmtpdAuthd, SmtpdToAuthd, SubmitdAuthd, SubmitdToAuthd, TurnedAway, WebdAuthd,
    },
    stream::Link,
    types::ClientAddress,
};

/// A front's channel to authd: the part that speaks of clients.
pub trait ClientChannel: Channel<Request: Sync> {
    /// As this channel's request.
    fn request(client: Client) -> Self::Request;
    /// `None`: an answer to something else.
    fn reply(reply: Self::Reply) -> Option<ClientReply>;
}

impl ClientChannel for SmtpdAuthd {
    fn request(client: Client) -> SmtpdToAuthd {
        SmtpdToAuthd::Client(client)
    }

    fn reply(reply: AuthdToSmtpd) -> Option<ClientReply> {
        match reply {
            AuthdToSmtpd::Client(reply) => Some(reply),
            AuthdToSmtpd::Recipient(_) => None,
        }
    }
}

impl ClientChannel for ImapdAuthd {
    fn request(client: Client) -> ImapdToAuthd {
        ImapdToAuthd::Client(client)
    }

    fn reply(reply: AuthdToImapd) -> Option<ClientReply> {
        match reply {
            AuthdToImapd::Client(reply) => Some(reply),
            AuthdToImapd::Login(_) | AuthdToImapd::Sasl(_) => None,
        }
    }
}

impl ClientChannel for SubmitdAuthd {
    fn request(client: Client) -> SubmitdToAuthd {
        SubmitdToAuthd::Client(client)
    }

    fn reply(reply: AuthdToSubmitd) -> Option<ClientReply> {
        match reply {
            AuthdToSubmitd::Client(reply) => Some(reply),
            AuthdToSubmitd::Sasl(_) => None,
        }
    }
}

impl ClientChannel for WebdAuthd {
    fn request(client: Client) -> Client {
        client
    }

    fn reply(reply: ClientReply) -> Option<ClientReply> {
        Some(reply)
    }
}

/// Why a client does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedBack {
    /// authd says so.
    #[error(transparent)]
    Judged(TurnedAway),
    /// authd could not be asked.
    #[error("authd: {0}")]
    NotAsked(CallError),
}

/// The way to authd. Cloned freely; all clones are one.
pub struct Door<C: ClientChannel> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: ClientChannel> {
    link: Link<C>,
    /// Counts the channels so far: a new authd knows nobody who was admitted before.
    channels: AtomicU64,
    /// Which of them lives; 0 for none.
    alive: AtomicU64,
}

impl<C: ClientChannel> Clone for Door<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: ClientChannel> Default for Door<C> {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                link: Link::default(),
                channels: AtomicU64::new(0),
                alive: AtomicU64::new(0),
            }),
        }
    }
}

impl<C: ClientChannel> fmt::Debug for Door<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({:?})", C::ID)
    }
}

impl<C: ClientChannel> Door<C> {
    /// Takes a new channel to authd. `violated` is told when authd breaks its rules.
    pub fn set_channel(
        &self,
        stream: UnixStream,
        violated: impl Fn(Violation) + Send + 'static,
    ) -> std::io::Result<()> {
        let shared = Arc::downgrade(&self.shared);
        let number = self.shared.channels.load(Ordering::Relaxed) + 1;
        self.shared.link.set(stream, move |violation| {
            if let Some(shared) = shared.upgrade() {
                let _ = shared.alive.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
            if let Some(violation) = violation {
                violated(violation);
            }
        })?;
        self.shared.channels.store(number, Ordering::Relaxed);
        self.shared.alive.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// For what else the front asks authd.
    #[must_use]
    pub fn link(&self) -> &Link<C> {
        &self.shared.link
    }

    /// Is there a channel, and authd at its other end?
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.alive.load(Ordering::Relaxed) > 0
    }

    /// May this client stay?
    pub async fn admit(&self, connection: ConnectionId, peer: SocketAddr) -> Result<Admitted<C>, TurnedBack> {
        // An IPv4 client on an IPv6 listener is an IPv4 client.
        let address = ClientAddress(peer.ip().to_canonical());
        // From here on authd may know of the client, whether or not its answer is waited for to the end: whatever
        // happens to this future, authd is told.
        let mut admitted = Admitted { door: self.clone(), connection, address, channel: 0, known: true };
        match self.ask(connection, address).await {
            Ok(channel) => {
                admitted.channel = channel;
                Ok(admitted)
            }
            Err(why) => {
                // Turned away, it is not counted; and an authd that is gone has forgotten it.
                admitted.known = match why {
                    TurnedBack::Judged(_) | TurnedBack::NotAsked(CallError::PeerRestarted) => false,
                    TurnedBack::NotAsked(_) => true,
                };
                Err(why)
            }
        }
    }

    async fn ask(&self, connection: ConnectionId, address: ClientAddress) -> Result<u64, TurnedBack> {
        let channel = self.shared.channels.load(Ordering::Relaxed);
        let request = C::request(Client::Admit(connection, address));
        let (reply, _none) =
            self.shared.link.call(&request, Vec::new()).await.map_err(TurnedBack::NotAsked)?;
        match C::reply(reply) {
            Some(ClientReply::Admitted) => Ok(channel),
            Some(ClientReply::TurnedAway(why)) => Err(TurnedBack::Judged(why)),
            Some(ClientReply::Noted) | None => {
                Err(TurnedBack::NotAsked(CallError::Violation(Violation::Unexpected)))
            }
        }
    }
}

/// A client that authd knows of; dropped, authd is told that it has gone. Drop it inside a runtime.
#[derive(Debug)]
pub struct Admitted<C: ClientChannel> {
    door: Door<C>,
    connection: ConnectionId,
    address: ClientAddress,
    /// Which channel authd was told over.
    channel: u64,
    /// Whether authd may have the client in its books.
    known: bool,
}

impl<C: ClientChannel> Admitted<C> {
    /// Call before anything that authd does for known clients only: an authd that was restarted is told of the client.
    pub async fn renew(&mut self) -> Result<(), TurnedBack> {
        if self.channel != self.door.shared.channels.load(Ordering::Relaxed) {
            self.channel = self.door.ask(self.connection, self.address).await?;
        }
        Ok(())
    }

    /// The client did what honest clients do not. Does not wait.
    pub fn charge(&self, offence: Offence) {
        self.tell(Client::Charge(self.connection, offence));
    }

    fn tell(&self, client: Client) {
        let door = self.door.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = door.shared.link.call(&C::request(client), Vec::new()).await {
                    tracing::debug!(%error, "authd was not told of a client");
                }
            });
        }
    }
}

impl<C: ClientChannel> Drop for Admitted<C> {
    fn drop(&mut self) {
        if self.known {
            self.tell(Client::Closed(self.connection));
        }
    }
}
