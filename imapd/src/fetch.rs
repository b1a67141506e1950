//! What FETCH asks for (RFC 3501 §6.4.5, RFC 9051 §6.4.5).

use std::num::{NonZeroU32, NonZeroU64};

use crate::cursor::{Cursor, NESTING_LIMIT, SyntaxError};

/// Items in one FETCH; every attribute there is fits many times.
const ITEM_LIMIT: usize = 200;
/// Field names in one HEADER.FIELDS list.
const FIELD_LIMIT: usize = 500;

/// One thing to tell about each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// `BINARY[part]<partial>`: a part's body without its transfer encoding.
    Binary {
        /// Part numbers from the outside in; none for the whole message.
        part: Vec<NonZeroU32>,
        /// Which octets of what was decoded.
        partial: Option<Partial>,
        /// BINARY.PEEK: leave `\Seen` alone.
        peek: bool,
    },
    /// `BINARY.SIZE[part]`: how many octets BINARY has.
    BinarySize {
        /// Part numbers from the outside in; none for the whole message.
        part: Vec<NonZeroU32>,
    },
    /// BODY: the structure without extension data.
    Body,
    /// `BODY[section]<partial>`
    BodySection {
        /// Which part of the message.
        section: Section,
        /// Which octets of it.
        partial: Option<Partial>,
        /// BODY.PEEK: leave `\Seen` alone.
        peek: bool,
    },
    /// BODYSTRUCTURE
    BodyStructure,
    /// EMAILID (RFC 8474 §5.1)
    EmailId,
    /// ENVELOPE
    Envelope,
    /// FLAGS
    Flags,
    /// INTERNALDATE
    InternalDate,
    /// MODSEQ (RFC 7162 §3.1.4.2)
    ModSeq,
    /// PREVIEW (RFC 8970)
    Preview {
        /// `(LAZY)`: only if it is at hand.
        lazy: bool,
    },
    /// RFC822: like `BODY[]`, under its old name.
    Rfc822,
    /// RFC822.HEADER: like `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// RFC822.SIZE
    Rfc822Size,
    /// RFC822.TEXT: like `BODY[TEXT]`.
    Rfc822Text,
    /// SAVEDATE (RFC 8514)
    SaveDate,
    /// THREADID (RFC 8474 §5.2)
    ThreadId,
    /// UID
    Uid,
}

/// A part of a message and what of it; echoed in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Part numbers from the outside in; none for the message itself.
    pub part: Vec<NonZeroU32>,
    /// What of that part.
    pub text: SectionText,
}

/// What of a part is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionText {
    /// All of the message, or the body of a part.
    Whole,
    /// The header of the message or of the message/rfc822 part.
    Header,
    /// The fields with these names, upper or lower case.
    HeaderFields(Vec<Vec<u8>>),
    /// The fields without those with these names.
    HeaderFieldsNot(Vec<Vec<u8>>),
    /// The MIME header of a part.
    Mime,
    /// The body of the message or of the message/rfc822 part.
    Text,
}

/// `<first.length>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The first octet, from zero.
    pub first: u64,
    /// At most this many.
    pub length: NonZeroU64,
}

impl FetchItem {
    /// What stands behind the set: a macro, one item, or a list.
    pub(crate) fn parse_all(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        if cursor.peek() == Some(b'(') {
            return cursor.list(ITEM_LIMIT, "items", Self::parse);
        }
        let mut ahead = cursor.clone();
        let items = match ahead.take_while(is_item_char).to_ascii_uppercase().as_slice() {
            b"ALL" => vec![Self::Flags, Self::InternalDate, Self::Rfc822Size, Self::Envelope],
            b"FAST" => vec![Self::Flags, Self::InternalDate, Self::Rfc822Size],
            b"FULL" => vec![Self::Flags, Self::InternalDate, Self::Rfc822Size, Self::Envelope, Self::Body],
            _ => return Ok(vec![Self::parse(cursor)?]),
        };
        *cursor = ahead;
        Ok(items)
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let word = cursor.take_while(is_item_char).to_ascii_uppercase();
        let section_follows = cursor.peek() == Some(b'[');
        match (word.as_slice(), section_follows) {
            (b"BINARY", true) => Self::parse_binary(cursor, false),
            (b"BINARY.PEEK", true) => Self::parse_binary(cursor, true),
            (b"BINARY.SIZE", true) => Ok(Self::BinarySize { part: parse_part(cursor)? }),
            (b"BODY", true) => Self::parse_section(cursor, false),
            (b"BODY.PEEK", true) => Self::parse_section(cursor, true),
            (b"BODY", false) => Ok(Self::Body),
            (b"BODYSTRUCTURE", false) => Ok(Self::BodyStructure),
            (b"EMAILID", false) => Ok(Self::EmailId),
            (b"ENVELOPE", false) => Ok(Self::Envelope),
            (b"FLAGS", false) => Ok(Self::Flags),
            (b"INTERNALDATE", false) => Ok(Self::InternalDate),
            (b"MODSEQ", false) => Ok(Self::ModSeq),
            (b"PREVIEW", false) => Ok(Self::Preview { lazy: accept_lazy(cursor) }),
            (b"RFC822", false) => Ok(Self::Rfc822),
            (b"RFC822.HEADER", false) => Ok(Self::Rfc822Header),
            (b"RFC822.SIZE", false) => Ok(Self::Rfc822Size),
            (b"RFC822.TEXT", false) => Ok(Self::Rfc822Text),
            (b"SAVEDATE", false) => Ok(Self::SaveDate),
            (b"THREADID", false) => Ok(Self::ThreadId),
            (b"UID", false) => Ok(Self::Uid),
            _ => Err(SyntaxError::Expected("a FETCH item")),
        }
    }

    fn parse_section(cursor: &mut Cursor<'_>, peek: bool) -> Result<Self, SyntaxError> {
        let section = Section::parse(cursor)?;
        Ok(Self::BodySection { section, partial: Partial::parse(cursor)?, peek })
    }

    fn parse_binary(cursor: &mut Cursor<'_>, peek: bool) -> Result<Self, SyntaxError> {
        let part = parse_part(cursor)?;
        Ok(Self::Binary { part, partial: Partial::parse(cursor)?, peek })
    }

    /// Whether answering this sets `\Seen` (RFC 3501 §6.4.5).
    pub fn sets_seen(&self) -> bool {
        match self {
            Self::Binary { peek, .. } | Self::BodySection { peek, .. } => !peek,
            Self::Rfc822 | Self::Rfc822Text => true,
            Self::BinarySize { .. }
            | Self::Body
            | Self::BodyStructure
            | Self::EmailId
            | Self::Envelope
            | Self::Flags
            | Self::InternalDate
            | Self::ModSeq
            | Self::Preview { .. }
            | Self::Rfc822Header
            | Self::Rfc822Size
            | Self::SaveDate
            | Self::ThreadId
            | Self::Uid => false,
        }
    }
}

/// ` (LAZY)`, the only modifier of PREVIEW (RFC 8970 §3.1). What else may stand there belongs to FETCH.
fn accept_lazy(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    let found = ahead.accept(b' ') && ahead.accept(b'(') && ahead.accept_word("LAZY") && ahead.accept(b')');
    if found {
        *cursor = ahead;
    }
    found
}

fn is_item_char(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'.'
}

impl Partial {
    /// `<first.length>`, if it is there.
    fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Self>, SyntaxError> {
        if !cursor.accept(b'<') {
            return Ok(None);
        }
        let first = cursor.number64()?;
        cursor.expect(b'.', "`.` and a length")?;
        let length = NonZeroU64::new(cursor.number64()?).ok_or(SyntaxError::Number)?;
        cursor.expect(b'>', "`>`")?;
        Ok(Some(Self { first, length }))
    }
}

/// Part numbers, each behind a dot but the first; and whether a dot stands behind the last.
fn part_numbers(cursor: &mut Cursor<'_>) -> Result<(Vec<NonZeroU32>, bool), SyntaxError> {
    let mut part = Vec::new();
    let mut dot = false;
    while cursor.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        if part.len() >= NESTING_LIMIT {
            return Err(SyntaxError::TooDeep);
        }
        part.push(cursor.nonzero()?);
        dot = cursor.accept(b'.');
        if !dot {
            break;
        }
    }
    Ok((part, dot))
}

/// `[1.2]`, or `[]`
fn parse_part(cursor: &mut Cursor<'_>) -> Result<Vec<NonZeroU32>, SyntaxError> {
    cursor.expect(b'[', "`[`")?;
    let (part, dot) = part_numbers(cursor)?;
    if dot {
        return Err(SyntaxError::Expected("a part number"));
    }
    cursor.expect(b']', "`]`")?;
    Ok(part)
}

impl Section {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        cursor.expect(b'[', "`[`")?;
        let (part, dot) = part_numbers(cursor)?;
        let word = cursor.take_while(is_item_char).to_ascii_uppercase();
        let text = match word.as_slice() {
            b"" if !dot => SectionText::Whole,
            b"HEADER" => SectionText::Header,
            b"HEADER.FIELDS" => SectionText::HeaderFields(field_names(cursor)?),
            b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(field_names(cursor)?),
            b"TEXT" => SectionText::Text,
            // MIME describes a part, and the message itself is none (RFC 3501 §6.4.5).
            b"MIME" if dot => SectionText::Mime,
            _ => return Err(SyntaxError::Expected("a section")),
        };
        // "1HEADER" is no section.
        if !part.is_empty() && !dot && text != SectionText::Whole {
            return Err(SyntaxError::Expected("a section"));
        }
        cursor.expect(b']', "`]`")?;
        Ok(Self { part, text })
    }
}

fn field_names(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, SyntaxError> {
    cursor.space()?;
    cursor.list(FIELD_LIMIT, "header fields", |cursor| {
        let name = cursor.astring()?;
        // ftext (RFC 5322 §2.2): no field can have any other name, and CR or LF would be echoed.
        let is_name = |octet: &u8| octet.is_ascii_graphic() && *octet != b':';
        if name.is_empty() || !name.iter().all(is_name) {
            return Err(SyntaxError::Expected("the name of a header field"));
        }
        Ok(name.into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Result<Vec<FetchItem>, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let items = FetchItem::parse_all(&mut cursor)?;
        cursor.end()?;
        Ok(items)
    }

    fn section(part: &[u32], text: SectionText) -> Section {
        Section { part: part.iter().map(|number| NonZeroU32::new(*number).unwrap()).collect(), text }
    }

    #[test]
    fn macros_stand_for_their_items() {
        assert_eq!(parse(b"fast"), parse(b"(FLAGS INTERNALDATE RFC822.SIZE)"));
        assert_eq!(parse(b"ALL"), parse(b"(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"));
        assert_eq!(parse(b"FULL"), parse(b"(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)"));
        assert!(parse(b"(ALL)").is_err(), "a macro stands alone (RFC 3501 §6.4.5)");
    }

    #[test]
    fn sections_are_read() {
        for (text, expected) in [
            (&b"BODY[]"[..], section(&[], SectionText::Whole)),
            (b"BODY[1]", section(&[1], SectionText::Whole)),
            (b"BODY[4.2.2.1]", section(&[4, 2, 2, 1], SectionText::Whole)),
            (b"BODY[HEADER]", section(&[], SectionText::Header)),
            (b"BODY[3.HEADER]", section(&[3], SectionText::Header)),
            (b"BODY[4.1.MIME]", section(&[4, 1], SectionText::Mime)),
            (b"body[text]", section(&[], SectionText::Text)),
            (
                b"BODY[HEADER.FIELDS (Date \"From\" {2}\r\nTo)]",
                section(&[], SectionText::HeaderFields(vec![b"Date".into(), b"From".into(), b"To".into()])),
            ),
            (
                b"BODY[1.HEADER.FIELDS.NOT (X)]",
                section(&[1], SectionText::HeaderFieldsNot(vec![b"X".into()])),
            ),
        ] {
            let expected = FetchItem::BodySection { section: expected, partial: None, peek: false };
            assert_eq!(parse(text), Ok(vec![expected]), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn decoded_parts_are_read() {
        let part = |numbers: &[u32]| section(numbers, SectionText::Whole).part;
        let partial = Partial { first: 4_294_967_296, length: NonZeroU64::new(9).unwrap() };
        for (text, expected) in [
            (&b"BINARY[1]"[..], FetchItem::Binary { part: part(&[1]), partial: None, peek: false }),
            (b"BINARY[]", FetchItem::Binary { part: part(&[]), partial: None, peek: false }),
            (
                b"binary.peek[2.3]<4294967296.9>",
                FetchItem::Binary { part: part(&[2, 3]), partial: Some(partial), peek: true },
            ),
            (b"BINARY.SIZE[4.1]", FetchItem::BinarySize { part: part(&[4, 1]) }),
        ] {
            assert_eq!(parse(text), Ok(vec![expected]), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_preview_may_be_lazy() {
        let preview = |lazy| FetchItem::Preview { lazy };
        for (text, expected) in [
            (&b"PREVIEW"[..], vec![preview(false)]),
            (b"preview (lazy)", vec![preview(true)]),
            (b"(PREVIEW UID)", vec![preview(false), FetchItem::Uid]),
            (b"(UID PREVIEW (LAZY) PREVIEW)", vec![FetchItem::Uid, preview(true), preview(false)]),
        ] {
            assert_eq!(parse(text), Ok(expected), "{}", text.escape_ascii());
        }
        for text in
            [&b"PREVIEW (HASTY)"[..], b"PREVIEW (LAZY LAZY)", b"PREVIEW(LAZY)", b"PREVIEW[]", b"PREVIEW ()"]
        {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn malformed_items_are_refused() {
        for text in [
            &b""[..],
            b"()",
            b"(FLAGS",
            b"FLAGS UID",
            b"BODY[",
            b"BODY[0]",
            b"BODY[1.]",
            b"BODY[1HEADER]",
            b"BODY[MIME]",
            b"BODY[HEADER.FIELDS]",
            b"BODY[HEADER.FIELDS ()]",
            b"BODY[HEADER.FIELDS (a:b)]",
            b"BODY[HEADER.FIELDS ({3}\r\na\r\n)]",
            b"BODY[]<0>",
            b"BODY[]<0.0>",
            b"BODY[]<-1.5>",
            b"BODY.PEEK",
            b"BODYSTRUCTURE[]",
            b"RFC822.PEEK",
            b"BODY[TEXT.1]",
            b"BODY[1.2.TEXT]]",
            b"BODY[]<9223372036854775808.1>",
            b"BINARY",
            b"BINARY[TEXT]",
            b"BINARY[1.TEXT]",
            b"BINARY[1.]",
            b"BINARY[0]",
            b"BINARY.SIZE",
            b"BINARY.SIZE[1]<0.1>",
            b"BINARY.PEEK[1]<0.0>",
        ] {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }

    /// Attack class 8: part numbers nest as deep as messages are indexed, no deeper.
    #[test]
    fn deep_part_numbers_are_refused() {
        for item in ["BODY", "BINARY", "BINARY.SIZE"] {
            let deep = format!("{item}[{}1]", "1.".repeat(NESTING_LIMIT));
            assert_eq!(parse(deep.as_bytes()), Err(SyntaxError::TooDeep));
        }
    }

    fn any_section() -> impl Strategy<Value = Section> {
        let names = proptest::collection::vec("[!-9;-~]{1,12}".prop_map(String::into_bytes), 1..4);
        let text = prop_oneof![
            Just(SectionText::Whole),
            Just(SectionText::Header),
            Just(SectionText::Text),
            Just(SectionText::Mime),
            names.clone().prop_map(SectionText::HeaderFields),
            names.prop_map(SectionText::HeaderFieldsNot),
        ];
        (proptest::collection::vec(1u32.., 0..4), text)
            .prop_filter("MIME needs a part", |(part, text)| *text != SectionText::Mime || !part.is_empty())
            .prop_map(|(part, text)| section(&part, text))
    }

    proptest! {
        #[test]
        fn the_echo_of_a_section_reads_as_that_section(section in any_section()) {
            let mut echo = b"BODY".to_vec();
            response::section(&mut echo, &section);
            let expected = FetchItem::BodySection { section, partial: None, peek: false };
            prop_assert_eq!(parse(&echo), Ok(vec![expected]), "{}", echo.escape_ascii());
        }
    }
}
