//! IMAP before login, without input or output: bytes in, answers and steps out.

use imapd::{
    Append, BEFORE_LOGIN, BEFORE_LOGIN_STARTTLS, Command, Event, Fatal, Limits, Parser, SESSION, SaslAnswer,
    SaslError, Tag, Tagged,
    response::{self, Status},
};
use ipc_proto::types::Secret;

/// Errors and refused logins that a stranger may make; then the connection ends.
const MAX_ERRORS: u32 = 10;
const MAX_FAILURES: u32 = 3;

/// As authd takes them.
const MAX_USER: usize = 320;
const MAX_PASSWORD: usize = 1024;

/// Where a test instance allows logins in the clear.
const BEFORE_LOGIN_CLEAR: &str = "IMAP4rev1 LITERAL+ SASL-IR ID STARTTLS AUTH=PLAIN";

/// Who can listen to what the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Anybody: no passwords.
    Clear,
    /// Nobody but this machine, and the configuration allows it.
    Loopback,
    /// Nobody.
    Tls,
}

impl Privacy {
    const fn capabilities(self) -> &'static str {
        match self {
            Self::Clear => BEFORE_LOGIN_STARTTLS,
            Self::Loopback => BEFORE_LOGIN_CLEAR,
            Self::Tls => BEFORE_LOGIN,
        }
    }

    const fn allows_passwords(self) -> bool {
        match self {
            Self::Clear => false,
            Self::Loopback | Self::Tls => true,
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
    /// Send the answers, then close.
    Close(Reason),
}

/// A login to be judged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) tag: Tag,
    pub(crate) user: String,
    pub(crate) password: Secret,
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

/// Why a login is not judged at all.
enum Unfit {
    /// It can be nobody's.
    Form,
    /// To act for somebody else.
    Proxy,
}

/// One connection's talk before login.
#[derive(Debug)]
pub(crate) struct Dialogue {
    parser: Parser,
    privacy: Privacy,
    errors: u32,
    failures: u32,
    /// Inside AUTHENTICATE PLAIN: its tag.
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
            Some(Event::Append(Append { tag, synchronising, .. })) => {
                self.parser.refuse_message();
                if synchronising {
                    return self.log_in_first(&tag, out);
                }
                // The message is on its way and will not be read.
                response::tagged(out, &tag, Status::Bad, "log in first");
                bye(out, "closing the connection");
                Step::Close(Reason::Bounds)
            }
            Some(Event::MessageData(_) | Event::AppendEnd) => Step::Next,
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
            Command::Login { .. } | Command::Authenticate { .. } if !self.privacy.allows_passwords() => {
                response::tagged(out, &tag, Status::No, "[PRIVACYREQUIRED] use STARTTLS first");
                self.error(out)
            }
            Command::Login { user, password } => self.attempt(tag, login(user, password.into_bytes()), out),
            Command::Authenticate { mechanism, initial } => match (mechanism.as_str(), initial) {
                ("PLAIN", Some(message)) => self.sasl(tag, Ok(SaslAnswer::Data(message)), out),
                ("PLAIN", None) => {
                    out.extend_from_slice(b"+ \r\n");
                    self.parser.expect_line();
                    self.authenticating = Some(tag);
                    Step::Read
                }
                (_, Some(_) | None) => {
                    response::tagged(out, &tag, Status::No, "no such mechanism");
                    self.error(out)
                }
            },
            Command::Select(_)
            | Command::Examine(_)
            | Command::Create(_)
            | Command::Delete(_)
            | Command::Rename { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::List { .. }
            | Command::Lsub { .. }
            | Command::Status { .. }
            | Command::Check
            | Command::Close
            | Command::Expunge(_)
            | Command::Search { .. }
            | Command::Fetch { .. }
            | Command::Store { .. }
            | Command::Copy { .. }
            | Command::Move { .. }
            | Command::Idle
            | Command::Namespace
            | Command::Unselect => self.log_in_first(&tag, out),
        }
    }

    fn start_tls(&mut self, tag: &Tag, nothing_behind: bool, out: &mut Vec<u8>) -> Step {
        if self.privacy == Privacy::Tls {
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
        match answer {
            Ok(SaslAnswer::Data(message)) => self.attempt(tag, plain(message.into_bytes()), out),
            Ok(SaslAnswer::Cancel) => {
                response::tagged(out, &tag, Status::Bad, "cancelled");
                self.error(out)
            }
            Err(error) => {
                response::tagged(out, &tag, Status::Bad, &error.to_string());
                self.error(out)
            }
        }
    }

    fn attempt(&mut self, tag: Tag, form: Result<(String, Secret), Unfit>, out: &mut Vec<u8>) -> Step {
        match form {
            Ok((user, password)) => Step::Login(Attempt { tag, user, password }),
            Err(Unfit::Form) => self.denied(&tag, out),
            Err(Unfit::Proxy) => {
                response::tagged(out, &tag, Status::No, "[AUTHORIZATIONFAILED] log in as yourself");
                self.error(out)
            }
        }
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

    /// The session is there: what follows is for it.
    pub(crate) fn logged_in(tag: &Tag, out: &mut Vec<u8>) {
        response::tagged(out, tag, Status::Ok, &format!("[CAPABILITY {SESSION}] logged in"));
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

fn login(user: Vec<u8>, password: Vec<u8>) -> Result<(String, Secret), Unfit> {
    let password = Secret(password);
    let user = String::from_utf8(user).map_err(|_| Unfit::Form)?;
    let fits = (1..=MAX_USER).contains(&user.len())
        && !user.chars().any(char::is_control)
        && password.0.len() <= MAX_PASSWORD
        && !password.0.contains(&0);
    if fits { Ok((user, password)) } else { Err(Unfit::Form) }
}

/// `authzid NUL authcid NUL password` (RFC 4616 §2).
fn plain(message: Vec<u8>) -> Result<(String, Secret), Unfit> {
    let message = Secret(message);
    let mut parts = message.0.split(|octet| *octet == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(acting_for), Some(user), Some(password), None) => {
            if !acting_for.is_empty() && acting_for != user {
                return Err(Unfit::Proxy);
            }
            login(user.to_vec(), password.to_vec())
        }
        _ => Err(Unfit::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User and password.
    type Logins = Vec<(String, Vec<u8>)>;

    /// All of `input` through one dialogue; refuses every login. The answers, the logins, and how it ended.
    fn talk(privacy: Privacy, input: &[u8], piece: usize) -> (String, Logins, Option<Step>) {
        let mut dialogue = Dialogue::new(privacy);
        let (mut out, mut logins, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in input.chunks(piece) {
            pending.extend_from_slice(chunk);
            loop {
                let mut rest = pending.as_slice();
                let mut step = dialogue.take(&mut rest, &mut out);
                pending = rest.to_vec();
                if let Step::Login(attempt) = step {
                    logins.push((attempt.user, attempt.password.0.clone()));
                    step = dialogue.denied(&attempt.tag, &mut out);
                }
                match step {
                    Step::Read if pending.is_empty() => break,
                    Step::Read | Step::Next => {}
                    Step::StartTls | Step::Close(_) | Step::Login(_) => {
                        return (String::from_utf8(out).unwrap(), logins, Some(step));
                    }
                }
            }
        }
        (String::from_utf8(out).unwrap(), logins, None)
    }

    #[test]
    fn each_entrance_announces_what_it_allows() {
        for (privacy, words, missing) in [
            (Privacy::Clear, "STARTTLS LOGINDISABLED", "AUTH="),
            (Privacy::Tls, "AUTH=PLAIN", "STARTTLS"),
            (Privacy::Loopback, "STARTTLS AUTH=PLAIN", "LOGINDISABLED"),
        ] {
            let mut greeting = Vec::new();
            Dialogue::new(privacy).greet("imap.example", &mut greeting);
            let greeting = String::from_utf8(greeting).unwrap();
            assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
            assert!(greeting.contains(words) && !greeting.contains(missing), "{greeting}");
            let (answer, _, _) = talk(privacy, b"a CAPABILITY\r\n", 100);
            assert!(answer.contains(words) && answer.ends_with("a OK done\r\n"), "{answer}");
        }
    }

    #[test]
    fn conversations_before_login() {
        for (privacy, input, answers) in [
            (Privacy::Clear, &b"a noop\r\n"[..], "a OK done\r\n"),
            (Privacy::Clear, b"a ID NIL\r\n", "* ID (\"name\" \"moxd\")\r\na OK done\r\n"),
            (Privacy::Clear, b"a logout\r\n", "* BYE goodbye\r\na OK done\r\n"),
            (Privacy::Clear, b"a SELECT inbox\r\n", "a BAD log in first\r\n"),
            (Privacy::Clear, b"a starttls\r\n", "a OK begin TLS now\r\n"),
            (Privacy::Tls, b"a starttls\r\n", "a BAD this is TLS already\r\n"),
            (Privacy::Tls, b"a authenticate gssapi\r\n", "a NO no such mechanism\r\n"),
            (Privacy::Tls, b"a authenticate plain\r\n*\r\n", "+ \r\na BAD cancelled\r\n"),
            (Privacy::Tls, b"a authenticate plain\r\n!!\r\n", "+ \r\na BAD not base64\r\n"),
            (
                Privacy::Tls,
                b"a authenticate plain YgBhAGM=\r\n",
                "a NO [AUTHORIZATIONFAILED] log in as yourself\r\n",
            ),
            (Privacy::Tls, b"a login {1}\r\nu {1}\r\np\r\n", "+ OK\r\n+ OK\r\na NO [AUTHENTICATIONFAILED]"),
        ] {
            for piece in [1, 3, 1000] {
                let (out, _, _) = talk(privacy, input, piece);
                assert!(out.starts_with(answers), "{}: {out}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn every_form_of_login_is_the_same_login() {
        for input in [
            &b"a LOGIN mox@localhost secret\r\n"[..],
            b"a login \"mox@localhost\" \"secret\"\r\n",
            b"a login {13+}\r\nmox@localhost {6+}\r\nsecret\r\n",
            b"a authenticate plain AG1veEBsb2NhbGhvc3QAc2VjcmV0\r\n",
            b"a authenticate PLAIN\r\nAG1veEBsb2NhbGhvc3QAc2VjcmV0\r\n",
            b"a authenticate plain bW94QGxvY2FsaG9zdABtb3hAbG9jYWxob3N0AHNlY3JldA==\r\n",
        ] {
            for piece in [1, 1000] {
                let (_, logins, _) = talk(Privacy::Tls, input, piece);
                assert_eq!(
                    logins,
                    [("mox@localhost".to_owned(), b"secret".to_vec())],
                    "{}",
                    input.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn logins_that_can_be_nobodys_are_denied_like_wrong_ones() {
        let long_user = [b"a login ", "u".repeat(321).as_bytes(), b" p\r\n"].concat();
        for (input, reason) in [
            (&long_user[..], "a user name over 320 octets"),
            (b"a login \"\" p\r\n", "no user"),
            (b"a login {2+}\r\n\xff\xfe p\r\n", "not UTF-8"),
            (b"a login \"a\x1bb\" p\r\n", "a control in the user name"),
            (b"a authenticate plain AHVzZXI=\r\n", "no password part"),
            (b"a authenticate plain AABw\r\n", "an empty user part"),
        ] {
            let (out, logins, _) = talk(Privacy::Tls, input, 1000);
            assert!(out.starts_with("a NO [AUTHENTICATIONFAILED]"), "{reason}: {out}");
            assert_eq!(logins, [], "{reason}");
        }
    }

    /// Attack class 2: no password is taken in the clear, in whatever form it comes.
    #[test]
    fn passwords_in_the_clear_are_refused_unjudged() {
        for input in
            [&b"a LOGIN u p\r\n"[..], b"a AUTHENTICATE PLAIN AHUAcA==\r\n", b"a AUTHENTICATE PLAIN\r\n"]
        {
            let (out, logins, _) = talk(Privacy::Clear, input, 1000);
            assert_eq!(out, "a NO [PRIVACYREQUIRED] use STARTTLS first\r\n", "{}", input.escape_ascii());
            assert_eq!(logins, []);
        }
    }

    /// Attack class 1: a command in the packet that starts TLS ends the connection and is never run.
    #[test]
    fn plaintext_behind_starttls_ends_the_connection() {
        let (out, logins, step) = talk(Privacy::Loopback, b"a STARTTLS\r\nb LOGIN u p\r\n", 1000);
        assert_eq!(step, Some(Step::Close(Reason::Injection)));
        assert!(out.starts_with("a BAD nothing may follow STARTTLS"), "{out}");
        assert_eq!(logins, []);
        let (_, _, step) = talk(Privacy::Loopback, b"a STARTTLS\r\n", 1000);
        assert_eq!(step, Some(Step::StartTls));
    }

    /// Attack class 16: three wrong passwords end the connection.
    #[test]
    fn the_third_refused_login_ends_the_connection() {
        let (out, logins, step) = talk(Privacy::Tls, &b"a LOGIN u p\r\n".repeat(5), 1000);
        assert_eq!(step, Some(Step::Close(Reason::Errors)));
        assert_eq!(logins.len(), 3);
        assert!(out.ends_with("* BYE too many failed logins\r\n"), "{out}");
    }

    #[test]
    fn the_tenth_error_ends_the_connection() {
        let (out, _, step) = talk(Privacy::Clear, &b"GET / HTTP/1.1\r\n".repeat(20), 7);
        assert_eq!(step, Some(Step::Close(Reason::Errors)));
        assert_eq!(out.matches(" BAD ").count(), 10, "{out}");
    }

    /// Attack class 7: what is over a stranger's bounds ends the connection at once.
    #[test]
    fn literal_and_line_floods_end_the_connection() {
        let long_line = [&b"a LOGIN "[..], &[b'x'; 5000]].concat();
        let many = b"a LOGIN {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\nx\r\n".to_vec();
        for (input, reason) in [
            (long_line, "a line without end"),
            (b"a LOGIN {1025+}\r\n".to_vec(), "a literal over the bound, on its way"),
            (b"a LOGIN {4294967295+}\r\n".to_vec(), "a huge literal, on its way"),
            (many, "many literals"),
            (b"{10+}\r\naaaaaaaaaa a\r\n".to_vec(), "a literal for a tag"),
            (b"a noop\nb noop\r\n".to_vec(), "a bare line feed"),
        ] {
            let (out, _, step) = talk(Privacy::Tls, &input, 1000);
            assert_eq!(step, Some(Step::Close(Reason::Bounds)), "{reason}: {out}");
            assert!(out.contains("* BYE"), "{reason}: {out}");
        }
        let (out, _, step) = talk(Privacy::Tls, b"a LOGIN {4294967295}\r\n", 1000);
        assert_eq!(step, None, "a client that waits is told no, and nothing is lost: {out}");
        let (out, _, _) = talk(Privacy::Tls, b"a APPEND inbox {100}\r\nb noop\r\n", 1000);
        assert!(!out.contains("a OK") && out.ends_with("b OK done\r\n"), "{out}");
    }
}
