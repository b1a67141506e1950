//! Many small segments become one: a search looks into each. What was expunged meanwhile is left out.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::database::{Database, Segment, Trouble};
use super::segment::{Blocks, Damaged, Entry, MOST_MESSAGES, Reading};
use super::trigram;
use crate::StoreError;

/// So many segments of about one size, or smaller, become one.
const FAN: usize = 8;

/// Segments up to so many pairs are of the smallest size; the next sizes are [`FAN`] times as large each.
const SMALL: u64 = 1 << 16;

/// Ids asked about in one read.
const IDS: usize = 500;

/// The newest segments that are to be merged; none: all is well. `sizes`: id, messages, pairs of each, by age.
fn due(sizes: &[(u32, u64, u64)]) -> &[(u32, u64, u64)] {
    let mut limit = SMALL;
    for _ in 0..8 {
        let larger = sizes.iter().rposition(|(_, _, pairs)| *pairs > limit).map_or(0, |at| at + 1);
        let mut small = sizes.get(larger..).unwrap_or_default();
        if small.len() >= FAN {
            while small.iter().map(|(_, messages, _)| messages).sum::<u64>() > MOST_MESSAGES as u64 {
                small = small.get(1..).unwrap_or_default();
            }
            if small.len() >= FAN / 2 {
                return small;
            }
        }
        limit = limit.saturating_mul(FAN as u64);
    }
    &[]
}

/// One segment on its way into another.
struct Cursor {
    segment: Segment,
    /// The new place of each message; `None`: it is gone.
    places: Vec<Option<u16>>,
    /// Trigrams of the block at hand that are still to come, the last one first, with their new places.
    waiting: Vec<(u32, Vec<u16>)>,
    /// Where the next block begins.
    next: u32,
}

impl Cursor {
    /// The next trigram, without taking it.
    fn peek(&mut self, database: &Database) -> Result<Option<u32>, Trouble> {
        while self.waiting.is_empty() && self.next < trigram::END {
            let data = database.block(self.segment.id, self.next)?;
            let mut reading = Reading::new(self.segment.id, self.segment.messages(), &data)?;
            if reading.first != self.next {
                return Err(Damaged.into());
            }
            self.next = reading.end;
            while let Some((number, places)) = reading.next()? {
                let mut renumbered = Vec::new();
                Reading::places(reading.messages(), places, |place| {
                    renumbered.extend(self.places.get(usize::from(place)).copied().flatten());
                })?;
                if !renumbered.is_empty() {
                    self.waiting.push((number, renumbered));
                }
            }
            self.waiting.reverse();
        }
        Ok(self.waiting.last().map(|(number, _)| *number))
    }
}

/// Merges what is due, once. `false`: nothing was. Broken off by `pause`, nothing is changed.
pub(super) fn merge(
    database: &Database,
    account: &Connection,
    pause: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<bool, Trouble> {
    let sizes = database.sizes()?;
    let due = due(&sizes);
    if due.is_empty() {
        return Ok(false);
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut cursors = Vec::new();
    for (id, _, _) in due {
        let segment = database.segment(*id)?;
        let there = there(account, &segment.entries)?;
        let mut places = Vec::with_capacity(segment.entries.len());
        for entry in &segment.entries {
            let place = there.contains(&entry.body).then(|| u16::try_from(entries.len()).ok()).flatten();
            if place.is_some() {
                entries.push(*entry);
            }
            places.push(place);
        }
        cursors.push(Cursor { segment, places, waiting: Vec::new(), next: 0 });
        if pause().is_break() {
            return Ok(false);
        }
    }
    if !entries.is_sorted_by_key(|entry| entry.body) || entries.len() > MOST_MESSAGES {
        return Err(Damaged.into());
    }
    let transaction = database.0.unchecked_transaction()?;
    let id = database.insert_segment(&entries, 0)?;
    let messages = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    let (mut blocks, mut pairs) = (Blocks::new(id, messages), 0);
    while let Some((number, places)) = next(&mut cursors, database)? {
        pairs += places.len() as u64;
        if let Some(block) = blocks.add(number, &places) {
            database.insert_block(id, &block)?;
            if pause().is_break() {
                return Ok(false);
            }
        }
    }
    database.insert_block(id, &blocks.finish())?;
    database.set_pairs(id, pairs)?;
    for (old, _, _) in due {
        database.remove_segment(*old)?;
    }
    transaction.commit()?;
    Ok(true)
}

/// The lowest trigram that is left in any of them, with all its messages: the segments' order is that of the places.
fn next(cursors: &mut [Cursor], database: &Database) -> Result<Option<(u32, Vec<u16>)>, Trouble> {
    let mut lowest = None;
    for cursor in &mut *cursors {
        lowest = match (lowest, cursor.peek(database)?) {
            (Some(one), Some(other)) => Some(std::cmp::min::<u32>(one, other)),
            (one, other) => one.or(other),
        };
    }
    let Some(number) = lowest else { return Ok(None) };
    let mut all = Vec::new();
    for cursor in cursors {
        if let Some((_, mut places)) = cursor.waiting.pop_if(|(waiting, _)| *waiting == number) {
            all.append(&mut places);
        }
    }
    Ok(Some((number, all)))
}

/// Those of them that the account still has.
fn there(account: &Connection, entries: &[Entry]) -> Result<HashSet<i64>, StoreError> {
    let mut there = HashSet::with_capacity(entries.len());
    let mut statement = account.prepare_cached("SELECT id FROM body WHERE id BETWEEN ?1 AND ?2")?;
    for some in entries.chunks(IDS) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
        let mut rows = statement.query((first.body, last.body))?;
        while let Some(row) = rows.next()? {
            there.insert(row.get(0)?);
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(pairs: &[u64]) -> Vec<(u32, u64, u64)> {
        (1..).zip(pairs).map(|(id, pairs)| (id, 100, *pairs)).collect()
    }

    #[test]
    fn eight_small_segments_are_due_and_larger_ones_wait_for_their_like() {
        let (tiny, small, large) = (100, SMALL * FAN as u64, SMALL * 64);
        for (pairs, merged) in [
            (vec![], 0),
            (vec![tiny; 7], 0),
            (vec![tiny; 8], 8),
            ([vec![large], vec![tiny; 8]].concat(), 8),
            ([vec![large], vec![small; 3], vec![tiny; 5]].concat(), 8),
            ([vec![tiny; 3], vec![large], vec![tiny; 7]].concat(), 11),
            (vec![large; 7], 0),
            (vec![large; 9], 9),
        ] {
            assert_eq!(due(&sizes(&pairs)).len(), merged, "{pairs:?}");
        }
    }

    #[test]
    fn a_segment_never_gets_more_messages_than_it_can_have() {
        let sizes: Vec<(u32, u64, u64)> = (1..=10).map(|id| (id, 10_000, 1)).collect();
        let due = due(&sizes);
        assert_eq!((due.len(), due.last().map(|(id, _, _)| *id)), (6, Some(10)));
    }
}
