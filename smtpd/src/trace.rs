//! The `Received` field (RFC 5321 §4.4).

use std::{fmt::Write, net::IpAddr};

use ipc_proto::{DeliveryId, types::Timestamp};
use mail_lib::header::format_date;

use crate::{
    helo::HeloName,
    session::{Envelope, Greeting},
};

/// What a `Received` field tells beside the envelope.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// Where the client connected from; `None`: it logged in, and where it is is nobody's business.
    pub client: Option<IpAddr>,
    /// This host's name.
    pub hostname: &'a str,
    /// The message's id.
    pub id: DeliveryId,
    /// When its last octet arrived.
    pub at: Timestamp,
}

/// The field with its CRLF. Every part is a validated type or this host's own, so nothing of the client's can end a
/// line or begin a field. `for` is left out where it would tell one recipient of another.
#[must_use]
pub fn received(envelope: &Envelope, trace: &Trace<'_>) -> Vec<u8> {
    let mut field = String::with_capacity(320);
    // Writing to a String does not fail.
    let _ = match trace.client.map(|client| client.to_canonical()) {
        Some(IpAddr::V4(ip)) => write!(field, "Received: from {} ([{ip}])", envelope.greeting.name()),
        Some(IpAddr::V6(ip)) => write!(field, "Received: from {} ([IPv6:{ip}])", envelope.greeting.name()),
        None => write!(field, "Received: from {}", without_address(envelope.greeting.name())),
    };
    let _ = write!(field, "\r\n\tby {} with {}", trace.hostname, with(envelope, trace.client.is_none()));
    if let Some(tls) = &envelope.tls {
        let _ = write!(field, " ({} {})", tls.version, tls.cipher);
    }
    let _ = write!(field, "\r\n\tid {}", trace.id);
    if let [only] = envelope.recipients.as_slice() {
        let _ = write!(field, "\r\n\tfor <{only}>");
    }
    let _ = write!(field, ";\r\n\t{}\r\n", format_date(trace.at.seconds));
    field.into_bytes()
}

/// Mail programs often tell the address of their host for its name.
fn without_address(name: &HeloName) -> &str {
    if name.is_literal() { "localhost" } else { name.as_str() }
}

/// RFC 3848 and RFC 6531 §4.3.
fn with(envelope: &Envelope, logged_in: bool) -> &'static str {
    let extended = logged_in || matches!(envelope.greeting, Greeting::Ehlo(_));
    match (extended, envelope.mail.utf8, envelope.tls.is_some(), logged_in) {
        (false, ..) => "SMTP",
        (true, false, false, false) => "ESMTP",
        (true, false, false, true) => "ESMTPA",
        (true, false, true, false) => "ESMTPS",
        (true, false, true, true) => "ESMTPSA",
        (true, true, false, false) => "UTF8SMTP",
        (true, true, false, true) => "UTF8SMTPA",
        (true, true, true, false) => "UTF8SMTPS",
        (true, true, true, true) => "UTF8SMTPSA",
    }
}

#[cfg(test)]
mod tests {
    use mail_lib::address::Address;

    use super::*;
    use crate::{Mail, TlsFacts};

    fn envelope() -> Envelope {
        Envelope {
            greeting: Greeting::Ehlo(HeloName::parse(b"client.example").unwrap()),
            mail: Mail::default(),
            recipients: vec![Address::parse("a@b.org").unwrap()],
            tls: None,
            hold: None,
        }
    }

    fn shown(envelope: &Envelope, client: &str) -> String {
        field(envelope, Some(client.parse().unwrap()))
    }

    fn field(envelope: &Envelope, client: Option<IpAddr>) -> String {
        let at = Timestamp { seconds: 1_790_000_000, nanoseconds: 5 };
        let trace = Trace { client, hostname: "mx.example", id: DeliveryId([0xab; 16]), at };
        String::from_utf8(received(envelope, &trace)).unwrap()
    }

    #[test]
    fn the_field_tells_who_how_and_when() {
        assert_eq!(
            shown(&envelope(), "192.0.2.1"),
            "Received: from client.example ([192.0.2.1])\r\n\tby mx.example with ESMTP\r\n\
             \tid abababababababababababababababab\r\n\tfor <a@b.org>;\r\n\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
        );
        let tls = Some(TlsFacts { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384".to_owned() });
        let mut secure = Envelope { tls, ..envelope() };
        assert!(
            shown(&secure, "2001:db8::1").starts_with(
                "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example with ESMTPS \
                 (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n"
            ),
            "{}",
            shown(&secure, "2001:db8::1")
        );
        secure.mail.utf8 = true;
        assert!(shown(&secure, "::ffff:192.0.2.1").contains("([192.0.2.1])"));
        assert!(shown(&secure, "::1").contains(" with UTF8SMTPS ("));
    }

    #[test]
    fn where_somebody_who_logged_in_is_stays_out_of_it() {
        assert!(
            field(&envelope(), None)
                .starts_with("Received: from client.example\r\n\tby mx.example with ESMTPA\r\n")
        );
        let tls = Some(TlsFacts { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384".to_owned() });
        let mut secure = Envelope { tls, ..envelope() };
        secure.greeting = Greeting::Helo(HeloName::of_anything(b"[192.168.1.5]"));
        assert!(
            field(&secure, None)
                .starts_with("Received: from localhost\r\n\tby mx.example with ESMTPSA (TLSv1.3 ")
        );
        secure.mail.utf8 = true;
        assert!(field(&secure, None).contains(" with UTF8SMTPSA ("));
        secure.tls = None;
        assert!(field(&secure, None).contains(" with UTF8SMTPA\r\n"));
    }

    #[test]
    fn several_recipients_are_not_told_of_each_other() {
        let mut envelope = envelope();
        envelope.recipients.push(Address::parse("c@d.org").unwrap());
        assert!(!shown(&envelope, "192.0.2.1").contains("for <"));
    }

    /// Attack class 18: a name or an address cannot begin a field of its own.
    #[test]
    fn a_hostile_name_stays_in_its_field() {
        let mut envelope = envelope();
        envelope.greeting = Greeting::Helo(HeloName::parse(b"[IPv6:::1]").unwrap());
        envelope.recipients = vec![Address::parse("\"a>; b (c\\\"\"@d.org").unwrap()];
        let field = shown(&envelope, "192.0.2.1");
        assert_eq!(field.matches("\r\n").count(), field.matches("\r\n\t").count() + 1);
        assert!(field.lines().all(|line| line.len() < 998));
    }
}
