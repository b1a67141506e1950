//! What ESEARCH asks for (RFC 7377).

use crate::command::Command;
use crate::cursor::{Cursor, SyntaxError};
use crate::search::{SearchKey, SearchReturn};

/// Groups of mailboxes in one ESEARCH, and mailboxes in one group.
const SOURCE_LIMIT: usize = 100;
const MAILBOX_LIMIT: usize = 1000;

/// Some of the mailboxes to be searched (RFC 5465 §6, RFC 7377 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchSource {
    /// The selected one.
    Selected,
    /// Those that mail is delivered to.
    Inboxes,
    /// All of this account.
    Personal,
    /// Those that are subscribed to.
    Subscribed,
    /// These, and all levels below.
    Subtree(Vec<String>),
    /// These, and one level below.
    SubtreeOne(Vec<String>),
    /// These.
    Mailboxes(Vec<String>),
}

impl SearchSource {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mailboxes = |cursor: &mut Cursor<'_>| {
            cursor.space()?;
            if cursor.peek() == Some(b'(') {
                cursor.list(MAILBOX_LIMIT, "mailboxes", Cursor::mailbox)
            } else {
                Ok(vec![cursor.mailbox()?])
            }
        };
        Ok(match cursor.atom()?.to_ascii_uppercase().as_slice() {
            b"SELECTED" => Self::Selected,
            b"INBOXES" => Self::Inboxes,
            b"PERSONAL" => Self::Personal,
            b"SUBSCRIBED" => Self::Subscribed,
            b"SUBTREE" => Self::Subtree(mailboxes(cursor)?),
            b"SUBTREE-ONE" => Self::SubtreeOne(mailboxes(cursor)?),
            b"MAILBOXES" => Self::Mailboxes(mailboxes(cursor)?),
            _ => return Err(SyntaxError::Expected("which mailboxes to search")),
        })
    }
}

/// What stands behind ESEARCH. Without IN it is the selected mailbox; without RETURN it is ALL.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut sources = vec![SearchSource::Selected];
    if cursor.accept_word("IN") {
        cursor.space()?;
        sources = cursor.list(SOURCE_LIMIT, "groups of mailboxes", SearchSource::parse)?;
        cursor.space()?;
    }
    let results = SearchReturn::parse(cursor)?;
    let results = results.unwrap_or(SearchReturn { all: true, ..SearchReturn::default() });
    // What `$` stands for is of the selected mailbox (RFC 7377 §2.2).
    if results.save && sources != [SearchSource::Selected] {
        return Err(SyntaxError::Expected("SAVE with the selected mailbox alone"));
    }
    let key = SearchKey::parse_all(cursor)?;
    key.check_relevancy(results.relevancy)?;
    Ok(Command::Esearch { sources, results, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Command, SyntaxError> {
        parse(&mut Cursor::new(text.as_bytes()))
    }

    #[test]
    fn sources_are_read() {
        let results = SearchReturn { all: true, ..SearchReturn::default() };
        for (text, sources) in [
            ("ALL", vec![SearchSource::Selected]),
            (
                "IN (mailboxes \"folder1\" subtree \"folder2\") ALL",
                vec![
                    SearchSource::Mailboxes(vec!["folder1".into()]),
                    SearchSource::Subtree(vec!["folder2".into()]),
                ],
            ),
            (
                "in (Subtree-One (a b) PERSONAL inboxes subscribed selected) RETURN () ALL",
                vec![
                    SearchSource::SubtreeOne(vec!["a".into(), "b".into()]),
                    SearchSource::Personal,
                    SearchSource::Inboxes,
                    SearchSource::Subscribed,
                    SearchSource::Selected,
                ],
            ),
        ] {
            assert_eq!(
                parsed(text),
                Ok(Command::Esearch { sources, results, key: SearchKey::All }),
                "{text}"
            );
        }
    }

    #[test]
    fn malformed_sources_are_refused() {
        for text in [
            "",
            "IN () ALL",
            "IN personal ALL",
            "IN (selected-delayed) ALL",
            "IN (mailboxes) ALL",
            "IN (mailboxes ()) ALL",
            "IN (personal)",
            "IN (personal (option)) ALL",
            "IN (personal) RETURN (SAVE) ALL",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed("IN (selected) RETURN (SAVE) ALL").is_ok());
    }
}
