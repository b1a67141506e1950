//! Sets of sequence numbers and UIDs (RFC 9051 §9, `sequence-set`).

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::cursor::{Cursor, SyntaxError};

/// Ranges in one set. A 16 KiB line cannot hold more than this many single numbers of two digits.
const RANGE_LIMIT: usize = 8192;

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A number.
    Number(NonZeroU32),
    /// `*`: the largest number in use.
    Largest,
}

impl Bound {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.accept(b'*') { Ok(Self::Largest) } else { cursor.nonzero().map(Self::Number) }
    }

    fn resolve(self, largest: u32) -> u32 {
        match self {
            Self::Number(number) => number.get(),
            Self::Largest => largest,
        }
    }
}

/// A set as the client wrote it. What it means depends on the mailbox: see [`SequenceSet::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet(Vec<(Bound, Bound)>);

impl SequenceSet {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut ranges = Vec::new();
        loop {
            if ranges.len() >= RANGE_LIMIT {
                return Err(SyntaxError::TooMany("ranges in a set"));
            }
            let first = Bound::parse(cursor)?;
            let last = if cursor.accept(b':') { Bound::parse(cursor)? } else { first };
            ranges.push((first, last));
            if !cursor.accept(b',') {
                return Ok(Self(ranges));
            }
        }
    }

    /// Whether `*` is in it.
    pub(crate) fn has_largest(&self) -> bool {
        self.0.iter().any(|(first, last)| [first, last].contains(&&Bound::Largest))
    }

    /// The numbers, if each is above the one before as written and none is `*`.
    pub(crate) fn rising(&self) -> Option<NumberSet> {
        let mut last = 0;
        for (from, to) in &self.0 {
            let (Bound::Number(from), Bound::Number(to)) = (from, to) else { return None };
            if from.get() <= last || to < from {
                return None;
            }
            last = to.get();
        }
        Some(self.resolve(0))
    }

    /// A set of these numbers; `None`: there are none, which no set can say.
    pub fn of(numbers: &NumberSet) -> Option<Self> {
        let bound = |number: u32| NonZeroU32::new(number).map(Bound::Number);
        let ranges =
            numbers.ranges().iter().filter_map(|range| bound(*range.start()).zip(bound(*range.end())));
        let ranges: Vec<_> = ranges.collect();
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// The numbers meant in a mailbox whose largest number is `largest`; zero for an empty mailbox. A range's
    /// ends may come in either order, and `*` stands for a number even below the other end, so `559:*` always
    /// has the last message (RFC 3501 §9, `seq-range` and the note on UID FETCH in §6.4.8).
    pub fn resolve(&self, largest: u32) -> NumberSet {
        let mut set = NumberSet::default();
        for (first, last) in &self.0 {
            let (first, last) = (first.resolve(largest), last.resolve(largest));
            set.0.push(first.min(last)..=first.max(last));
        }
        set.normalise();
        set
    }
}

/// The messages that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageSet {
    /// Those with these numbers.
    Numbers(SequenceSet),
    /// `$`: those that the latest SEARCH with RETURN (SAVE) found (RFC 9051 §6.4.4.1). It stands alone.
    Saved,
}

impl MessageSet {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.accept(b'$') { Ok(Self::Saved) } else { SequenceSet::parse(cursor).map(Self::Numbers) }
    }
}

/// Numbers as sorted ranges that neither overlap nor touch: a few words of memory however many numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberSet(Vec<RangeInclusive<u32>>);

impl NumberSet {
    /// Adds a number, cheaply if it is above all others.
    pub fn push(&mut self, number: u32) {
        match self.0.last_mut() {
            Some(last) if number > *last.end() => {
                if last.end().checked_add(1) == Some(number) {
                    *last = *last.start()..=number;
                } else {
                    self.0.push(number..=number);
                }
            }
            Some(_) => {
                self.0.push(number..=number);
                self.normalise();
            }
            None => self.0.push(number..=number),
        }
    }

    /// Adds a range that is above all others.
    pub fn push_range(&mut self, range: RangeInclusive<u32>) {
        self.0.push(range);
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[RangeInclusive<u32>] {
        &self.0
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum()
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The largest number, zero for none.
    pub fn largest(&self) -> u32 {
        self.0.last().map_or(0, |range| *range.end())
    }

    /// Whether `number` is in it: a binary search.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|range| *range.end() < number);
        self.0.get(after).is_some_and(|range| range.contains(&number))
    }

    fn normalise(&mut self) {
        self.0.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::with_capacity(self.0.len());
        for range in self.0.drain(..) {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                Some(_) | None => merged.push(range),
            }
        }
        self.0 = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn parse(text: &str) -> Result<SequenceSet, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let set = SequenceSet::parse(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }

    #[test]
    fn sets_resolve_as_the_rfc_says() {
        for (text, largest, ranges, reason) in [
            ("2,4:7,9,12:*", 15, vec![2..=2, 4..=7, 9..=9, 12..=15], "RFC 3501 §9"),
            ("*:4,5:7", 10, vec![4..=10], "RFC 3501 §9, overlap"),
            ("559:*", 5, vec![5..=559], "always has the last message"),
            ("*", 0, vec![0..=0], "an empty mailbox has no number zero"),
            ("3,1,2", 9, vec![1..=3], "order does not matter, neighbours merge"),
            ("4294967295", 3, vec![u32::MAX..=u32::MAX], "the largest number is not `*`"),
        ] {
            assert_eq!(parse(text).unwrap().resolve(largest).ranges(), ranges, "{reason}");
        }
    }

    #[test]
    fn malformed_sets_are_refused() {
        for text in ["", "0", "1:", ":1", "1,", ",1", "1:2:3", "-1", "1 2", "4294967296", "a", "**", "1:0"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Attack class 8: `1:4294967295,…` costs one range, and the number of ranges is capped.
    #[test]
    fn huge_sequence_sets_stay_small() {
        let whole = vec!["1:4294967295"; 1000].join(",");
        assert_eq!(parse(&whole).unwrap().resolve(7).ranges(), [1..=u32::MAX]);
        let many = vec!["1"; RANGE_LIMIT + 1].join(",");
        assert_eq!(parse(&many), Err(SyntaxError::TooMany("ranges in a set")));
    }

    proptest! {
        #[test]
        fn a_number_set_holds_what_was_pushed(numbers in proptest::collection::vec(0u32..60, 0..40)) {
            let mut set = NumberSet::default();
            numbers.iter().for_each(|number| set.push(*number));
            let model: BTreeSet<u32> = numbers.into_iter().collect();
            prop_assert!((0..70).all(|number| set.contains(number) == model.contains(&number)));
            prop_assert_eq!(set.largest(), model.last().copied().unwrap_or(0));
            prop_assert!(set.ranges().windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start()));
        }
    }
}
