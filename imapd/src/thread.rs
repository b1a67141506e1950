//! What THREAD asks for (RFC 5256 §3; draft-ietf-morg-inthread).

use crate::command::{Command, Numbering};
use crate::cursor::{Cursor, SyntaxError};
use crate::search::SearchKey;

/// How messages are made into threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// ORDEREDSUBJECT: by base subject.
    OrderedSubject,
    /// REFERENCES: by what they answer, then by base subject.
    References,
    /// REFS: by what they answer alone; the threads in the order of their latest messages.
    Refs,
}

/// What stands behind THREAD.
pub(crate) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let algorithm = match cursor.atom()?.to_ascii_uppercase().as_slice() {
        b"ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        b"REFERENCES" => ThreadAlgorithm::References,
        b"REFS" => ThreadAlgorithm::Refs,
        _ => return Err(SyntaxError::Expected("a threading algorithm that is announced")),
    };
    cursor.space()?;
    let key = SearchKey::parse_with_charset(cursor)?;
    Ok(Command::Thread { numbering, algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_with_what_they_select() {
        let parsed = |text: &'static [u8]| parse(Numbering::Sequence, &mut Cursor::new(text));
        let (numbering, key) = (Numbering::Sequence, SearchKey::All);
        for (word, algorithm) in [
            (&b"orderedsubject US-ASCII ALL"[..], ThreadAlgorithm::OrderedSubject),
            (b"REFERENCES utf-8 ALL", ThreadAlgorithm::References),
            (b"REFS UTF-8 ALL", ThreadAlgorithm::Refs),
        ] {
            assert_eq!(parsed(word), Ok(Command::Thread { numbering, algorithm, key: key.clone() }));
        }
        for text in [&b""[..], b"REFS", b"REFS ALL", b"REFS UTF-8", b"JWZ UTF-8 ALL", b"(REFS) UTF-8 ALL"] {
            assert!(parsed(text).is_err(), "{}", text.escape_ascii());
        }
    }
}
