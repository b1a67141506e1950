//! Does what a client's session asks for.

use std::{future::Future, io, time::Duration};

use ipc_proto::{
    DeliveryId,
    authd::Login,
    delivery::Deliver,
    sasl::{SaslReply, SaslStep},
    types::Timestamp,
};
use net_lib::Admitted;
use tokio::time::{Instant, sleep};

use super::{
    Front,
    body::Body,
    connection::{Client, End},
    log::Judged,
    role::Role,
    wire::Wire,
};
use crate::{Close, Envelope, MessageVerdict, Refusal, Session, Step, Trace, received};

/// Replies at rest, octets: most fit.
const REPLIES: usize = 512;

/// A time-out as clients see it, where failures are simulated.
const SILENCE: Duration = Duration::from_secs(3600);

/// A client's session, and what it needs.
pub(super) struct Conversation<'a, R: Role> {
    pub(super) client: &'a Client<'a, R>,
    /// authd knows of the client.
    admitted: &'a mut Admitted<R::Authd>,
    session: Session,
    /// Gone while a handshake runs, and after one that failed.
    wire: Option<Wire>,
    body: Body,
    /// Since when message data comes in.
    pub(super) message_began: Option<Instant>,
    /// When the command line that is coming in has to be whole.
    line_deadline: Option<Instant>,
    /// A message whose log line follows its reply.
    pub(super) judged: Option<Judged>,
}

impl<'a, R: Role> Conversation<'a, R> {
    pub(super) fn new(
        client: &'a Client<'a, R>,
        admitted: &'a mut Admitted<R::Authd>,
        session: Session,
        wire: Wire,
    ) -> Self {
        Self {
            client,
            admitted,
            session,
            wire: Some(wire),
            body: Body::default(),
            message_began: None,
            line_deadline: None,
            judged: None,
        }
    }

    /// Messages taken so far.
    pub(super) fn messages(&self) -> u32 {
        self.session.messages()
    }

    /// The connection, unless a handshake took it along.
    pub(super) fn into_wire(self) -> Option<Wire> {
        self.wire
    }

    fn front(&self) -> &Front<R> {
        self.client.front
    }

    fn wire(&mut self) -> Result<&mut Wire, End> {
        self.wire.as_mut().ok_or(End::Gone)
    }

    pub(super) async fn run(&mut self) -> Result<End, End> {
        loop {
            let input = self.wire.as_ref().map_or(&[][..], Wire::input);
            if R::LOGINS {
                self.session.tell_time(Timestamp::now());
            }
            let in_data = self.session.in_data();
            let (used, step) = self.session.step(input, &mut self.body.buffer);
            self.wire()?.used(used, R::LOGINS && !in_data);
            if used > 0 {
                self.line_deadline = None;
            }
            match step {
                Step::Read => self.read().await?,
                Step::Authenticate(step) => {
                    // What was answered before need not wait for authd.
                    self.flush().await?;
                    let reply = self.authenticate(step).await?;
                    self.session.judged(reply);
                    self.settle();
                }
                Step::CheckSender(from) => {
                    let sender = R::sender(self.client.front, self.client.place.id(), from);
                    let verdict = self.while_it_may_stay(sender).await?;
                    self.session.sender_checked(verdict);
                }
                Step::Check(queries, from) => {
                    let check = R::recipients(self.client.front, self.client.place.id(), queries, from);
                    let verdicts = self.while_it_may_stay(check).await?;
                    self.note_refused(&verdicts);
                    self.session.checked(verdicts);
                    self.settle();
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
                Step::Stall => {
                    self.flush().await?;
                    match self.client.unless_told_to_leave(sleep(SILENCE)).await {
                        Ok(()) => self.session.silence_over(),
                        Err(close) => self.session.close(close),
                    }
                }
                Step::Close(close) => {
                    self.flush().await?;
                    return Ok(End::Closed(close));
                }
            }
        }
    }

    /// One who has shown to be alive stays.
    fn settle(&self) {
        if self.session.is_established() {
            self.client.place.establish();
        }
    }

    /// Waits, until the client has to make room for others.
    async fn while_it_may_stay<T>(&self, answer: impl Future<Output = T>) -> Result<T, End> {
        if self.session.is_established() {
            return Ok(answer.await);
        }
        self.client.unless_told_to_leave(answer).await.map_err(End::Closed)
    }

    async fn authenticate(&mut self, step: SaslStep) -> Result<SaslReply, End> {
        if let Err(error) = self.admitted.renew().await {
            tracing::info!(connection = %self.client.place.id(), %error, "login not judged");
            return Ok(SaslReply::Ended(Login::TryLater));
        }
        let reply = R::authenticate(self.client.front, self.client.place.id(), step);
        self.while_it_may_stay(reply).await
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
        let (client, fresh) = (self.client, !self.session.is_established());
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
        let (wire, facts, transport) = self.client.handshake(stream).await?;
        self.session.tls_started(facts, transport);
        self.wire = Some(wire);
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
            client: (!R::LOGINS).then(|| self.client.ip()),
            hostname: &front.settings.now().limits.hostname,
            id,
            at: received_at,
        };
        let trace = received(&envelope, &trace);
        let Envelope { greeting, mail, recipients, tls, hold } = *envelope;
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
                (whole.size, front.deliver(deliver, hold, &whole.octets).await)
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
}
