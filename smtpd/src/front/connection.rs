//! One client, from accept to close: does what its session asks for.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipc_proto::{
    ConnectionId,
    authd::{self, Offence},
    sasl::Transport,
};
use net_lib::{
    Admitted, ClientChannel, HandshakeError, Place, TlsStream, TurnedBack,
    listener::{Accepted, Ended, catch_panic},
};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Front,
    conversation::Conversation,
    role::{Entrance, Role},
    shown::Shown,
    wire::{Stream, Wire},
};
use crate::{Close, Privacy, Reply, TlsFacts};

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The session came to its end; the client was told.
    #[error("{0}")]
    Closed(Close),
    /// The client went.
    #[error("the client closed the connection")]
    Gone,
    /// Reading or writing failed, or took too long.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] HandshakeError),
}

/// Serves one accepted connection.
pub(super) async fn serve<R: Role>(front: Arc<Front<R>>, accepted: Accepted, entrance: Entrance) {
    let Accepted { stream, peer, place } = accepted;
    let connection = place.id();
    let client = Client { front: &front, place: &place, peer, entrance };
    match client.unless_told_to_leave(front.authd.admit(connection, peer)).await {
        Ok(Ok(mut admitted)) => match catch_panic(client.converse(stream, &mut admitted)).await {
            Ended::Done => {}
            Ended::Panicked => {
                tracing::error!(%connection, client = %client.ip(), "handling a connection panicked");
                charge(&mut admitted, Offence::Crash).await;
            }
        },
        Ok(Err(TurnedBack::Judged(why))) => {
            let reply = Reply::new(421, "4.7.0", format!("{why}, try later"));
            client.turn_away(stream, why, &reply).await;
        }
        Ok(Err(TurnedBack::NotAsked(error))) => {
            let reply = Reply::new(421, "4.3.0", "local error, try later");
            client.turn_away(stream, error, &reply).await;
            forget(&front, connection);
        }
        Err(close) => {
            client.turn_away(stream, close, &close.reply()).await;
            forget(&front, connection);
        }
    }
}

/// authd may still make something of a question whose answer nobody waited for: that client has gone.
fn forget<R: Role>(front: &Arc<Front<R>>, connection: ConnectionId) {
    let front = Arc::clone(front);
    tokio::spawn(async move {
        let gone = R::Authd::request(authd::Client::Closed(connection));
        if let Err(error) = front.authd.link().call(&gone, Vec::new()).await {
            tracing::debug!(%connection, %error, "authd was not told of a client");
        }
    });
}

async fn charge<C: ClientChannel>(admitted: &mut Admitted<C>, offence: Offence) {
    // An authd that was restarted does not know the client yet, and only known ones can be charged.
    if admitted.renew().await.is_ok() {
        admitted.charge(offence);
    }
}

/// Who is at the other end.
pub(super) struct Client<'a, R: Role> {
    pub(super) front: &'a Front<R>,
    pub(super) place: &'a Place,
    peer: SocketAddr,
    entrance: Entrance,
}

impl<R: Role> Client<'_, R> {
    async fn converse(&self, stream: TcpStream, admitted: &mut Admitted<R::Authd>) {
        let began = Instant::now();
        let (wire, privacy) = match self.enter(stream).await {
            Ok(entered) => entered,
            Err(end) => return self.log_end(began, 0, &end),
        };
        let limits = Arc::clone(&self.front.settings.now().limits);
        let mut conversation = Conversation::new(self, admitted, R::session(limits, privacy), wire);
        let end = match conversation.run().await {
            Ok(end) | Err(end) => end,
        };
        conversation.log_message();
        let messages = conversation.messages();
        let wire = conversation.into_wire();
        if let End::Closed(close) = end
            && let Some(offence) = close.offence()
        {
            charge(admitted, offence).await;
        }
        self.log_end(began, messages, &end);
        if let (Some(mut wire), End::Closed(close)) = (wire, end) {
            wire.close(close.may_leave_octets()).await;
        }
    }

    /// Up to where the session begins.
    async fn enter(&self, stream: TcpStream) -> Result<(Wire, Privacy), End> {
        match self.entrance {
            Entrance::StartTls => {
                let trusted = self.front.settings.now().plain_login_on_loopback && self.ip().is_loopback();
                let privacy = if trusted { Privacy::Loopback } else { Privacy::Clear };
                Ok((Wire::new(Stream::Plain(stream)), privacy))
            }
            Entrance::Tls => {
                let (wire, facts, transport) = Box::pin(self.handshake(stream)).await?;
                Ok((wire, Privacy::Tls(facts, transport)))
            }
        }
    }

    /// TLS, what the trace field says of it, and what it gives a login to go by.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<(Wire, TlsFacts, Transport), End> {
        let (handshaker, connection) = (&self.front.tls, self.place.id());
        let handshake = async {
            if R::LOGINS {
                let (tls, proof) = handshaker.accept_asking(connection, stream).await?;
                let transport = net_lib::sasl_transport(&tls, proof);
                Ok::<_, HandshakeError>((tls, transport))
            } else {
                Ok((handshaker.accept(connection, stream).await?, Transport::Tls))
            }
        };
        let (tls, transport) = self.unless_told_to_leave(handshake).await.map_err(End::Closed)??;
        let facts = facts(&tls);
        tracing::debug!(connection = %self.place.id(), version = facts.version, cipher = facts.cipher, "TLS");
        Ok((Wire::new(Stream::Tls(Box::new(tls))), facts, transport))
    }

    fn log_end(&self, began: Instant, messages: u32, end: &End) {
        tracing::info!(
            connection = %self.place.id(),
            client = %self.ip(),
            messages,
            duration_ms = milliseconds(began),
            why = %Shown(end),
            "connection ended",
        );
    }

    async fn turn_away(&self, stream: TcpStream, why: impl Display + Send, reply: &Reply) {
        tracing::info!(connection = %self.place.id(), client = %self.ip(), %why, "turned away");
        if self.entrance == Entrance::Tls {
            return;
        }
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        // A new connection takes so little at once, or is gone.
        let _ = Wire::new(Stream::Plain(stream)).write(&octets, Duration::from_secs(1)).await;
    }

    /// Until the client has named a recipient it makes room for others, whatever it is doing. At the end of the process
    /// the same holds.
    pub(super) async fn unless_told_to_leave<T>(&self, future: impl Future<Output = T>) -> Result<T, Close> {
        tokio::select! {
            // What is there already is taken before anybody is sent away.
            biased;
            done = future => Ok(done),
            () = self.place.told_to_leave() => {
                Err(if self.front.is_stopping() { Close::Stopping } else { Close::Crowded })
            }
        }
    }

    /// An IPv4 client of an IPv6 listener is an IPv4 client.
    pub(super) fn ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    pub(super) fn may_be_slowed_down(&self) -> bool {
        let settings = self.front.settings.now();
        settings.tarpit && !(settings.loopback_exempt && self.ip().is_loopback())
    }
}

pub(super) fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the trace field says of a handshake.
fn facts(tls: &TlsStream) -> TlsFacts {
    let (_, connection) = tls.get_ref();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "TLS",
    };
    let cipher = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("unknown")
        .to_owned();
    TlsFacts { version, cipher }
}
