//! What fuzzers run, and unit tests with them.

use std::sync::Arc;

use ipc_proto::{
    DeliveryId,
    authd::{Login, RecipientQuery},
    sasl::{Mechanism, SaslReply, SaslStep, Transport},
    submission::{Sender, SubmissionRefusal, Ungranted},
    types::{SessionId, Timestamp},
};
use mail_lib::address::Address;

use crate::{
    Fault, Limits, MessageVerdict, Privacy, RecipientVerdict, SenderVerdict, Session, Step, TlsFacts,
    TlsOffer,
};

/// What a conversation came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// All that was said to the client.
    pub replies: Vec<u8>,
    /// Messages: sender, recipients, octets.
    pub messages: Vec<(Option<String>, Vec<String>, Vec<u8>)>,
    /// Why it ended, if it did.
    pub closed: Option<crate::Close>,
}

/// What the server of a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Port 25.
    Smtp(TlsOffer),
    /// Port 587.
    Submission,
    /// Port 587, where logins without TLS are allowed.
    SubmissionOnLoopback,
    /// Port 465.
    Submissions,
}

/// A server where localparts that begin with `x` are nobody's, those with `z` are disabled, domain `elsewhere.example`
/// is not local, and messages with `refuse` in them are refused.
///
/// At submission the password is `right`; `later` and `other` come to other ends of a login. Addresses of
/// `b.org` are one's own; localpart `gone` finds the login over and `busy` finds nobody to ask. Messages with `limit`
/// in them are one too many.
#[derive(Debug)]
pub struct Server {
    session: Session,
    waiting: Vec<u8>,
    message: Vec<u8>,
    /// What came of it so far.
    pub outcome: Outcome,
    /// A handshake is asked for.
    pub starts_tls: bool,
}

fn facts() -> TlsFacts {
    TlsFacts { version: "TLSv1.3", cipher: "TLS13_AES_128_GCM_SHA256".to_owned() }
}

impl Server {
    /// Greets.
    #[must_use]
    pub fn new(port: Port, message_size: u64, simulate_failures: bool) -> Self {
        let hostname = "mx.example".to_owned();
        let limits = Arc::new(Limits { hostname, message_size, simulate_failures });
        let mut session = match port {
            Port::Smtp(offer) => Session::incoming(limits, offer),
            Port::Submission => Session::submission(limits, Privacy::Clear),
            Port::SubmissionOnLoopback => Session::submission(limits, Privacy::Loopback),
            Port::Submissions => {
                Session::submission(limits, Privacy::Tls(facts(), Transport::Bound([7; 32])))
            }
        };
        session.tell_time(Timestamp { seconds: 1_790_000_000, nanoseconds: 0 });
        let outcome = Outcome { replies: std::mem::take(session.replies()), ..Outcome::default() };
        Self { session, waiting: Vec::new(), message: Vec::new(), outcome, starts_tls: false }
    }

    /// Does a handshake that was asked for.
    pub fn handshake(&mut self) {
        if std::mem::take(&mut self.starts_tls) {
            self.session.tls_started(facts(), Transport::Tls);
        }
    }

    /// Takes octets from the client.
    pub fn receive(&mut self, octets: &[u8]) {
        self.waiting.extend_from_slice(octets);
        while self.outcome.closed.is_none() && !self.starts_tls {
            let (used, step) = self.session.step(&self.waiting, &mut self.message);
            self.waiting.drain(..used);
            let done = self.act(step);
            self.outcome.replies.append(self.session.replies());
            if done {
                break;
            }
        }
        assert!(self.waiting.len() < crate::MAX_ANSWER || self.outcome.closed.is_some(), "octets are left");
    }

    fn act(&mut self, step: Step) -> bool {
        match step {
            Step::Read => return true,
            Step::Authenticate(step) => self.session.judged(log_in(step)),
            Step::CheckSender(from) => self.session.sender_checked(judge_sender(from)),
            Step::Check(queries, _) => self.session.checked(queries.into_iter().map(judge).collect()),
            Step::Deliver(envelope) => {
                let message = std::mem::take(&mut self.message);
                if memchr::memmem::find(&message, b"refuse").is_some() {
                    self.session.finish(&MessageVerdict::Refused(crate::Refusal::MailboxFull));
                } else if memchr::memmem::find(&message, b"limit").is_some() {
                    let refusal = SubmissionRefusal::TooManyMessages { limit: 5 };
                    self.session.finish(&MessageVerdict::NotSubmitted(refusal));
                } else {
                    self.session.finish(&MessageVerdict::Kept(DeliveryId([0; 16])));
                    self.outcome.messages.push((
                        envelope.mail.from.map(|from| from.to_string()),
                        envelope.recipients.iter().map(ToString::to_string).collect(),
                        message,
                    ));
                }
            }
            Step::Discard(..) => self.message.clear(),
            Step::StartTls => self.starts_tls = true,
            Step::Stall => self.session.silence_over(),
            Step::Close(close) => self.outcome.closed = Some(close),
        }
        false
    }
}

/// Plays a client that sends `pieces` and shakes hands when it may.
#[must_use]
pub fn converse(pieces: &[&[u8]], port: Port, message_size: u64) -> Outcome {
    let mut server = Server::new(port, message_size, true);
    for piece in pieces {
        server.receive(piece);
        server.handshake();
    }
    server.outcome
}

/// Every mechanism is one challenge here, whose answer, or whose initial response, is the password.
fn log_in(step: SaslStep) -> SaslReply {
    let password = match step {
        SaslStep::Start { mechanism: Mechanism::Login, initial: None, .. } => {
            return SaslReply::Challenge(b"User Name".to_vec());
        }
        SaslStep::Start { initial: None, .. } => return SaslReply::Challenge(Vec::new()),
        SaslStep::Start { initial: Some(password), .. } | SaslStep::Answer(password) => password,
        SaslStep::Cancel => return SaslReply::Cancelled,
    };
    SaslReply::Ended(match password.0.as_slice() {
        b"right" => Login::Ok(SessionId(1)),
        b"later" => Login::TryLater,
        b"other" => Login::OnlyAsYourself,
        b"more" => return SaslReply::Challenge(b"more".to_vec()),
        _ => Login::Denied { wait_ms: 0 },
    })
}

fn judge_sender(from: Option<Address>) -> SenderVerdict {
    let Some(from) = from else { return SenderVerdict::Judged(Sender::NotYours) };
    match from.localpart.as_str() {
        "gone" => SenderVerdict::Judged(Sender::Ungranted(Ungranted::NotLoggedIn)),
        "busy" => SenderVerdict::Judged(Sender::Ungranted(Ungranted::TryLater)),
        _ if from.domain.as_str() == "b.org" => SenderVerdict::Judged(Sender::Ok),
        _ => SenderVerdict::Judged(Sender::NotYours),
    }
}

fn judge(query: RecipientQuery) -> RecipientVerdict {
    match query {
        RecipientQuery::Postmaster => match Address::parse("postmaster@mx.example") {
            Ok(address) => RecipientVerdict::Local(address),
            Err(_) => RecipientVerdict::Failed,
        },
        RecipientQuery::Address(address) => match address.localpart.as_str().as_bytes().first() {
            _ if address.domain.as_str() == "elsewhere.example" => RecipientVerdict::NotLocal,
            _ if address.localpart.as_str() == "gone" => RecipientVerdict::Ungranted(Ungranted::NotLoggedIn),
            Some(b'x') => RecipientVerdict::Unknown,
            Some(b'z') => RecipientVerdict::Disabled,
            Some(_) | None => RecipientVerdict::Local(address),
        },
    }
}

/// Reads message data the slow way: looks for the end, judges the octets before it, takes the dots out.
#[must_use]
pub fn slow_data(input: &[u8], limit: usize) -> Option<(Result<Vec<u8>, Fault>, usize)> {
    // The CRLF of the DATA command counts.
    let whole = [b"\r\n", input].concat();
    let end = memchr::memmem::find(&whole, b"\r\n.\r\n")?;
    let body = whole.get(2..end + 2).unwrap_or_default();
    let used = end + 3;
    let mut message = Vec::new();
    let (mut fault, mut line_start) = (None, true);
    for (at, octet) in body.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| body.get(at));
        let here = match octet {
            0 => Some(Fault::Nul),
            b'\n' if before != Some(&b'\r') => Some(Fault::BareLineFeed),
            b'\r' if body.get(at + 1) != Some(&b'\n') => Some(Fault::BareCarriageReturn),
            _ => None,
        };
        fault = fault.or(here);
        if !(line_start && *octet == b'.') {
            message.push(*octet);
        }
        line_start = *octet == b'\n' && before == Some(&b'\r');
    }
    if fault.is_none() && message.len() > limit {
        fault = Some(Fault::TooLarge);
    }
    Some((fault.map_or(Ok(message), Err), used))
}

/// Run by the fuzzer and by an ordinary test: the way the input is cut changes nothing, and a message's data is what the
/// slow reader says.
pub fn check_smtp(input: &[u8]) {
    for port in [Port::Smtp(TlsOffer::None), Port::Submissions] {
        let whole = converse(&[input], port, 1000);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(whole, converse(&single, port, 1000), "{port:?}: {}", input.escape_ascii());
        let pieces: Vec<&[u8]> = input.chunks(7).collect();
        assert_eq!(whole, converse(&pieces, port, 1000), "{port:?}: {}", input.escape_ascii());
    }
    // Behind STARTTLS nothing in the clear is ever obeyed.
    let pieces: Vec<&[u8]> = input.chunks(7).collect();
    for port in [Port::Smtp(TlsOffer::StartTls), Port::Submission, Port::SubmissionOnLoopback] {
        let _ = converse(&pieces, port, 1000);
    }

    let mut data = crate::Data::new(1000);
    let mut message = Vec::new();
    let (used, ended) = data.feed(input, &mut message);
    match slow_data(input, 1000) {
        None => assert!(!ended && used == input.len()),
        Some((expected, end)) => {
            assert_eq!((used, ended), (end, true));
            let result = data.fault().map_or(Ok(message), Err);
            let counted = matches!(result, Err(Fault::Loop | Fault::HeaderTooLarge));
            assert!(counted || result == expected, "{}", input.escape_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_fuzzers_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/smtp");
        let inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 35, "{} inputs in {}", inputs.len(), corpus.display());
        for input in inputs {
            super::check_smtp(&fs::read(&input).unwrap());
        }
    }
}
