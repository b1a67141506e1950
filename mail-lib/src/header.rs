//! Header fields as they stand in a message: found, unfolded, decoded and selected, without copying where possible.
//!
//! Nothing here fails: a line that is no field is passed over, a value that cannot be decoded stays as it is. All work
//! is linear in the input, which the caller bounds (the indexer keeps at most 256 KiB of a header).

mod address_list;
mod date;
mod encoded_word;
mod mailbox;
mod origin;
mod parameter;
mod subject;

use std::borrow::Cow;

use memchr::memchr;

pub(crate) use self::{
    address_list::{Addresses, Entry, Mailbox},
    parameter::{Structured, skip_cfws},
};
pub use self::{
    date::{Date, format_date, parse_date},
    encoded_word::decode,
    mailbox::sole_mailbox,
    origin::{MAX_FIELDS, MAX_SECTION, Origin, OriginError, origin, section_end},
    parameter::Parameter,
    subject::{BaseSubject, base_subject},
};

/// Up to so many names [`select`] compares a field with one by one.
const FEW_NAMES: usize = 16;

/// How many ids [`message_ids`] gives: a thread that is deeper is joined by its nearest thousand.
pub const MAX_MESSAGE_IDS: usize = 1_000;

/// A header block: the octets from the first field up to the blank line or the end. A view, cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Before the colon, without white space. Never empty; printable ASCII.
    pub name: &'a [u8],
    /// After the colon, still folded, without the last line end.
    pub value: &'a [u8],
    /// The whole field with its line ends.
    pub raw: &'a [u8],
}

/// Which fields [`select`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// `HEADER.FIELDS`: those named.
    Fields,
    /// `HEADER.FIELDS.NOT`: all but those named.
    FieldsNot,
}

impl<'a> Headers<'a> {
    /// A view of `block`, which may go on beyond the header: everything from the first blank line is ignored.
    #[must_use]
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }

    /// The fields, in order. Lines that are no field are passed over.
    #[must_use]
    pub fn fields(self) -> Fields<'a> {
        fields(self.0)
    }

    /// The value of the first field of that name (without regard to case), still folded.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|field| field.is(name)).map(|field| field.value)
    }

    /// The values of all fields of that name, in order, still folded.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |field| field.is(name)).map(|field| field.value)
    }
}

impl Field<'_> {
    /// Whether the field has that name, without regard to case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header block, up to the first blank line.
#[must_use]
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block }
}

/// See [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let raw = next_raw(self.rest)?;
            self.rest = self.rest.get(raw.len()..).unwrap_or_default();
            if let Some(field) = parse_field(raw) {
                return Some(field);
            }
        }
    }
}

/// The first line of `block` with the lines that continue it; `None` at a blank line and at the end.
fn next_raw(block: &[u8]) -> Option<&[u8]> {
    if matches!(block, [] | [b'\n', ..] | [b'\r', b'\n', ..]) {
        return None;
    }
    let mut end = 0;
    while let Some(rest) = block.get(end..) {
        end += memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        // RFC 5322 §2.2.3; a line of white space alone continues too (§4.2).
        if !matches!(block.get(end), Some(b' ' | b'\t')) {
            break;
        }
    }
    block.get(..end)
}

fn parse_field(raw: &[u8]) -> Option<Field<'_>> {
    let (name, value) = raw.split_at_checked(memchr(b':', raw)?)?;
    let name = name.trim_ascii_end(); // white space before the colon: RFC 5322 §4.5
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some(Field { name, value: without_line_end(value.get(1..)?), raw })
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A value without its folding (RFC 5322 §2.2.3), the white space around it, and any CR, LF or NUL.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if !value.iter().any(|octet| is_dropped(*octet)) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|octet| !is_dropped(*octet)).collect())
}

/// Octets that no value keeps: they would break the line or the string that it is shown in.
pub(crate) fn is_dropped(octet: u8) -> bool {
    matches!(octet, b'\r' | b'\n' | 0)
}

/// The `<…>` tokens of Message-ID, In-Reply-To or References, without brackets, at most [`MAX_MESSAGE_IDS`], the last
/// ones where there are more.
#[must_use]
pub fn message_ids(value: &[u8]) -> Vec<&[u8]> {
    let mut ids = std::collections::VecDeque::new();
    let mut rest = value;
    while let Some(start) = memchr(b'<', rest) {
        rest = rest.get(start + 1..).unwrap_or_default();
        let Some(end) = rest.iter().position(|octet| matches!(octet, b'<' | b'>')) else { break };
        let (id, after) = rest.split_at(end);
        rest = after; // a second `<` starts over
        let valid =
            !id.is_empty() && !id.iter().any(|octet| octet.is_ascii_whitespace() || is_dropped(*octet));
        if valid && after.first() == Some(&b'>') {
            if ids.len() == MAX_MESSAGE_IDS {
                ids.pop_front();
            }
            ids.push_back(id);
        }
    }
    ids.into()
}

/// For `BODY[HEADER.FIELDS (…)]`: the fields of `block` that `selection` and `names` keep, as they stand, and a blank
/// line (RFC 3501 §6.4.5). Lines that are no field are in neither selection.
#[must_use]
pub fn select<N: AsRef<[u8]>>(block: &[u8], selection: Selection, names: &[N]) -> Vec<u8> {
    let named = Named::new(names);
    let mut selected = Vec::new();
    for field in fields(block) {
        let named = named.has(field.name);
        let kept = match selection {
            Selection::Fields => named,
            Selection::FieldsNot => !named,
        };
        if kept {
            selected.extend_from_slice(field.raw);
            if !field.raw.ends_with(b"\n") {
                selected.extend_from_slice(b"\r\n"); // the header ended in the middle of a line
            }
        }
    }
    selected.extend_from_slice(b"\r\n");
    selected
}

/// Field names to look for, without regard to case.
enum Named<'a, N> {
    Few(&'a [N]),
    /// In lower case and in order: hundreds of names times as many fields as a header has room for would be felt.
    Many(Vec<Vec<u8>>),
}

impl<'a, N: AsRef<[u8]>> Named<'a, N> {
    fn new(names: &'a [N]) -> Self {
        if names.len() <= FEW_NAMES {
            return Self::Few(names);
        }
        let mut sorted: Vec<_> = names.iter().map(|name| name.as_ref().to_ascii_lowercase()).collect();
        sorted.sort_unstable();
        Self::Many(sorted)
    }

    fn has(&self, field: &[u8]) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|name| field.eq_ignore_ascii_case(name.as_ref())),
            Self::Many(sorted) => {
                let lower = |octet: &u8| octet.to_ascii_lowercase();
                sorted.binary_search_by(|name| name.iter().copied().cmp(field.iter().map(lower))).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: &[u8] =
        b"Subject: one\r\n two\r\nX-Empty:\r\nnot a field\r\nTO : a@b\n\tc@d\r\n \r\nLast: x\r\n\r\nBody: no";

    #[test]
    fn fields_are_found_with_their_continuations_and_end_at_the_blank_line() {
        let found: Vec<_> = fields(BLOCK).map(|field| (field.name, field.value)).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"Subject", b" one\r\n two"),
            (b"X-Empty", b""),
            (b"TO", b" a@b\n\tc@d\r\n "),
            (b"Last", b" x"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn selected_fields_are_as_they_stood_and_end_in_a_blank_line() {
        for (selection, names, expected) in [
            (Selection::Fields, &["SUBJECT", "last"][..], &b"Subject: one\r\n two\r\nLast: x\r\n\r\n"[..]),
            (Selection::Fields, &["no-such"], b"\r\n"),
            (Selection::FieldsNot, &["subject", "to", "last"], b"X-Empty:\r\n\r\n"),
        ] {
            assert_eq!(select(BLOCK, selection, names), expected, "{names:?}");
        }
        assert_eq!(select(b"A: b", Selection::Fields, &["a"]), b"A: b\r\n\r\n");
        assert_eq!(select(b"\r\nA: b", Selection::FieldsNot, &["b"]), b"\r\n");
    }

    #[test]
    fn many_names_are_found_as_few_are() {
        let others: Vec<String> = (0..500).map(|number| format!("X-{number}")).collect();
        for few in [&["SUBJECT", "last"][..], &["to"], &["x-empty", "Subject", "LAST"], &[]] {
            let mut many: Vec<&str> = others.iter().map(String::as_str).collect();
            many.extend(few);
            for selection in [Selection::Fields, Selection::FieldsNot] {
                assert_eq!(select(BLOCK, selection, &many), select(BLOCK, selection, few), "{few:?}");
            }
        }
    }

    #[test]
    fn unfolding_keeps_white_space_inside_and_drops_what_breaks_lines() {
        assert_eq!(&*unfold(b" one\r\n two\r\n\tthree \r\n "), b"one two\tthree");
        assert_eq!(&*unfold(b"a\0b\rc"), b"abc");
        assert!(matches!(unfold(b" plain "), Cow::Borrowed(b"plain")));
    }

    #[test]
    fn ids_are_the_tokens_in_angle_brackets() {
        for (value, expected) in [
            (&b" <a@b>\r\n <c@d>"[..], &[&b"a@b"[..], b"c@d"][..]),
            (b"<a@b><c@d>", &[b"a@b", b"c@d"]),
            (b"no brackets a@b", &[]),
            (b"<a b> <c@d", &[]),
            (b"<<a@b>>", &[b"a@b"]),
            (b"<>", &[]),
        ] {
            assert_eq!(message_ids(value), expected, "{}", value.escape_ascii());
        }
    }

    /// Attack class 10: a million References.
    #[test]
    fn of_a_million_references_the_nearest_thousand_are_kept() {
        let mut value = b"<a@b>".repeat(1_000_000);
        value.extend_from_slice(b"<last@b>");
        let ids = message_ids(&value);
        assert_eq!((ids.len(), ids.last()), (MAX_MESSAGE_IDS, Some(&&b"last@b"[..])));
    }

    proptest! {
        #[test]
        fn both_selections_together_are_all_fields(block in proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b':'), Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()], 0..200)
        ) {
            let all: usize = fields(&block).map(|field| field.raw.len()).sum();
            prop_assert!(all <= block.len());
            let none = select(&block, Selection::FieldsNot, &[""; 0]);
            let kept: Vec<_> = fields(&block).map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
            let again: Vec<_> = fields(&none).map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
            // A field cut off by the end may end in a lone CR, which the added line end completes.
            prop_assert_eq!(kept.len(), again.len());
        }
    }
}
