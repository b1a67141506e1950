//! IMAP capabilities that the admin can switch off for an account, for a program that makes something odd of one.

use std::fmt;

use bincode::{Decode, Encode};

/// By their numbers on the channels. A new one comes to the end. Those that every session needs are not among them.
const WORDS: [&str; 56] = [
    "IMAP4rev2",
    "ID",
    "ENABLE",
    "NAMESPACE",
    "UIDPLUS",
    "MOVE",
    "IDLE",
    "UNSELECT",
    "CHILDREN",
    "ESEARCH",
    "SEARCHRES",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "STATUS=SIZE",
    "BINARY",
    "METADATA",
    "LIST-METADATA",
    "CONDSTORE",
    "QRESYNC",
    "UIDONLY",
    "WITHIN",
    "SORT",
    "SORT=DISPLAY",
    "ESORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "I18NLEVEL=1",
    "SAVEDATE",
    "PREVIEW",
    "UTF8=ACCEPT",
    "LANGUAGE",
    "MULTIAPPEND",
    "REPLACE",
    "CATENATE",
    "COMPRESS=DEFLATE",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "NOTIFY",
    "PARTIAL",
    "INPROGRESS",
    "MULTISEARCH",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "OBJECTID",
    "SEARCH=FUZZY",
    "FILTERS",
    "URLAUTH",
    "URLAUTH=BINARY",
    "APPENDLIMIT",
    "MESSAGELIMIT",
    "ACL",
    "RIGHTS=texk",
];

/// What is nothing without the first one.
const BUILT_ON: [(&str, &str); 21] = [
    ("ENABLE", "UTF8=ACCEPT"),
    ("ENABLE", "QRESYNC"),
    ("ENABLE", "UIDONLY"),
    ("CONDSTORE", "QRESYNC"),
    ("ESEARCH", "SEARCHRES"),
    ("ESEARCH", "PARTIAL"),
    ("ESEARCH", "MULTISEARCH"),
    ("ESEARCH", "ESORT"),
    ("ESEARCH", "CONTEXT=SEARCH"),
    ("SORT", "SORT=DISPLAY"),
    ("SORT", "ESORT"),
    ("ESORT", "CONTEXT=SORT"),
    ("LIST-EXTENDED", "LIST-STATUS"),
    ("LIST-EXTENDED", "LIST-METADATA"),
    ("SPECIAL-USE", "CREATE-SPECIAL-USE"),
    ("METADATA", "LIST-METADATA"),
    ("METADATA", "FILTERS"),
    ("QUOTA", "QUOTA=RES-STORAGE"),
    ("QUOTA", "QUOTA=RES-MESSAGE"),
    ("URLAUTH", "URLAUTH=BINARY"),
    ("ACL", "RIGHTS=texk"),
];

/// What IMAP4rev2 has in it (RFC 9051 §E): without one of them it is not IMAP4rev2.
const IN_REV2: [&str; 13] = [
    "ENABLE",
    "NAMESPACE",
    "UIDPLUS",
    "MOVE",
    "IDLE",
    "UNSELECT",
    "ESEARCH",
    "SEARCHRES",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "BINARY",
];

const _: () = assert!(WORDS.len() <= 128);

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Capabilities(u128);

/// A word that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a capability that can be switched off; those are {list}", list = WORDS.join(", "))]
pub struct NotACapability(String);

impl Capabilities {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Words in any case, and with each of them what is nothing without it.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, NotACapability> {
        let mut all = Self::NONE;
        for word in words {
            let number = number(word).ok_or_else(|| NotACapability(word.chars().take(40).collect()))?;
            all.0 |= 1 << number;
        }
        // Twice: what is built on something can have something built on it.
        let rev2 = IN_REV2.iter().map(|part| (part, &"IMAP4rev2"));
        let built_on = || BUILT_ON.iter().map(|(below, above)| (below, above));
        for (below, above) in built_on().chain(built_on()).chain(rev2) {
            if all.contains(below)
                && let Some(number) = number(above)
            {
                all.0 |= 1 << number;
            }
        }
        Ok(all)
    }

    /// Whether this word is in it.
    #[must_use]
    pub fn contains(self, word: &str) -> bool {
        number(word).is_some_and(|number| self.0 & (1 << number) != 0)
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// In the order of their numbers.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().filter(move |word| self.contains(word))
    }
}

fn number(word: &str) -> Option<usize> {
    WORDS.iter().position(|known| known.eq_ignore_ascii_case(word))
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.words()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_bring_along_what_is_built_on_them() {
        let set = Capabilities::parse(["list-extended", "Idle"]).unwrap();
        let words: Vec<_> = set.words().collect();
        assert_eq!(words, ["IMAP4rev2", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "LIST-METADATA"]);
        assert!(set.contains("IDLE") && !set.contains("MOVE") && !set.contains("XYZZY"));
        assert!(Capabilities::parse([]).unwrap().is_empty());
        let enable: Vec<_> = Capabilities::parse(["ENABLE"]).unwrap().words().collect();
        assert_eq!(enable, ["IMAP4rev2", "ENABLE", "QRESYNC", "UIDONLY", "UTF8=ACCEPT"]);
        let sort: Vec<_> = Capabilities::parse(["SORT"]).unwrap().words().collect();
        assert_eq!(sort, ["SORT", "SORT=DISPLAY", "ESORT", "CONTEXT=SORT"]);
        for none in ["IMAP4rev1", "", "XYZZY"] {
            assert!(Capabilities::parse([none]).is_err(), "{none}");
        }
        for (below, above) in BUILT_ON {
            assert!(number(below).is_some() && number(above).is_some(), "{below} {above}");
        }
        assert!(IN_REV2.iter().all(|word| number(word).is_some()));
    }
}
