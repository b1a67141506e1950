//! One client's conversation, from greeting to QUIT.

mod auth;
mod transaction;
mod welcome;

use std::sync::Arc;

use ipc_proto::{
    authd::RecipientQuery,
    sasl::{SaslStep, Transport},
    types::Timestamp,
};
use mail_lib::address::Address;

pub use self::auth::Privacy;
use self::{auth::Submitter, transaction::Slot};
use crate::{
    close::Close,
    command::{Command, CommandError, Kind, Mail, is_verb},
    data::{Data, Fault},
    helo::HeloName,
    line::{Line, MAX_ANSWER, split_line, split_line_within},
    reply::Reply,
    simulate,
};

/// Transactions that come to nothing, while none has come to anything.
const FAILED_TRANSACTIONS: u32 = 10;

/// Recipients that do not exist, while none does.
const UNKNOWN_RECIPIENTS: u32 = 100;

/// Commands between two messages that bring none nearer.
const IDLE_COMMANDS: u32 = 100;

/// What a session is bound by, and what it says of this host.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the greeting and EHLO.
    pub hostname: String,
    /// The largest message, octets; announced as SIZE (RFC 1870).
    pub message_size: u64,
    /// Fail where an address asks for it.
    pub simulate_failures: bool,
}

/// Whether TLS can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsOffer {
    /// STARTTLS is announced.
    StartTls,
    /// There is no certificate.
    None,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The protocol version, as the trace field shows it.
    pub version: &'static str,
    /// The cipher suite, likewise: letters, digits and underscores.
    pub cipher: String,
}

/// How the client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// With extensions.
    Ehlo(HeloName),
    /// Without.
    Helo(HeloName),
}

impl Greeting {
    /// Its name for itself.
    #[must_use]
    pub fn name(&self) -> &HeloName {
        match self {
            Self::Ehlo(name) | Self::Helo(name) => name,
        }
    }
}

/// Who sends to whom. Handed out only with a whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The client's name for itself.
    pub greeting: Greeting,
    /// MAIL FROM.
    pub mail: Mail,
    /// RCPT TO: each was found to be local.
    pub recipients: Vec<Address>,
    /// How it came encrypted.
    pub tls: Option<TlsFacts>,
    /// Not to go before.
    pub hold: Option<Timestamp>,
}

/// What the caller does next. Whatever it is, replies that are waiting may be sent first, and have to be before
/// [`Step::Read`], [`Step::Authenticate`], [`Step::StartTls`] and [`Step::Close`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    Read,
    /// Ask authd, then call [`Session::judged`]. Only at submission.
    Authenticate(SaslStep),
    /// Ask whether this may be the sender, then call [`Session::sender_checked`]. Only at submission.
    CheckSender(Option<Address>),
    /// Ask whose these are, all at once, with the reverse-path, then call [`Session::checked`].
    Check(Vec<RecipientQuery>, Option<Address>),
    /// The message is whole. Deliver it, then call [`Session::finish`].
    Deliver(Box<Envelope>),
    /// The message is whole and refused: forget its octets.
    Discard(Box<Envelope>, Fault),
    /// Start the handshake, then call [`Session::tls_started`].
    StartTls,
    /// Say nothing for an hour, then call [`Session::silence_over`]. Only where failures are simulated.
    Stall,
    /// Send what is waiting and close.
    Close(Close),
}

/// Where the conversation is. What exists only there lives there.
#[derive(Debug)]
enum State {
    /// Before EHLO or HELO, at first and after STARTTLS.
    Connected,
    Ready(Greeting),
    /// Within AUTH: waits for [`Session::judged`].
    Judging(Greeting),
    /// Within AUTH: the next line answers a challenge.
    Answering(Greeting),
    /// AUTH is over for the client, who is told so when authd knows.
    Cancelling(Greeting, Reply),
    /// MAIL: waits for [`Session::sender_checked`].
    CheckingSender(Box<Envelope>),
    /// After MAIL.
    Envelope(Box<Envelope>),
    /// Waits for [`Session::checked`].
    Checking(Box<Envelope>, Vec<Slot>),
    Data(Box<Envelope>, Data),
    /// Waits for [`Session::finish`].
    Delivering(Greeting),
    /// Waits for [`Session::tls_started`].
    StartingTls,
    /// Waits for [`Session::silence_over`], and goes on there.
    Silent(Box<State>),
    Closed(Close),
}

/// What the client has achieved so far.
#[derive(Debug, Default)]
struct Tally {
    commands: u32,
    idle_commands: u32,
    messages: u32,
    failed_transactions: u32,
    local_recipients: u32,
    unknown_recipients: u32,
}

/// One connection's session. See the crate's page for how it is used.
#[derive(Debug)]
pub struct Session {
    limits: Arc<Limits>,
    offer: TlsOffer,
    tls: Option<TlsFacts>,
    /// At submission.
    submitter: Option<Submitter>,
    now: Timestamp,
    state: State,
    tally: Tally,
    slow: bool,
    replies: Vec<u8>,
}

impl Session {
    /// For a client of port 25 that was let in: the greeting waits in the replies.
    #[must_use]
    pub fn incoming(limits: Arc<Limits>, offer: TlsOffer) -> Self {
        Self::new(limits, offer, None, None)
    }

    /// Likewise, for one of the ports of submission.
    #[must_use]
    pub fn submission(limits: Arc<Limits>, privacy: Privacy) -> Self {
        let (tls, transport) = privacy.split();
        Self::new(limits, TlsOffer::StartTls, tls, Some(Submitter::new(transport)))
    }

    fn new(
        limits: Arc<Limits>,
        offer: TlsOffer,
        tls: Option<TlsFacts>,
        submitter: Option<Submitter>,
    ) -> Self {
        let mut replies = Vec::with_capacity(128);
        Reply::new(220, "", format!("{} ESMTP moxd", limits.hostname)).write_to(&mut replies);
        Self {
            limits,
            offer,
            tls,
            submitter,
            now: Timestamp { seconds: 0, nanoseconds: 0 },
            state: State::Connected,
            tally: Tally::default(),
            slow: false,
            replies,
        }
    }

    fn kind(&self) -> Kind {
        match self.submitter {
            None => Kind::Incoming,
            Some(_) => Kind::Submission,
        }
    }

    /// Replies that wait to be sent, all that came together in one piece (RFC 2920 §3.2). The caller empties it.
    pub fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    /// What the clock shows. A session has none; at submission it has to be told before it is used.
    pub fn tell_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Whether message data is coming in: other time-outs hold.
    #[must_use]
    pub fn in_data(&self) -> bool {
        matches!(self.state, State::Data(..))
    }

    /// What MAIL said of the size of the message that is coming in.
    #[must_use]
    pub fn announced_size(&self) -> Option<u64> {
        match &self.state {
            State::Data(envelope, _) => envelope.mail.size,
            State::Connected
            | State::Ready(_)
            | State::Judging(_)
            | State::Answering(_)
            | State::Cancelling(..)
            | State::CheckingSender(_)
            | State::Envelope(_)
            | State::Checking(..)
            | State::Delivering(_)
            | State::StartingTls
            | State::Silent(_)
            | State::Closed(_) => None,
        }
    }

    /// Whether this client has earned slowness: something of it was refused, and nobody answers for it.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow && !self.is_logged_in()
    }

    /// Whether the client has shown that it sends mail to someone here, or is someone here.
    #[must_use]
    pub fn is_established(&self) -> bool {
        match &self.submitter {
            None => self.tally.local_recipients > 0,
            Some(submitter) => submitter.is_established(),
        }
    }

    /// Messages taken so far.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.tally.messages
    }

    /// Goes on as far as `input` leads: returns how many octets from its front were used, and what to do. Octets of a
    /// message go behind what `message` holds, which the caller empties as it likes. What was not used comes again,
    /// after [`Step::Read`] with more behind it: a command line is used when it is whole.
    pub fn step(&mut self, input: &[u8], message: &mut Vec<u8>) -> (usize, Step) {
        let mut rest = input;
        loop {
            let (used, step) = self.step_once(rest, message);
            rest = rest.get(used..).unwrap_or_default();
            if step != Step::Read || used == 0 || rest.is_empty() {
                return (input.len() - rest.len(), step);
            }
        }
    }

    /// One command, one batch of RCPTs, or all message data that there is.
    fn step_once(&mut self, input: &[u8], message: &mut Vec<u8>) -> (usize, Step) {
        match std::mem::replace(&mut self.state, State::Closed(Close::Quit)) {
            State::Data(envelope, data) => self.take_data(envelope, data, input, message),
            State::Closed(close) => {
                self.state = State::Closed(close);
                (input.len(), Step::Close(close))
            }
            state @ State::Silent(_) => {
                self.state = state;
                (0, Step::Stall)
            }
            // What the client sends before the answer is not looked at until then.
            state @ (State::Judging(_)
            | State::Cancelling(..)
            | State::CheckingSender(_)
            | State::Checking(..)
            | State::Delivering(_)
            | State::StartingTls) => {
                self.state = state;
                (0, Step::Read)
            }
            State::Answering(greeting) => {
                self.take_answer(greeting, split_line_within(input, MAX_ANSWER), input)
            }
            State::Envelope(envelope) => match split_line(input) {
                Line::Complete(line, _) if is_verb(line, b"RCPT") => self.take_recipients(envelope, input),
                line => self.take_line(State::Envelope(envelope), line, input),
            },
            state @ (State::Connected | State::Ready(_)) => self.take_line(state, split_line(input), input),
        }
    }

    /// The handshake is done: nothing of before counts any more (RFC 3207 §4.2). `exported`: tls-exporter's value, for
    /// submission.
    pub fn tls_started(&mut self, facts: TlsFacts, transport: Transport) {
        if matches!(self.state, State::StartingTls) {
            if let Some(submitter) = &mut self.submitter {
                submitter.encrypted(transport);
            }
            self.tls = Some(facts);
            self.state = State::Connected;
        }
    }

    /// [`Step::Stall`] is over.
    pub fn silence_over(&mut self) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Silent(state) => {
                self.say(&simulate::silence());
                self.state = *state;
            }
            other => self.state = other,
        }
    }

    /// The caller ends the session; the reply waits.
    pub fn close(&mut self, close: Close) {
        if !matches!(self.state, State::Closed(_)) {
            self.end(close);
        }
    }

    fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.replies);
    }

    fn end(&mut self, close: Close) -> Step {
        self.say(&close.reply());
        self.state = State::Closed(close);
        Step::Close(close)
    }

    /// Anything but RCPT within a transaction.
    fn take_line(&mut self, state: State, line: Line<'_>, input: &[u8]) -> (usize, Step) {
        match line {
            Line::Partial => {
                self.state = state;
                (0, Step::Read)
            }
            Line::BareLineFeed => (input.len(), self.end(Close::BareLineFeed)),
            Line::TooLong => (input.len(), self.end(Close::LineTooLong)),
            Line::Complete(line, used) => {
                let is_last = used == input.len();
                let step = match Command::parse(line, self.kind()) {
                    Ok(command) => self.obey(state, command, is_last),
                    Err(CommandError::Unknown) if self.tally.commands == 0 => self.end(Close::NotSmtp),
                    Err(error) => {
                        if is_verb(line, b"MAIL") {
                            self.end_transaction(false);
                        }
                        self.say(&error.reply());
                        self.state = state;
                        Step::Read
                    }
                };
                self.tally.commands = self.tally.commands.saturating_add(1);
                self.tally.idle_commands = self.tally.idle_commands.saturating_add(1);
                (used, self.patience(step))
            }
        }
    }

    /// The end of a session that leads nowhere.
    fn patience(&mut self, step: Step) -> Step {
        if matches!(step, Step::Close(_)) {
            return step;
        }
        let tally = &self.tally;
        if tally.messages == 0 && tally.failed_transactions > FAILED_TRANSACTIONS {
            self.end(Close::Failures)
        } else if tally.local_recipients == 0 && tally.unknown_recipients > UNKNOWN_RECIPIENTS {
            self.end(Close::Harvesting)
        } else if tally.idle_commands > IDLE_COMMANDS {
            self.end(Close::Idling)
        } else {
            step
        }
    }

    /// One command, one transition (RFC 5321 §4.1.4). Out of order, the state stays as it was. `is_last`: nothing is
    /// known to follow it.
    fn obey(&mut self, state: State, command: Command, is_last: bool) -> Step {
        let (state, reply) = match (state, command) {
            (state, Command::Ehlo(name)) => {
                self.abandon(&state);
                self.state = State::Ready(Greeting::Ehlo(name));
                self.welcome();
                return Step::Read;
            }
            (state, Command::Helo(name)) => {
                self.abandon(&state);
                (State::Ready(Greeting::Helo(name)), Reply::new(250, "", self.limits.hostname.clone()))
            }
            (state @ State::Ready(_), Command::Mail(_) | Command::Rcpt(_) | Command::Data)
                if self.has_to_log_in() =>
            {
                (state, out_of_order(true))
            }
            (State::Ready(greeting), Command::Mail(mail)) => return self.begin(greeting, mail),
            (State::Connected, Command::Mail(_) | Command::Rcpt(_) | Command::Data) => {
                (State::Connected, Reply::new(503, "5.5.1", "send EHLO first"))
            }
            (state @ State::Ready(_), Command::Rcpt(_) | Command::Data) => (state, out_of_order(false)),
            (State::Envelope(envelope), Command::Data) => {
                if envelope.recipients.is_empty() {
                    (State::Envelope(envelope), Reply::new(554, "5.5.1", "no valid recipients"))
                } else {
                    let data = Data::new(self.limits.message_size);
                    (
                        State::Data(envelope, data),
                        Reply::new(354, "", "send the message, end with CR LF . CR LF"),
                    )
                }
            }
            (state, Command::StartTls) if self.tls.is_some() => {
                (state, Reply::new(503, "5.5.1", "TLS is active"))
            }
            (state, Command::StartTls) if self.is_logged_in() => {
                (state, Reply::new(503, "5.5.1", "not after a login"))
            }
            // Some clients take for granted that it is offered, and do not ask by EHLO.
            (state @ (State::Connected | State::Ready(_)), Command::StartTls) => match self.offer {
                TlsOffer::None => (state, Reply::new(502, "5.5.1", "STARTTLS is not offered")),
                TlsOffer::StartTls if !is_last => return self.end(Close::BehindStartTls),
                TlsOffer::StartTls => {
                    self.say(&Reply::new(220, "2.0.0", "start the handshake"));
                    self.state = State::StartingTls;
                    return Step::StartTls;
                }
            },
            (state, Command::Rset) => {
                self.abandon(&state);
                let state = match state {
                    State::Envelope(envelope) => State::Ready(envelope.greeting),
                    other => other,
                };
                (state, Reply::new(250, "2.0.0", "ok"))
            }
            (_, Command::Quit) => return self.end(Close::Quit),
            (_, Command::Bdat) => return self.end(Close::Bdat),
            (state, Command::Noop) => (state, Reply::new(250, "2.0.0", "ok")),
            (state, Command::Verify) => (state, Reply::new(252, "2.5.0", "not told here; send mail and see")),
            (state, Command::Help) => {
                (state, Reply::new(214, "2.0.0", "RFC 5321; write to postmaster for help"))
            }
            (state, Command::Auth(arguments)) => return self.authenticate(state, &arguments),
            // Only a session that waits for a line gets here with the others; RCPT in a transaction has its own way.
            (state, Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::StartTls) => {
                (state, Reply::new(503, "5.5.1", "not within a transaction"))
            }
        };
        self.say(&reply);
        self.state = state;
        Step::Read
    }
}

/// RCPT or DATA without a transaction.
fn out_of_order(logged_out: bool) -> Reply {
    if logged_out {
        Reply::new(530, "5.7.0", "log in first")
    } else {
        Reply::new(503, "5.5.1", "send MAIL first")
    }
}
