//! What fuzzers run, and unit tests with them.

use std::sync::Arc;

use ipc_proto::{DeliveryId, authd::RecipientQuery};
use mail_lib::address::Address;

use crate::{Fault, Limits, MessageVerdict, RecipientVerdict, Session, Step, TlsFacts, TlsOffer};

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

/// A server where localparts that begin with `x` are nobody's, those with `z` are disabled, domain `elsewhere.example`
/// is not local, and messages with `refuse` in them are refused.
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

impl Server {
    /// Greets.
    #[must_use]
    pub fn new(offer: TlsOffer, message_size: u64) -> Self {
        let limits = Arc::new(Limits { hostname: "mx.example".to_owned(), message_size });
        let mut session = Session::new(limits, offer);
        let outcome = Outcome { replies: std::mem::take(session.replies()), ..Outcome::default() };
        Self { session, waiting: Vec::new(), message: Vec::new(), outcome, starts_tls: false }
    }

    /// Does a handshake that was asked for.
    pub fn handshake(&mut self) {
        if std::mem::take(&mut self.starts_tls) {
            let cipher = "TLS13_AES_128_GCM_SHA256".to_owned();
            self.session.tls_started(TlsFacts { version: "TLSv1.3", cipher });
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
        assert!(self.waiting.len() < crate::MAX_LINE || self.outcome.closed.is_some(), "octets are left");
    }

    fn act(&mut self, step: Step) -> bool {
        match step {
            Step::Read => return true,
            Step::Check(queries) => self.session.checked(queries.into_iter().map(judge).collect()),
            Step::Deliver(envelope) => {
                let message = std::mem::take(&mut self.message);
                if memchr::memmem::find(&message, b"refuse").is_some() {
                    self.session.finish(&MessageVerdict::Refused(crate::Refusal::MailboxFull));
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
            Step::Close(close) => self.outcome.closed = Some(close),
        }
        false
    }
}

/// Plays a client that sends `pieces` and shakes hands when it may.
#[must_use]
pub fn converse(pieces: &[&[u8]], offer: TlsOffer, message_size: u64) -> Outcome {
    let mut server = Server::new(offer, message_size);
    for piece in pieces {
        server.receive(piece);
        server.handshake();
    }
    server.outcome
}

fn judge(query: RecipientQuery) -> RecipientVerdict {
    match query {
        RecipientQuery::Postmaster => match Address::parse("postmaster@mx.example") {
            Ok(address) => RecipientVerdict::Local(address),
            Err(_) => RecipientVerdict::Failed,
        },
        RecipientQuery::Address(address) => match address.localpart.as_str().as_bytes().first() {
            _ if address.domain.as_str() == "elsewhere.example" => RecipientVerdict::NotLocal,
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
    let whole = converse(&[input], TlsOffer::None, 1000);
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(whole, converse(&single, TlsOffer::None, 1000), "{}", input.escape_ascii());
    let pieces: Vec<&[u8]> = input.chunks(7).collect();
    assert_eq!(whole, converse(&pieces, TlsOffer::None, 1000), "{}", input.escape_ascii());
    // Behind STARTTLS nothing in the clear is ever obeyed.
    let _ = converse(&pieces, TlsOffer::StartTls, 1000);

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
