//! Message flags as they stand in commands (RFC 3501 §2.3.2).

use crate::cursor::{Cursor, SyntaxError, is_atom_char};

/// Flags in one list. More than any store keeps for one message.
const FLAG_LIMIT: usize = 256;

/// A flag that a client may set. `\Recent` is none: it is the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// A word of the clients' own, an atom.
    Keyword(String),
}

impl Flag {
    /// `None` for `\Recent`, which clients that copy flags send and which means nothing here.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Self>, SyntaxError> {
        if !cursor.accept(b'\\') {
            return Self::keyword(cursor).map(Some);
        }
        let name = cursor.atom()?;
        for (word, flag) in [
            (&b"Answered"[..], Some(Self::Answered)),
            (b"Flagged", Some(Self::Flagged)),
            (b"Deleted", Some(Self::Deleted)),
            (b"Seen", Some(Self::Seen)),
            (b"Draft", Some(Self::Draft)),
            (b"Recent", None),
        ] {
            if name.eq_ignore_ascii_case(word) {
                return Ok(flag);
            }
        }
        Err(SyntaxError::Expected("one of \\Answered \\Flagged \\Deleted \\Seen \\Draft or a keyword"))
    }

    pub(crate) fn keyword(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let word = cursor.take_while(is_atom_char);
        match std::str::from_utf8(word) {
            Ok("") | Err(_) => Err(SyntaxError::Expected("a flag")),
            Ok(word) => Ok(Self::Keyword(word.to_owned())),
        }
    }

    /// `(` flags `)`, may be empty.
    pub(crate) fn parse_list(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        let flags = cursor.list_or_none(FLAG_LIMIT, "flags", Self::parse)?;
        Ok(flags.into_iter().flatten().collect())
    }

    /// A list with or without its parentheses, as STORE allows.
    pub(crate) fn parse_store_list(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        if cursor.peek() == Some(b'(') {
            return Self::parse_list(cursor);
        }
        let mut flags = vec![Self::parse(cursor)?];
        while cursor.accept(b' ') {
            if flags.len() >= FLAG_LIMIT {
                return Err(SyntaxError::TooMany("flags"));
            }
            flags.push(Self::parse(cursor)?);
        }
        Ok(flags.into_iter().flatten().collect())
    }

    /// The wire form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Seen => "\\Seen",
            Self::Draft => "\\Draft",
            Self::Keyword(word) => word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_lists_are_read() {
        use Flag::{Deleted, Draft, Keyword, Seen};
        for (text, flags) in [
            ("()", vec![]),
            ("(\\Seen)", vec![Seen]),
            ("(\\sEEN $Forwarded \\DELETED)", vec![Seen, Keyword("$Forwarded".into()), Deleted]),
            ("(\\Recent \\Draft)", vec![Draft]),
        ] {
            assert_eq!(Flag::parse_list(&mut Cursor::new(text.as_bytes())), Ok(flags), "{text}");
        }
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for text in ["(", "(\\Unknown)", "(\\*)", "(a  b)", "(a b", "(\\)", "({1}\r\na)", "(\"a\")"] {
            assert!(Flag::parse_list(&mut Cursor::new(text.as_bytes())).is_err(), "{text}");
        }
    }
}
