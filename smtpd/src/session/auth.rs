//! AUTH (RFC 4954), at submission: the session carries messages between the client and authd and knows no mechanism.

use base64::{Engine, engine::general_purpose::STANDARD};
use ipc_proto::{
    authd::Login,
    sasl::{MAX_MESSAGE, Mechanism, SaslReply, SaslStep, Transport},
    types::Secret,
};

use super::{Greeting, Session, State, Step, TlsFacts};
use crate::{close::Close, line::Line, reply::Reply};

/// Logins that may be denied; then the session ends.
const FAILED_LOGINS: u32 = 3;

/// Who can listen to what the client says, when the connection begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privacy {
    /// Anybody, until STARTTLS: no logins.
    Clear,
    /// Nobody but this machine, and the configuration allows logins.
    Loopback,
    /// Nobody: TLS, and what it gives a login to go by.
    Tls(TlsFacts, Transport),
}

impl Privacy {
    /// How it is encrypted, and what an exchange runs over, where one may be.
    pub(super) fn split(self) -> (Option<TlsFacts>, Option<Transport>) {
        match self {
            Self::Clear => (None, None),
            Self::Loopback => (None, Some(Transport::Loopback)),
            Self::Tls(facts, transport) => (Some(facts), Some(transport)),
        }
    }
}

/// Somebody who logs in.
#[derive(Debug)]
pub(super) struct Submitter {
    /// Over what; `None`: not in the clear (attack class 2).
    transport: Option<Transport>,
    login: LoginState,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginState {
    Never,
    LoggedIn,
    /// The login does not count any more.
    Over,
}

impl Submitter {
    pub(super) fn new(transport: Option<Transport>) -> Self {
        Self { transport, login: LoginState::Never, failures: 0 }
    }

    /// From now on the exchange may run over this.
    pub(super) fn encrypted(&mut self, transport: Transport) {
        self.transport = Some(transport);
    }

    /// Whether there was a login.
    pub(super) fn is_established(&self) -> bool {
        self.login != LoginState::Never
    }

    /// The mechanisms, for EHLO.
    pub(super) fn announcement(&self) -> Option<String> {
        let transport = self.transport.as_ref()?;
        let offered = Mechanism::ALL.into_iter().filter(|mechanism| mechanism.offered(transport));
        Some(offered.fold("AUTH".to_owned(), |line, mechanism| line + " " + mechanism.name()))
    }
}

impl Session {
    /// Whether mail is taken from nobody yet.
    pub(super) fn has_to_log_in(&self) -> bool {
        self.submitter.is_some() && !self.is_logged_in()
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.submitter.as_ref().is_some_and(|submitter| submitter.login == LoginState::LoggedIn)
    }

    /// queued knows of no login here any more.
    pub(super) fn log_out(&mut self) {
        if let Some(submitter) = &mut self.submitter {
            submitter.login = LoginState::Over;
        }
    }

    /// AUTH.
    pub(super) fn authenticate(&mut self, state: State, arguments: &Secret) -> Step {
        let refusal = match (&self.submitter, state) {
            (None, state) => (state, Reply::new(502, "5.5.1", "AUTH is not offered on this port")),
            (Some(submitter), State::Ready(greeting)) => match start(submitter, arguments) {
                Ok(step) => {
                    self.state = State::Judging(greeting);
                    return Step::Authenticate(step);
                }
                Err(reply) => (State::Ready(greeting), reply),
            },
            (Some(_), State::Connected) => (State::Connected, Reply::new(503, "5.5.1", "send EHLO first")),
            (
                Some(_),
                state @ (State::Judging(_)
                | State::Answering(_)
                | State::Cancelling(..)
                | State::CheckingSender(_)
                | State::Envelope(_)
                | State::Checking(..)
                | State::Data(..)
                | State::Delivering(_)
                | State::StartingTls
                | State::Silent(_)
                | State::Closed(_)),
            ) => (state, Reply::new(503, "5.5.1", "not within a transaction")),
        };
        let (state, reply) = refusal;
        self.say(&reply);
        self.state = state;
        Step::Read
    }

    /// The client's answer to a challenge.
    pub(super) fn take_answer(&mut self, greeting: Greeting, line: Line<'_>, input: &[u8]) -> (usize, Step) {
        let (line, used) = match line {
            Line::Partial => {
                self.state = State::Answering(greeting);
                return (0, Step::Read);
            }
            Line::BareLineFeed => return (input.len(), self.end(Close::BareLineFeed)),
            Line::TooLong => return (input.len(), self.end(Close::LineTooLong)),
            Line::Complete(line, used) => (line, used),
        };
        let answer = match line {
            b"*" => Err(Reply::new(501, "5.7.0", "cancelled")),
            line => decode(line),
        };
        let (state, step) = match answer {
            Ok(answer) => (State::Judging(greeting), SaslStep::Answer(answer)),
            Err(reply) => (State::Cancelling(greeting, reply), SaslStep::Cancel),
        };
        self.state = state;
        (used, Step::Authenticate(step))
    }

    /// The answer to [`Step::Authenticate`]. One that nobody gave is [`Login::TryLater`].
    pub fn judged(&mut self, reply: SaslReply) {
        match std::mem::replace(&mut self.state, State::Connected) {
            State::Judging(greeting) => self.take_judgement(greeting, reply),
            State::Cancelling(greeting, reply) => {
                self.say(&reply);
                self.state = State::Ready(greeting);
            }
            other => self.state = other,
        }
    }

    fn take_judgement(&mut self, greeting: Greeting, reply: SaslReply) {
        let login = match reply {
            SaslReply::Challenge(challenge) => {
                self.say(&Reply::new(334, "", STANDARD.encode(challenge)));
                self.state = State::Answering(greeting);
                return;
            }
            SaslReply::Ended(login) => login,
            SaslReply::Cancelled => Login::TryLater,
        };
        self.say(&login_reply(&login));
        self.state = State::Ready(greeting);
        let Some(submitter) = &mut self.submitter else { return };
        match login {
            Login::Ok(_) => {
                submitter.login = LoginState::LoggedIn;
                self.tally.idle_commands = 0;
            }
            Login::Denied { .. } => {
                submitter.failures += 1;
                if submitter.failures >= FAILED_LOGINS {
                    self.end(Close::FailedLogins);
                }
            }
            Login::TryLater | Login::OnlyAsYourself => {}
        }
    }
}

/// What authd is asked first, or why it is not asked. The order counts: in the clear nothing is said of mechanisms.
fn start(submitter: &Submitter, arguments: &Secret) -> Result<SaslStep, Reply> {
    if submitter.login == LoginState::LoggedIn {
        return Err(Reply::new(503, "5.5.1", "you are logged in"));
    }
    let Some(transport) = &submitter.transport else {
        return Err(Reply::new(538, "5.7.11", "use STARTTLS first"));
    };
    let (name, initial) =
        match memchr::memchr(b' ', &arguments.0).and_then(|at| arguments.0.split_at_checked(at)) {
            Some((name, initial)) => (name, Some(initial.trim_ascii_start())),
            None => (arguments.0.as_slice(), None),
        };
    if name.is_empty() {
        return Err(Reply::new(501, "5.5.4", "name a mechanism"));
    }
    let mechanism = std::str::from_utf8(name)
        .ok()
        .and_then(Mechanism::named)
        .filter(|mechanism| mechanism.offered(transport))
        .ok_or_else(|| Reply::new(504, "5.5.4", "no such mechanism"))?;
    let initial = match initial {
        None => None,
        Some(b"=") => Some(Secret(Vec::new())),
        Some(initial) => Some(decode(initial)?),
    };
    Ok(SaslStep::Start { mechanism, transport: transport.clone(), initial })
}

/// Canonical base64 only, of what authd takes.
fn decode(text: &[u8]) -> Result<Secret, Reply> {
    let message = STANDARD.decode(text).map(Secret).map_err(|_| Reply::new(501, "5.5.2", "not base64"))?;
    if message.0.len() > MAX_MESSAGE {
        return Err(Reply::new(501, "5.5.2", "too long for any login"));
    }
    Ok(message)
}

/// Exhaustive: a new end of a login has to choose its reply.
fn login_reply(login: &Login) -> Reply {
    match login {
        Login::Ok(_) => Reply::new(235, "2.7.0", "logged in"),
        Login::Denied { .. } => Reply::new(535, "5.7.8", "wrong user name or password"),
        Login::TryLater => Reply::new(454, "4.7.0", "busy, try again later"),
        Login::OnlyAsYourself => Reply::new(535, "5.7.8", "log in as yourself: nobody may act for another"),
    }
}
