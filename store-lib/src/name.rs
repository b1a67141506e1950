//! Mailbox names, checked once and then carried as proof.

use std::fmt;

/// Separates the levels of the hierarchy, in every name.
pub const SEPARATOR: char = '/';

/// Octets in a whole name.
const MAX_OCTETS: usize = 255;
/// Levels in a name.
const MAX_DEPTH: usize = 16;

/// Why a text is not a mailbox name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all, or nothing between, before or after separators.
    #[error("a mailbox name has no empty level")]
    EmptyLevel,
    /// Over the length limit.
    #[error("a mailbox name has at most {MAX_OCTETS} octets")]
    TooLong,
    /// Over the depth limit.
    #[error("a mailbox name has at most {MAX_DEPTH} levels")]
    TooDeep,
    /// A character that has a meaning elsewhere or cannot be seen.
    #[error("this character may not stand in a mailbox name")]
    Forbidden,
    /// `.` or `..`, a leading `#`, or a level that begins or ends with a space.
    #[error("this mailbox name is reserved")]
    Reserved,
}

/// A mailbox's full name: UTF-8, levels separated by `/`, INBOX in upper case.
///
/// Names never reach the file system; what could be mistaken for a path or a wildcard is refused all the same,
/// because exports and LIST patterns would have to quote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(String);

impl MailboxName {
    /// Checks `text` and brings a first level of `inbox` to upper case (RFC 9051 §5.1).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_OCTETS {
            return Err(NameError::TooLong);
        }
        if text.split(SEPARATOR).count() > MAX_DEPTH {
            return Err(NameError::TooDeep);
        }
        if text.chars().any(forbidden) {
            return Err(NameError::Forbidden);
        }
        if text.starts_with('#') {
            return Err(NameError::Reserved); // namespaces, RFC 9051 §5.1.2.1
        }
        for level in text.split(SEPARATOR) {
            match level {
                "" => return Err(NameError::EmptyLevel),
                "." | ".." => return Err(NameError::Reserved),
                level if level.trim() != level => return Err(NameError::Reserved),
                _ => {}
            }
        }
        let (first, rest) = match text.split_once(SEPARATOR) {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        Ok(Self(match rest {
            _ if !first.eq_ignore_ascii_case("INBOX") => text.to_owned(),
            Some(rest) => format!("INBOX{SEPARATOR}{rest}"),
            None => "INBOX".to_owned(),
        }))
    }

    /// The mailbox that every account has.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".to_owned())
    }

    /// As stored and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is INBOX itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// One level up; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The part of `self` below `ancestor`, without the separator; `None` when it is not below.
    #[must_use]
    pub fn below<'a>(&'a self, ancestor: &Self) -> Option<&'a str> {
        self.0.strip_prefix(&ancestor.0)?.strip_prefix(SEPARATOR)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Controls (C0, DEL, C1), what LIST reads as a wildcard, what other systems read as a path, and the invisible
/// characters that make two names look alike or turn the line around.
fn forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '%' | '*' | '\\' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What a mailbox is for (RFC 6154 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// Kept for later.
    Archive,
    /// Not sent yet.
    Drafts,
    /// Taken for junk.
    Junk,
    /// Copies of what was sent.
    Sent,
    /// To be removed.
    Trash,
}

impl SpecialUse {
    const ALL: [Self; 5] = [Self::Archive, Self::Drafts, Self::Junk, Self::Sent, Self::Trash];

    /// The one that is shown so, in any case.
    #[must_use]
    pub fn from_attribute(attribute: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|use_| use_.attribute().eq_ignore_ascii_case(attribute))
    }

    /// As LIST shows it, with the backslash.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Archive => 1,
            Self::Drafts => 2,
            Self::Junk => 3,
            Self::Sent => 4,
            Self::Trash => 5,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|use_| use_.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_has_one_spelling_and_only_at_the_first_level() {
        for (input, stored) in [
            ("inbox", "INBOX"),
            ("InBoX/Work", "INBOX/Work"),
            ("Work/inbox", "Work/inbox"),
            ("Inboxes", "Inboxes"),
        ] {
            assert_eq!(MailboxName::parse(input).unwrap().as_str(), stored);
        }
    }

    /// Attack class 24: names that are paths, wildcards, too long, too deep or not to be seen.
    #[test]
    fn names_that_mean_something_elsewhere_are_refused_with_the_reason() {
        let long = "x".repeat(256);
        let huge = "x".repeat(64 * 1024);
        let deep = ["a"; 17].join("/");
        for (input, reason) in [
            ("", NameError::EmptyLevel),
            ("/", NameError::EmptyLevel),
            ("/etc/passwd", NameError::EmptyLevel),
            ("a//b", NameError::EmptyLevel),
            ("a/", NameError::EmptyLevel),
            ("..", NameError::Reserved),
            ("../../etc", NameError::Reserved),
            ("a/../b", NameError::Reserved),
            ("a/.", NameError::Reserved),
            ("#news/x", NameError::Reserved),
            (" a", NameError::Reserved),
            ("a/b ", NameError::Reserved),
            ("a\0b", NameError::Forbidden),
            ("a\r\nb", NameError::Forbidden),
            ("a\u{7f}", NameError::Forbidden),
            ("a\u{85}b", NameError::Forbidden),
            ("..\\x", NameError::Forbidden),
            ("a*", NameError::Forbidden),
            ("%", NameError::Forbidden),
            ("a\u{202e}gpj", NameError::Forbidden),
            (long.as_str(), NameError::TooLong),
            (huge.as_str(), NameError::TooLong),
            (deep.as_str(), NameError::TooDeep),
        ] {
            assert_eq!(MailboxName::parse(input), Err(reason), "{}", input.escape_debug());
        }
    }

    #[test]
    fn ordinary_names_are_kept_as_they_are() {
        for name in ["Sent", "Entwürfe", "日本語/台北", "a.b", "a.", "Lists/rust-users", "&Jjo-", "~peter"]
        {
            assert_eq!(MailboxName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn below_is_strict_and_respects_levels() {
        let a = MailboxName::parse("a").unwrap();
        assert_eq!(MailboxName::parse("a/b/c").unwrap().below(&a), Some("b/c"));
        assert_eq!(MailboxName::parse("ab").unwrap().below(&a), None);
        assert_eq!(a.below(&a), None);
        assert_eq!(MailboxName::parse("a/b").unwrap().parent(), Some(a.clone()));
        assert_eq!(a.parent(), None);
    }
}
