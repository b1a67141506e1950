//! One client, from accept to close: does what its session asks for.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipc_proto::{
    ConnectionId, DeliveryId,
    authd::{self, Offence, SmtpdAuthd, SmtpdToAuthd},
    delivery::Deliver,
    types::Timestamp,
};
use net_lib::{
    Admitted, HandshakeError, Place, TlsStream, TurnedBack,
    listener::{Accepted, Ended, catch_panic},
};
use smtpd::{
    Close, Envelope, Fault, Greeting, MessageVerdict, RecipientVerdict, Refusal, Reply, Session, Step,
    TlsFacts, TlsOffer, Trace, received,
};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Front,
    body::Body,
    shown::Shown,
    wire::{Stream, Wire},
};

/// Replies at rest, octets: most fit.
const REPLIES: usize = 512;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum End {
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
pub(super) async fn serve(front: Arc<Front>, accepted: Accepted) {
    let Accepted { stream, peer, place } = accepted;
    let connection = place.id();
    let client = Client { front: &front, place: &place, peer };
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
fn forget(front: &Arc<Front>, connection: ConnectionId) {
    let front = Arc::clone(front);
    tokio::spawn(async move {
        let gone = SmtpdToAuthd::Client(authd::Client::Closed(connection));
        if let Err(error) = front.authd.link().call(&gone, Vec::new()).await {
            tracing::debug!(%connection, %error, "authd was not told of a client");
        }
    });
}

async fn charge(admitted: &mut Admitted<SmtpdAuthd>, offence: Offence) {
    // An authd that was restarted does not know the client yet, and only known ones can be charged.
    if admitted.renew().await.is_ok() {
        admitted.charge(offence);
    }
}

/// Who is at the other end.
struct Client<'a> {
    front: &'a Front,
    place: &'a Place,
    peer: SocketAddr,
}

impl Client<'_> {
    async fn converse(&self, stream: TcpStream, admitted: &mut Admitted<SmtpdAuthd>) {
        let began = Instant::now();
        let session = Session::new(Arc::clone(&self.front.settings.now().limits), TlsOffer::StartTls);
        let mut conversation = Conversation {
            client: self,
            session,
            wire: Some(Wire::new(Stream::Plain(stream))),
            body: Body::default(),
            message_began: None,
            line_deadline: None,
            judged: None,
        };
        let end = match conversation.run().await {
            Ok(end) | Err(end) => end,
        };
        if let End::Closed(close) = end
            && let Some(offence) = close.offence()
        {
            charge(admitted, offence).await;
        }
        conversation.log_message();
        tracing::info!(
            connection = %self.place.id(),
            client = %self.ip(),
            messages = conversation.session.messages(),
            duration_ms = milliseconds(began),
            why = %Shown(&end),
            "connection ended",
        );
        if let (Some(wire), End::Closed(close)) = (&mut conversation.wire, end) {
            wire.close(close.may_leave_octets()).await;
        }
    }

    async fn turn_away(&self, stream: TcpStream, why: impl Display + Send, reply: &Reply) {
        tracing::info!(connection = %self.place.id(), client = %self.ip(), %why, "turned away");
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        // A new connection takes so little at once, or is gone.
        let _ = Wire::new(Stream::Plain(stream)).write(&octets, Duration::from_secs(1)).await;
    }

    /// Until the client has named a recipient it makes room for others, whatever it is doing. At the end of the process
    /// the same holds.
    async fn unless_told_to_leave<T>(&self, future: impl Future<Output = T>) -> Result<T, Close> {
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
    fn ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    fn may_be_slowed_down(&self) -> bool {
        let settings = self.front.settings.now();
        settings.tarpit && !(settings.loopback_exempt && self.ip().is_loopback())
    }
}

struct Conversation<'a> {
    client: &'a Client<'a>,
    session: Session,
    /// Gone while a handshake runs, and after one that failed.
    wire: Option<Wire>,
    body: Body,
    /// Since when message data comes in.
    message_began: Option<Instant>,
    /// When the command line that is coming in has to be whole.
    line_deadline: Option<Instant>,
    /// A message whose log line follows its reply.
    judged: Option<Judged>,
}

/// What the log says of a message.
struct Judged {
    id: DeliveryId,
    greeting: Greeting,
    tls: bool,
    from: String,
    recipients: usize,
    size: u64,
    accepted: bool,
    code: u16,
    began: Instant,
}

impl Conversation<'_> {
    fn front(&self) -> &Front {
        self.client.front
    }

    fn wire(&mut self) -> Result<&mut Wire, End> {
        self.wire.as_mut().ok_or(End::Gone)
    }

    async fn run(&mut self) -> Result<End, End> {
        loop {
            let input = self.wire.as_ref().map_or(&[][..], Wire::input);
            let (used, step) = self.session.step(input, &mut self.body.buffer);
            let wire = self.wire()?;
            wire.used(used);
            if used > 0 {
                self.line_deadline = None;
            }
            match step {
                Step::Read => self.read().await?,
                Step::Check(queries) => {
                    let check = self.front().recipients(queries);
                    let verdicts = if self.session.has_recipient() {
                        check.await
                    } else {
                        self.client.unless_told_to_leave(check).await.map_err(End::Closed)?
                    };
                    self.note_refused(&verdicts);
                    self.session.checked(verdicts);
                    if self.session.has_recipient() {
                        self.client.place.establish();
                    }
                }
                Step::Deliver(envelope) => {
                    let verdict = Box::pin(self.deliver(envelope)).await;
                    self.session.finish(&verdict);
                    self.message_began = None;
                }
                Step::Discard(envelope, fault) => {
                    std::mem::take(&mut self.body).forget(&self.client.front.buffers);
                    self.log_fault(&envelope, fault);
                    self.message_began = None;
                }
                Step::StartTls => {
                    self.flush().await?;
                    Box::pin(self.start_tls()).await?;
                }
                Step::Close(close) => {
                    self.flush().await?;
                    return Ok(End::Closed(close));
                }
            }
        }
    }

    /// Sends the replies that wait, then reads.
    async fn read(&mut self) -> Result<(), End> {
        self.flush().await?;
        let now = Instant::now();
        let limit = self.front().settings.now().command_timeout;
        if self.session.in_data() {
            let began = *self.message_began.get_or_insert(now);
            let front = self.client.front;
            self.wire()?.expect_much(&front.buffers);
            self.body.relieve(self.session.announced_size(), &front.budget, front).await;
            let deadline = (began + front.settings.now().data_timeout).min(now + limit);
            self.read_until(deadline).await?;
            self.body.expect_much(&front.buffers);
            return Ok(());
        }
        let deadline = *self.line_deadline.get_or_insert(now + limit);
        let front = self.client.front;
        let wire = self.wire()?;
        let is_fresh = wire.input().is_empty();
        if is_fresh {
            wire.rest(&front.buffers);
        }
        let client = self.client;
        match client.unless_told_to_leave(self.read_until(deadline)).await {
            Ok(read) => read?,
            Err(close) => self.session.close(close),
        }
        if is_fresh {
            // The line as a whole has the time-out, not each of its octets.
            self.line_deadline = Some(Instant::now() + limit);
        }
        Ok(())
    }

    async fn read_until(&mut self, deadline: Instant) -> Result<(), End> {
        match self.wire()?.read(deadline).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::Gone),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.session.close(Close::TimedOut);
                Ok(())
            }
            // Under TLS: gone without close_notify.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Gone),
            Err(error) => Err(error.into()),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let slow = self.session.is_slow() && self.client.may_be_slowed_down();
        let limit = self.front().settings.now().command_timeout;
        let (client, fresh) = (self.client, !self.session.has_recipient());
        let mut replies = std::mem::take(self.session.replies());
        let wire = self.wire()?;
        wire.slow = slow;
        if !replies.is_empty() {
            if fresh {
                client.unless_told_to_leave(wire.write(&replies, limit)).await.map_err(End::Closed)??;
            } else {
                wire.write(&replies, limit).await?;
            }
            self.log_message();
            replies.clear();
            replies.shrink_to(REPLIES);
        }
        *self.session.replies() = replies;
        Ok(())
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let stream = self.wire.take().and_then(Wire::into_plain).ok_or(End::Gone)?;
        let handshake =
            self.client.unless_told_to_leave(self.front().tls.accept(self.client.place.id(), stream));
        let tls = handshake.await.map_err(End::Closed)??;
        let facts = facts(&tls);
        tracing::debug!(connection = %self.client.place.id(), version = facts.version, cipher = facts.cipher, "TLS");
        self.session.tls_started(facts);
        self.wire = Some(Wire::new(Stream::Tls(Box::new(tls))));
        Ok(())
    }

    async fn deliver(&mut self, envelope: Box<Envelope>) -> MessageVerdict {
        let front = self.client.front;
        let began = self.message_began.unwrap_or_else(Instant::now);
        let received_at = Timestamp::now();
        let mut id = DeliveryId([0; 16]);
        if front.random.fill(&mut id.0).is_err() {
            tracing::error!("no random numbers for a message's id");
            std::mem::take(&mut self.body).forget(&front.buffers);
            return MessageVerdict::Refused(Refusal::Fault);
        }
        let trace = Trace {
            client: self.client.ip(),
            hostname: &front.settings.now().limits.hostname,
            id,
            at: received_at,
        };
        let trace = received(&envelope, &trace);
        let Envelope { greeting, mail, recipients, tls } = *envelope;
        let count = recipients.len();
        let from = mail.from.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
        let whole = self.body.finish(&front.budget, front).await;
        std::mem::take(&mut self.body).forget(&front.buffers);
        if let Some(wire) = self.wire.as_mut().filter(|wire| wire.input().is_empty()) {
            // While queued delivers, others have use for it.
            wire.rest(&front.buffers);
        }
        let (size, verdict) = match whole {
            Ok(whole) => {
                let deliver = Deliver {
                    id,
                    connection: self.client.place.id(),
                    reverse_path: mail.from,
                    recipients,
                    trace,
                    received: received_at,
                    size: whole.size,
                    spool: None,
                };
                (whole.size, front.deliver(deliver, &whole.octets).await)
            }
            Err(super::body::NoRoom) => (0, MessageVerdict::Refused(Refusal::NoSpace)),
        };
        self.judged = Some(Judged {
            id,
            greeting,
            tls: tls.is_some(),
            from,
            recipients: count,
            size,
            accepted: matches!(verdict, MessageVerdict::Kept(_)),
            code: verdict.reply().code(),
            began,
        });
        verdict
    }

    /// After the reply: a client that waits does not wait for the log too.
    fn log_message(&mut self) {
        let Some(judged) = self.judged.take() else { return };
        tracing::info!(
            connection = %self.client.place.id(),
            mail = %judged.id,
            client = %self.client.ip(),
            helo = %Shown(judged.greeting.name()),
            tls = judged.tls,
            from = %Shown(judged.from),
            recipients = judged.recipients,
            size = judged.size,
            code = judged.code,
            duration_ms = milliseconds(judged.began),
            "message {}",
            if judged.accepted { "accepted" } else { "refused" },
        );
    }

    fn log_fault(&self, envelope: &Envelope, fault: Fault) {
        let from = envelope.mail.from.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
        tracing::info!(
            connection = %self.client.place.id(),
            client = %self.client.ip(),
            helo = %Shown(envelope.greeting.name()),
            tls = envelope.tls.is_some(),
            from = %Shown(from),
            recipients = envelope.recipients.len(),
            code = fault.reply().code(),
            duration_ms = self.message_began.map_or(0, milliseconds),
            why = %fault,
            "message refused",
        );
    }

    fn note_refused(&self, verdicts: &[RecipientVerdict]) {
        let refused =
            verdicts.iter().filter(|verdict| !matches!(verdict, RecipientVerdict::Local(_))).count();
        if refused > 0 {
            tracing::debug!(connection = %self.client.place.id(), refused, "recipients refused");
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
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
