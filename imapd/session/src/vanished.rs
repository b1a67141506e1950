//! VANISHED: which messages a client knows that are no more (RFC 7162 §3.2.5, §3.2.6, §3.2.10).

use std::ops::RangeInclusive;

use imapd::{FetchItem, MessageSet, NumberSet, Numbering, Resync, SequenceMatch, response};
use store_lib::{Mailbox, ModSeq, Reader, StoreError, Uid};

use crate::End;
use crate::connection::Connection;
use crate::reply::{Reply, Stop};
use crate::session::{Expunges, Session};
use crate::sync::modseq;

/// Ranges in one response: some clients read lines into a buffer of 8,000 octets (RFC 7162 §4).
const RANGES_PER_LINE: usize = 350;

/// VANISHED responses in the making.
#[derive(Debug)]
pub(crate) struct VanishedLines {
    begin: &'static [u8],
    in_line: usize,
    /// Not written yet: the next may go on where it ends.
    last: Option<RangeInclusive<u32>>,
}

impl VanishedLines {
    /// Instead of EXPUNGE.
    pub(crate) fn now() -> Self {
        Self { begin: b"* VANISHED ", in_line: 0, last: None }
    }

    /// Of before the mailbox was selected.
    pub(crate) fn earlier() -> Self {
        Self { begin: b"* VANISHED (EARLIER) ", in_line: 0, last: None }
    }

    /// UIDs above those before.
    pub(crate) fn push(&mut self, connection: &mut Connection, uids: RangeInclusive<u32>) -> Result<(), End> {
        match self.last.take() {
            Some(last) if last.end().checked_add(1) == Some(*uids.start()) => {
                self.last = Some(*last.start()..=*uids.end());
                Ok(())
            }
            last => {
                self.last = Some(uids);
                last.map_or(Ok(()), |last| self.write(connection, &last))
            }
        }
    }

    pub(crate) fn end(mut self, connection: &mut Connection) -> Result<(), End> {
        if let Some(last) = self.last.take() {
            self.write(connection, &last)?;
        }
        if self.in_line > 0 {
            connection.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn write(&mut self, connection: &mut Connection, uids: &RangeInclusive<u32>) -> Result<(), End> {
        connection.out.extend_from_slice(if self.in_line == 0 { self.begin } else { b"," });
        response::number_range(&mut connection.out, uids);
        self.in_line += 1;
        if self.in_line >= RANGES_PER_LINE {
            connection.out.extend_from_slice(b"\r\n");
            self.in_line = 0;
            connection.flush_if_full()?;
        }
        Ok(())
    }
}

/// What QRESYNC asks SELECT to tell.
#[derive(Debug)]
pub(crate) struct Resyncing {
    vanished: Vanished,
    /// Of these UIDs only; `None`: of all.
    known: Option<NumberSet>,
    since: u64,
}

/// Which messages have vanished.
#[derive(Debug)]
enum Vanished {
    /// These, rising.
    Logged(Vec<Uid>),
    /// That is not remembered: all that are not there, in this range.
    Missing(RangeInclusive<u32>),
}

impl Vanished {
    /// At the time of the reader, in which the mailbox has `uids`.
    fn since(
        reader: &Reader<'_>,
        mailbox: &Mailbox,
        uids: &[Uid],
        since: ModSeq,
        matches: Option<&SequenceMatch>,
    ) -> Result<Self, StoreError> {
        // A mod-sequence that was never given out is from another life of this mailbox: a backup was restored.
        let logged = if since > mailbox.modseq { None } else { reader.expunged_since(mailbox, since)? };
        Ok(match logged {
            Some(expunged) => Self::Logged(expunged),
            None => {
                let above = matches.map_or(0, |matches| undisturbed(uids, matches));
                Self::Missing(above.saturating_add(1)..=mailbox.uidnext.saturating_sub(1))
            }
        })
    }

    /// Tells those that the client knows and that are not among `there`, which rise.
    fn tell(&self, connection: &mut Connection, known: Option<&NumberSet>, there: &[Uid]) -> Result<(), End> {
        let mut lines = VanishedLines::earlier();
        match self {
            Self::Logged(uids) => {
                for uid in uids {
                    let is_known = known.is_none_or(|known| known.contains(uid.value()));
                    if is_known && there.binary_search(uid).is_err() {
                        lines.push(connection, uid.value()..=uid.value())?;
                    }
                }
            }
            Self::Missing(range) => {
                let all = [1..=u32::MAX];
                for known in known.map_or(&all[..], NumberSet::ranges) {
                    let range = *known.start().max(range.start())..=*known.end().min(range.end());
                    for_each_gap(there, range, |gap| lines.push(connection, gap))?;
                }
            }
        }
        lines.end(connection)
    }
}

impl Resyncing {
    /// `uids` are those of the mailbox in the view of `reader`.
    pub(crate) fn new(
        reader: &Reader<'_>,
        mailbox: &Mailbox,
        uids: &[Uid],
        resync: &Resync,
    ) -> Result<Self, StoreError> {
        let since = modseq(resync.modseq);
        let vanished = Vanished::since(reader, mailbox, uids, since, resync.matches.as_ref())?;
        // Then of all that is there now the client has to be told.
        let since = if since > mailbox.modseq { 0 } else { resync.modseq };
        Ok(Self { vanished, known: resync.known.clone(), since })
    }
}

impl Session {
    /// The end of SELECT with QRESYNC: as if it were `UID FETCH known (FLAGS) (CHANGEDSINCE modseq VANISHED)` (RFC 7162
    /// §3.2.5.1).
    pub(crate) fn resync(&mut self, resync: &Resyncing) -> Result<(), Stop> {
        let Self { selected: Some(selected), connection, .. } = self else { return Ok(()) };
        resync.vanished.tell(connection, resync.known.as_ref(), selected.uids())?;
        let places = match &resync.known {
            Some(known) => selected.uid_places(known),
            None => selected.all_places(),
        };
        self.fetch_places(Numbering::Uid, places, vec![FetchItem::Flags], Some(resync.since))?;
        Ok(())
    }

    /// VANISHED of UID FETCH, before any FETCH response.
    pub(crate) fn tell_vanished(&mut self, set: &MessageSet, since: Option<u64>) -> Result<(), Stop> {
        if !self.aware.qresync {
            // RFC 7162 §3.2.3.
            return Err(Reply::bad("ENABLE QRESYNC comes first").into());
        }
        // What the client still counts is told as VANISHED without EARLIER, now or later, and not here.
        self.selected()?;
        self.tell_changes(Expunges::Tell)?;
        let selected = self.selected()?;
        let mailbox = selected.mailbox;
        let known = match set {
            MessageSet::Numbers(set) => set.resolve(selected.told().last().map_or(0, |uid| uid.value())),
            MessageSet::Saved => selected.saved().clone(),
        };
        let since = since.map_or(ModSeq::ZERO, modseq);
        let found = self.read(|reader| {
            let Some(mailbox) = reader.mailbox(mailbox)? else { return Ok(None) };
            let uids = reader.uids(mailbox.id)?;
            Ok(Some((Vanished::since(reader, &mailbox, &uids, since, None)?, uids)))
        })?;
        let Some((vanished, mut there)) = found else { return Ok(()) };
        let Self { selected: Some(selected), connection, .. } = self else { return Ok(()) };
        let counted: Vec<Uid> =
            selected.told().iter().copied().filter(|uid| there.binary_search(uid).is_err()).collect();
        there.extend(counted);
        there.sort_unstable();
        Ok(vanished.tell(connection, Some(&known), &there)?)
    }
}

/// The highest UID for which it is certain that the client knows all up to it, and knows of none that is not there: it
/// has the same number as then.
fn undisturbed(uids: &[Uid], matches: &SequenceMatch) -> u32 {
    let at = |number: u32| {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        place.and_then(|place| uids.get(place)).map(|uid| uid.value())
    };
    let mut highest = 0;
    for (numbers, expected) in matches.runs() {
        // Going up a run, what is there gets ahead of what was expected and never falls back.
        let (first, first_uid) = (*numbers.start(), *expected.start());
        let agrees = |step: u32| at(first.saturating_add(step)) == Some(first_uid.saturating_add(step));
        if !agrees(0) {
            // Numbers only fall and UIDs only rise: nothing behind agrees where something before it does not.
            continue;
        }
        let (mut low, mut high) = (0, numbers.end() - first);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if agrees(middle) { low = middle } else { high = middle - 1 }
        }
        highest = first_uid.saturating_add(low);
    }
    highest
}

/// Gives `each` the parts of `range` in which there is none of the rising `uids`.
fn for_each_gap<E>(
    uids: &[Uid],
    range: RangeInclusive<u32>,
    mut each: impl FnMut(RangeInclusive<u32>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut next, last) = range.into_inner();
    let from = uids.partition_point(|uid| uid.value() < next);
    for uid in
        uids.get(from..).unwrap_or_default().iter().map(|uid| uid.value()).take_while(|uid| *uid <= last)
    {
        if next < uid {
            each(next..=uid - 1)?;
        }
        next = uid.saturating_add(1);
    }
    if next <= last { each(next..=last) } else { Ok(()) }
}
