//! Which messages cannot hold a text. The index narrows; the text decides.

use std::collections::BTreeMap;
use std::time::Instant;

use super::database::{Database, Segment, Trouble};
use super::trigram::{Scope, Trigrams, of_needle};
use crate::{MessageId, Store};

/// Bodies of one chunk of a sieve.
const CHUNK: i64 = 1 << 16;

/// Texts of one search that the index is asked about; the messages decide about the others.
const MOST_TEXTS: usize = 32;

/// Where a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the header field of this name.
    Field(&'a str),
    /// See [`super::Texts::in_body`].
    Body,
    /// In the header or the body.
    Anywhere,
}

/// A text that is looked for: what messages must have in the index to hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clue {
    /// Of one of these all.
    any: Vec<Vec<u32>>,
}

/// Messages that were ruled out. An empty one rules out none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sieve {
    /// Bits of ids, by their chunk.
    chunks: BTreeMap<i64, Box<[u64]>>,
}

impl Clue {
    /// For `needle`, found as [`mail_lib::text::Matcher`] finds it in one of [`super::Texts`].
    #[must_use]
    pub fn new(place: Place<'_>, needle: &str) -> Self {
        let header = |name: &str| {
            let mut numbers = of_needle(Scope::Header, needle);
            // Nearly every message has these.
            if !["from", "to", "subject", "date"].iter().any(|usual| name.eq_ignore_ascii_case(usual)) {
                numbers.extend(of_needle(Scope::Header, &format!("{name}:")));
            }
            numbers
        };
        let any = match place {
            Place::Field(name) => vec![header(name)],
            Place::Body => vec![of_needle(Scope::Body, needle)],
            Place::Anywhere => vec![of_needle(Scope::Header, needle), of_needle(Scope::Body, needle)],
        };
        Self { any }
    }

    /// For a word that may be misspelt, as long as it has three characters in a row in common with `word`.
    #[must_use]
    pub fn resembling(place: Place<'_>, word: &str) -> Self {
        let scopes: &[Scope] = match place {
            Place::Field(_) => &[Scope::Header],
            Place::Body => &[Scope::Body],
            Place::Anywhere => &[Scope::Header, Scope::Body],
        };
        let mut any = Vec::new();
        for scope in scopes {
            Trigrams::new(*scope).push(word, &mut |number| any.push(vec![number]));
        }
        any.sort_unstable();
        any.dedup();
        // Without any it says nothing.
        Self { any: if any.is_empty() { vec![Vec::new()] } else { any } }
    }

    /// Whether it says anything: texts of less than three characters do not.
    fn narrows(&self) -> bool {
        self.any.iter().all(|numbers| !numbers.is_empty())
    }
}

impl Sieve {
    /// Whether that message is known not to hold the text. `false`: it may, look at it.
    #[must_use]
    pub fn rules_out(&self, message: MessageId) -> bool {
        let (chunk, word, bit) = place(message.0);
        self.chunks.get(&chunk).and_then(|words| words.get(word)).is_some_and(|word| word & (1 << bit) != 0)
    }

    fn rule_out(&mut self, body: i64) {
        let (chunk, word, bit) = place(body);
        let words = self.chunks.entry(chunk).or_insert_with(|| vec![0; 1024].into());
        if let Some(word) = words.get_mut(word) {
            *word |= 1 << bit;
        }
    }
}

fn place(body: i64) -> (i64, usize, u32) {
    let within = u32::try_from(body.rem_euclid(CHUNK)).unwrap_or_default();
    (body.div_euclid(CHUNK), (within / 64) as usize, within % 64)
}

impl Store {
    /// A sieve for each clue. Best effort: without an index, with one that is behind or damaged, and after `deadline`
    /// less is ruled out, never too much.
    #[must_use]
    pub fn sieves(&self, clues: &[Clue], deadline: Instant) -> Vec<Sieve> {
        let mut sieves = vec![Sieve::default(); clues.len()];
        if !self.is_raw() && clues.iter().any(Clue::narrows) {
            self.search_index().read(self, |database| sift(database, clues, &mut sieves, deadline));
        }
        sieves
    }
}

fn sift(database: &Database, clues: &[Clue], sieves: &mut [Sieve], deadline: Instant) -> Result<(), Trouble> {
    // All segments of one moment: they may be merged meanwhile.
    database.execute("BEGIN")?;
    let sifted = sift_all(database, clues, sieves, deadline);
    database.execute("COMMIT")?;
    if sifted.is_err() {
        // Also what was right by itself: where one row is wrong, others may be.
        sieves.fill(Sieve::default());
    }
    sifted
}

fn sift_all(
    database: &Database,
    clues: &[Clue],
    sieves: &mut [Sieve],
    deadline: Instant,
) -> Result<(), Trouble> {
    for id in database.segments()? {
        if Instant::now() >= deadline {
            break;
        }
        let segment = database.segment(id)?;
        for (clue, sieve) in
            clues.iter().zip(&mut *sieves).filter(|(clue, _)| clue.narrows()).take(MOST_TEXTS)
        {
            let mut may = vec![0_u64; segment.entries.len().div_ceil(64)];
            for numbers in &clue.any {
                let have = having_all(database, &segment, numbers)?;
                may.iter_mut().zip(have).for_each(|(may, have)| *may |= have);
            }
            for (at, entry) in segment.entries.iter().enumerate() {
                if may.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) == 0) {
                    sieve.rule_out(entry.body);
                }
            }
        }
    }
    Ok(())
}

/// Bits of the places in `segment` of messages that have all these trigrams.
fn having_all(database: &Database, segment: &Segment, numbers: &[u32]) -> Result<Vec<u64>, Trouble> {
    let words = segment.entries.len().div_ceil(64);
    let mut all = vec![u64::MAX; words];
    let mut have = vec![0_u64; words];
    for number in numbers {
        have.fill(0);
        database.places(segment, *number, |place| {
            if let Some(word) = have.get_mut(usize::from(place / 64)) {
                *word |= 1 << (place % 64);
            }
        })?;
        all.iter_mut().zip(&have).for_each(|(all, have)| *all &= have);
        if all.iter().all(|word| *word == 0) {
            break;
        }
    }
    Ok(all)
}
