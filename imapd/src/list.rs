//! LIST in its basic form (RFC 3501 §6.3.8) and with selection options, return options and several patterns (RFC 5258,
//! RFC 5819, RFC 6154, RFC 9051 §6.3.9).

use crate::cursor::{Cursor, SyntaxError};
use crate::metadata::parse_entries;
use crate::status::StatusItem;

/// Options in one list; every one there is fits several times.
const OPTION_LIMIT: usize = 20;
/// Patterns in one LIST. Each is tried on each mailbox.
const PATTERN_LIMIT: usize = 50;

/// LIST and what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Which of the mailboxes that match a pattern.
    pub selection: ListSelection,
    /// Stands before each pattern.
    pub reference: String,
    /// With `*` and `%`.
    pub patterns: Vec<String>,
    /// What to tell of each.
    pub returns: ListReturn,
    /// Anything beyond reference and one pattern was said: an empty pattern does not ask for the root then.
    pub extended: bool,
}

/// Selection options (RFC 5258 §3.1, RFC 6154 §3). With none of them every mailbox is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListSelection {
    /// SUBSCRIBED: subscribed names, of mailboxes that exist and of others.
    pub subscribed: bool,
    /// REMOTE: also mailboxes on other servers.
    pub remote: bool,
    /// RECURSIVEMATCH: also names above those that are meant.
    pub recursive_match: bool,
    /// SPECIAL-USE: mailboxes that have one.
    pub special_use: bool,
}

/// Return options (RFC 5258 §3.2, RFC 5819 §2, RFC 6154 §3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// SUBSCRIBED: `\Subscribed` where it holds.
    pub subscribed: bool,
    /// CHILDREN: `\HasChildren` or `\HasNoChildren`.
    pub children: bool,
    /// SPECIAL-USE: what each is for.
    pub special_use: bool,
    /// STATUS: a STATUS response behind each LIST response; empty for none.
    pub status: Vec<StatusItem>,
    /// METADATA: a METADATA response with these entries, not yet checked, behind each LIST response (RFC 9590).
    pub metadata: Vec<Vec<u8>>,
}

impl List {
    /// What stands behind LIST.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut list = Self::default();
        if cursor.peek() == Some(b'(') {
            list.extended = true;
            list.selection = ListSelection::parse(cursor)?;
            cursor.space()?;
        }
        list.reference = cursor.mailbox()?;
        cursor.space()?;
        if cursor.peek() == Some(b'(') {
            list.extended = true;
            list.patterns = cursor.list(PATTERN_LIMIT, "patterns", Cursor::mailbox_pattern)?;
        } else {
            list.patterns = vec![cursor.mailbox_pattern()?];
        }
        if cursor.accept(b' ') {
            list.extended = true;
            if !cursor.accept_word("RETURN") {
                return Err(SyntaxError::Expected("RETURN"));
            }
            cursor.space()?;
            list.returns = ListReturn::parse(cursor)?;
        }
        Ok(list)
    }
}

impl ListSelection {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut selection = Self::default();
        cursor.list_or_none(OPTION_LIMIT, "options", |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"SUBSCRIBED" => selection.subscribed = true,
                b"REMOTE" => selection.remote = true,
                b"RECURSIVEMATCH" => selection.recursive_match = true,
                b"SPECIAL-USE" => selection.special_use = true,
                _ => return Err(SyntaxError::Expected("a selection option of LIST")),
            }
            Ok(())
        })?;
        // It is about other options, and about REMOTE it says nothing (RFC 5258 §3.1).
        if selection.recursive_match && !selection.subscribed && !selection.special_use {
            return Err(SyntaxError::Expected("another selection option beside RECURSIVEMATCH"));
        }
        Ok(selection)
    }
}

impl ListReturn {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut returns = Self::default();
        cursor.list_or_none(OPTION_LIMIT, "options", |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"SUBSCRIBED" => returns.subscribed = true,
                b"CHILDREN" => returns.children = true,
                b"SPECIAL-USE" => returns.special_use = true,
                b"STATUS" => {
                    cursor.space()?;
                    returns.status = StatusItem::parse_list(cursor)?;
                }
                b"METADATA" => {
                    cursor.space()?;
                    returns.metadata = parse_entries(cursor)?;
                }
                _ => return Err(SyntaxError::Expected("a return option of LIST")),
            }
            Ok(())
        })?;
        Ok(returns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox_name::NameForm;

    fn parse(text: &str) -> Result<List, SyntaxError> {
        let mut cursor = Cursor::with_names(text.as_bytes(), NameForm::Utf8);
        let list = List::parse(&mut cursor)?;
        cursor.end()?;
        Ok(list)
    }

    #[test]
    fn options_and_patterns_are_read_in_any_order_and_case() {
        let basic = List { patterns: vec!["%".into()], ..List::default() };
        assert_eq!(parse("\"\" %"), Ok(basic.clone()));
        assert_eq!(parse("() \"\" %"), Ok(List { extended: true, ..basic.clone() }));
        assert_eq!(parse("\"\" (%) return ()"), Ok(List { extended: true, ..basic }));
        let full = parse(
            "(recursivematch REMOTE SUBSCRIBED special-use) a/ (\"Entwürfe\" * inbox) \
             RETURN (STATUS (MESSAGES SIZE) CHILDREN METADATA (/shared/comment) SUBSCRIBED SPECIAL-USE)",
        );
        let expected = List {
            selection: ListSelection {
                subscribed: true,
                remote: true,
                recursive_match: true,
                special_use: true,
            },
            reference: "a/".into(),
            patterns: vec!["Entwürfe".into(), "*".into(), "inbox".into()],
            returns: ListReturn {
                subscribed: true,
                children: true,
                special_use: true,
                status: vec![StatusItem::Messages, StatusItem::Size],
                metadata: vec![b"/shared/comment".to_vec()],
            },
            extended: true,
        };
        assert_eq!(full, Ok(expected));
    }

    #[test]
    fn malformed_lists_are_refused() {
        for (text, reason) in [
            ("(RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH alone (RFC 5258 §3.1)"),
            ("(RECURSIVEMATCH REMOTE) \"\" *", "RECURSIVEMATCH with REMOTE alone (RFC 5258 §3.1)"),
            ("(UNKNOWN) \"\" *", "an option that is not announced is BAD (RFC 5258 §3)"),
            ("\"\" ()", "no pattern"),
            ("\"\" (a", "an open list"),
            ("\"\" * RETURN", "nothing to return"),
            ("\"\" * RETURN (UNKNOWN)", "an option that is not announced"),
            ("\"\" * RETURN (STATUS)", "STATUS without items"),
            ("\"\" * RETURN (STATUS ())", "STATUS without items"),
            ("\"\" * RETURN (METADATA)", "METADATA without entries"),
            ("\"\" * RETURN (METADATA ())", "METADATA without entries"),
            ("\"\" * RETURNS ()", "another word"),
            ("\"\" * ", "a space too many"),
            ("(SUBSCRIBED)\"\" *", "a space too few"),
        ] {
            assert!(parse(text).is_err(), "{reason}: {text}");
        }
        // Attack class 8: as many patterns as a line holds.
        let many = format!("\"\" ({})", vec!["%"; PATTERN_LIMIT + 1].join(" "));
        assert_eq!(parse(&many), Err(SyntaxError::TooMany("patterns")));
    }
}
