//! A table of fixed size that forgets what matters least.

use std::collections::HashMap;

use ipc_proto::AccountId;

use super::{Block, Bucket, Network};

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// An address or a block.
    Block(Block),
    /// An account, from networks that its owner did not use lately.
    Account(AccountId),
    /// A name that is nobody's, hashed under a key of this process.
    Nobody(u64),
    /// An account, from one network of its owner.
    Pair(AccountId, Network),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// New connections.
    pub connections: Bucket,
    /// Failed logins, in the bucket of a minute.
    pub minute: Bucket,
    /// Failed logins, in the bucket of a day.
    pub day: Bucket,
    /// Offences.
    pub points: Bucket,
}

impl Counts {
    /// When all this is forgotten anyway.
    fn empty_at(&self) -> Bucket {
        self.connections.max(self.minute).max(self.day).max(self.points)
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    capacity: usize,
    slots: Vec<(Key, Counts)>,
    index: HashMap<Key, usize>,
    /// Where the next search for room begins.
    hand: usize,
}

impl Table {
    /// About 2 MiB when full.
    pub const CAPACITY: usize = 16_384;

    /// How many entries are compared when room is needed.
    const COMPARED: usize = 32;

    /// Empty; grows up to `capacity` entries, at least 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), slots: Vec::new(), index: HashMap::new(), hand: 0 }
    }

    /// What is known; nothing, if nothing is.
    #[must_use]
    pub fn get(&self, key: Key) -> Counts {
        let slot = self.index.get(&key).and_then(|at| self.slots.get(*at));
        slot.map(|(_, counts)| *counts).unwrap_or_default()
    }

    /// What is known, to be changed, if anything is.
    pub fn existing(&mut self, key: Key) -> Option<&mut Counts> {
        let at = *self.index.get(&key)?;
        self.slots.get_mut(at).map(|(_, counts)| counts)
    }

    /// What is known, to be changed. Makes room where there is none: of some entries the one goes that would be
    /// empty first, so a flood of new addresses drives out its like and not those with a record.
    #[expect(
        clippy::indexing_slicing,
        reason = "there is at least one slot, and `last` is the last one's place"
    )]
    pub fn entry(&mut self, key: Key) -> &mut Counts {
        let known = self.index.get(&key).copied();
        let at = known.unwrap_or_else(|| self.place(key));
        if at >= self.slots.len() {
            self.slots.push((key, Counts::default()));
        }
        let last = self.slots.len().saturating_sub(1);
        &mut self.slots[at.min(last)].1
    }

    /// A place for a new key, emptied.
    fn place(&mut self, key: Key) -> usize {
        let mut at = self.slots.len();
        if at >= self.capacity {
            // Spread over the table: those with a record may sit side by side.
            let stride = (self.capacity / Self::COMPARED).max(1);
            let compared = (0..Self::COMPARED).map(|step| (self.hand + step * stride) % self.capacity);
            let least =
                compared.filter_map(|at| self.slots.get(at).map(|(_, counts)| (counts.empty_at(), at))).min();
            at = least.map_or(0, |(_, at)| at);
            self.hand = (self.hand + 1) % self.capacity;
            if let Some(slot) = self.slots.get_mut(at) {
                self.index.remove(&slot.0);
                *slot = (key, Counts::default());
            }
        }
        self.index.insert(key, at);
        at
    }

    /// All that is known.
    pub fn iter(&self) -> impl Iterator<Item = &(Key, Counts)> {
        self.slots.iter()
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Is nobody known?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{Moment, Rate};

    /// Attack class 16: a flood of fresh addresses must not wash out the record of those who guess.
    #[test]
    fn a_flood_of_new_keys_is_bounded_and_spares_those_with_a_record() {
        let (rate, now) = (Rate::new(50, Duration::from_secs(86_400)), Moment::default());
        let mut table = Table::new(1000);
        for name in 0..100 {
            rate.take(&mut table.entry(Key::Nobody(name)).day, 50, now);
        }
        for name in 1_000..100_000 {
            rate.take(&mut table.entry(Key::Nobody(name)).day, 1, now);
        }
        assert_eq!(table.len(), 1000);
        assert_eq!(table.index.len(), 1000);
        let kept = (0..100).filter(|name| rate.level(table.get(Key::Nobody(*name)).day, now) == 50).count();
        assert_eq!(kept, 100);
        assert_eq!(rate.level(table.get(Key::Nobody(99_999)).day, now), 1, "the newest is there");
    }

    #[test]
    fn every_key_finds_its_own_counts_after_others_were_driven_out() {
        let rate = Rate::new(1_000_000, Duration::from_secs(86_400));
        let (mut table, now) = (Table::new(64), Moment::default());
        for round in 0..1000_u32 {
            rate.take(&mut table.entry(Key::Nobody(u64::from(round))).day, round + 1, now);
        }
        for (key, at) in &table.index {
            assert_eq!(table.slots[*at].0, *key);
            let Key::Nobody(name) = key else { panic!("{key:?}") };
            assert_eq!(u64::from(rate.level(table.get(*key).day, now)), name + 1);
        }
    }
}
