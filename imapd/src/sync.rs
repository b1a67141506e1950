//! What a client that synchronises says: mod-sequences and what it knows already (RFC 7162 §7).

use std::ops::RangeInclusive;

use crate::cursor::{Cursor, SyntaxError};
use crate::partial::PartialRange;
use crate::sequence_set::{NumberSet, SequenceSet};

/// Parameters of one SELECT and modifiers of one FETCH or STORE; every one there is fits several times.
const PARAMETER_LIMIT: usize = 10;

/// What stands in parentheses behind the mailbox of SELECT and EXAMINE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectParameters {
    /// CONDSTORE (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// QRESYNC (RFC 7162 §3.2.5).
    pub qresync: Option<Box<Resync>>,
}

/// What the client knew of the mailbox when it last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resync {
    /// UIDVALIDITY.
    pub uidvalidity: u32,
    /// HIGHESTMODSEQ.
    pub modseq: u64,
    /// Its messages; `None`: not said.
    pub known: Option<NumberSet>,
    /// Some of its messages' numbers and UIDs.
    pub matches: Option<SequenceMatch>,
}

/// Sequence numbers and as many UIDs: the first number belongs to the first UID, and so on (RFC 7162 §3.2.5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceMatch {
    numbers: NumberSet,
    uids: NumberSet,
}

/// What stands in parentheses behind the items of FETCH.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchModifiers {
    /// CHANGEDSINCE (RFC 7162 §3.1.4.1).
    pub changed_since: Option<u64>,
    /// VANISHED (RFC 7162 §3.2.6), only with CHANGEDSINCE and UIDs.
    pub vanished: bool,
    /// PARTIAL (RFC 9394 §3.3), only with UIDs.
    pub partial: Option<PartialRange>,
}

impl SelectParameters {
    /// ` (…)`, if it is there.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut parameters = Self::default();
        if !cursor.accept(b' ') {
            return Ok(parameters);
        }
        cursor.list(PARAMETER_LIMIT, "parameters", |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"CONDSTORE" => parameters.condstore = true,
                b"QRESYNC" if parameters.qresync.is_none() => {
                    cursor.space()?;
                    parameters.qresync = Some(Box::new(Resync::parse(cursor)?));
                }
                _ => return Err(SyntaxError::Expected("a parameter of SELECT")),
            }
            Ok(())
        })?;
        Ok(parameters)
    }
}

impl Resync {
    /// `(validity modseq known-uids (numbers uids))`, the last two optional.
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        cursor.expect(b'(', "an opening parenthesis")?;
        let uidvalidity = cursor.nonzero()?.get();
        cursor.space()?;
        let mut resync = Self { uidvalidity, modseq: cursor.number64()?, known: None, matches: None };
        while cursor.accept(b' ') {
            match cursor.peek() {
                Some(b'(') if resync.matches.is_none() => {
                    resync.matches = Some(SequenceMatch::parse(cursor)?);
                }
                Some(_) if resync.known.is_none() && resync.matches.is_none() => {
                    resync.known = Some(parse_known(cursor)?);
                }
                Some(_) | None => return Err(SyntaxError::Expected("`)`")),
            }
        }
        cursor.expect(b')', "`)`")?;
        Ok(resync)
    }
}

impl SequenceMatch {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let rising = SyntaxError::Expected("numbers without `*` that rise");
        cursor.expect(b'(', "an opening parenthesis")?;
        let numbers = SequenceSet::parse(cursor)?.rising().ok_or(rising.clone())?;
        cursor.space()?;
        let uids = SequenceSet::parse(cursor)?.rising().ok_or(rising)?;
        cursor.expect(b')', "`)`")?;
        if numbers.len() != uids.len() {
            return Err(SyntaxError::Expected("as many UIDs as sequence numbers"));
        }
        Ok(Self { numbers, uids })
    }

    /// Runs of pairs: each of its numbers belongs to the UID as far from the first. As many as both sets have ranges at
    /// most, however many numbers they stand for.
    pub fn runs(&self) -> impl Iterator<Item = (RangeInclusive<u32>, RangeInclusive<u32>)> {
        let mut numbers = self.numbers.ranges().iter().cloned();
        let mut uids = self.uids.ranges().iter().cloned();
        let (mut number, mut uid) = (numbers.next(), uids.next());
        std::iter::from_fn(move || {
            let (first, last) = number.clone()?.into_inner();
            let (first_uid, last_uid) = uid.clone()?.into_inner();
            let steps = (last - first).min(last_uid - first_uid);
            let rest = |end: u32, last: u32| (end < last).then(|| end + 1..=last);
            number = rest(first + steps, last).or_else(|| numbers.next());
            uid = rest(first_uid + steps, last_uid).or_else(|| uids.next());
            Some((first..=first + steps, first_uid..=first_uid + steps))
        })
    }
}

impl FetchModifiers {
    /// ` (…)`, if it is there.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut modifiers = Self::default();
        if !cursor.accept(b' ') {
            return Ok(modifiers);
        }
        cursor.list(PARAMETER_LIMIT, "modifiers", |cursor| {
            match cursor.atom()?.to_ascii_uppercase().as_slice() {
                b"CHANGEDSINCE" => {
                    cursor.space()?;
                    modifiers.changed_since = Some(cursor.number64()?);
                }
                b"PARTIAL" => {
                    cursor.space()?;
                    modifiers.partial = Some(PartialRange::parse(cursor)?);
                }
                b"VANISHED" => modifiers.vanished = true,
                _ => return Err(SyntaxError::Expected("a modifier of FETCH")),
            }
            Ok(())
        })?;
        Ok(modifiers)
    }
}

/// `(UNCHANGEDSINCE n) ` before what STORE stores, if it is there (RFC 7162 §3.1.3).
pub(crate) fn parse_unchanged_since(cursor: &mut Cursor<'_>) -> Result<Option<u64>, SyntaxError> {
    if !cursor.accept(b'(') {
        return Ok(None);
    }
    if !cursor.accept_word("UNCHANGEDSINCE") {
        return Err(SyntaxError::Expected("UNCHANGEDSINCE"));
    }
    cursor.space()?;
    let modseq = cursor.number64()?;
    cursor.expect(b')', "`)`")?;
    cursor.space()?;
    Ok(Some(modseq))
}

/// What stands behind the search key MODSEQ: `["/flags/…" type] n` (RFC 7162 §3.1.5). One mod-sequence is kept for all of
/// a message's flags, so which flag is meant makes no difference.
pub(crate) fn parse_search(cursor: &mut Cursor<'_>) -> Result<u64, SyntaxError> {
    if cursor.peek() == Some(b'"') {
        let entry = cursor.string()?;
        let flag = entry.strip_prefix(b"/flags/").unwrap_or_default();
        let flag = flag.strip_prefix(b"\\").unwrap_or(flag);
        if flag.is_empty() || !flag.iter().all(|octet| crate::cursor::is_atom_char(*octet)) {
            return Err(SyntaxError::Expected("a name like \"/flags/\\\\Seen\""));
        }
        cursor.space()?;
        if !["priv", "shared", "all"].iter().any(|kind| cursor.accept_word(kind)) {
            return Err(SyntaxError::Expected("priv, shared or all"));
        }
        cursor.space()?;
    }
    cursor.number64()
}

/// UIDs that the client knows: `*` would say nothing.
fn parse_known(cursor: &mut Cursor<'_>) -> Result<NumberSet, SyntaxError> {
    let set = SequenceSet::parse(cursor)?;
    if set.has_largest() {
        return Err(SyntaxError::Expected("UIDs without `*`"));
    }
    Ok(set.resolve(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select(text: &str) -> Result<SelectParameters, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let parameters = SelectParameters::parse(&mut cursor)?;
        cursor.end()?;
        Ok(parameters)
    }

    fn resync(text: &str) -> Resync {
        *select(text).unwrap().qresync.unwrap()
    }

    /// The examples of RFC 7162 §3.1.8, §3.2.5.1, §3.2.5.2.
    #[test]
    fn parameters_of_select_are_read() {
        assert_eq!(select(""), Ok(SelectParameters::default()));
        assert_eq!(select(" (condstore)"), Ok(SelectParameters { condstore: true, qresync: None }));
        let plain = resync(" (QRESYNC (67890007 20050715194045000 41,43:211,214:541))");
        assert_eq!((plain.uidvalidity, plain.modseq), (67_890_007, 20_050_715_194_045_000));
        assert_eq!(plain.known.unwrap().ranges(), [41..=41, 43..=211, 214..=541]);
        let full = resync(
            " (CONDSTORE QRESYNC (67890007 90060115194045000 1:29997 (5000,7500,9000,9990:9999 15000,22500,27000,\
             29970,29973,29976,29979,29982,29985,29988,29991,29994,29997)))",
        );
        let runs: Vec<_> = full.matches.unwrap().runs().collect();
        assert_eq!(runs.len(), 13);
        assert_eq!(runs[0], (5000..=5000, 15000..=15000));
        assert_eq!(runs[12], (9999..=9999, 29997..=29997));
        let without = resync(" (QRESYNC (1 2 (1:3 7:9)))");
        assert_eq!(without.known, None);
        assert_eq!(without.matches.unwrap().runs().collect::<Vec<_>>(), [(1..=3, 7..=9)]);
    }

    #[test]
    fn malformed_parameters_are_refused() {
        for (text, reason) in [
            (" ", "nothing"),
            (" ()", "an empty list"),
            (" (X)", "not known"),
            (" (QRESYNC)", "no arguments"),
            (" (QRESYNC (1))", "no mod-sequence"),
            (" (QRESYNC (0 1))", "no UIDVALIDITY is zero"),
            (" (QRESYNC (1 9223372036854775808))", "64 bits"),
            (" (QRESYNC (1 2 3:*))", "`*`"),
            (" (QRESYNC (1 2 3 4))", "two sets"),
            (" (QRESYNC (1 2 (3)))", "numbers without UIDs"),
            (" (QRESYNC (1 2 (3 4) 5))", "known UIDs come first"),
            (" (QRESYNC (1 2 3 (1:3 1,2)))", "not as many"),
            (" (QRESYNC (1 2 3 (2,1 1,2)))", "not rising"),
            (" (QRESYNC (1 2 3 (1,2 2,1)))", "not rising"),
            (" (QRESYNC (1 2 3 (1:* 1:2)))", "`*`"),
            (" (QRESYNC (1 2) QRESYNC (1 2))", "twice"),
            (" (CONDSTORE", "open"),
        ] {
            assert!(select(text).is_err(), "{reason}: {text}");
        }
    }

    #[test]
    fn search_keys_name_an_entry_or_none() {
        let parse = |text: &str| parse_search(&mut Cursor::new(text.as_bytes()));
        for text in ["620162338", "\"/flags/\\\\draft\" all 620162338", "\"/flags/$Junk\" Priv 620162338"] {
            assert_eq!(parse(text), Ok(620_162_338), "{text}");
        }
        assert_eq!(parse("0"), Ok(0));
        for text in [
            "",
            "x",
            "/flags/x all 1",
            "\"/flags/\" all 1",
            "\"/x\" all 1",
            "\"/flags/x\" 1",
            "\"/flags/a b\" all 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Attack class 8: pairs that stand for thousands of millions cost as many steps as there are ranges.
    #[test]
    fn huge_sets_of_pairs_stay_small() {
        let huge = resync(" (QRESYNC (1 2 1:4294967295 (1:4294967295 1:2147483647,2147483648:4294967295)))");
        assert_eq!(huge.matches.unwrap().runs().count(), 1);
        let odd = resync(" (QRESYNC (1 2 (1:1000000,2000000:3000000 5:2000000,3000000:3000004)))");
        assert_eq!(
            odd.matches.unwrap().runs().collect::<Vec<_>>(),
            [
                (1..=1_000_000, 5..=1_000_004),
                (2_000_000..=2_999_995, 1_000_005..=2_000_000),
                (2_999_996..=3_000_000, 3_000_000..=3_000_004)
            ]
        );
    }

    proptest! {
        #[test]
        fn runs_pair_what_stands_at_the_same_place(
            numbers in proptest::collection::btree_set(1u32..40, 1..20),
            uids in proptest::collection::btree_set(1u32..60, 20),
        ) {
            let set = |values: Vec<u32>| {
                let words: Vec<String> = values.iter().map(u32::to_string).collect();
                words.join(",")
            };
            let pairs: Vec<(u32, u32)> = numbers.iter().copied().zip(uids.iter().copied()).collect();
            let (numbers, uids) = pairs.iter().copied().unzip();
            let found = resync(&format!(" (QRESYNC (1 2 ({} {})))", set(numbers), set(uids)));
            let runs: Vec<(u32, u32)> = found.matches.unwrap().runs().flat_map(|(a, b)| a.zip(b)).collect();
            prop_assert_eq!(runs, pairs);
        }
    }
}
