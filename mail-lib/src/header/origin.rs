//! Whom a message says that it is from (the originator fields, RFC 5322 §3.6.2), read so strictly that readers who take
//! other liberties find the same.

use memchr::{memchr, memmem};

use super::{next_raw, parse_field, sole_mailbox};
use crate::address::Address;

/// Header fields of one message at most. Honest messages have fewer than two hundred.
pub const MAX_FIELDS: usize = 10_000;

/// The longest header section, octets.
pub const MAX_SECTION: usize = 1024 * 1024;

/// What a header section says of the message's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The one address of the one From field.
    pub from: Address,
    /// The one address of the one Sender field.
    pub sender: Option<Address>,
    /// There is a Date field.
    pub has_date: bool,
    /// There is a Message-ID field.
    pub has_message_id: bool,
}

/// Why a message has no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// A line that is no field, an octet that ends lines for some readers, more than the bounds, or no end.
    #[error("the header section is not one of RFC 5322")]
    Header,
    /// Not exactly one From field of exactly one address, or such a Sender field.
    #[error("not one From field of one address")]
    Originator,
}

/// Where the header section ends: behind its last field, before the blank line. `None`: not in these octets.
#[must_use]
pub fn section_end(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(0);
    }
    memmem::find(octets, b"\r\n\r\n").map(|at| at + 2)
}

/// Reads a header section: all octets of a message up to [`section_end`], or all that there are where it has no body.
pub fn origin(section: &[u8]) -> Result<Origin, OriginError> {
    if section.len() > MAX_SECTION || !is_sound(section) {
        return Err(OriginError::Header);
    }
    let (mut from, mut sender) = (None, None);
    let (mut has_date, mut has_message_id) = (false, false);
    let (mut rest, mut count) = (section, 0);
    while let Some(raw) = next_raw(rest) {
        rest = rest.get(raw.len()..).unwrap_or_default();
        count += 1;
        // The name and its colon stand in the first line, or readers disagree whether this is a field.
        let field = parse_field(raw).filter(|_| memchr(b':', raw) < memchr(b'\r', raw));
        let field = field.filter(|_| count <= MAX_FIELDS).ok_or(OriginError::Header)?;
        let place = if field.is("from") {
            &mut from
        } else if field.is("sender") {
            &mut sender
        } else {
            has_date |= field.is("date");
            has_message_id |= field.is("message-id");
            continue;
        };
        let address = sole_mailbox(field.value).ok_or(OriginError::Originator)?;
        if place.replace(address).is_some() {
            return Err(OriginError::Originator);
        }
    }
    let from = from.ok_or(OriginError::Originator)?;
    Ok(Origin { from, sender, has_date, has_message_id })
}

/// Whole lines that end in CRLF, without another CR, LF or NUL.
fn is_sound(section: &[u8]) -> bool {
    let is_line = |line: &[u8]| {
        line.strip_suffix(b"\r\n").is_some_and(|line| !line.iter().any(|octet| matches!(octet, b'\r' | 0)))
    };
    section.split_inclusive(|octet| *octet == b'\n').all(is_line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::Headers;

    fn read(message: &str) -> Result<Origin, OriginError> {
        let end = section_end(message.as_bytes()).unwrap_or(message.len());
        origin(&message.as_bytes()[..end])
    }

    #[test]
    fn the_originator_fields_are_found_in_the_header_alone() {
        for (message, from, sender, has_date, has_message_id) in [
            ("From: a@b.org\r\n\r\nFrom: body@x.org\r\n", "a@b.org", None, false, false),
            ("From: a@b.org\r\n", "a@b.org", None, false, false),
            ("fRoM : A <a@b.org>\r\nDATE: x\r\nMessage-Id: <y@z>\r\n\r\n", "a@b.org", None, true, true),
            (
                "From:\r\n A\r\n\t<a@b.org>\r\nSender: s@b.org\r\n\r\n",
                "a@b.org",
                Some("s@b.org"),
                false,
                false,
            ),
            ("X-From: x@x.org\r\nFrom: a@b.org\r\nFrom-X: x@x.org\r\n\r\n", "a@b.org", None, false, false),
            ("Subject: x\r\n From: x@x.org\r\nFrom: a@b.org\r\n\r\n", "a@b.org", None, false, false),
        ] {
            let found = read(message).unwrap_or_else(|error| panic!("{message:?}: {error}"));
            let shown = |address: &Address| address.to_string();
            assert_eq!(
                (shown(&found.from).as_str(), found.sender.as_ref().map(shown).as_deref()),
                (from, sender)
            );
            assert_eq!((found.has_date, found.has_message_id), (has_date, has_message_id), "{message:?}");
        }
    }

    /// Attack class 18: a message that shows one reader another From than the next one.
    #[test]
    fn headers_that_readers_disagree_about_are_refused() {
        use OriginError::{Header, Originator};
        for (message, error, reason) in [
            ("", Originator, "no header at all"),
            ("\r\nFrom: a@b.org\r\n", Originator, "in the body"),
            ("Subject: x\r\n\r\nFrom: a@b.org\r\n", Originator, "in the body"),
            ("From: a@b.org\r\nFrom: a@b.org\r\n\r\n", Originator, "twice"),
            ("From: a@b.org\r\nfrom : c@d.org\r\n\r\n", Originator, "twice, with a space before the colon"),
            ("From: a@b.org\r\nFROM\t: c@d.org\r\n\r\n", Originator, "twice, with a tab before the colon"),
            ("From: a@b.org, c@d.org\r\n\r\n", Originator, "two addresses"),
            ("From: a@b.org,\r\n c@d.org\r\n\r\n", Originator, "two addresses in two lines"),
            ("From: g: a@b.org;\r\n\r\n", Originator, "a group"),
            ("From:\r\n\r\n", Originator, "an empty one"),
            ("From: a@b.org\r\nSender: a@b.org\r\nSender: a@b.org\r\n\r\n", Originator, "two senders"),
            ("From: a@b.org\r\nSender: nobody\r\n\r\n", Originator, "a sender without an address"),
            ("From\r\n : c@d.org\r\nFrom: a@b.org\r\n\r\n", Header, "the colon in the next line"),
            ("From a Thu\r\nFrom: a@b.org\r\n\r\n", Header, "a line that is no field"),
            ("no field\r\nFrom: a@b.org\r\n\r\n", Header, "a line that is no field"),
            (": x\r\nFrom: a@b.org\r\n\r\n", Header, "no name"),
            (" continues\r\nFrom: a@b.org\r\n\r\n", Header, "continues a field of ours"),
            ("From: a@b.org\nFrom: c@d.org\r\n\r\n", Header, "a bare LF"),
            ("From: a@b.org\rFrom: c@d.org\r\n\r\n", Header, "a bare CR"),
            ("From: a@b.org\r\n\nFrom: c@d.org\r\n\r\n", Header, "a blank line for some"),
            ("From: a@b.org\r\nFr\0om: c@d.org\r\n\r\n", Header, "a NUL"),
            ("From: a@b.org\r\nFr\u{f6}m: c@d.org\r\n\r\n", Header, "a name outside ASCII"),
            ("From: a@b.org", Header, "no line end"),
        ] {
            assert_eq!(read(message), Err(error), "{reason}: {message:?}");
        }
    }

    /// Attack class 10: fields by the million, and one field of any length.
    #[test]
    fn header_bombs_are_refused() {
        let fields = |count: usize| format!("From: a@b.org\r\n{}\r\n", "a:\r\n".repeat(count));
        assert!(read(&fields(MAX_FIELDS - 1)).is_ok());
        assert_eq!(read(&fields(MAX_FIELDS)), Err(OriginError::Header));
        let long = |octets: usize| format!("From: a@b.org\r\nX: {}\r\n\r\n", "x".repeat(octets));
        assert!(read(&long(MAX_SECTION - 20)).is_ok());
        assert_eq!(read(&long(MAX_SECTION)), Err(OriginError::Header));
        let comments = format!("From: a@b.org {}\r\n\r\n", "(".repeat(MAX_SECTION - 100));
        assert_eq!(read(&comments), Err(OriginError::Originator));
    }

    proptest! {
        #[test]
        fn the_first_and_only_from_is_what_was_judged(
            lines in proptest::collection::vec(prop_oneof![
                Just("From: a@b.org"), Just("from : c@d.org"), Just("From"), Just(" : e@f.org"), Just(" folded"),
                Just("Subject: x"), Just("no field"), Just(""), Just("X:\rFrom: g@h.org"), Just("\nFrom: i@j.org"),
                Just("From\0: k@l.org"), Just("Sender: s@t.org"), Just("Fr\u{f6}m: x@y.org"),
            ], 0..7),
        ) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            if let Ok(found) = read(&message) {
                let all: Vec<_> = Headers::new(message.as_bytes()).all("from").collect();
                prop_assert_eq!(all.len(), 1);
                prop_assert_eq!(sole_mailbox(all[0]), Some(found.from));
                // As a reader does who takes any line end for one.
                let loose = message.replace('\0', "").replace('\r', "\n");
                let lines = loose.lines().take_while(|line| !line.is_empty());
                let names = lines.filter(|line| line.to_lowercase().starts_with("from"));
                prop_assert!(names.count() <= 1);
            }
        }
    }
}
