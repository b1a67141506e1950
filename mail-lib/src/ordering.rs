//! What SORT and THREAD go by (RFC 5256, RFC 5957), found in a message's header once, when it is filed.
//!
//! Texts are as `i;unicode-casemap` compares them ([`crate::text::casemap()`]): their octets are their order.

use crate::header::{Addresses, BaseSubject, Entry, Headers, base_subject, decode, message_ids, parse_date};
use crate::text::casemap;

/// Octets of a text that SORT compares: two subjects that differ only behind them come in the order of the mailbox.
pub const MAX_KEY: usize = 255;
/// Octets of a field that are looked at for its key.
const MAX_VALUE: usize = 4_000;
/// References of one message that are kept: the first, which names the thread, and the nearest ones.
pub const MAX_REFERENCES: usize = 50;

/// What one message is sorted and threaded by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderKeys {
    /// The Date field in seconds since 1970 UTC; `None`: there is none that can be read, and INTERNALDATE counts
    /// (RFC 5256 §2.2).
    pub sent: Option<i64>,
    /// The whole base subject (RFC 5256 §2.1).
    pub subject: String,
    /// Whether the subject said that the message is a reply or forward.
    pub is_reply: bool,
    /// addr-mailbox of the first Cc address.
    pub cc: String,
    /// addr-mailbox of the first From address.
    pub from: String,
    /// addr-mailbox of the first To address.
    pub to: String,
    /// What is displayed of the first From address (RFC 5957 §3).
    pub display_from: String,
    /// What is displayed of the first To address.
    pub display_to: String,
    /// Message-ID, normalised.
    pub message_id: Option<Vec<u8>>,
    /// References, oldest first; where there are none the first of In-Reply-To. Normalised.
    pub references: Vec<Vec<u8>>,
}

impl OrderKeys {
    /// Finds them.
    #[must_use]
    pub fn find(headers: Headers<'_>) -> Self {
        let mut keys = Self::default();
        let (mut subject, mut date, mut from, mut to, mut cc) = (None, None, None, None, None);
        let (mut references, mut in_reply_to) = (None, None);
        for field in headers.fields() {
            match field.name.to_ascii_lowercase().as_slice() {
                b"date" => date = date.or(Some(field.value)),
                b"subject" => subject = subject.or(Some(field.value)),
                b"from" => from = from.or(Some(field.value)),
                // The destinations of several fields are joined, as in ENVELOPE.
                b"to" => to = to.or_else(|| First::of(field.value)),
                b"cc" => cc = cc.or_else(|| First::of(field.value)),
                b"message-id" if keys.message_id.is_none() => {
                    keys.message_id = message_ids(field.value).first().map(|id| normalised(id));
                }
                b"references" => references = references.or(Some(field.value)),
                b"in-reply-to" => in_reply_to = in_reply_to.or(Some(field.value)),
                _ => {}
            }
        }
        keys.sent = date.and_then(parse_date).map(|date| date.unix_seconds);
        let BaseSubject { text, is_reply } = base_subject(&decode(start_of(subject.unwrap_or_default())));
        (keys.subject, keys.is_reply) = (casemap(&text), is_reply);
        (keys.from, keys.display_from) = from.and_then(First::of).map(First::keys).unwrap_or_default();
        (keys.to, keys.display_to) = to.map(First::keys).unwrap_or_default();
        (keys.cc, _) = cc.map(First::keys).unwrap_or_default();
        keys.references = references.map(nearest).unwrap_or_default();
        if keys.references.is_empty() {
            let parent = in_reply_to.and_then(|value| message_ids(value).first().map(|id| normalised(id)));
            keys.references = parent.into_iter().collect();
        }
        keys
    }

    /// The base subject as SORT compares it: cut at [`MAX_KEY`].
    #[must_use]
    pub fn subject_key(&self) -> &str {
        cut(&self.subject)
    }
}

/// The first entry of an address list.
struct First {
    name: Vec<u8>,
    mailbox: Vec<u8>,
    /// `None`: the name of a group.
    host: Option<Vec<u8>>,
}

impl First {
    fn of(value: &[u8]) -> Option<Self> {
        Some(match Addresses::new(value).next()? {
            Entry::GroupStart(mailbox) => Self { name: Vec::new(), mailbox, host: None },
            Entry::Mailbox(found) => Self {
                name: found.name.unwrap_or_default(),
                mailbox: found.localpart,
                host: Some(found.domain),
            },
            Entry::GroupEnd => return None,
        })
    }

    /// addr-mailbox, and what RFC 5957 §3 has displayed.
    fn keys(self) -> (String, String) {
        let mailbox = key(&String::from_utf8_lossy(start_of(&self.mailbox)));
        let name = key(&decode(start_of(&self.name)));
        let display = match self.host {
            _ if !name.is_empty() => name,
            Some(host) => {
                let host = casemap(&String::from_utf8_lossy(start_of(&host)));
                cut(&format!("{mailbox}@{host}")).to_owned()
            }
            None => mailbox.clone(),
        };
        (mailbox, display)
    }
}

fn key(text: &str) -> String {
    cut(&casemap(text)).to_owned()
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_KEY)).unwrap_or_default()
}

fn start_of(value: &[u8]) -> &[u8] {
    value.get(..MAX_VALUE).unwrap_or(value)
}

/// The first reference and the last ones.
fn nearest(value: &[u8]) -> Vec<Vec<u8>> {
    let ids = message_ids(value);
    let left_out = ids.len().saturating_sub(MAX_REFERENCES);
    let kept = ids.iter().enumerate().filter(|(at, _)| *at == 0 || *at > left_out);
    kept.map(|(_, id)| normalised(id)).collect()
}

/// Two spellings of one id are one: quotes that need not be there do not count (RFC 5256 §3, REFERENCES).
fn normalised(id: &[u8]) -> Vec<u8> {
    let Some(quoted) = id.strip_prefix(b"\"") else { return id.to_vec() };
    let mut plain = Vec::with_capacity(id.len());
    let mut rest = quoted;
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'"' => {
                plain.extend_from_slice(rest);
                return plain;
            }
            b'\\' => {
                plain.extend(rest.first());
                rest = rest.get(1..).unwrap_or_default();
            }
            octet => plain.push(*octet),
        }
    }
    id.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(header: &str) -> OrderKeys {
        OrderKeys::find(Headers::new(header.as_bytes()))
    }

    #[test]
    fn keys_are_those_of_the_first_of_each_field() {
        let found = keys(
            "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n\
             Subject: =?utf-8?q?Re=3A_[list]_Gr=C3=BC=C3=9Fe?=\r\n\
             From: \"Smith, John\" <john@example.org>, b@example.org\r\n\
             To: A Group: ed@example.com;\r\n\
             Cc: \r\n\
             Cc: Last@Example.com\r\n\
             Message-ID: <\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>\r\n\
             References: <a@x> <b@x>\r\n\
             In-Reply-To: <c@x>\r\n",
        );
        let expected = OrderKeys {
            sent: Some(880_127_706),
            subject: "GRU\u{308}ßE".into(),
            is_reply: true,
            cc: "LAST".into(),
            from: "JOHN".into(),
            to: "A GROUP".into(),
            display_from: "SMITH, JOHN".into(),
            display_to: "A GROUP".into(),
            message_id: Some(b"01KF8JCEOCBS0045PS@xxx.yyy.com".into()),
            references: vec![b"a@x".into(), b"b@x".into()],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_empty() {
        assert_eq!(keys(""), OrderKeys::default());
        let found = keys("Date: soon\r\nFrom: nobody\r\nReferences: none\r\nIn-Reply-To: <c@x> <d@x>\r\n");
        assert_eq!(
            (found.sent, found.from.as_str(), found.display_from.as_str()),
            (None, "NOBODY", "NOBODY@")
        );
        assert_eq!(found.references, [b"c@x".to_vec()]);
        // RFC 5256 §2.2: a time that cannot be read is midnight.
        assert_eq!(keys("Date: 1 Jan 2024 25:00 +0000\r\n").sent, Some(1_704_067_200));
    }

    #[test]
    fn an_address_without_a_name_is_displayed_as_a_whole() {
        for (from, display) in [
            ("<Kirk@Example.org>", "KIRK@EXAMPLE.ORG"),
            ("=?utf-8?q?J=C3=BCrgen?= <j@x>", "JU\u{308}RGEN"),
            ("\"\" <j@x>", "J@X"),
            ("j@x (Jo)", "JO"),
        ] {
            assert_eq!(keys(&format!("From: {from}\r\n")).display_from, display, "{from}");
        }
    }

    /// Attack class 10: fields that never end.
    #[test]
    fn hostile_fields_make_small_keys() {
        let ids: String = (0..100_000).map(|n| format!("<{n}@x> ")).collect();
        let long = "ü".repeat(200_000);
        let found = keys(&format!("Subject: {long}\r\nFrom: {long} <{long}@x>\r\nReferences: {ids}\r\n"));
        assert!(found.subject_key().len() <= MAX_KEY && found.subject_key().len() > MAX_KEY - 4);
        assert!(found.from.len() <= MAX_KEY && found.display_from.len() <= MAX_KEY);
        assert_eq!(found.references.len(), MAX_REFERENCES);
        assert_eq!(found.references.last().unwrap(), b"99999@x");
    }
}
