//! The state of a session that sleeps, as octets: a version, then each part with its bound. Whoever reads them back may not
//! trust them, since a captured process could have written the row: what does not decode as a whole is no state.

use std::ops::{Range, RangeInclusive};

use crate::sequence_set::NumberSet;
use crate::tag::Tag;

/// Octets of one.
pub const MAX_STATE: usize = 1 << 20;

/// Keywords of one mailbox, and octets of one.
const MAX_KEYWORDS: usize = 256;
const MAX_KEYWORD: usize = 1000;

/// Changes with every change of what follows it. A session of another version ends.
const VERSION: u8 = 1;

/// Messages that a mailbox may have whose session sleeps; their UIDs take 4 octets each when it wakes.
const MOST_MESSAGES: u64 = 4_000_000;

/// A session in IDLE, with nothing that waits to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Of IDLE.
    pub tag: Tag,
    /// When the client last said anything, milliseconds since 1970.
    pub heard: u64,
    /// See there.
    pub enabled: Enabled,
    /// `None`: no mailbox is selected.
    pub view: Option<View>,
}

/// What the client has enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enabled {
    /// Mailbox names in UTF-8.
    pub utf8_names: bool,
    /// ENABLE METADATA
    pub metadata: bool,
    /// CONDSTORE (RFC 7162)
    pub condstore: bool,
    /// QRESYNC (RFC 7162)
    pub qresync: bool,
    /// UIDONLY (RFC 9586)
    pub uid_only: bool,
    /// IMAP4rev2
    pub rev2: bool,
    /// UTF8=ACCEPT (RFC 6855)
    pub utf8: bool,
}

/// The selected mailbox as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// As it was when it was selected.
    pub uidvalidity: u32,
    /// By EXAMINE.
    pub read_only: bool,
    /// Not in IMAP4rev2.
    pub shows_recent: bool,
    /// It knows every change up to this one,
    pub modseq: u64,
    /// but for flags that were changed after this one.
    pub dropped: Option<u64>,
    /// Of the messages, in order of their numbers.
    pub uids: NumberSet,
    /// UIDs that are `\Recent` in this session.
    pub recent: Vec<Range<u32>>,
    /// `$`, as UIDs.
    pub saved: NumberSet,
    /// Those that it has heard of.
    pub keywords: Vec<String>,
}

impl Enabled {
    fn bits(self) -> u8 {
        let Self { utf8_names, metadata, condstore, qresync, uid_only, rev2, utf8 } = self;
        bits([utf8_names, metadata, condstore, qresync, uid_only, rev2, utf8])
    }

    fn of(bits: u8) -> Option<Self> {
        let [utf8_names, metadata, condstore, qresync, uid_only, rev2, utf8] = flags(bits)?;
        Some(Self { utf8_names, metadata, condstore, qresync, uid_only, rev2, utf8 })
    }
}

fn bits<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

/// `None`: there are others.
fn flags<const N: usize>(bits: u8) -> Option<[bool; N]> {
    let mut rest = bits;
    let flags = [(); N].map(|()| {
        let flag = rest & 1 == 1;
        rest >>= 1;
        flag
    });
    (rest == 0).then_some(flags)
}

impl State {
    /// `None`: there is too much of it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::from([VERSION, self.enabled.bits()]);
        text(&mut out, self.tag.as_bytes());
        number(&mut out, self.heard);
        match &self.view {
            None => out.push(0),
            Some(view) => {
                out.push(1);
                view.encode(&mut out)?;
            }
        }
        (out.len() <= MAX_STATE).then_some(out)
    }

    /// `None`: this is no state.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        if octets.len() > MAX_STATE {
            return None;
        }
        let mut rest = Rest(octets);
        if rest.octet()? != VERSION {
            return None;
        }
        let enabled = Enabled::of(rest.octet()?)?;
        let tag = Tag::parse(rest.text()?)?;
        let heard = rest.number()?;
        let view = match rest.octet()? {
            0 => None,
            1 => Some(View::decode(&mut rest)?),
            _ => return None,
        };
        rest.0.is_empty().then_some(Self { tag, heard, enabled, view })
    }
}

impl View {
    fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        let long = |keyword: &String| keyword.len() > MAX_KEYWORD;
        if self.uids.len() > MOST_MESSAGES
            || self.keywords.len() > MAX_KEYWORDS
            || self.keywords.iter().any(long)
        {
            return None;
        }
        number(out, u64::from(self.uidvalidity));
        out.push(bits([self.read_only, self.shows_recent, self.dropped.is_some()]));
        number(out, self.modseq);
        number(out, self.dropped.unwrap_or(0));
        ranges(out, self.uids.ranges().iter().map(|range| (*range.start(), *range.end())));
        ranges(out, self.recent.iter().map(|range| (range.start, range.end)));
        ranges(out, self.saved.ranges().iter().map(|range| (*range.start(), *range.end())));
        number(out, self.keywords.len() as u64);
        self.keywords.iter().for_each(|keyword| text(out, keyword.as_bytes()));
        Some(())
    }

    fn decode(rest: &mut Rest<'_>) -> Option<Self> {
        let uidvalidity = u32::try_from(rest.number()?).ok()?;
        let [read_only, shows_recent, dropped] = flags(rest.octet()?)?;
        let modseq = rest.number()?;
        let at = rest.number()?;
        if !dropped && at != 0 {
            return None;
        }
        let uids = rest.set()?;
        let recent = rest.ranges(|start, end| start..end)?;
        let saved = rest.set()?;
        let count = rest.number()?;
        let mut keywords = Vec::new();
        for _ in 0..count {
            if keywords.len() >= MAX_KEYWORDS {
                return None;
            }
            let keyword = rest.text().filter(|keyword| keyword.len() <= MAX_KEYWORD)?;
            keywords.push(String::from_utf8(keyword.to_vec()).ok()?);
        }
        if uids.len() > MOST_MESSAGES {
            return None;
        }
        let dropped = dropped.then_some(at);
        Some(Self { uidvalidity, read_only, shows_recent, modseq, dropped, uids, recent, saved, keywords })
    }
}

/// Seven bits an octet, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// How many, then each as its distance from the end of the one before, and its length.
fn ranges(out: &mut Vec<u8>, ranges: impl ExactSizeIterator<Item = (u32, u32)>) {
    number(out, ranges.len() as u64);
    let mut before = 0;
    for (start, end) in ranges {
        number(out, u64::from(start.saturating_sub(before)));
        number(out, u64::from(end.saturating_sub(start)));
        before = end;
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// In its one shortest form.
    fn number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            value |= shifted;
            if octet & 0x80 == 0 {
                return (octet != 0 || shift == 0).then_some(value);
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    fn ranges<T>(&mut self, range: impl Fn(u32, u32) -> T) -> Option<Vec<T>> {
        let count = self.number()?;
        let (mut all, mut before) = (Vec::new(), 0_u32);
        // Each takes two octets at least: what is there bounds their number.
        for _ in 0..count {
            let start = before.checked_add(u32::try_from(self.number()?).ok()?)?;
            let end = start.checked_add(u32::try_from(self.number()?).ok()?)?;
            all.push(range(start, end));
            before = end;
        }
        Some(all)
    }

    /// Numbers above zero; ranges that touch would have been one.
    fn set(&mut self) -> Option<NumberSet> {
        let mut set = NumberSet::default();
        let mut before = None;
        for range in self.ranges(RangeInclusive::new)? {
            let apart = before.is_none_or(|end: u32| *range.start() > end.saturating_add(1));
            if *range.start() == 0 || !apart {
                return None;
            }
            before = Some(*range.end());
            set.push_range(range);
        }
        Some(set)
    }
}

/// Run by a fuzz target and by ordinary tests: what decodes is what would have been written, and nothing panics.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_state(input: &[u8]) {
    if let Some(state) = State::decode(input) {
        assert_eq!(state.encode().as_deref(), Some(input));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(numbers: impl IntoIterator<Item = u32>) -> NumberSet {
        let mut set = NumberSet::default();
        numbers.into_iter().for_each(|number| set.push(number));
        set
    }

    fn example() -> State {
        State {
            tag: Tag::parse(b"a1").unwrap(),
            heard: 1_700_000_000_000,
            enabled: Enabled { condstore: true, utf8: true, ..Enabled::default() },
            view: Some(View {
                uidvalidity: u32::MAX,
                read_only: false,
                shows_recent: true,
                modseq: u64::MAX,
                dropped: Some(0),
                uids: set([1, 2, 3, 7, u32::MAX]),
                recent: Vec::from([3..3, 7..9]),
                saved: set([2]),
                keywords: vec!["$Forwarded".to_owned()],
            }),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let empty = State { enabled: Enabled::default(), view: None, ..example() };
        for state in [example(), empty] {
            assert_eq!(State::decode(&state.encode().unwrap()), Some(state));
        }
    }

    /// What the fuzzer begins with is what it is named after.
    #[test]
    fn the_seeds_are_states() {
        for seed in ["asleep-nowhere", "asleep-in-a-mailbox"] {
            let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/imap");
            let octets = std::fs::read(corpus.join(seed)).unwrap();
            assert!(State::decode(&octets).is_some(), "{seed}");
            check_state(&octets);
        }
    }

    #[test]
    fn half_a_state_and_more_than_one_are_none() {
        let octets = example().encode().unwrap();
        for length in 0..octets.len() {
            assert_eq!(State::decode(&octets[..length]), None, "{length} octets");
        }
        let mut more = octets.clone();
        more.push(0);
        assert_eq!(State::decode(&more), None);
        let mut newer = octets;
        newer[0] += 1;
        assert_eq!(State::decode(&newer), None);
    }

    /// Attack class 25: a row that a captured process wrote takes no memory that its size does not explain.
    #[test]
    fn what_would_take_too_much_is_none() {
        let mut view = example().view.unwrap();
        view.uids = NumberSet::default();
        view.uids.push_range(1..=u32::MAX);
        assert_eq!(State { view: Some(view.clone()), ..example() }.encode(), None);
        let mut octets = Vec::new();
        ranges(&mut octets, [(1, u32::MAX)].into_iter());
        assert!(Rest(&octets).set().is_some());
        let mut many = Vec::new();
        number(&mut many, u64::MAX);
        assert!(Rest(&many).ranges(|start, end| start..end).is_none());
        let sparse: NumberSet = set((0..600_000).map(|number| number * 2 + 1));
        view.uids = sparse;
        assert_eq!(State { view: Some(view), ..example() }.encode(), None, "more octets than a row may have");
    }

    #[test]
    fn numbers_and_ranges_have_one_form() {
        for (octets, reason) in [
            (&[0x80, 0x00][..], "a zero behind"),
            (&[0xff; 10], "no end"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "above 64 bits"),
        ] {
            assert_eq!(Rest(octets).number(), None, "{reason}");
        }
        for (octets, reason) in [
            (&[1, 0, 0][..], "zero is no UID"),
            (&[2, 1, 0, 0, 0], "overlap"),
            (&[2, 1, 0, 1, 0], "they touch"),
            (&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], "beyond the highest"),
        ] {
            assert!(Rest(octets).set().is_none(), "{reason}");
        }
    }

    prop_compose! {
        fn some_set()(numbers in prop::collection::btree_set(1..=u32::MAX, 0..50), run in 0_u32..9) -> NumberSet {
            set(numbers.into_iter().take_while(|first| first.checked_add(run + 1).is_some())
                .fold(std::collections::BTreeSet::new(), |mut all, first| {
                    all.extend(first..=first + run);
                    all
                }))
        }
    }

    prop_compose! {
        fn some_state()(
            (uids, saved) in (some_set(), some_set()),
            bits in 0_u8..128,
            (tag, heard) in ("[a-zA-Z0-9.]{1,128}", any::<u64>()),
            (uidvalidity, modseq, dropped) in any::<(u32, u64, Option<u64>)>(),
            (read_only, shows_recent, has_view) in any::<(bool, bool, bool)>(),
            recent in prop::collection::btree_set(any::<u32>(), 0..8),
            keywords in prop::collection::vec("[a-z$]{1,40}", 0..5),
        ) -> State {
            let bounds: Vec<u32> = recent.into_iter().collect();
            let recent = bounds.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let view =
                View { uidvalidity, read_only, shows_recent, modseq, dropped, uids, recent, saved, keywords };
            State {
                tag: Tag::parse(tag.as_bytes()).unwrap(),
                heard,
                enabled: Enabled::of(bits).unwrap(),
                view: has_view.then_some(view),
            }
        }
    }

    proptest! {
        #[test]
        fn every_state_comes_back(state in some_state()) {
            prop_assert_eq!(State::decode(&state.encode().unwrap()), Some(state));
        }

        #[test]
        fn a_damaged_state_is_none_or_another_in_its_one_form(
            state in some_state(), at in any::<prop::sample::Index>(), octet in any::<u8>(),
        ) {
            let mut octets = state.encode().unwrap();
            let at = at.index(octets.len());
            octets[at] = octet;
            check_state(&octets);
        }
    }
}
