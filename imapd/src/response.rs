//! Writes responses (RFC 3501 §7, §9, RFC 9051 §7, §9): each function appends to the caller's buffer and allocates
//! nothing else.

use std::io::Write;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::cursor::{SyntaxError, is_astring_char};
use crate::date::date_of;
use crate::fetch::{Section, SectionText};
use crate::mailbox_name::{NameForm, encode_mailbox_name};
use crate::parser::{Bad, Fatal};
use crate::partial::PartialRange;
use crate::sequence_set::NumberSet;
use crate::tag::Tag;

/// Above this, text goes as a literal: some clients read a quoted string into a line buffer.
const QUOTED_LIMIT: usize = 1000;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Understood, not done.
    No,
    /// Not understood, or not in this state.
    Bad,
}

/// `TAG OK text`. `text` may begin with a response code in brackets; it has no CR or LF.
pub fn tagged(out: &mut Vec<u8>, tag: &Tag, status: Status, text: &str) {
    out.extend_from_slice(tag.as_bytes());
    status_text(out, status, text);
}

/// `* OK text`
pub fn untagged(out: &mut Vec<u8>, status: Status, text: &str) {
    out.push(b'*');
    status_text(out, status, text);
}

fn status_text(out: &mut Vec<u8>, status: Status, text: &str) {
    out.extend_from_slice(match status {
        Status::Ok => b" OK ",
        Status::No => b" NO ",
        Status::Bad => b" BAD ",
    });
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The answer to [`crate::Event::Continue`].
pub fn continuation(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+ OK\r\n");
}

/// The answer to a command that was not understood.
pub fn bad(out: &mut Vec<u8>, bad: &Bad) {
    match &bad.tag {
        Some(tag) => out.extend_from_slice(tag.as_bytes()),
        None => out.push(b'*'),
    }
    // Nothing but an i/o error can come back, and a Vec has none.
    let _ = match &bad.error {
        SyntaxError::Charset => write!(out, " NO [BADCHARSET (US-ASCII UTF-8)] {}\r\n", bad.error),
        SyntaxError::LiteralTooLarge => write!(out, " NO [TOOBIG] {}\r\n", bad.error),
        SyntaxError::Tag
        | SyntaxError::UnknownCommand
        | SyntaxError::Expected(_)
        | SyntaxError::TrailingText
        | SyntaxError::Number
        | SyntaxError::TooDeep
        | SyntaxError::TooMany(_)
        | SyntaxError::MailboxName(_)
        | SyntaxError::NotUtf8
        | SyntaxError::InitialResponse => write!(out, " BAD {}\r\n", bad.error),
    };
}

/// The last words before the connection is closed.
pub fn fatal(out: &mut Vec<u8>, fatal: Fatal) {
    let _ = write!(out, "* BAD {fatal}\r\n* BYE closing the connection\r\n");
}

/// Decimal.
pub fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.last_chunk::<20>().and_then(|all| all.get(20 - used..)).unwrap_or(&[]));
}

/// A string: quoted where it can be, else a literal.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > QUOTED_LIMIT || !text.iter().all(|octet| matches!(octet, 0x20..=0x7e)) {
        literal(out, text);
    } else {
        quoted(out, text);
    }
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// A literal: its size, then its octets.
pub fn literal(out: &mut Vec<u8>, text: &[u8]) {
    literal_size(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// `~{size}`, where NULs are among the octets that follow (RFC 9051 §4.3.1).
pub fn literal8_size(out: &mut Vec<u8>, size: u64) {
    out.push(b'~');
    literal_size(out, size);
}

/// `{size}` and the line end; the octets follow.
pub fn literal_size(out: &mut Vec<u8>, size: u64) {
    out.push(b'{');
    number(out, size);
    out.extend_from_slice(b"}\r\n");
}

/// An atom where it can be, else a string.
pub fn astring(out: &mut Vec<u8>, text: &[u8]) {
    // NIL as an atom would be taken for none.
    if text.is_empty()
        || text.eq_ignore_ascii_case(b"NIL")
        || !text.iter().all(|octet| is_astring_char(*octet))
    {
        string(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

/// A mailbox name, which has no controls in it.
pub fn mailbox(out: &mut Vec<u8>, name: &str, form: NameForm) {
    match form {
        NameForm::ModifiedUtf7 if !name.bytes().all(|octet| is_astring_char(octet) && octet != b'&') => {
            astring(out, encode_mailbox_name(name).as_bytes());
        }
        // Only once IMAP4rev2 is enabled (RFC 9051 §A.1), and then quoted like any other (§9, QUOTED-CHAR).
        NameForm::Utf8 if !name.is_ascii() => quoted(out, name.as_bytes()),
        NameForm::ModifiedUtf7 | NameForm::Utf8 => astring(out, name.as_bytes()),
    }
}

/// `(a b c)` of words that are safe as they are.
pub fn list<'a>(out: &mut Vec<u8>, words: impl IntoIterator<Item = &'a str>) {
    out.push(b'(');
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
    out.push(b')');
}

/// `1:3,5`
pub fn number_set(out: &mut Vec<u8>, set: &NumberSet) {
    for (index, range) in set.ranges().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        number_range(out, range);
    }
}

/// `1:3`, or `5`
pub fn number_range(out: &mut Vec<u8>, range: &RangeInclusive<u32>) {
    number(out, u64::from(*range.start()));
    if range.start() != range.end() {
        out.push(b':');
        number(out, u64::from(*range.end()));
    }
}

/// `1:500`, or `-1:-100`, as it was asked.
pub fn partial_range(out: &mut Vec<u8>, range: PartialRange) {
    let sign: &[u8] = if range.from_end { b"-" } else { b"" };
    out.extend_from_slice(sign);
    number(out, u64::from(range.first.get()));
    out.push(b':');
    out.extend_from_slice(sign);
    number(out, u64::from(range.last.get()));
}

/// An INTERNALDATE, from seconds since 1970, in UTC.
pub fn date_time(out: &mut Vec<u8>, seconds: i64) {
    let date = date_of(seconds);
    let (year, _, day) = date.parts();
    let second_of_day = u64::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
    out.push(b'"');
    // date-day-fixed: a space instead of a leading zero (RFC 3501 §9).
    if day < 10 {
        out.push(b' ');
    }
    number(out, u64::from(day));
    out.push(b'-');
    out.extend_from_slice(date.month_name().as_bytes());
    out.push(b'-');
    padded(out, u64::from(year), 1000);
    out.push(b' ');
    padded(out, second_of_day / 3600, 10);
    out.push(b':');
    padded(out, second_of_day / 60 % 60, 10);
    out.push(b':');
    padded(out, second_of_day % 60, 10);
    out.extend_from_slice(b" +0000\"");
}

/// With leading zeros up to the place of `highest`, a power of ten.
fn padded(out: &mut Vec<u8>, value: u64, highest: u64) {
    let mut place = highest;
    while place > 1 && value < place {
        out.push(b'0');
        place /= 10;
    }
    number(out, value);
}

/// `[1.2]`
pub fn part(out: &mut Vec<u8>, part: &[NonZeroU32]) {
    out.push(b'[');
    part_numbers(out, part);
    out.push(b']');
}

fn part_numbers(out: &mut Vec<u8>, part: &[NonZeroU32]) {
    for (index, part) in part.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        number(out, u64::from(part.get()));
    }
}

/// `[1.2.HEADER.FIELDS (From)]`, as the client asked.
pub fn section(out: &mut Vec<u8>, section: &Section) {
    out.push(b'[');
    part_numbers(out, &section.part);
    if !section.part.is_empty() && section.text != SectionText::Whole {
        out.push(b'.');
    }
    let (word, fields): (&[u8], &[Vec<u8>]) = match &section.text {
        SectionText::Whole => (b"", &[]),
        SectionText::Header => (b"HEADER", &[]),
        SectionText::HeaderFields(fields) => (b"HEADER.FIELDS", fields),
        SectionText::HeaderFieldsNot(fields) => (b"HEADER.FIELDS.NOT", fields),
        SectionText::Mime => (b"MIME", &[]),
        SectionText::Text => (b"TEXT", &[]),
    };
    out.extend_from_slice(word);
    for (index, field) in fields.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        astring(out, field);
    }
    if !fields.is_empty() {
        out.push(b')');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Cursor;
    use crate::sequence_set::SequenceSet;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_have_one_form_each() {
        for (text, expected) in [
            (written(|out| number(out, 0)), "0"),
            (written(|out| number(out, u64::MAX)), "18446744073709551615"),
            (written(|out| string(out, b"a\"b\\c")), "\"a\\\"b\\\\c\""),
            (written(|out| string(out, b"a\r\nb")), "{4}\r\na\r\nb"),
            (written(|out| string(out, "é".as_bytes())), "{2}\r\né"),
            (written(|out| string(out, &[b'x'; 1001])).get(..8).unwrap().to_owned(), "{1001}\r\n"),
            (written(|out| astring(out, b"")), "\"\""),
            (written(|out| astring(out, b"nil")), "\"nil\""),
            (written(|out| astring(out, b"a b")), "\"a b\""),
            (written(|out| mailbox(out, "Entwürfe", NameForm::ModifiedUtf7)), "Entw&APw-rfe"),
            (written(|out| mailbox(out, "A & B", NameForm::ModifiedUtf7)), "\"A &- B\""),
            (written(|out| mailbox(out, "Entwürfe", NameForm::Utf8)), "\"Entwürfe\""),
            (written(|out| mailbox(out, "A&B", NameForm::Utf8)), "A&B"),
            (written(|out| literal8_size(out, 3)), "~{3}\r\n"),
            (written(|out| list(out, ["\\Seen", "x"])), "(\\Seen x)"),
            (written(|out| list(out, [])), "()"),
            (written(|out| date_time(out, 837_596_665)), "\"17-Jul-1996 09:44:25 +0000\""),
            (written(|out| date_time(out, 0)), "\" 1-Jan-1970 00:00:00 +0000\""),
        ] {
            assert_eq!(text, expected);
        }
    }

    proptest! {
        #[test]
        fn strings_read_back(text in proptest::collection::vec(1u8.., 0..1100)) {
            let mut out = Vec::new();
            astring(&mut out, &text);
            let mut cursor = Cursor::new(&out);
            let read = cursor.astring().unwrap().into_owned();
            prop_assert_eq!(read, text);
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn mailbox_names_read_back(name in "[a-zA-Z/&é台😀\\-\" *]{0,12}") {
            for form in [NameForm::ModifiedUtf7, NameForm::Utf8] {
                let mut out = Vec::new();
                mailbox(&mut out, &name, form);
                prop_assert_eq!(Cursor::with_names(&out, form).mailbox(), Ok(name.clone()));
            }
        }

        #[test]
        fn number_sets_read_back(numbers in proptest::collection::vec(1u32..50, 1..30)) {
            let mut set = NumberSet::default();
            numbers.into_iter().for_each(|number| set.push(number));
            let mut out = Vec::new();
            number_set(&mut out, &set);
            prop_assert_eq!(SequenceSet::parse(&mut Cursor::new(&out)).unwrap().resolve(1), set);
        }
    }
}
