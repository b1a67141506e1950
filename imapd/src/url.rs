//! URLs of messages and parts of messages in the session's own account (RFC 5092 §5, §6), as CATENATE has them. Absolute
//! ones, and those with a login or an authorisation in them, are none of these.

use std::num::{NonZeroU32, NonZeroU64};

use crate::cursor::{Cursor, decimal};
use crate::fetch::{Partial, Section};

/// `/mailbox;UIDVALIDITY=1/;UID=2/;SECTION=3/;PARTIAL=4.5`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageUrl {
    /// In UTF-8; `None`: the selected one.
    pub mailbox: Option<String>,
    /// Which it has to have.
    pub uidvalidity: Option<NonZeroU32>,
    /// Of the message.
    pub uid: NonZeroU32,
    /// `None`: the whole message.
    pub section: Option<Section>,
    /// Which octets of that.
    pub partial: Option<Partial>,
}

impl MessageUrl {
    /// `None`: it is none, or not one of a message in this account.
    pub fn parse(url: &[u8]) -> Option<Self> {
        let at = url.iter().position(|octet| *octet == b';')?;
        let (path, parameters) = url.split_at_checked(at)?;
        let mut parameters = parameters.split(|octet| *octet == b';').skip(1).peekable();
        let (mailbox, slash) = match path {
            [] => (None, true),
            [b'/', b'/', ..] => return None,
            [b'/', name @ .., b'/'] if !name.is_empty() => (Some(name), true),
            [b'/', name @ ..] if !name.is_empty() => (Some(name), false),
            _ => return None,
        };
        let mut uidvalidity = None;
        if !slash {
            let text = value(parameters.next()?.strip_suffix(b"/")?, b"UIDVALIDITY")?;
            uidvalidity = Some(nonzero(text)?);
        }
        // What is not the last one ends in the slash before the next.
        let mut next = |name: &[u8]| {
            let text = parameters.next_if(|text| value(text, name).is_some())?;
            let text = value(text, name)?;
            let text = if parameters.peek().is_some() { text.strip_suffix(b"/")? } else { text };
            Some(text)
        };
        let uid = nonzero(next(b"UID")?)?;
        let section = match next(b"SECTION") {
            Some(text) => Some(section(text)?),
            None => None,
        };
        let partial = match next(b"PARTIAL") {
            Some(text) => Some(partial(text)?),
            None => None,
        };
        if parameters.next().is_some() {
            return None;
        }
        let mailbox = match mailbox {
            Some(name) => Some(String::from_utf8(unescape(name)?).ok()?),
            None => None,
        };
        Some(Self { mailbox, uidvalidity, uid, section, partial })
    }
}

/// `NAME=value`
fn value<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = text.split_at_checked(name.len())?;
    rest.strip_prefix(b"=").filter(|_| found.eq_ignore_ascii_case(name))
}

fn nonzero(text: &[u8]) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(number(text)?).ok()?)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    decimal(text).filter(|number| digits && i64::try_from(*number).is_ok())
}

/// As FETCH has it, between the brackets.
fn section(text: &[u8]) -> Option<Section> {
    let text = unescape(text).filter(|text| !text.is_empty())?;
    let bracketed = [b"[", text.as_slice(), b"]"].concat();
    let mut cursor = Cursor::new(&bracketed);
    let section = Section::parse(&mut cursor).ok()?;
    cursor.end().ok()?;
    Some(section)
}

/// `first`, or `first.length`
fn partial(text: &[u8]) -> Option<Partial> {
    let mut pieces = text.splitn(2, |octet| *octet == b'.');
    let first = number(pieces.next()?)?;
    let length = match pieces.next() {
        Some(length) => NonZeroU64::new(number(length)?)?,
        None => NonZeroU64::MAX,
    };
    Some(Partial { first, length })
}

/// Undoes `%20` and the like (RFC 3986 §2.1). What may not stand in a URL as it is does not.
pub(crate) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((octet, tail)) = rest.split_first() {
        rest = tail;
        plain.push(match (octet, rest) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                let digit =
                    |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high)? << 4 | digit(low)?
            }
            (b'%' | b'"' | b'<' | b'>' | b'?' | b'#' | b'\\', _) => return None,
            (octet, _) if octet.is_ascii_graphic() => *octet,
            _ => return None,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::SectionText;
    use proptest::prelude::*;

    fn parse(url: &str) -> Option<MessageUrl> {
        MessageUrl::parse(url.as_bytes())
    }

    #[test]
    fn the_parts_of_a_url_are_read() {
        let plain = |mailbox: Option<&str>, uid: u32| MessageUrl {
            mailbox: mailbox.map(str::to_owned),
            uidvalidity: None,
            uid: NonZeroU32::new(uid).unwrap(),
            section: None,
            partial: None,
        };
        let section = |part: &[u32], text| Section {
            part: part.iter().filter_map(|number| NonZeroU32::new(*number)).collect(),
            text,
        };
        // RFC 4469 §5.
        let first = parse("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER").unwrap();
        let header = Some(section(&[], SectionText::Header));
        assert_eq!(
            first,
            MessageUrl {
                uidvalidity: NonZeroU32::new(385_759_045),
                section: header,
                ..plain(Some("Drafts"), 20)
            }
        );
        let partial = |first, length| Some(Partial { first, length: NonZeroU64::new(length).unwrap() });
        for (url, expected) in [
            ("/INBOX/;UID=1", plain(Some("INBOX"), 1)),
            (";uid=7", plain(None, 7)),
            ("/a/b%20%C3%A9/;UID=2", plain(Some("a/b é"), 2)),
            (
                "/x/;UID=2/;SECTION=1.2.MIME",
                MessageUrl { section: Some(section(&[1, 2], SectionText::Mime)), ..plain(Some("x"), 2) },
            ),
            (
                "/x/;UID=2/;SECTION=HEADER.FIELDS%20(To)/;PARTIAL=0.1024",
                MessageUrl {
                    section: Some(section(&[], SectionText::HeaderFields(vec![b"To".to_vec()]))),
                    partial: partial(0, 1024),
                    ..plain(Some("x"), 2)
                },
            ),
            ("/x/;UID=2/;PARTIAL=5", MessageUrl { partial: partial(5, u64::MAX), ..plain(Some("x"), 2) }),
        ] {
            assert_eq!(parse(url), Some(expected), "{url}");
        }
    }

    #[test]
    fn whatever_else_is_no_url_of_a_message_here() {
        for url in [
            "",
            "/",
            "/INBOX",
            "INBOX/;UID=1",
            "//host/INBOX/;UID=1",
            "imap://joe@example.com/INBOX/;UID=1",
            "/INBOX;UID=1",
            "/INBOX/;UID=0",
            "/INBOX/;UID=4294967296",
            "/INBOX/;UID=+1",
            "/INBOX/;UID=1/",
            "/INBOX/;UID=1;SECTION=1",
            "/INBOX;UIDVALIDITY=0/;UID=1",
            "/INBOX;UIDVALIDITY=1;UID=1",
            "/INBOX/;UID=1/;SECTION=",
            "/INBOX/;UID=1/;SECTION=1/;SECTION=1",
            "/INBOX/;UID=1/;PARTIAL=1.0",
            "/INBOX/;UID=1/;PARTIAL=1.2/;SECTION=1",
            "/INBOX/;UID=1;URLAUTH=anonymous",
            "/INB%4/;UID=1",
            "/INB OX/;UID=1",
            "/INB%FF/;UID=1",
            "/INBOX?SUBJECT%20x/;UID=1",
        ] {
            assert_eq!(parse(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_do_no_harm(url in "(/|;|UID=|UIDVALIDITY=|SECTION=|PARTIAL=|1|\\.|%|a|é){0,14}") {
            let _ = parse(&url);
        }
    }
}
