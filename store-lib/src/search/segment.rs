//! A segment: which of up to 65,535 messages have which trigrams, written once. Every octet that is read is checked.
//!
//! ```text
//! roll     checksum u64, segment u32, then for each message, by rising body: varint gap of its id, 4 octets of its hash
//! block    checksum u64, segment u32, messages u16, first u32, end u32, then for each trigram that has messages:
//!          varint gap of its number (from `first`), varint 2 × octets + 1 for a bitmap,
//!          a bitmap with one bit for each message, or the gaps of their places as varints, whichever is shorter
//! ```
//!
//! A block covers all numbers from `first` to `end`, so what is not in it is in no message; the blocks of a segment
//! cover all numbers there are. A message that is in no roll is one that nothing is known of.

use super::trigram;

/// Octets that a block grows to: two fill a page.
const BLOCK: usize = 2_000;
const BLOCK_HEAD: usize = 22;
const ROLL_HEAD: usize = 12;

/// Messages of one segment.
pub(super) const MOST_MESSAGES: usize = u16::MAX as usize;

/// What was read is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// One message of a segment. Its place in the roll is its place in the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) body: i64,
    /// The beginning of its hash: the same id may once have been another message's, in a database that was put back.
    pub(super) hash: [u8; 4],
}

/// Writes a roll.
pub(super) fn write_roll(segment: u32, entries: &[Entry]) -> Vec<u8> {
    let mut data = Vec::with_capacity(ROLL_HEAD + 6 * entries.len());
    data.extend_from_slice(&[0; 8]);
    data.extend_from_slice(&segment.to_le_bytes());
    let mut before = 0;
    for entry in entries {
        write_varint(&mut data, entry.body.abs_diff(before));
        data.extend_from_slice(&entry.hash);
        before = entry.body;
    }
    seal(data)
}

/// Reads a roll.
pub(super) fn read_roll(segment: u32, data: &[u8]) -> Result<Vec<Entry>, Damaged> {
    let mut rest = opened(data)?;
    if rest.u32()? != segment {
        return Err(Damaged);
    }
    let mut entries = Vec::with_capacity(rest.0.len() / 5);
    let mut before: i64 = 0;
    while !rest.0.is_empty() {
        before = i64::try_from(rest.varint()?).ok().and_then(|gap| before.checked_add(gap)).ok_or(Damaged)?;
        entries.push(Entry { body: before, hash: rest.array()? });
    }
    Ok(entries)
}

/// Makes the blocks of a segment out of trigrams in rising order.
#[derive(Debug)]
pub(super) struct Blocks {
    segment: u32,
    messages: u16,
    /// Where the block that is being made begins.
    first: u32,
    /// The number written last, for the gap to the next.
    last: u32,
    data: Vec<u8>,
    list: Vec<u8>,
}

/// A block that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: u32,
    pub(super) data: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(segment: u32, messages: u16) -> Self {
        Self { segment, messages, first: 0, last: 0, data: Vec::new(), list: Vec::new() }
    }

    /// The messages that have this trigram, by rising place. The block that this one does not go into any more.
    pub(super) fn add(&mut self, number: u32, places: &[u16]) -> Option<Block> {
        let done = (self.data.len() >= BLOCK).then(|| self.take(number));
        if self.data.is_empty() {
            self.data.resize(BLOCK_HEAD, 0);
        }
        self.list.clear();
        let mut before = 0;
        for place in places {
            write_varint(&mut self.list, u64::from(place.abs_diff(before)));
            before = *place;
        }
        let bitmap = usize::from(self.messages).div_ceil(8);
        write_varint(&mut self.data, u64::from(number.abs_diff(self.last)));
        self.last = number;
        if self.list.len() <= bitmap {
            write_varint(&mut self.data, 2 * self.list.len() as u64);
            self.data.append(&mut self.list);
        } else {
            write_varint(&mut self.data, 2 * bitmap as u64 + 1);
            self.list.clear();
            self.list.resize(bitmap, 0);
            for place in places {
                if let Some(octet) = self.list.get_mut(usize::from(place / 8)) {
                    *octet |= 1 << (place % 8);
                }
            }
            self.data.append(&mut self.list);
        }
        done
    }

    /// The last block.
    pub(super) fn finish(mut self) -> Block {
        if self.data.is_empty() {
            self.data.resize(BLOCK_HEAD, 0);
        }
        self.take(trigram::END)
    }

    fn take(&mut self, end: u32) -> Block {
        let mut data = std::mem::take(&mut self.data);
        let mut head = Vec::with_capacity(BLOCK_HEAD);
        head.extend_from_slice(&[0; 8]);
        head.extend_from_slice(&self.segment.to_le_bytes());
        head.extend_from_slice(&self.messages.to_le_bytes());
        head.extend_from_slice(&self.first.to_le_bytes());
        head.extend_from_slice(&end.to_le_bytes());
        if let Some(place) = data.get_mut(..BLOCK_HEAD) {
            place.copy_from_slice(&head);
        }
        let first = std::mem::replace(&mut self.first, end);
        self.last = end;
        Block { first, data: seal(data) }
    }
}

/// A block as it was read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) first: u32,
    pub(super) end: u32,
    messages: u16,
    last: u32,
    rest: Octets<'a>,
}

/// The messages of a trigram.
#[derive(Debug, Clone, Copy)]
pub(super) enum Places<'a> {
    Gaps(&'a [u8]),
    Bitmap(&'a [u8]),
}

impl<'a> Reading<'a> {
    /// Checks it: it is a block of that segment, which has so many messages.
    pub(super) fn new(segment: u32, messages: u16, data: &'a [u8]) -> Result<Self, Damaged> {
        let mut rest = opened(data)?;
        let is_its_own = rest.u32()? == segment && u16::from_le_bytes(rest.array()?) == messages;
        let (first, end) = (rest.u32()?, rest.u32()?);
        if !is_its_own || first >= end || end > trigram::END {
            return Err(Damaged);
        }
        Ok(Self { first, end, messages, last: first, rest })
    }

    /// The next trigram and its messages.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Places<'a>)>, Damaged> {
        if self.rest.0.is_empty() {
            return Ok(None);
        }
        let gap = u32::try_from(self.rest.varint()?).map_err(|_| Damaged)?;
        self.last = self.last.checked_add(gap).filter(|number| *number < self.end).ok_or(Damaged)?;
        let size = self.rest.varint()?;
        let octets = self.rest.octets(usize::try_from(size / 2).map_err(|_| Damaged)?)?;
        let places = if size % 2 == 0 { Places::Gaps(octets) } else { Places::Bitmap(octets) };
        Ok(Some((self.last, places)))
    }

    /// The messages of one trigram, which the block has to cover; `None`: no message has it.
    pub(super) fn find(mut self, number: u32) -> Result<Option<Places<'a>>, Damaged> {
        if !(self.first..self.end).contains(&number) {
            return Err(Damaged);
        }
        while let Some((found, places)) = self.next()? {
            if found == number {
                return Ok(Some(places));
            }
            if found > number {
                break;
            }
        }
        Ok(None)
    }

    /// Gives each place; all are those of messages.
    pub(super) fn places(
        messages: u16,
        places: Places<'_>,
        mut each: impl FnMut(u16),
    ) -> Result<(), Damaged> {
        let mut take = |place: u64| -> Result<u16, Damaged> {
            let place = u16::try_from(place).ok().filter(|place| *place < messages).ok_or(Damaged)?;
            each(place);
            Ok(place)
        };
        match places {
            Places::Gaps(octets) => {
                let (mut rest, mut before) = (Octets(octets), 0_u16);
                while !rest.0.is_empty() {
                    before = take(u64::from(before).checked_add(rest.varint()?).ok_or(Damaged)?)?;
                }
            }
            Places::Bitmap(octets) => {
                for (at, octet) in (0_u64..).step_by(8).zip(octets) {
                    let mut octet = *octet;
                    while octet != 0 {
                        take(at + u64::from(octet.trailing_zeros()))?;
                        octet &= octet - 1;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn messages(&self) -> u16 {
        self.messages
    }
}

/// Puts the checksum in the first octets, which are zero.
fn seal(mut data: Vec<u8>) -> Vec<u8> {
    let sum = checksum(data.get(8..).unwrap_or_default());
    if let Some(place) = data.get_mut(..8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    data
}

/// What follows the checksum, if that is right.
fn opened(data: &[u8]) -> Result<Octets<'_>, Damaged> {
    let mut octets = Octets(data);
    let sum = u64::from_le_bytes(octets.array()?);
    if checksum(octets.0) == sum { Ok(octets) } else { Err(Damaged) }
}

/// Against disks and bugs, not against somebody: whoever can write here can read the mail. Every step is reversible, so
/// that a change within eight octets never goes unseen.
fn checksum(octets: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut words = octets.chunks_exact(8);
    let mut sum = step(0x6d6f_7864, octets.len() as u64);
    for word in &mut words {
        sum = step(sum, u64::from_le_bytes(word.first_chunk().copied().unwrap_or_default()));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    step(sum, u64::from_le_bytes(last))
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Octets that are being read.
#[derive(Debug, Clone, Copy)]
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn octets(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (octets, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(octets)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.octets(N)?.first_chunk().copied().ok_or(Damaged)
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let (octet, rest) = self.0.split_first().ok_or(Damaged)?;
            self.0 = rest;
            value |= u64::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type Lists = BTreeMap<u32, BTreeSet<u16>>;

    fn blocks(segment: u32, messages: u16, lists: &Lists) -> Vec<Block> {
        let mut blocks = Blocks::new(segment, messages);
        let mut done = Vec::new();
        for (number, places) in lists {
            done.extend(blocks.add(*number, &places.iter().copied().collect::<Vec<_>>()));
        }
        done.push(blocks.finish());
        done
    }

    fn find(messages: u16, blocks: &[Block], number: u32) -> Result<BTreeSet<u16>, Damaged> {
        let after = blocks.partition_point(|block| block.first <= number);
        let reading = Reading::new(7, messages, &blocks[after - 1].data)?;
        let mut found = BTreeSet::new();
        if let Some(places) = reading.find(number)? {
            Reading::places(messages, places, |place| {
                found.insert(place);
            })?;
        }
        Ok(found)
    }

    fn lists() -> impl Strategy<Value = (u16, Lists)> {
        (1_u16..600).prop_flat_map(|messages| {
            let number = prop_oneof![0..trigram::END, 0..400_u32, Just(trigram::END - 1)];
            let few = proptest::collection::btree_set(0..messages, 1..4);
            let many = Just((0..messages).collect::<BTreeSet<u16>>());
            let places = prop_oneof![4 => few, 1 => many];
            (Just(messages), proptest::collection::btree_map(number, places, 0..1000))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_found((messages, lists) in lists(), other in 0..trigram::END) {
            let blocks = blocks(7, messages, &lists);
            let mut end = 0;
            for block in &blocks {
                let reading = Reading::new(7, messages, &block.data).unwrap();
                prop_assert_eq!((reading.first, block.first), (end, end));
                end = reading.end;
                prop_assert!(block.data.len() <= BLOCK + 2 * 600);
            }
            prop_assert_eq!(end, trigram::END);
            for number in lists.keys().copied().chain([0, other, trigram::END - 1]) {
                prop_assert_eq!(find(messages, &blocks, number).unwrap(), lists.get(&number).cloned().unwrap_or_default());
            }
        }

        #[test]
        fn no_changed_octet_goes_unseen(
            (messages, lists) in lists(), at in any::<prop::sample::Index>(), to in any::<u8>(),
        ) {
            let mut blocks = blocks(7, messages, &lists);
            let at = at.index(blocks[0].data.len());
            if blocks[0].data[at] != to {
                blocks[0].data[at] = to;
                prop_assert!(Reading::new(7, messages, &blocks[0].data).is_err());
            }
        }

        #[test]
        fn rolls_are_read_as_they_were_written(
            entries in proptest::collection::btree_map(1_i64..i64::MAX, any::<[u8; 4]>(), 0..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let entries: Vec<Entry> = entries.into_iter().map(|(body, hash)| Entry { body, hash }).collect();
            let roll = write_roll(3, &entries);
            prop_assert_eq!(read_roll(3, &roll), Ok(entries));
            prop_assert_eq!(read_roll(4, &roll), Err(Damaged));
            prop_assert!(read_roll(3, &roll[..cut.index(roll.len())]).is_err());
        }

        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let sealed = seal([&[0; 8][..], &octets].concat());
            let _ = read_roll(3, &sealed);
            for data in [&octets, &sealed] {
                let Ok(mut reading) = Reading::new(7, 9, data) else { continue };
                while let Ok(Some((_, places))) = reading.next() {
                    let _ = Reading::places(9, places, |_| ());
                }
            }
        }
    }

    #[test]
    fn a_block_of_another_segment_or_place_is_damage() {
        let lists = Lists::from([(5, BTreeSet::from([0]))]);
        let one = blocks(7, 1, &lists);
        assert_eq!(Reading::new(8, 1, &one[0].data).map(drop), Err(Damaged));
        assert_eq!(Reading::new(7, 2, &one[0].data).map(drop), Err(Damaged));
        let mut blocks = Blocks::new(7, 1);
        (0..3_000).for_each(|number| drop(blocks.add(number * 2, &[0])));
        let last = blocks.finish();
        let reading = Reading::new(7, 1, &last.data).unwrap();
        assert_eq!(reading.find(0).map(drop), Err(Damaged), "a row that stands in another's place");
    }
}
