//! Message flags: the five system flags as bits, keywords bounded in number and length.

use std::fmt;

/// Keywords on one message.
pub const MAX_KEYWORDS_PER_MESSAGE: usize = 32;
/// Different keywords that one mailbox has ever had.
pub const MAX_KEYWORDS_PER_MAILBOX: usize = 256;
/// Octets in one keyword.
const MAX_KEYWORD_OCTETS: usize = 64;

/// Why a text is not a keyword, or a set of flags is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Not an atom of RFC 9051 §9, or empty.
    #[error("a keyword is an atom")]
    NotAnAtom,
    /// Over the length limit.
    #[error("a keyword has at most {MAX_KEYWORD_OCTETS} octets")]
    TooLong,
    /// Over the limit for one message.
    #[error("a message has at most {MAX_KEYWORDS_PER_MESSAGE} keywords")]
    TooMany,
}

/// The system flags that a client may set (RFC 9051 §2.3.2), in the RFC's order. `\Recent` belongs to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SystemFlag {
    /// `\Seen`
    Seen = 1,
    /// `\Answered`
    Answered = 2,
    /// `\Flagged`
    Flagged = 4,
    /// `\Deleted`
    Deleted = 8,
    /// `\Draft`
    Draft = 16,
}

impl SystemFlag {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Seen, Self::Answered, Self::Flagged, Self::Deleted, Self::Draft];

    /// As IMAP writes it, with the backslash.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
        }
    }

    /// From IMAP's spelling, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.name().eq_ignore_ascii_case(name))
    }

    const fn bit(self) -> u8 {
        self as u8
    }
}

/// A flag that users make up. Compared without regard to case (RFC 9051 §2.3.2), kept as first written.
#[derive(Debug, Clone)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// Checks that `text` is an atom without a leading backslash.
    pub fn parse(text: &str) -> Result<Self, FlagError> {
        if text.len() > MAX_KEYWORD_OCTETS {
            return Err(FlagError::TooLong);
        }
        let special = |octet: u8| octet <= b' ' || octet >= 0x7f || b"(){%*\"\\]".contains(&octet);
        if text.is_empty() || text.bytes().any(special) {
            return Err(FlagError::NotAnAtom);
        }
        Ok(Self(text.into()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The flags of one message. Nothing on the heap while there is no keyword, as for most messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    system: u8,
    keywords: Vec<Keyword>,
}

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self { system: 0, keywords: Vec::new() };

    /// With one more system flag.
    #[must_use]
    pub fn with(mut self, flag: SystemFlag) -> Self {
        self.system |= flag.bit();
        self
    }

    /// Whether the system flag is set.
    #[must_use]
    pub fn has(&self, flag: SystemFlag) -> bool {
        self.system & flag.bit() != 0
    }

    /// Adds a keyword; one that is there already changes nothing.
    pub fn add_keyword(&mut self, keyword: Keyword) -> Result<(), FlagError> {
        if self.has_keyword(&keyword) {
            return Ok(());
        }
        if self.keywords.len() >= MAX_KEYWORDS_PER_MESSAGE {
            return Err(FlagError::TooMany);
        }
        self.keywords.push(keyword);
        Ok(())
    }

    /// The keywords, in the order they were added.
    pub fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// Whether a keyword is set, in any case.
    #[must_use]
    pub fn has_keyword(&self, keyword: &Keyword) -> bool {
        self.keywords().contains(keyword)
    }

    /// The union of both.
    pub fn add(&mut self, other: &Self) -> Result<(), FlagError> {
        self.system |= other.system;
        other.keywords().iter().try_for_each(|keyword| self.add_keyword(keyword.clone()))
    }

    /// Takes away what `other` has.
    pub fn remove(&mut self, other: &Self) {
        self.system &= !other.system;
        self.keywords.retain(|keyword| !other.has_keyword(keyword));
    }

    /// For the database.
    pub(crate) fn to_columns(&self) -> (u8, Option<String>) {
        let keywords = self.keywords();
        let text = (!keywords.is_empty()).then(|| join(keywords));
        (self.system, text)
    }

    /// From the database, which only ever gets checked values; a text that is not one is dropped.
    pub(crate) fn from_columns(system: u8, keywords: Option<&str>) -> Self {
        let mut flags = Self { system, keywords: Vec::new() };
        for word in keywords.unwrap_or_default().split_ascii_whitespace() {
            if let Ok(keyword) = Keyword::parse(word) {
                let _ = flags.add_keyword(keyword); // over the limit: as above
            }
        }
        flags
    }
}

/// Keywords as the database keeps them: separated by one space, which no atom has.
pub(crate) fn join(keywords: &[Keyword]) -> String {
    let words: Vec<&str> = keywords.iter().map(Keyword::as_str).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(text: &str) -> Keyword {
        Keyword::parse(text).unwrap()
    }

    #[test]
    fn keywords_are_compared_without_case_and_keep_the_first_spelling() {
        let mut flags = Flags::NONE.with(SystemFlag::Seen);
        flags.add_keyword(keyword("$Forwarded")).unwrap();
        flags.add_keyword(keyword("$forwarded")).unwrap();
        assert_eq!(flags.keywords().len(), 1);
        assert_eq!(flags.keywords()[0].as_str(), "$Forwarded");
        let mut other = Flags::NONE;
        other.add_keyword(keyword("$FORWARDED")).unwrap();
        flags.remove(&other);
        assert_eq!(flags, Flags::NONE.with(SystemFlag::Seen));
    }

    #[test]
    fn columns_give_back_the_same_flags() {
        let mut flags = Flags::NONE.with(SystemFlag::Draft).with(SystemFlag::Answered);
        flags.add_keyword(keyword("a")).unwrap();
        flags.add_keyword(keyword("$Junk")).unwrap();
        let (system, text) = flags.to_columns();
        assert_eq!(Flags::from_columns(system, text.as_deref()), flags);
        assert_eq!(Flags::NONE.to_columns(), (0, None));
    }

    /// Attack class 18: a keyword that would write its own response line.
    #[test]
    fn what_is_not_an_atom_is_refused() {
        for text in ["", "\\Seen", "a b", "a\r\n* OK", "(x)", "a\"b", "ü", "a]", "a%", "\u{7f}"] {
            assert_eq!(Keyword::parse(text), Err(FlagError::NotAnAtom), "{}", text.escape_debug());
        }
        assert_eq!(Keyword::parse(&"a".repeat(65)), Err(FlagError::TooLong));
    }

    #[test]
    fn a_message_takes_so_many_keywords_and_no_more() {
        let mut flags = Flags::NONE;
        for n in 0..MAX_KEYWORDS_PER_MESSAGE {
            flags.add_keyword(keyword(&format!("k{n}"))).unwrap();
        }
        assert_eq!(flags.add_keyword(keyword("more")), Err(FlagError::TooMany));
        assert_eq!(flags.add_keyword(keyword("K0")), Ok(()));
    }
}
