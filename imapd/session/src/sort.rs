//! SORT (RFC 5256 §3, RFC 5957, RFC 5267 §3): the messages found, in another order. What they are ordered by comes from
//! narrow rows of the store, in slices, one criterion after the other; no message is opened.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::time::Instant;

use imapd::{Numbering, SearchKey, SearchReturn, SortCriterion, Tag};
use store_lib::{SortValue, StoreError, Uid};

use crate::End;
use crate::reply::{Reply, Stop};
use crate::session::{Session, budget};

/// Messages whose values are read at once.
const ROWS_PER_SLICE: usize = 2000;
/// Messages that were not found are read, too, where so few stand between two that were.
const LARGEST_GAP: usize = 32;
/// Octets of texts that are compared by one criterion: more than a quarter of a million of the longest ones.
const TEXT_LIMIT: usize = 64 << 20;

impl Session {
    pub(crate) fn sort(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        results: Option<SearchReturn>,
        criteria: &[SortCriterion],
        key: &SearchKey,
    ) -> Result<Reply, Stop> {
        let deadline = Instant::now() + self.limits.search;
        let results = self.results(results);
        if let Some(results) = results {
            self.check_update(tag, results)?;
        }
        let mut found = self.search_for(key, results, false, deadline)?;
        self.refuse_cut()?;
        self.order(&mut found, criteria, key, deadline)?;
        if results.is_some_and(|results| results.update) {
            self.keep_context(tag, b"", numbering, key, Some(criteria), &found);
        }
        let beside = self.beside(key, results, &found, deadline)?;
        match results {
            None => self.answer_plain(b"* SORT", numbering, &found, beside.highest())?,
            Some(results) => self.answer_extended(tag, numbering, results, &found, &beside)?,
        }
        Ok(Reply::ok("SORT completed"))
    }

    /// Puts places, which rise, in the order of the criteria. What is equal in all stays in the order of the mailbox,
    /// also under REVERSE (RFC 5256 §3).
    pub(crate) fn order(
        &mut self,
        found: &mut Vec<usize>,
        criteria: &[SortCriterion],
        search: &SearchKey,
        deadline: Instant,
    ) -> Result<(), Stop> {
        let mut columns: Vec<(imapd::SortKey, bool, Vec<u32>)> = Vec::new();
        for criterion in criteria {
            // A second time it decides nothing any more.
            if columns.iter().all(|(key, ..)| *key != criterion.key) {
                let ranks = self.ranks(found, criterion.key, search, deadline)?;
                columns.push((criterion.key, criterion.reverse, ranks));
            }
        }
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_unstable_by(|one, other| {
            let by_column = columns.iter().map(|(_, reverse, ranks)| {
                let order = ranks.get(*one).cmp(&ranks.get(*other));
                if *reverse { order.reverse() } else { order }
            });
            by_column.fold(Ordering::Equal, Ordering::then).then(one.cmp(other))
        });
        let ordered = order.iter().filter_map(|at| found.get(*at).copied()).collect();
        *found = ordered;
        Ok(())
    }

    /// For each place its rank by one criterion; the same for those that are equal. A message that is gone has the
    /// lowest.
    fn ranks(
        &mut self,
        found: &[usize],
        key: imapd::SortKey,
        search: &SearchKey,
        deadline: Instant,
    ) -> Result<Vec<u32>, Stop> {
        let key = match key {
            imapd::SortKey::Arrival => store_lib::SortKey::Arrival,
            imapd::SortKey::Cc => store_lib::SortKey::Cc,
            imapd::SortKey::Date => store_lib::SortKey::Date,
            imapd::SortKey::DisplayFrom => store_lib::SortKey::DisplayFrom,
            imapd::SortKey::DisplayTo => store_lib::SortKey::DisplayTo,
            imapd::SortKey::From => store_lib::SortKey::From,
            imapd::SortKey::Relevancy => return self.relevance_ranks(search, found, deadline),
            imapd::SortKey::Size => store_lib::SortKey::Size,
            imapd::SortKey::Subject => store_lib::SortKey::Subject,
            imapd::SortKey::To => store_lib::SortKey::To,
        };
        let mut values = Values::new(found.len());
        self.visit_found(found, deadline, |reader, mailbox, uids, at| {
            let mut next = 0;
            let mut full = false;
            let range = match (uids.first(), uids.last()) {
                (Some(first), Some(last)) => *first..=*last,
                _ => return Ok(()),
            };
            reader.sort_values(mailbox, range, key, |uid, value| {
                while uids.get(next).is_some_and(|known| *known < uid) {
                    next += 1;
                }
                if uids.get(next).is_some_and(|known| *known == uid) {
                    full |= !values.set(at + next, value);
                }
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if full { Err(StoreError::TooMany("octets to sort by")) } else { Ok(()) }
        })?;
        Ok(values.ranks())
    }

    /// Gives `read` the messages at rising places run by run, each in a short read of its own, with the number of
    /// those before.
    pub(crate) fn visit_found(
        &mut self,
        found: &[usize],
        deadline: Instant,
        mut read: impl FnMut(
            &store_lib::Reader<'_>,
            store_lib::MailboxId,
            &[Uid],
            usize,
        ) -> Result<(), StoreError>,
    ) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(rest) = found.get(at..).filter(|rest| !rest.is_empty()) {
            if Instant::now() >= deadline {
                return Err(StoreError::OutOfBudget.into());
            }
            if self.connection.is_abandoned()? {
                return Err(End::Disconnected.into());
            }
            let Some(selected) = &self.selected else { return Ok(()) };
            let run = run_length(rest);
            let places = rest.get(..run).unwrap_or_default();
            let uids: Vec<Uid> =
                places.iter().filter_map(|place| selected.told().get(*place).copied()).collect();
            self.store.read(&budget(), |reader| read(reader, selected.mailbox, &uids, at))?;
            at += run;
            self.report_progress(at, found.len())?;
        }
        Ok(())
    }
}

/// How many of the rising places are read at once.
fn run_length(places: &[usize]) -> usize {
    let gap = places.windows(2).take(ROWS_PER_SLICE - 1).position(|pair| match pair {
        [one, next] => next - one > LARGEST_GAP,
        _ => false,
    });
    gap.map_or(places.len().min(ROWS_PER_SLICE), |before| before + 1)
}

/// What messages have for one criterion.
struct Values {
    numbers: Vec<i64>,
    texts: Vec<Text>,
    octets: Vec<u8>,
}

/// Where a text stands among all octets. Its first eight, as a number, decide nearly always.
#[derive(Clone, Copy, Default)]
struct Text {
    first: u64,
    start: u32,
    end: u32,
}

impl Values {
    fn new(count: usize) -> Self {
        Self { numbers: vec![i64::MIN; count], texts: Vec::new(), octets: Vec::new() }
    }

    /// `false`: there is no more room for texts.
    fn set(&mut self, at: usize, value: SortValue<'_>) -> bool {
        match value {
            SortValue::Number(number) => {
                if let Some(place) = self.numbers.get_mut(at) {
                    *place = number;
                }
            }
            SortValue::Text(text) => {
                self.texts.resize(self.numbers.len(), Text::default());
                if self.octets.len() + text.len() > TEXT_LIMIT {
                    return false;
                }
                let start = self.octets.len();
                self.octets.extend_from_slice(text.as_bytes());
                let mut first = [0; 8];
                first.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
                if let Some(place) = self.texts.get_mut(at) {
                    // Within the limit both fit.
                    *place = Text {
                        first: u64::from_be_bytes(first),
                        start: u32::try_from(start).unwrap_or(u32::MAX),
                        end: u32::try_from(self.octets.len()).unwrap_or(u32::MAX),
                    };
                }
            }
        }
        true
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        match (self.texts.get(one), self.texts.get(other)) {
            (Some(one), Some(other)) => {
                one.first.cmp(&other.first).then_with(|| self.octets_of(one).cmp(self.octets_of(other)))
            }
            _ => self.numbers.get(one).cmp(&self.numbers.get(other)),
        }
    }

    fn octets_of(&self, text: &Text) -> &[u8] {
        let range = usize::try_from(text.start).unwrap_or(0)..usize::try_from(text.end).unwrap_or(0);
        self.octets.get(range).unwrap_or_default()
    }

    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.numbers.len()).collect();
        order.sort_unstable_by(|one, other| self.compare(*one, *other));
        let mut ranks = vec![0; order.len()];
        let (mut rank, mut before) = (0, None);
        for at in order {
            if before.is_some_and(|before| self.compare(before, at) != Ordering::Equal) {
                rank += 1;
            }
            before = Some(at);
            if let Some(place) = ranks.get_mut(at) {
                *place = rank;
            }
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_rank() {
        let mut texts = Values::new(6);
        for (at, text) in ["same beginning 2", "b", "same beginning 1", "", "b"].into_iter().enumerate() {
            assert!(texts.set(at, SortValue::Text(text)));
        }
        // The last one is gone.
        assert_eq!(texts.ranks(), [3, 1, 2, 0, 1, 0]);
        let mut numbers = Values::new(3);
        for (at, number) in [7, -7, 7].into_iter().enumerate() {
            assert!(numbers.set(at, SortValue::Number(number)));
        }
        assert_eq!(numbers.ranks(), [1, 0, 1]);
        assert_eq!(Values::new(0).ranks(), [0; 0]);
    }

    #[test]
    fn runs_end_at_gaps_and_when_they_are_long() {
        assert_eq!(run_length(&[5]), 1);
        assert_eq!(run_length(&[1, 2, 3 + LARGEST_GAP, 4 + 2 * LARGEST_GAP]), 2);
        assert_eq!(run_length(&(0..3 * ROWS_PER_SLICE).collect::<Vec<_>>()), ROWS_PER_SLICE);
    }
}
