//! What SEARCH asks for (RFC 3501 §6.4.4, RFC 9051 §6.4.4).

use std::num::NonZeroU32;

use crate::cursor::{Cursor, NESTING_LIMIT, SyntaxError};
use crate::date::Date;
use crate::filter::FilterName;
use crate::flag::Flag;
use crate::partial::PartialRange;
use crate::sequence_set::{MessageSet, SequenceSet};

/// Keys in one search, all levels together.
pub(crate) const KEY_LIMIT: usize = 1000;
/// Result options in one search; every one there is fits several times.
const RESULT_LIMIT: usize = 20;

/// What SEARCH is to tell of the messages found (RFC 4731 §3.1, RFC 5182 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// MIN: the lowest number.
    pub min: bool,
    /// MAX: the highest number.
    pub max: bool,
    /// ALL: all numbers; also where nothing is asked for.
    pub all: bool,
    /// COUNT: how many there are.
    pub count: bool,
    /// CONTEXT: the client will come back to this search (RFC 5267 §4.2). Nothing follows from it.
    pub context: bool,
    /// UPDATE: changes are to be told (RFC 5267 §4.3).
    pub update: bool,
    /// PARTIAL: those of this range (RFC 9394 §3.1).
    pub partial: Option<PartialRange>,
    /// RELEVANCY: how near each of them comes (RFC 6203 §4).
    pub relevancy: bool,
    /// SAVE: what `$` stands for from then on.
    pub save: bool,
}

impl SearchReturn {
    /// `RETURN (…) `, if it is there.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Self>, SyntaxError> {
        if !cursor.accept_word("RETURN") {
            return Ok(None);
        }
        cursor.space()?;
        let mut results = Self::default();
        cursor.list_or_none(RESULT_LIMIT, "result options", |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"MIN" => results.min = true,
                b"MAX" => results.max = true,
                b"ALL" => results.all = true,
                b"COUNT" => results.count = true,
                b"PARTIAL" => {
                    cursor.space()?;
                    results.partial = Some(PartialRange::parse(cursor)?);
                }
                b"CONTEXT" => results.context = true,
                b"UPDATE" => results.update = true,
                b"RELEVANCY" => results.relevancy = true,
                b"SAVE" => results.save = true,
                _ => return Err(SyntaxError::Expected("a result option of SEARCH")),
            }
            Ok(())
        })?;
        cursor.space()?;
        if results.all && results.partial.is_some() {
            return Err(SyntaxError::Expected("either PARTIAL or ALL"));
        }
        results.all |= results == Self::default();
        Ok(Some(results))
    }

    /// Whether anything is to be answered: SAVE alone only keeps.
    pub fn answers(&self) -> bool {
        let some = self.min || self.max || self.all || self.count;
        !self.save || some || self.relevancy || self.partial.is_some()
    }

    /// Whether one message from each end is all that is needed.
    pub fn is_ends_only(&self) -> bool {
        (self.min || self.max) && !self.all && !self.count && !self.relevancy && self.partial.is_none()
    }
}

/// One condition on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// All of these: the top level, and a parenthesised list.
    And(Vec<SearchKey>),
    /// BCC
    Bcc(SearchText),
    /// BEFORE: internal date earlier than this day.
    Before(Date),
    /// BODY: in the body.
    Body(SearchText),
    /// CC
    Cc(SearchText),
    /// EMAILID (RFC 8474 §6)
    EmailId(ObjectId),
    /// ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, KEYWORD; UN… is `Not` of it.
    Flag(Flag),
    /// FILTER (RFC 5466 §3.1)
    Filter(FilterName),
    /// FROM
    From(SearchText),
    /// FUZZY (RFC 6203 §3): what nearly holds.
    Fuzzy(Box<SearchKey>),
    /// HEADER: a field of this name that has the text; the empty text matches any.
    Header(Vec<u8>, SearchText),
    /// LARGER: more octets than this.
    Larger(u64),
    /// MODSEQ: changed at this mod-sequence or later (RFC 7162 §3.1.5)
    ModSeq(u64),
    /// NOT
    Not(Box<SearchKey>),
    /// OLDER: internal date so many seconds ago or earlier (RFC 5032).
    Older(NonZeroU32),
    /// ON: internal date on this day.
    On(Date),
    /// OR
    Or(Box<SearchKey>, Box<SearchKey>),
    /// RECENT; NEW is `RECENT UNSEEN`, OLD is `NOT RECENT`.
    Recent,
    /// SAVEDATESUPPORTED (RFC 8514 §4.2)
    SaveDateSupported,
    /// `$`, also as `UID $`: what the latest SEARCH with SAVE found.
    Saved,
    /// SAVEDBEFORE (RFC 8514 §4.2): came into the mailbox earlier than this day.
    SavedBefore(Date),
    /// SAVEDON
    SavedOn(Date),
    /// SAVEDSINCE
    SavedSince(Date),
    /// SENTBEFORE: the Date field.
    SentBefore(Date),
    /// SENTON
    SentOn(Date),
    /// SENTSINCE
    SentSince(Date),
    /// A set of sequence numbers.
    Sequence(SequenceSet),
    /// SINCE: internal date on or after this day.
    Since(Date),
    /// SMALLER: fewer octets than this.
    Smaller(u64),
    /// SUBJECT
    Subject(SearchText),
    /// TEXT: in header or body.
    Text(SearchText),
    /// THREADID (RFC 8474 §6)
    ThreadId(ObjectId),
    /// TO
    To(SearchText),
    /// UID
    Uid(SequenceSet),
    /// UIDAFTER (RFC 9738 §3): a higher UID.
    UidAfter(NonZeroU32),
    /// UIDBEFORE (RFC 9738 §3): a lower UID.
    UidBefore(NonZeroU32),
    /// YOUNGER: internal date so many seconds ago or later (RFC 5032).
    Younger(NonZeroU32),
}

/// An identifier of RFC 8474, §7: not necessarily one that anything has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId(String);

impl ObjectId {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        match cursor.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-') {
            id @ [_, ..] if id.len() <= 255 => Ok(Self(String::from_utf8_lossy(id).into_owned())),
            _ => Err(SyntaxError::Expected("an identifier")),
        }
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text to look for, regardless of case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText(String);

impl SearchText {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let text = cursor.astring()?.into_owned();
        String::from_utf8(text).map(Self).map_err(|_| SyntaxError::NotUtf8)
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SearchKey {
    /// What stands behind SEARCH: an optional charset, then the keys.
    pub(crate) fn parse_all(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut ahead = cursor.clone();
        if ahead.take_while(|octet| octet.is_ascii_alphabetic()).eq_ignore_ascii_case(b"CHARSET") {
            ahead.space()?;
            parse_charset(&mut ahead)?;
            ahead.space()?;
            *cursor = ahead;
        }
        Self::parse_keys(cursor)
    }

    /// What stands behind the criteria of SORT: a charset, which has to be there, then the keys.
    pub(crate) fn parse_with_charset(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        parse_charset(cursor)?;
        cursor.space()?;
        Self::parse_keys(cursor)
    }

    fn parse_keys(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        Self::parse_at(cursor, 0, &mut KEY_LIMIT.clone())
    }

    fn parse_at(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<Self, SyntaxError> {
        let mut keys = vec![Self::parse(cursor, depth, budget)?];
        while !cursor.is_empty() {
            cursor.space()?;
            keys.push(Self::parse(cursor, depth, budget)?);
        }
        Ok(Self::all_of(keys))
    }

    /// The keys in a text that stands within a search, so deep in it and with so many keys left (RFC 5466).
    pub(crate) fn parse_within(text: &[u8], depth: usize, budget: &mut usize) -> Result<Self, SyntaxError> {
        Self::parse_at(&mut Cursor::new(text), depth, budget)
    }

    /// Whether `is` holds for this key or one within it.
    pub fn any(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        is(self)
            || matches!(self, Self::And(keys) if keys.iter().any(|key| key.any(is)))
            || matches!(self, Self::Not(key) | Self::Fuzzy(key) if key.any(is))
            || matches!(self, Self::Or(left, right) if left.any(is) || right.any(is))
    }

    /// Whether scores may be asked for (RFC 6203 §4, §6).
    pub(crate) fn check_relevancy(&self, asked: bool) -> Result<(), SyntaxError> {
        if asked && !self.any(&|key| matches!(key, Self::Fuzzy(_))) {
            return Err(SyntaxError::Expected("RELEVANCY only with FUZZY"));
        }
        Ok(())
    }

    fn all_of(mut keys: Vec<Self>) -> Self {
        match (keys.pop(), keys.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                keys.push(last);
                Self::And(keys)
            }
            (None, _) => Self::All,
        }
    }

    fn parse(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<Self, SyntaxError> {
        if depth >= NESTING_LIMIT {
            return Err(SyntaxError::TooDeep);
        }
        *budget = budget.checked_sub(1).ok_or(SyntaxError::TooMany("search keys"))?;
        match cursor.peek() {
            Some(b'(') => {
                let keys =
                    cursor.list(KEY_LIMIT, "search keys", |cursor| Self::parse(cursor, depth + 1, budget))?;
                Ok(Self::all_of(keys))
            }
            Some(b'*' | b'$' | b'0'..=b'9') => Self::parse_set(cursor, Self::Sequence),
            _ => Self::parse_word(cursor, depth, budget),
        }
    }

    fn parse_set(cursor: &mut Cursor<'_>, numbers: fn(SequenceSet) -> Self) -> Result<Self, SyntaxError> {
        Ok(match MessageSet::parse(cursor)? {
            MessageSet::Numbers(set) => numbers(set),
            MessageSet::Saved => Self::Saved,
        })
    }

    fn parse_word(cursor: &mut Cursor<'_>, depth: usize, budget: &mut usize) -> Result<Self, SyntaxError> {
        let unless = |key: Self| Self::Not(Box::new(key));
        let word = cursor.take_while(|octet| octet.is_ascii_alphabetic()).to_ascii_uppercase();
        Ok(match word.as_slice() {
            b"ALL" => Self::All,
            b"ANSWERED" => Self::Flag(Flag::Answered),
            b"DELETED" => Self::Flag(Flag::Deleted),
            b"DRAFT" => Self::Flag(Flag::Draft),
            b"FLAGGED" => Self::Flag(Flag::Flagged),
            b"SEEN" => Self::Flag(Flag::Seen),
            b"UNANSWERED" => unless(Self::Flag(Flag::Answered)),
            b"UNDELETED" => unless(Self::Flag(Flag::Deleted)),
            b"UNDRAFT" => unless(Self::Flag(Flag::Draft)),
            b"UNFLAGGED" => unless(Self::Flag(Flag::Flagged)),
            b"UNSEEN" => unless(Self::Flag(Flag::Seen)),
            b"RECENT" => Self::Recent,
            b"NEW" => Self::And(vec![Self::Recent, unless(Self::Flag(Flag::Seen))]),
            b"OLD" => unless(Self::Recent),
            b"SAVEDATESUPPORTED" => Self::SaveDateSupported,
            argument_follows => {
                cursor.space().map_err(|_| SyntaxError::Expected("a search key and what belongs to it"))?;
                match argument_follows {
                    b"BCC" => Self::Bcc(SearchText::parse(cursor)?),
                    b"BEFORE" => Self::Before(Date::parse(cursor)?),
                    b"BODY" => Self::Body(SearchText::parse(cursor)?),
                    b"CC" => Self::Cc(SearchText::parse(cursor)?),
                    b"EMAILID" => Self::EmailId(ObjectId::parse(cursor)?),
                    b"FILTER" => Self::Filter(FilterName::parse(cursor)?),
                    b"FROM" => Self::From(SearchText::parse(cursor)?),
                    b"FUZZY" => Self::Fuzzy(Box::new(Self::parse(cursor, depth + 1, budget)?)),
                    b"HEADER" => {
                        let name = cursor.astring()?.into_owned();
                        cursor.space()?;
                        Self::Header(name, SearchText::parse(cursor)?)
                    }
                    b"KEYWORD" => Self::Flag(Flag::keyword(cursor)?),
                    b"LARGER" => Self::Larger(cursor.number64()?),
                    b"MODSEQ" => Self::ModSeq(crate::sync::parse_search(cursor)?),
                    b"NOT" => unless(Self::parse(cursor, depth + 1, budget)?),
                    b"OLDER" => Self::Older(cursor.nonzero()?),
                    b"ON" => Self::On(Date::parse(cursor)?),
                    b"OR" => {
                        let left = Self::parse(cursor, depth + 1, budget)?;
                        cursor.space()?;
                        Self::Or(Box::new(left), Box::new(Self::parse(cursor, depth + 1, budget)?))
                    }
                    b"SAVEDBEFORE" => Self::SavedBefore(Date::parse(cursor)?),
                    b"SAVEDON" => Self::SavedOn(Date::parse(cursor)?),
                    b"SAVEDSINCE" => Self::SavedSince(Date::parse(cursor)?),
                    b"SENTBEFORE" => Self::SentBefore(Date::parse(cursor)?),
                    b"SENTON" => Self::SentOn(Date::parse(cursor)?),
                    b"SENTSINCE" => Self::SentSince(Date::parse(cursor)?),
                    b"SINCE" => Self::Since(Date::parse(cursor)?),
                    b"SMALLER" => Self::Smaller(cursor.number64()?),
                    b"SUBJECT" => Self::Subject(SearchText::parse(cursor)?),
                    b"TEXT" => Self::Text(SearchText::parse(cursor)?),
                    b"THREADID" => Self::ThreadId(ObjectId::parse(cursor)?),
                    b"TO" => Self::To(SearchText::parse(cursor)?),
                    b"UID" => Self::parse_set(cursor, Self::Uid)?,
                    b"UIDAFTER" => Self::UidAfter(cursor.nonzero()?),
                    b"UIDBEFORE" => Self::UidBefore(cursor.nonzero()?),
                    b"UNKEYWORD" => unless(Self::Flag(Flag::keyword(cursor)?)),
                    b"YOUNGER" => Self::Younger(cursor.nonzero()?),
                    _ => return Err(SyntaxError::Expected("a search key")),
                }
            }
        })
    }
}

fn parse_charset(cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    let charset = cursor.astring()?;
    let known = charset.eq_ignore_ascii_case(b"UTF-8") || charset.eq_ignore_ascii_case(b"US-ASCII");
    if known { Ok(()) } else { Err(SyntaxError::Charset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<SearchKey, SyntaxError> {
        SearchKey::parse_all(&mut Cursor::new(text))
    }

    fn text(text: &str) -> SearchText {
        SearchText(text.to_owned())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 3501 §6.4.4.
        let expected = SearchKey::And(vec![
            SearchKey::Flag(Flag::Flagged),
            SearchKey::Since(Date::new(1994, 2, 1).unwrap()),
            SearchKey::Not(Box::new(SearchKey::From(text("Smith")))),
        ]);
        assert_eq!(parse(b"FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""), Ok(expected));
        assert_eq!(
            parse(b"TEXT \"string not in mailbox\""),
            Ok(SearchKey::Text(text("string not in mailbox")))
        );
        assert_eq!(
            parse(b"CHARSET UTF-8 TEXT {8}\r\n\xd0\xb0\xd0\xb1\xd0\xb2\xd0\xb3"),
            Ok(SearchKey::Text(text("абвг")))
        );
    }

    #[test]
    fn keys_combine() {
        assert_eq!(
            parse(b"or (seen 2:4) not uid 7 header X-Y \"\""),
            Ok(SearchKey::And(vec![
                SearchKey::Or(
                    Box::new(SearchKey::And(vec![
                        SearchKey::Flag(Flag::Seen),
                        SearchKey::Sequence(SequenceSet::parse(&mut Cursor::new(b"2:4")).unwrap()),
                    ])),
                    Box::new(SearchKey::Not(Box::new(SearchKey::Uid(
                        SequenceSet::parse(&mut Cursor::new(b"7")).unwrap()
                    )))),
                ),
                SearchKey::Header(b"X-Y".into(), text("")),
            ]))
        );
    }

    #[test]
    fn result_options_are_read() {
        let results = |text: &'static [u8]| SearchReturn::parse(&mut Cursor::new(text));
        let none = SearchReturn::default();
        for (text, expected) in [
            (&b"ALL"[..], None),
            (b"RETURNED x", None),
            (b"RETURN () ALL", Some(SearchReturn { all: true, ..none })),
            (b"return (min MAX) ALL", Some(SearchReturn { min: true, max: true, ..none })),
            (b"RETURN (SAVE) ALL", Some(SearchReturn { save: true, ..none })),
            (b"RETURN (COUNT ALL COUNT) ALL", Some(SearchReturn { all: true, count: true, ..none })),
        ] {
            assert_eq!(results(text), Ok(expected), "{}", text.escape_ascii());
        }
        for text in [&b"RETURN"[..], b"RETURN MIN ALL", b"RETURN (MIN", b"RETURN (MODSEQ) ALL", b"RETURN ()"]
        {
            assert!(results(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_was_saved_is_a_key_of_its_own() {
        let not_saved = SearchKey::Not(Box::new(SearchKey::Saved));
        assert_eq!(parse(b"NOT $"), Ok(not_saved.clone()));
        assert_eq!(parse(b"UID $ NOT $"), Ok(SearchKey::And(vec![SearchKey::Saved, not_saved])));
        assert!(parse(b"$,1").is_err() && parse(b"1,$").is_err() && parse(b"$:5").is_err());
    }

    #[test]
    fn malformed_searches_are_refused() {
        for (input, error) in [
            (&b""[..], None),
            (b"CHARSET KOI8-R TEXT x", Some(SyntaxError::Charset)),
            (b"TEXT {1}\r\n\xff", Some(SyntaxError::NotUtf8)),
            (b"SEEN ", None),
            (b"SEENFLAGGED", None),
            (b"OR SEEN", None),
            (b"NOT", None),
            (b"()", None),
            (b"(SEEN", None),
            (b"KEYWORD \\Seen", None),
            (b"LARGER 9223372036854775808", Some(SyntaxError::Number)),
            (b"BEFORE 31-Feb-2000", None),
            (b"1,", None),
        ] {
            let found = parse(input).unwrap_err();
            assert!(error.is_none_or(|error| error == found), "{}: {found}", input.escape_ascii());
        }
    }

    /// Attack class 8: NOT and OR chains and parentheses are cut at the nesting limit, flat lists at the
    /// limit of keys, whatever the line would hold.
    #[test]
    fn nested_searches_are_capped() {
        for (unit, tail) in
            [("NOT ", "ALL"), ("FUZZY ", "ALL"), ("OR ALL ", "ALL"), ("(", "ALL"), ("OR (NOT ", "ALL")]
        {
            for depth in [NESTING_LIMIT, 200_000] {
                let bomb = format!("{}{tail}", unit.repeat(depth));
                assert_eq!(parse(bomb.as_bytes()), Err(SyntaxError::TooDeep), "{unit}");
            }
        }
        let chain = format!("{}ALL", "NOT ".repeat(NESTING_LIMIT - 1));
        assert!(parse(chain.as_bytes()).is_ok());
        let flat = vec!["ALL"; KEY_LIMIT + 1].join(" ");
        assert_eq!(parse(flat.as_bytes()), Err(SyntaxError::TooMany("search keys")));
    }
}
