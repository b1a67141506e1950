//! IMAP before login, without input or output: bytes in, answers and steps out.

use std::borrow::Cow;

use imapd::{
    BEFORE_LOGIN, Capabilities, Command, Event, Fatal, LOGIN_DISABLED, Limits, Parser, SaslAnswer, SaslError,
    Tag, Tagged,
    response::{self, Status},
};
use ipc_proto::{
    sasl::{MAX_MESSAGE, Mechanism, SaslStep, Transport},
    types::Secret,
};

/// Errors and refused logins that a stranger may make; then the connection ends.
const MAX_ERRORS: u32 = 10;
const MAX_FAILURES: u32 = 3;

/// As authd takes them.
const MAX_USER: usize = 320;
const MAX_PASSWORD: usize = 1024;

/// Who can listen to what the client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Anybody: no passwords.
    Clear,
    /// Nobody else: it is TLS, or this machine where the configuration allows it. What an exchange runs over.
    Private(Transport),
}

impl Privacy {
    fn capabilities(&self) -> String {
        let mut words = String::from(BEFORE_LOGIN);
        if !self.is_tls() {
            words.push_str(" STARTTLS");
        }
        let Self::Private(transport) = self else {
            words.push(' ');
            words.push_str(LOGIN_DISABLED);
            return words;
        };
        for mechanism in Mechanism::ALL.into_iter().filter(|mechanism| mechanism.offered(transport)) {
            words.push_str(" AUTH=");
            words.push_str(mechanism.name());
        }
        words
    }

    const fn is_tls(&self) -> bool {
        match self {
            Self::Clear | Self::Private(Transport::Loopback) => false,
            Self::Private(Transport::Tls | Transport::Bound(_) | Transport::Keyed(..)) => true,
        }
    }
}

/// What is to be done after the answers so far are sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// In the middle of a command: take on, or read more when nothing is left of the input.
    Read,
    /// A command was answered: there may be another one.
    Next,
    /// Send the answers, then shake hands. There was nothing behind the command.
    StartTls,
    /// Ask authd, then say what came of it with [`Dialogue::logged_in`] or its sisters.
    Login(Attempt),
    /// Tell authd that the exchange is over; then there may be another command.
    Cancel,
    /// Send the answers, then close.
    Close(Reason),
}

/// A login to be judged, or a step of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) tag: Tag,
    pub(crate) ask: Ask,
}

/// What authd is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// LOGIN.
    Password { user: String, password: Secret },
    /// AUTHENTICATE.
    Sasl(SaslStep),
}

/// Why the connection ends, for the log and for authd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// LOGOUT.
    Logout,
    /// Too many errors or refused logins.
    Errors,
    /// Beyond the parser's bounds or out of step.
    Bounds,
    /// Plaintext behind STARTTLS.
    Injection,
}

/// One connection's talk before login.
#[derive(Debug)]
pub(crate) struct Dialogue {
    parser: Parser,
    privacy: Privacy,
    errors: u32,
    failures: u32,
    /// Inside AUTHENTICATE: its tag.
    authenticating: Option<Tag>,
}

impl Dialogue {
    /// A new connection, or one that has just come under TLS: nothing of before counts (RFC 3501 §6.2.1).
    pub(crate) fn new(privacy: Privacy) -> Self {
        Self {
            parser: Parser::new(Limits::BEFORE_LOGIN),
            privacy,
            errors: 0,
            failures: 0,
            authenticating: None,
        }
    }

    /// The first line.
    pub(crate) fn greet(&self, hostname: &str, out: &mut Vec<u8>) {
        let capabilities = self.privacy.capabilities();
        response::untagged(out, Status::Ok, &format!("[CAPABILITY {capabilities}] {hostname} ready"));
    }

    /// Takes octets from the front of `input` up to the end of one command, and appends the answers.
    pub(crate) fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Step {
        match self.parser.next(input) {
            None => Step::Read,
            Some(Event::Continue) => {
                response::continuation(out);
                Step::Read
            }
            Some(Event::Command(Tagged { tag, command })) => {
                let nothing_behind = input.is_empty();
                self.command(tag, command, nothing_behind, out)
            }
            Some(Event::Line(line)) => match self.authenticating.take() {
                Some(tag) => self.sasl(tag, SaslAnswer::parse(&line), out),
                None => Step::Next,
            },
            // The limits have no messages, so the parser refuses them by itself.
            Some(
                Event::Append(_)
                | Event::AppendMessage(_)
                | Event::AppendText(_)
                | Event::AppendUrl(_)
                | Event::MessageData(_)
                | Event::AppendEnd,
            ) => Step::Next,
            Some(Event::Bad(bad)) => {
                response::bad(out, &bad);
                self.error(out)
            }
            Some(Event::Fatal(fatal)) => {
                response::fatal(out, fatal);
                Step::Close(match fatal {
                    Fatal::LineTooLong
                    | Fatal::BareLineFeed
                    | Fatal::CommandTooLarge
                    | Fatal::LiteralTooLarge
                    | Fatal::LiteralOutOfPlace => Reason::Bounds,
                })
            }
        }
    }

    fn command(&mut self, tag: Tag, command: Command, nothing_behind: bool, out: &mut Vec<u8>) -> Step {
        match command {
            Command::Capability => {
                out.extend_from_slice(b"* CAPABILITY ");
                out.extend_from_slice(self.privacy.capabilities().as_bytes());
                out.extend_from_slice(b"\r\n");
                ok(out, &tag)
            }
            Command::Noop => ok(out, &tag),
            Command::Id(_) => {
                // The name only: strangers are not told the version.
                out.extend_from_slice(b"* ID (\"name\" \"moxd\")\r\n");
                ok(out, &tag)
            }
            Command::Logout => {
                bye(out, "goodbye");
                response::tagged(out, &tag, Status::Ok, "done");
                Step::Close(Reason::Logout)
            }
            Command::StartTls => self.start_tls(&tag, nothing_behind, out),
            Command::Login { user, password } => match &self.privacy {
                Privacy::Clear => self.privacy_required(&tag, out),
                Privacy::Private(_) => match login(user, password.into_bytes()) {
                    Some(ask) => Step::Login(Attempt { tag, ask }),
                    None => self.denied(&tag, out),
                },
            },
            Command::Authenticate { mechanism, initial } => {
                let Privacy::Private(transport) = &self.privacy else {
                    return self.privacy_required(&tag, out);
                };
                let transport = transport.clone();
                let mechanism = Mechanism::named(&mechanism).filter(|named| named.offered(&transport));
                let Some(mechanism) = mechanism else {
                    response::tagged(out, &tag, Status::No, "no such mechanism");
                    return self.error(out);
                };
                let initial = initial.map(|message| Secret(message.into_bytes()));
                if initial.as_ref().is_some_and(|message| message.0.len() > MAX_MESSAGE) {
                    return self.denied(&tag, out);
                }
                let ask = Ask::Sasl(SaslStep::Start { mechanism, transport, initial });
                Step::Login(Attempt { tag, ask })
            }
            Command::Select { .. }
            | Command::Examine { .. }
            | Command::Enable(_)
            | Command::Create { .. }
            | Command::Delete(_)
            | Command::Rename { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::List(_)
            | Command::Lsub { .. }
            | Command::Status { .. }
            | Command::Check
            | Command::Close
            | Command::Expunge(_)
            | Command::Search { .. }
            | Command::CancelUpdate(_)
            | Command::Esearch { .. }
            | Command::Sort { .. }
            | Command::Thread { .. }
            | Command::Fetch { .. }
            | Command::Store { .. }
            | Command::Copy { .. }
            | Command::Move { .. }
            | Command::Compress(_)
            | Command::Idle
            | Command::Acl(_)
            | Command::GetMetadata(_)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::SetMetadata(_)
            | Command::Language(_)
            | Command::Namespace
            | Command::GenUrlAuth(_)
            | Command::ResetKey { .. }
            | Command::UrlFetch(_)
            | Command::Notify(_)
            | Command::Unselect => self.log_in_first(&tag, out),
        }
    }

    fn start_tls(&mut self, tag: &Tag, nothing_behind: bool, out: &mut Vec<u8>) -> Step {
        if self.privacy.is_tls() {
            response::tagged(out, tag, Status::Bad, "this is TLS already");
            return self.error(out);
        }
        if !nothing_behind {
            // Somebody in between may have put it there, to be taken for what comes under TLS (RFC 3501 §11.1).
            response::tagged(out, tag, Status::Bad, "nothing may follow STARTTLS before the handshake");
            bye(out, "closing the connection");
            return Step::Close(Reason::Injection);
        }
        response::tagged(out, tag, Status::Ok, "begin TLS now");
        Step::StartTls
    }

    fn sasl(&mut self, tag: Tag, answer: Result<SaslAnswer, SaslError>, out: &mut Vec<u8>) -> Step {
        let text = match answer {
            Ok(SaslAnswer::Data(message)) => {
                let message = Secret(message.into_bytes());
                if message.0.len() <= MAX_MESSAGE {
                    return Step::Login(Attempt { tag, ask: Ask::Sasl(SaslStep::Answer(message)) });
                }
                Cow::Borrowed("too long")
            }
            Ok(SaslAnswer::Cancel) => Cow::Borrowed("cancelled"),
            Err(error) => Cow::Owned(error.to_string()),
        };
        response::tagged(out, &tag, Status::Bad, &text);
        match self.error(out) {
            Step::Next => Step::Cancel,
            other => other,
        }
    }

    fn privacy_required(&mut self, tag: &Tag, out: &mut Vec<u8>) -> Step {
        response::tagged(out, tag, Status::No, "[PRIVACYREQUIRED] use STARTTLS first");
        self.error(out)
    }

    fn log_in_first(&mut self, tag: &Tag, out: &mut Vec<u8>) -> Step {
        response::tagged(out, tag, Status::Bad, "log in first");
        self.error(out)
    }

    fn error(&mut self, out: &mut Vec<u8>) -> Step {
        self.errors += 1;
        if self.errors < MAX_ERRORS {
            return Step::Next;
        }
        bye(out, "too many errors");
        Step::Close(Reason::Errors)
    }

    /// authd wants to hear more.
    pub(crate) fn challenge(&mut self, tag: Tag, challenge: &[u8], out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(b"+ ");
        out.extend_from_slice(imapd::encode_challenge(challenge).as_bytes());
        out.extend_from_slice(b"\r\n");
        self.parser.expect_line();
        self.authenticating = Some(tag);
        Step::Read
    }

    /// The client asked to act for somebody else.
    pub(crate) fn only_as_yourself(&mut self, tag: &Tag, out: &mut Vec<u8>) -> Step {
        response::tagged(out, tag, Status::No, "[AUTHORIZATIONFAILED] log in as yourself");
        self.error(out)
    }

    /// authd said no: one answer, whatever the reason.
    pub(crate) fn denied(&mut self, tag: &Tag, out: &mut Vec<u8>) -> Step {
        response::tagged(out, tag, Status::No, "[AUTHENTICATIONFAILED] wrong user name or password");
        self.failures += 1;
        if self.failures < MAX_FAILURES {
            return Step::Next;
        }
        bye(out, "too many failed logins");
        Step::Close(Reason::Errors)
    }

    /// The login was not judged, or its session cannot be had now.
    pub(crate) fn unavailable(&mut self, tag: &Tag, out: &mut Vec<u8>) -> Step {
        response::tagged(out, tag, Status::No, "[UNAVAILABLE] busy, try again later");
        self.error(out)
    }

    /// The session is there: what follows is for it. `without`: what is switched off for the account; `message_size`:
    /// octets that a message may have.
    pub(crate) fn logged_in(tag: &Tag, without: Capabilities, message_size: u64, out: &mut Vec<u8>) {
        let capabilities = imapd::after_login(without, message_size, imapd::MESSAGE_LIMIT);
        response::tagged(out, tag, Status::Ok, &format!("[CAPABILITY {capabilities}] logged in"));
    }
}

fn ok(out: &mut Vec<u8>, tag: &Tag) -> Step {
    response::tagged(out, tag, Status::Ok, "done");
    Step::Next
}

/// `* BYE text`
pub(crate) fn bye(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"* BYE ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `None`: it can be nobody's.
fn login(user: Vec<u8>, password: Vec<u8>) -> Option<Ask> {
    let password = Secret(password);
    let user = String::from_utf8(user).ok()?;
    let fits = (1..=MAX_USER).contains(&user.len())
        && !user.chars().any(char::is_control)
        && password.0.len() <= MAX_PASSWORD
        && !password.0.contains(&0);
    fits.then_some(Ask::Password { user, password })
}

#[cfg(test)]
mod tests;
