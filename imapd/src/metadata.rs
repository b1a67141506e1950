//! GETMETADATA and SETMETADATA (RFC 5464 §4), and the entries that LIST returns (RFC 9590).

use crate::cursor::{Cursor, SyntaxError};

/// Entries in one command. As many as one mailbox can have.
const ENTRY_LIMIT: usize = 100;
/// Options of one GETMETADATA; each one there is fits twice.
const OPTION_LIMIT: usize = 4;

/// GETMETADATA and what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetMetadata {
    /// Whose; empty for the server.
    pub mailbox: String,
    /// As the client wrote them, not yet checked in any way.
    pub entries: Vec<Vec<u8>>,
    /// MAXSIZE: values with more octets are left out.
    pub max_size: Option<u64>,
    /// DEPTH
    pub depth: Depth,
}

/// How far below an entry GETMETADATA looks (RFC 5464 §4.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// 0
    #[default]
    Entry,
    /// 1
    Children,
    /// infinity
    All,
}

/// SETMETADATA
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetMetadata {
    /// Whose; empty for the server.
    pub mailbox: String,
    /// Names, not yet checked in any way, and values; `None` removes the entry.
    pub entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl GetMetadata {
    /// What stands behind GETMETADATA. The grammar has the options before the mailbox, the RFC's own examples behind it
    /// (erratum 2785); clients do either.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut get = Self::default();
        let leads = get.parse_options(cursor)?;
        get.mailbox = cursor.mailbox()?;
        cursor.space()?;
        if !leads {
            get.parse_options(cursor)?;
        }
        get.entries = parse_entries(cursor)?;
        Ok(get)
    }

    /// A list that begins with an option, and the space behind it; whether it was there.
    fn parse_options(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, SyntaxError> {
        let mut ahead = cursor.clone();
        // Entries begin with a slash.
        if !ahead.accept(b'(') || !ahead.peek().is_some_and(|octet| octet.is_ascii_alphabetic()) {
            return Ok(false);
        }
        cursor.list(OPTION_LIMIT, "options", |cursor| {
            if cursor.accept_word("MAXSIZE") {
                cursor.space()?;
                self.max_size = Some(cursor.number64()?);
            } else if cursor.accept_word("DEPTH") {
                cursor.space()?;
                self.depth = Depth::parse(cursor)?;
            } else {
                return Err(SyntaxError::Expected("MAXSIZE or DEPTH"));
            }
            Ok(())
        })?;
        cursor.space()?;
        Ok(true)
    }
}

impl Depth {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        match cursor.atom()?.to_ascii_lowercase().as_slice() {
            b"0" => Ok(Self::Entry),
            b"1" => Ok(Self::Children),
            b"infinity" => Ok(Self::All),
            _ => Err(SyntaxError::Expected("0, 1 or infinity")),
        }
    }
}

impl SetMetadata {
    /// What stands behind SETMETADATA.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mailbox = cursor.mailbox()?;
        cursor.space()?;
        let entries = cursor.list(ENTRY_LIMIT, "entries", |cursor| {
            let name = cursor.astring()?.into_owned();
            cursor.space()?;
            let value = if cursor.peek() == Some(b'~') {
                Some(cursor.literal8()?.to_vec())
            } else {
                cursor.nstring()?.map(std::borrow::Cow::into_owned)
            };
            Ok((name, value))
        })?;
        Ok(Self { mailbox, entries })
    }
}

/// One entry, or a list of them.
pub(crate) fn parse_entries(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, SyntaxError> {
    let entry = |cursor: &mut Cursor<'_>| Ok(cursor.astring()?.into_owned());
    if cursor.peek() == Some(b'(') {
        cursor.list(ENTRY_LIMIT, "entries", entry)
    } else {
        Ok(vec![entry(cursor)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        text: &str,
        parse: impl FnOnce(&mut Cursor<'_>) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let parsed = parse(&mut cursor)?;
        cursor.end()?;
        Ok(parsed)
    }

    #[test]
    fn options_stand_on_either_side_of_the_mailbox() {
        let one = GetMetadata {
            mailbox: "INBOX".into(),
            entries: vec![b"/shared/comment".to_vec()],
            ..GetMetadata::default()
        };
        let both = GetMetadata { max_size: Some(1024), depth: Depth::Children, ..one.clone() };
        for (text, expected) in [
            ("INBOX /shared/comment", one.clone()),
            ("\"INBOX\" (\"/shared/comment\")", one.clone()),
            ("(MAXSIZE 1024 DEPTH 1) INBOX /shared/comment", both.clone()),
            ("\"INBOX\" (depth 1 maxsize 1024) (/shared/comment)", both),
            ("(DEPTH infinity) INBOX /shared/comment", GetMetadata { depth: Depth::All, ..one.clone() }),
            ("(DEPTH 0) INBOX /shared/comment", one),
        ] {
            assert_eq!(read(text, GetMetadata::parse), Ok(expected), "{text}");
        }
    }

    #[test]
    fn values_are_strings_nil_and_literals_with_nul() {
        let set = read("\"\" (/private/a NIL /private/b \"x\" /private/c ~{3}\r\na\0b)", SetMetadata::parse);
        let entries = vec![
            (b"/private/a".to_vec(), None),
            (b"/private/b".to_vec(), Some(b"x".to_vec())),
            (b"/private/c".to_vec(), Some(b"a\0b".to_vec())),
        ];
        assert_eq!(set, Ok(SetMetadata { mailbox: String::new(), entries }));
    }

    #[test]
    fn malformed_commands_are_refused() {
        for (text, reason) in [
            ("INBOX", "no entry"),
            ("INBOX ()", "no entry in the list"),
            ("(MAXSIZE 1) INBOX (DEPTH 1) /a", "options on both sides"),
            ("(MAXSIZE) INBOX /a", "no number"),
            ("(MAXSIZE -1) INBOX /a", "no number"),
            ("(DEPTH 2) INBOX /a", "no such depth"),
            ("(DEPTH 1 MAXSIZE 1 DEPTH 1 MAXSIZE 1 DEPTH 1) INBOX /a", "too many options"),
            ("(SIZE 1) INBOX /a", "no such option"),
        ] {
            assert!(read(text, GetMetadata::parse).is_err(), "{reason}: {text}");
        }
        for (text, reason) in [
            ("INBOX", "no entries"),
            ("INBOX ()", "none in the list"),
            ("INBOX /a \"x\"", "no list"),
            ("INBOX (/a)", "no value"),
            ("INBOX (/a x)", "a value that is no string"),
            ("INBOX (/a ~x)", "a tilde and no literal"),
            ("INBOX (/a {1}\r\n\0)", "NUL in an ordinary literal"),
        ] {
            assert!(read(text, SetMetadata::parse).is_err(), "{reason}: {text}");
        }
        // Attack class 8: as many entries as a command holds.
        let many = format!("INBOX ({})", vec!["/a"; ENTRY_LIMIT + 1].join(" "));
        assert_eq!(read(&many, GetMetadata::parse), Err(SyntaxError::TooMany("entries")));
    }
}
