//! SEARCH=FUZZY (RFC 6203): texts that are nearly what was looked for, and how near.
//!
//! What an exact search finds is found, too. Beside that a message will do that has each word of the text, in any order:
//! as it is, within a longer word, or, from four letters on, misspelt. A misspelt word has one letter too many, too few,
//! another one, or two in each other's place (twice from eight letters on), and three letters in a row in common with the
//! word that was meant, so that the index can rule messages out. Whatever is no text is matched exactly.

use std::time::Instant;

use imapd::{SearchKey, SearchText};
use mail_lib::header;
use mail_lib::text::{Matcher, casemap, folded};
use store_lib::{MessageId, Piece, Place, Store, StoreError};

use crate::End;
use crate::condition::Condition;
use crate::reply::Stop;
use crate::selected::Selected;
use crate::session::{Session, budget};
use crate::wanted::{Opened, Wanted};

/// Words of one text that are looked for; of more, the text as a whole has to be there.
const WORD_LIMIT: usize = 8;
/// Letters of a word that may be misspelt, and of one that may be so twice.
const SHORTEST: usize = 4;
const SHORTEST_TWICE: usize = 8;
const LONGEST: usize = 24;

/// RFC 6203 §4: how near the text, a word as it is, and one that is misspelt once and twice.
const EXACT: u32 = 100;
const WHOLE: u32 = 75;
const MISSPELT: [u32; 2] = [30, 5];

/// One text, where it is looked for.
pub(crate) struct Fuzzy {
    place: Where,
    exact: Wanted,
    words: Vec<Word>,
}

enum Where {
    Field(String),
    Body,
    Anywhere,
}

struct Word {
    wanted: Wanted,
    /// Mapped, as texts are compared.
    letters: Vec<char>,
    best: u32,
}

/// What stands behind FUZZY.
pub(crate) fn condition(key: &SearchKey, selected: &Selected, store: &Store) -> Result<Condition, Stop> {
    Ok(match (text_of(key), key) {
        (Some((place, text)), _) => Condition::Fuzzy(Fuzzy::new(place, text)),
        (None, SearchKey::And(keys)) => {
            let conditions: Result<Vec<_>, Stop> =
                keys.iter().map(|key| condition(key, selected, store)).collect();
            Condition::And(conditions?)
        }
        (None, SearchKey::Or(one, other)) => Condition::Or(
            Box::new(condition(one, selected, store)?),
            Box::new(condition(other, selected, store)?),
        ),
        (None, SearchKey::Fuzzy(key)) => condition(key, selected, store)?,
        // Also NOT: it would keep back what exactly matches.
        (None, key) => Condition::new(key, selected, store)?,
    })
}

fn text_of(key: &SearchKey) -> Option<(Where, &SearchText)> {
    let field = |name: &str| Where::Field(name.to_owned());
    if let SearchKey::Bcc(text) = key {
        Some((field("Bcc"), text))
    } else if let SearchKey::Cc(text) = key {
        Some((field("Cc"), text))
    } else if let SearchKey::From(text) = key {
        Some((field("From"), text))
    } else if let SearchKey::Subject(text) = key {
        Some((field("Subject"), text))
    } else if let SearchKey::To(text) = key {
        Some((field("To"), text))
    } else if let SearchKey::Header(name, text) = key {
        Some((field(&String::from_utf8_lossy(name)), text))
    } else if let SearchKey::Body(text) = key {
        Some((Where::Body, text))
    } else if let SearchKey::Text(text) = key {
        Some((Where::Anywhere, text))
    } else {
        None
    }
}

impl Fuzzy {
    fn new(place: Where, text: &SearchText) -> Self {
        let of = match &place {
            Where::Field(name) => Place::Field(name),
            Where::Body => Place::Body,
            Where::Anywhere => Place::Anywhere,
        };
        let mapped = casemap(text.as_str());
        let words: Vec<_> =
            mapped.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let words = if words.len() > WORD_LIMIT { Vec::new() } else { words };
        let word = |word: &&str| {
            let letters: Vec<char> = word.chars().collect();
            let wanted = match is_misspelt(letters.len()) {
                true => Wanted::resembling(of, word),
                false => Wanted::new(of, word),
            };
            Word { wanted, letters, best: 0 }
        };
        Self { exact: Wanted::new(of, text.as_str()), words: words.iter().map(word).collect(), place }
    }

    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut Wanted> {
        // With words it is they that decide: the whole text has them all.
        let exact = self.words.is_empty().then_some(&mut self.exact);
        self.words.iter_mut().map(|word| &mut word.wanted).chain(exact)
    }

    pub(crate) fn is_ruled_out(&self, message: MessageId) -> bool {
        self.words.iter().any(|word| word.wanted.is_ruled_out(message))
            || self.words.is_empty() && self.exact.is_ruled_out(message)
    }

    /// How near the message comes; zero: it does not match.
    pub(crate) fn score(&mut self, message: &mut Opened<'_>) -> Result<u32, Stop> {
        let Self { place, exact, words } = self;
        let mut scan = Scan { exact: &mut exact.matcher, words, token: Vec::new(), found: false };
        scan.words.iter_mut().for_each(|word| word.best = 0);
        match place {
            Where::Field(name) => {
                for field in message.header()?.fields().filter(|field| field.is(name)) {
                    scan.begin();
                    scan.push(&header::decode(field.value));
                    scan.end();
                }
            }
            Where::Body => message.body(&mut |piece, stop| scan.piece(piece, stop))?,
            Where::Anywhere => {
                message.all(&mut |piece, stop| scan.piece(piece, stop))?;
            }
        }
        scan.end();
        Ok(scan.score())
    }
}

fn is_misspelt(letters: usize) -> bool {
    (SHORTEST..=LONGEST).contains(&letters)
}

/// Reads texts, which come in pieces.
struct Scan<'a> {
    exact: &'a mut Matcher,
    words: &'a mut Vec<Word>,
    /// The letters of the word that is being read: no more than the longest one to compare with, and one.
    token: Vec<char>,
    found: bool,
}

impl Scan<'_> {
    fn piece(&mut self, piece: Piece<'_>, stop: &dyn Fn() -> Result<(), Stop>) -> Result<bool, Stop> {
        match piece {
            Piece::Begin => {
                self.end();
                self.begin();
            }
            Piece::Reading => stop()?,
            Piece::Text(text) => self.push(text),
        }
        Ok(!self.found)
    }

    fn begin(&mut self) {
        self.exact.restart();
        self.found |= self.exact.found();
        self.words.iter_mut().for_each(|word| word.wanted.matcher.restart());
    }

    fn push(&mut self, text: &str) {
        self.found |= self.exact.push(text);
        if self.found {
            return;
        }
        let mut misspelt = false;
        for word in self.words.iter_mut().filter(|word| word.best < WHOLE) {
            if word.wanted.matcher.push(text) {
                word.best = WHOLE;
            } else {
                misspelt |= is_misspelt(word.letters.len());
            }
        }
        if !misspelt {
            return;
        }
        for c in text.chars() {
            folded(c, |c| match c.is_alphanumeric() {
                true if self.token.len() <= LONGEST + MISSPELT.len() => self.token.push(c),
                true => {}
                false => self.end(),
            });
        }
    }

    /// A word ends.
    fn end(&mut self) {
        if !self.token.is_empty() {
            for word in self.words.iter_mut().filter(|word| word.best < WHOLE) {
                if let Some(score) = resemblance(&word.letters, &self.token) {
                    word.best = word.best.max(score);
                }
            }
            self.token.clear();
        }
    }

    fn score(&self) -> u32 {
        let together: u32 = self.words.iter().map(|word| word.best).sum();
        match u32::try_from(self.words.len()) {
            _ if self.found => EXACT,
            Ok(count @ 1..) if self.words.iter().all(|word| word.best > 0) => together / count,
            Ok(_) | Err(_) => 0,
        }
    }
}

/// How near a word that is not the one that was meant comes to it.
fn resemblance(meant: &[char], found: &[char]) -> Option<u32> {
    let most = if meant.len() >= SHORTEST_TWICE { MISSPELT.len() } else { 1 };
    let shares = || meant.windows(3).any(|three| found.windows(3).any(|other| three == other));
    if !is_misspelt(meant.len()) || meant.len().abs_diff(found.len()) > most || !shares() {
        return None;
    }
    match distance(meant, found) {
        0 => Some(WHOLE),
        mistakes if mistakes <= most => MISSPELT.get(mistakes - 1).copied(),
        _ => None,
    }
}

/// Letters that are too many, too few or others, and neighbours in each other's place.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    let mut last = None;
    for (at, letter) in one.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(at + 1);
        let mut previous = None;
        for (column, found) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (cell(&row, column) + usize::from(letter != found))
                .min(cell(&row, column + 1) + 1)
                .min(cell(&next, column) + 1);
            if last == Some(found) && previous == Some(letter) && column > 0 {
                best = best.min(cell(&before, column - 1) + 1);
            }
            next.push(best);
            previous = Some(found);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    row.last().copied().unwrap_or(0)
}

impl Condition {
    /// How near a message that was found comes to what was asked for, if anything of that was fuzzy: all of several
    /// together, the best of alternatives.
    fn relevance(&mut self, message: &mut Opened<'_>) -> Result<Option<u32>, Stop> {
        if let Self::Fuzzy(fuzzy) = self {
            Ok(Some(fuzzy.score(message)?))
        } else if let Self::And(conditions) = self {
            let (mut together, mut count) = (0, 0);
            for condition in conditions {
                if let Some(score) = condition.relevance(message)? {
                    (together, count) = (together + score, count + 1);
                }
            }
            Ok((count > 0).then(|| together / count))
        } else if let Self::Or(one, other) = self {
            Ok(one.relevance(message)?.max(other.relevance(message)?))
        } else {
            Ok(None)
        }
    }
}

impl Session {
    /// How near each of the messages at these places, which were found, comes (RFC 6203 §4).
    pub(crate) fn relevance(
        &mut self,
        key: &SearchKey,
        found: &[usize],
        deadline: Instant,
    ) -> Result<Vec<u32>, Stop> {
        let store = self.store.clone();
        let mut condition = Condition::new(key, self.selected()?, &store)?;
        let mut scores = Vec::with_capacity(found.len());
        for place in found {
            let Some(selected) = &self.selected else { break };
            let Some(uid) = selected.told().get(*place) else { continue };
            let mailbox = selected.mailbox;
            let connection = &self.connection;
            let stop = || {
                if Instant::now() >= deadline {
                    return Err(Stop::from(StoreError::OutOfBudget));
                }
                if connection.is_abandoned()? { Err(End::Disconnected.into()) } else { Ok(()) }
            };
            stop()?;
            let score = match store.read(&budget(), |reader| reader.body(mailbox, *uid))? {
                Some(body) => condition.relevance(&mut Opened::new(&body, &stop))?,
                None => Some(0),
            };
            scores.push(score.unwrap_or(EXACT).clamp(1, EXACT));
            let done = scores.len();
            self.report_progress(done, found.len())?;
        }
        Ok(scores)
    }

    /// The same as ranks, the nearest first.
    pub(crate) fn relevance_ranks(
        &mut self,
        key: &SearchKey,
        found: &[usize],
        deadline: Instant,
    ) -> Result<Vec<u32>, Stop> {
        let scores = self.relevance(key, found, deadline)?;
        Ok(scores.into_iter().map(|score| EXACT - score).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resembles(meant: &str, found: &str) -> Option<u32> {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        resemblance(&letters(meant), &letters(found))
    }

    #[test]
    fn misspelt_words_resemble_what_was_meant() {
        for (meant, found, score) in [
            ("HELO", "HELLO", Some(30)),
            ("HELO", "HELP", Some(30)),
            ("HELO", "HELO", Some(75)),
            ("INVOICE", "INVIOCE", Some(30)),
            ("INVOICE", "INVOICES", Some(30)),
            ("INVOICE", "INVCE", None),
            ("CONFERENCE", "CONFRENSE", Some(5)),
            ("CONFERENCE", "CONFERENCE", Some(75)),
            ("CONFERENCE", "CNFRNSE", None),
            // Not three letters in a row in common.
            ("ABCD", "ABXD", None),
            // Too short to be misspelt.
            ("HAT", "HUT", None),
            ("HAT", "HAT", None),
            ("", "", None),
        ] {
            assert_eq!(resembles(meant, found), score, "{meant} {found}");
        }
    }

    proptest! {
        #[test]
        fn distances_are_those_of_single_mistakes(word in "[a-d]{0,8}", other in "[a-d]{0,8}", at in 0..8usize) {
            let letters: Vec<char> = word.chars().collect();
            let others: Vec<char> = other.chars().collect();
            prop_assert_eq!(distance(&letters, &letters), 0);
            prop_assert_eq!(distance(&letters, &others), distance(&others, &letters));
            prop_assert!(distance(&letters, &others) >= letters.len().abs_diff(others.len()));
            let mut less = letters.clone();
            if at < less.len() {
                less.remove(at);
                prop_assert_eq!(distance(&letters, &less), 1);
            }
            let mut swapped = letters.clone();
            if at + 1 < swapped.len() {
                swapped.swap(at, at + 1);
                prop_assert!(distance(&letters, &swapped) <= 1);
            }
        }
    }
}
