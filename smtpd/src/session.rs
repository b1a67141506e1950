//! One client's conversation, from greeting to QUIT.

use ipc_proto::{authd::RecipientQuery, delivery::MAX_RECIPIENTS};
use mail_lib::address::Address;

use crate::{
    close::Close,
    command::{Command, CommandError, HeloName, Mail, Rcpt, is_verb},
    data::{Data, Fault},
    line::{Line, split_line},
    reply::Reply,
    verdict::{MessageVerdict, RecipientVerdict},
};

/// Pipelined RCPT commands that are checked at the same time.
const RECIPIENT_BATCH: usize = 64;

/// Recipients of a message from the null reverse-path: a bounce goes to one (RFC 5321 §4.5.5).
const NULL_SENDER_RECIPIENTS: usize = 1;

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
}

/// What the caller does next. Whatever it is, replies that are waiting may be sent first, and have to be before
/// [`Step::Read`], [`Step::StartTls`] and [`Step::Close`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    Read,
    /// Ask whose these are, all at once, then call [`Session::checked`].
    Check(Vec<RecipientQuery>),
    /// The message is whole. Deliver it, then call [`Session::finish`].
    Deliver(Box<Envelope>),
    /// The message is whole and refused: forget its octets.
    Discard(Box<Envelope>, Fault),
    /// Start the handshake, then call [`Session::tls_started`].
    StartTls,
    /// Send what is waiting and close.
    Close(Close),
}

/// Where the conversation is. What exists only there lives there.
#[derive(Debug)]
enum State {
    /// Before EHLO or HELO, at first and after STARTTLS.
    Connected,
    Ready(Greeting),
    /// After MAIL.
    Envelope(Box<Envelope>),
    /// Waits for [`Session::checked`].
    Checking(Box<Envelope>, Vec<Slot>),
    Data(Box<Envelope>, Data),
    /// Waits for [`Session::finish`].
    Delivering(Greeting),
    /// Waits for [`Session::tls_started`].
    StartingTls,
    Closed(Close),
}

/// One of the RCPT commands that are under way, in order.
#[derive(Debug)]
enum Slot {
    /// Judged here.
    Done(Reply),
    /// authd is asked; the address as given, `None` for `<postmaster>`.
    Asked(Option<Address>),
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
    limits: std::sync::Arc<Limits>,
    offer: TlsOffer,
    tls: Option<TlsFacts>,
    state: State,
    tally: Tally,
    slow: bool,
    replies: Vec<u8>,
}

impl Session {
    /// For a client that was let in: the greeting waits in the replies.
    #[must_use]
    pub fn new(limits: std::sync::Arc<Limits>, offer: TlsOffer) -> Self {
        let mut replies = Vec::with_capacity(128);
        Reply::new(220, "", format!("{} ESMTP moxd", limits.hostname)).write_to(&mut replies);
        Self {
            limits,
            offer,
            tls: None,
            state: State::Connected,
            tally: Tally::default(),
            slow: false,
            replies,
        }
    }

    /// Replies that wait to be sent, all that came together in one piece (RFC 2920 §3.2). The caller empties it.
    pub fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.replies
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
            | State::Envelope(_)
            | State::Checking(..)
            | State::Delivering(_)
            | State::StartingTls
            | State::Closed(_) => None,
        }
    }

    /// Whether this client has earned slowness: something of it was refused.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether the client has shown that it sends mail to someone here.
    #[must_use]
    pub fn has_recipient(&self) -> bool {
        self.tally.local_recipients > 0
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
            state @ (State::Checking(..) | State::Delivering(_) | State::StartingTls) => {
                self.state = state;
                (0, Step::Read)
            }
            State::Envelope(envelope) => match split_line(input) {
                Line::Complete(line, _) if is_verb(line, b"RCPT") => self.take_recipients(envelope, input),
                line => self.take_line(State::Envelope(envelope), line, input),
            },
            state @ (State::Connected | State::Ready(_)) => self.take_line(state, split_line(input), input),
        }
    }

    /// The answers to [`Step::Check`], in its order; missing ones are failures.
    pub fn checked(&mut self, verdicts: Vec<RecipientVerdict>) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Checking(envelope, slots) => self.settle(envelope, slots, verdicts),
            other => self.state = other,
        }
    }

    /// The answer to [`Step::Deliver`].
    pub fn finish(&mut self, verdict: &MessageVerdict) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Delivering(greeting) => {
                self.state = State::Ready(greeting);
                self.say(&verdict.reply());
                self.slow |= verdict.reply().code() >= 500;
                self.end_transaction(matches!(verdict, MessageVerdict::Kept(_)));
            }
            other => self.state = other,
        }
    }

    /// The handshake is done: nothing of before counts any more (RFC 3207 §4.2).
    pub fn tls_started(&mut self, facts: TlsFacts) {
        if matches!(self.state, State::StartingTls) {
            self.tls = Some(facts);
            self.state = State::Connected;
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

    /// A transaction is over.
    fn end_transaction(&mut self, kept: bool) {
        if kept {
            self.tally.messages += 1;
            self.tally.idle_commands = 0;
        } else {
            self.tally.failed_transactions += 1;
        }
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
                let step = match Command::parse(line) {
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
            (State::Ready(greeting), Command::Mail(mail)) => self.begin(greeting, mail),
            (State::Connected, Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::StartTls) => {
                (State::Connected, Reply::new(503, "5.5.1", "send EHLO first"))
            }
            (state @ State::Ready(_), Command::Rcpt(_) | Command::Data) => {
                (state, Reply::new(503, "5.5.1", "send MAIL first"))
            }
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
            (state @ State::Ready(_), Command::StartTls) => match self.offer {
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
            (state, Command::Auth) => (state, Reply::new(502, "5.5.1", "AUTH is not offered on this port")),
            // Only a session that waits for a line gets here with the others; RCPT in a transaction has its own way.
            (state, Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::StartTls) => {
                (state, Reply::new(503, "5.5.1", "not within a transaction"))
            }
        };
        self.say(&reply);
        self.state = state;
        Step::Read
    }

    /// A transaction that a command cut off.
    fn abandon(&mut self, state: &State) {
        if let State::Envelope(envelope) = state {
            self.slow |= envelope.recipients.is_empty() && self.tally.unknown_recipients > 0;
            self.end_transaction(false);
        }
    }

    fn welcome(&mut self) {
        let size = format!("SIZE {}", self.limits.message_size);
        let limits = format!("LIMITS RCPTMAX={MAX_RECIPIENTS}"); // RFC 9422
        let start_tls = (self.tls.is_none() && self.offer == TlsOffer::StartTls).then_some("STARTTLS");
        let lines = [
            Some(self.limits.hostname.as_str()),
            Some("PIPELINING"),
            Some(size.as_str()),
            start_tls,
            Some("ENHANCEDSTATUSCODES"),
            Some("8BITMIME"),
            Some("SMTPUTF8"),
        ];
        for line in lines.into_iter().flatten() {
            Reply::new(250, "", line.to_owned()).write_line('-', &mut self.replies);
        }
        Reply::new(250, "", limits).write_to(&mut self.replies);
    }

    fn begin(&mut self, greeting: Greeting, mail: Mail) -> (State, Reply) {
        if mail.size.is_some_and(|size| size > self.limits.message_size) {
            self.end_transaction(false);
            return (State::Ready(greeting), Fault::TooLarge.reply());
        }
        let tls = self.tls.clone();
        let envelope = Envelope { greeting, mail, recipients: Vec::new(), tls };
        (State::Envelope(Box::new(envelope)), Reply::new(250, "2.1.0", "sender ok"))
    }

    /// RCPT, and with it all RCPTs that are known to follow: authd is asked about them at the same time.
    fn take_recipients(&mut self, envelope: Box<Envelope>, input: &[u8]) -> (usize, Step) {
        let (mut used, mut slots, mut queries) = (0, Vec::new(), Vec::new());
        while slots.len() < RECIPIENT_BATCH
            && let Line::Complete(line, octets) = split_line(input.get(used..).unwrap_or_default())
            && is_verb(line, b"RCPT")
        {
            let most = most_recipients(&envelope);
            if !queries.is_empty() && envelope.recipients.len() + queries.len() >= most {
                // Whether there is room for it depends on the answers.
                break;
            }
            used += octets;
            self.tally.commands = self.tally.commands.saturating_add(1);
            match admissible(&envelope, line) {
                Ok(to) => {
                    queries.push(to.clone().map_or(RecipientQuery::Postmaster, RecipientQuery::Address));
                    slots.push(Slot::Asked(to));
                }
                Err(reply) => slots.push(Slot::Done(reply)),
            }
        }
        if queries.is_empty() {
            self.settle(envelope, slots, Vec::new());
            return (used, Step::Read);
        }
        self.state = State::Checking(envelope, slots);
        (used, Step::Check(queries))
    }

    /// Answers RCPTs in their order.
    fn settle(&mut self, mut envelope: Box<Envelope>, slots: Vec<Slot>, verdicts: Vec<RecipientVerdict>) {
        let mut verdicts = verdicts.into_iter();
        for slot in slots {
            let reply = match slot {
                Slot::Done(reply) => {
                    self.tally.idle_commands = self.tally.idle_commands.saturating_add(1);
                    reply
                }
                Slot::Asked(to) => {
                    let verdict = verdicts.next().unwrap_or(RecipientVerdict::Failed);
                    let reply = verdict.reply();
                    match verdict {
                        RecipientVerdict::Local(address) => {
                            self.tally.local_recipients = self.tally.local_recipients.saturating_add(1);
                            envelope.recipients.push(to.unwrap_or(address));
                        }
                        RecipientVerdict::Unknown | RecipientVerdict::NotLocal => {
                            self.tally.unknown_recipients = self.tally.unknown_recipients.saturating_add(1);
                        }
                        RecipientVerdict::Disabled | RecipientVerdict::Failed => {}
                    }
                    reply
                }
            };
            self.say(&reply);
            if let Step::Close(_) = self.patience(Step::Read) {
                return;
            }
        }
        self.state = State::Envelope(envelope);
    }

    fn take_data(
        &mut self,
        envelope: Box<Envelope>,
        mut data: Data,
        input: &[u8],
        message: &mut Vec<u8>,
    ) -> (usize, Step) {
        let (used, ended) = data.feed(input, message);
        if !ended {
            self.state = State::Data(envelope, data);
            return (used, Step::Read);
        }
        let step = match data.fault() {
            None => {
                self.state = State::Delivering(envelope.greeting.clone());
                Step::Deliver(envelope)
            }
            Some(fault) => {
                self.slow = true;
                self.end_transaction(false);
                if fault.is_smuggling() {
                    self.end(Close::Smuggling(fault));
                } else {
                    self.say(&fault.reply());
                    self.state = State::Ready(envelope.greeting.clone());
                }
                Step::Discard(envelope, fault)
            }
        };
        (used, step)
    }
}

fn most_recipients(envelope: &Envelope) -> usize {
    if envelope.mail.from.is_some() { MAX_RECIPIENTS } else { NULL_SENDER_RECIPIENTS }
}

/// What can be said of a recipient without authd.
fn admissible(envelope: &Envelope, line: &[u8]) -> Result<Option<Address>, Reply> {
    let Rcpt { to, ascii } = match Command::parse(line) {
        Ok(Command::Rcpt(rcpt)) => rcpt,
        Ok(_) => return Err(CommandError::Unknown.reply()),
        Err(error) => return Err(error.reply()),
    };
    if !ascii && !envelope.mail.utf8 {
        return Err(CommandError::NeedsUtf8.reply());
    }
    if envelope.recipients.len() >= most_recipients(envelope) {
        return Err(Reply::new(452, "4.5.3", "too many recipients"));
    }
    Ok(to)
}
