//! What SORT asks for (RFC 5256 §3, RFC 5957, RFC 5267 §3).

use crate::command::{Command, Numbering};
use crate::cursor::{Cursor, SyntaxError};
use crate::search::{SearchKey, SearchReturn};

/// Criteria in one SORT; every one there is fits twice.
const CRITERIA_LIMIT: usize = 20;

/// What messages are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// ARRIVAL: the internal date with its time.
    Arrival,
    /// CC: the mailbox of the first Cc address.
    Cc,
    /// DATE: when it was sent.
    Date,
    /// DISPLAYFROM: the first From address as it is displayed.
    DisplayFrom,
    /// DISPLAYTO: the first To address as it is displayed.
    DisplayTo,
    /// FROM: the mailbox of the first From address.
    From,
    /// RELEVANCY (RFC 6203 §6): the nearest first.
    Relevancy,
    /// SIZE
    Size,
    /// SUBJECT: the base subject.
    Subject,
    /// TO: the mailbox of the first To address.
    To,
}

/// One criterion; the next one decides between messages that are equal in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// By what.
    pub key: SortKey,
    /// REVERSE: the largest first.
    pub reverse: bool,
}

/// What stands behind SORT.
pub(crate) fn parse(numbering: Numbering, cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let results = SearchReturn::parse(cursor)?;
    let criteria = cursor.list(CRITERIA_LIMIT, "sort criteria", parse_criterion)?;
    cursor.space()?;
    let key = SearchKey::parse_with_charset(cursor)?;
    let by_relevancy = criteria.iter().any(|criterion| criterion.key == SortKey::Relevancy);
    key.check_relevancy(by_relevancy || results.is_some_and(|results| results.relevancy))?;
    Ok(Command::Sort { numbering, results, criteria, key })
}

fn parse_criterion(cursor: &mut Cursor<'_>) -> Result<SortCriterion, SyntaxError> {
    let reverse = cursor.accept_word("REVERSE");
    if reverse {
        cursor.space()?;
    }
    let key = match cursor.atom()?.to_ascii_uppercase().as_slice() {
        b"ARRIVAL" => SortKey::Arrival,
        b"CC" => SortKey::Cc,
        b"DATE" => SortKey::Date,
        b"DISPLAYFROM" => SortKey::DisplayFrom,
        b"DISPLAYTO" => SortKey::DisplayTo,
        b"FROM" => SortKey::From,
        b"RELEVANCY" => SortKey::Relevancy,
        b"SIZE" => SortKey::Size,
        b"SUBJECT" => SortKey::Subject,
        b"TO" => SortKey::To,
        _ => return Err(SyntaxError::Expected("a sort criterion")),
    };
    Ok(SortCriterion { key, reverse })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Command, SyntaxError> {
        parse(Numbering::Uid, &mut Cursor::new(text.as_bytes()))
    }

    #[test]
    fn criteria_are_read_with_what_they_select() {
        let (numbering, key) = (Numbering::Uid, SearchKey::All);
        let subject = SortCriterion { key: SortKey::Subject, reverse: false };
        let date = SortCriterion { key: SortKey::Date, reverse: true };
        let plain =
            Command::Sort { numbering, results: None, criteria: vec![subject, date], key: key.clone() };
        assert_eq!(parsed("(subject REVERSE Date) UTF-8 ALL"), Ok(plain));
        let results = Some(SearchReturn { count: true, ..SearchReturn::default() });
        let extended = Command::Sort { numbering, results, criteria: vec![date], key };
        assert_eq!(parsed("RETURN (COUNT) (REVERSE DATE) us-ascii ALL"), Ok(extended));
    }

    #[test]
    fn malformed_sorts_are_refused() {
        for text in [
            "",
            "()",
            "() UTF-8 ALL",
            "(DATE)",
            "(DATE) UTF-8",
            "(DATE) ALL",
            "(REVERSE) UTF-8 ALL",
            "(REVERSE REVERSE DATE) UTF-8 ALL",
            "(LINES) UTF-8 ALL",
            "DATE UTF-8 ALL",
            "RETURN (DATE) UTF-8 ALL",
            "(RELEVANCY) UTF-8 ALL",
            "RETURN (RELEVANCY) (DATE) UTF-8 ALL",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert_eq!(parsed("(DATE) KOI8-R ALL"), Err(SyntaxError::Charset));
        let many = format!("({}) UTF-8 ALL", vec!["TO"; CRITERIA_LIMIT + 1].join(" "));
        assert_eq!(parsed(&many), Err(SyntaxError::TooMany("sort criteria")));
    }
}
