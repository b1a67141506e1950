//! Annotations of mailboxes and of the account as a whole (RFC 5464). A mailbox's go with it, and stay when it is renamed.

use std::fmt;

use rusqlite::Connection;

use crate::{MailboxId, Reader, SpecialUse, StoreError};

/// Octets of one entry's name.
const MAX_NAME: usize = 255;
/// Octets of one value.
pub const MAX_METADATA_VALUE: usize = 64 << 10;
/// Entries of one mailbox, or of the account as a whole.
const MAX_ENTRIES: i64 = 100;
/// Entries of everything in the account.
const MAX_ENTRIES_OF_ACCOUNT: i64 = 10_000;
/// Octets of all names and values in the account.
const MAX_OCTETS_OF_ACCOUNT: i64 = 10 << 20;

/// The name of an entry, in lower case: names that differ in case alone are one (RFC 5464 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName(String);

/// Why a text is not the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryNameError {
    /// It is neither for this user nor for all.
    #[error("an entry's name begins with /private/ or /shared/")]
    Prefix,
    /// Two slashes, or one at the end.
    #[error("an entry's name has an empty part")]
    EmptyPart,
    /// A wildcard, a control, or beyond ASCII (RFC 5464 §3.2).
    #[error("an entry's name has a character that cannot be in one")]
    Character,
    /// Longer than any in use.
    #[error("an entry's name is too long")]
    TooLong,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotated {
    /// The account as a whole: RFC 5464's server.
    Server,
    /// One mailbox.
    Mailbox(MailboxId),
}

/// One change of SETMETADATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataChange {
    /// The entry has this value from now on; `None` removes it.
    Entry(EntryName, Option<Vec<u8>>),
    /// `/private/specialuse` of a mailbox, which is no entry but what LIST shows (RFC 6154 §4).
    SpecialUse(Option<SpecialUse>),
}

impl EntryName {
    /// `/private/specialuse` (RFC 6154 §4).
    pub const SPECIAL_USE: &'static str = "/private/specialuse";

    /// The proof that this is the name of an entry.
    pub fn parse(text: &[u8]) -> Result<Self, EntryNameError> {
        if text.len() > MAX_NAME {
            return Err(EntryNameError::TooLong);
        }
        if !text.iter().all(|octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'*' | b'%')) {
            return Err(EntryNameError::Character);
        }
        let name = String::from_utf8_lossy(text).to_ascii_lowercase();
        let rest = name.strip_prefix("/private/").or_else(|| name.strip_prefix("/shared/"));
        match rest.ok_or(EntryNameError::Prefix)?.split('/').any(str::is_empty) {
            true => Err(EntryNameError::EmptyPart),
            false => Ok(Self(name)),
        }
    }

    /// In lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many levels this one is below `above`; `None` where it is not, zero for itself.
    #[must_use]
    pub fn depth_below(&self, above: &Self) -> Option<usize> {
        let rest = self.0.strip_prefix(&above.0)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.matches('/').count())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Annotated {
    /// Mailboxes are numbered from one.
    pub(crate) fn column(self) -> i64 {
        match self {
            Self::Server => 0,
            Self::Mailbox(mailbox) => mailbox.0,
        }
    }
}

impl Reader<'_> {
    /// The names of all entries, in order.
    pub fn metadata_entries(&self, of: Annotated) -> Result<Vec<EntryName>, StoreError> {
        let sql = "SELECT entry FROM metadata WHERE mailbox = ?1 ORDER BY entry";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([of.column()])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().ok().and_then(|name| EntryName::parse(name.as_bytes()).ok());
            names.push(name.ok_or_else(|| StoreError::damaged("metadata row with a bad entry"))?);
        }
        Ok(names)
    }

    /// The value of an entry; `None` when it has none.
    pub fn metadata_value(&self, of: Annotated, entry: &EntryName) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT value FROM metadata WHERE mailbox = ?1 AND entry = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((of.column(), entry.as_str()))?;
        rows.next()?.map(|row| Ok(row.get(0)?)).transpose()
    }
}

/// Whether what was set is within the bounds.
pub(crate) fn check_bounds(connection: &Connection, of: Annotated) -> Result<(), StoreError> {
    let sql = "SELECT (SELECT count(*) FROM metadata WHERE mailbox = ?1) <= ?2
               AND count(*) <= ?3 AND total(length(entry) + length(value)) <= ?4 FROM metadata";
    let bounds = (of.column(), MAX_ENTRIES, MAX_ENTRIES_OF_ACCOUNT, MAX_OCTETS_OF_ACCOUNT);
    match connection.prepare_cached(sql)?.query_row(bounds, |row| row.get(0))? {
        true => Ok(()),
        false => Err(StoreError::TooMany("metadata entries")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (input, name) in [
            ("/private/comment", "/private/comment"),
            ("/Shared/Vendor/CMU/x y", "/shared/vendor/cmu/x y"),
            ("/private/a]b", "/private/a]b"),
        ] {
            assert_eq!(EntryName::parse(input.as_bytes()).unwrap().as_str(), name);
        }
    }

    /// Attack class 18: names that are wildcards, too long, or not to be seen.
    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let long = format!("/private/{}", "x".repeat(MAX_NAME));
        for (input, reason) in [
            ("", EntryNameError::Prefix),
            ("/", EntryNameError::Prefix),
            ("/private", EntryNameError::Prefix),
            ("private/x", EntryNameError::Prefix),
            ("/sharedx/y", EntryNameError::Prefix),
            ("/comment", EntryNameError::Prefix),
            ("/private/", EntryNameError::EmptyPart),
            ("/private/a/", EntryNameError::EmptyPart),
            ("/shared//a", EntryNameError::EmptyPart),
            ("/shared/*", EntryNameError::Character),
            ("/shared/a%", EntryNameError::Character),
            ("/shared/a\tb", EntryNameError::Character),
            ("/shared/ä", EntryNameError::Character),
            (&long, EntryNameError::TooLong),
        ] {
            assert_eq!(EntryName::parse(input.as_bytes()), Err(reason), "{input}");
        }
    }

    #[test]
    fn depth_counts_whole_parts() {
        let name = |text: &str| EntryName::parse(text.as_bytes()).unwrap();
        for (below, depth) in [
            ("/private/a", Some(0)),
            ("/private/a/b", Some(1)),
            ("/private/a/b/c", Some(2)),
            ("/private/ab", None),
            ("/shared/a/b", None),
        ] {
            assert_eq!(name(below).depth_below(&name("/private/a")), depth, "{below}");
        }
    }
}
