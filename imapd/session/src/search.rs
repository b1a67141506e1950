//! SEARCH (RFC 3501 §6.4.4, RFC 9051 §6.4.4), in slices. What the rows of the store decide is decided there; only
//! messages that are still open then have their octets read, outside the reader.

use std::ops::ControlFlow;
use std::time::Instant;

use imapd::{Numbering, SearchKey, SearchReturn, Tag, response};
use store_lib::{Body, ModSeq, StoreError};

use crate::End;
use crate::condition::{Condition, Row};
use crate::connection::Connection;
use crate::fetch::Remaining;
use crate::limit::count;
use crate::reply::{Reply, Stop};
use crate::selected::{Places, Selected};
use crate::session::{Session, budget};
use crate::sync::uses_modseq;
use crate::wanted::{Opened, Wanted};

/// Rows looked at in one read.
const ROWS_PER_SLICE: usize = 2000;
/// Octets taken out of the store at once, beside those that are in files.
const OCTETS_PER_SLICE: u64 = 256 << 10;

/// A message that the rows alone did not decide.
struct Candidate {
    row: Row,
    body: Option<Body>,
}

impl Session {
    pub(crate) fn search(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        results: Option<SearchReturn>,
        key: &SearchKey,
    ) -> Result<Reply, Stop> {
        let deadline = Instant::now() + self.limits.search;
        let results = self.results(results);
        let first_only =
            results.is_some_and(|results| results.is_ends_only() && !results.max && !results.update);
        if let Some(results) = results {
            self.check_update(tag, results)?;
        }
        let found = self.search_for(key, results, first_only, deadline)?;
        if results.is_some_and(|results| results.update) {
            self.keep_context(tag, b"", numbering, key, None, &found);
        }
        let beside = self.beside(key, results, &found, deadline)?;
        match results {
            None => self.answer_plain(b"* SEARCH", numbering, &found, beside.highest)?,
            Some(results) => self.answer_extended(tag, numbering, results, &found, &beside)?,
        }
        Ok(Reply::ok("SEARCH completed"))
    }

    /// How it is answered: IMAP4rev2 knows no other answer than ESEARCH's (RFC 9051 §6.4.4).
    pub(crate) fn results(&self, asked: Option<SearchReturn>) -> Option<SearchReturn> {
        let extended = self.rev2.then(|| SearchReturn { all: true, ..SearchReturn::default() });
        asked.or(extended)
    }

    /// Places of the messages that a search is for, rising; `first_only`: at least the first one.
    pub(crate) fn search_for(
        &mut self,
        key: &SearchKey,
        results: Option<SearchReturn>,
        first_only: bool,
        deadline: Instant,
    ) -> Result<Vec<usize>, Stop> {
        let store = self.store.clone();
        let selected = self.selected()?;
        let condition = Condition::new(key, selected, &store);
        // Whatever stops it now, nothing is saved then (RFC 9051 §6.4.4.1).
        if results.is_some_and(|results| results.save) {
            selected.save([]);
        }
        let mut condition = condition?;
        let places = condition.places_within(selected.all_places());
        let places = self.within_limit(places);
        self.search_with(&mut condition, places, first_only, deadline)
    }

    /// The same, of the messages at some places only.
    pub(crate) fn search_places(
        &mut self,
        key: &SearchKey,
        places: Places,
        deadline: Instant,
    ) -> Result<Vec<usize>, Stop> {
        let store = self.store.clone();
        let mut condition = Condition::new(key, self.selected()?, &store)?;
        self.search_with(&mut condition, places, false, deadline)
    }

    fn search_with(
        &mut self,
        condition: &mut Condition,
        places: Places,
        first_only: bool,
        deadline: Instant,
    ) -> Result<Vec<usize>, Stop> {
        if let Condition::All = condition {
            self.absorb_changes()?;
            let Some(selected) = &self.selected else { return Ok(Vec::new()) };
            let is_there =
                |place: &usize| selected.told().get(*place).is_some_and(|uid| !selected.is_gone(*uid));
            return Ok(places.into_iter().flatten().filter(is_there).collect());
        }
        let places = match &self.selected {
            Some(selected) => condition.flagged_within(places, selected, &self.store)?,
            None => places,
        };
        let total = count(&places);
        let mut remaining = Remaining::new(places);
        let mut wanted = Vec::new();
        condition.texts(&mut wanted);
        Wanted::narrow(&mut wanted, &self.store, deadline);
        let mut found = Vec::new();
        while !remaining.is_done() && (!first_only || found.is_empty()) {
            if Instant::now() >= deadline {
                return Err(StoreError::OutOfBudget.into());
            }
            if self.connection.is_abandoned()? {
                return Err(End::Disconnected.into());
            }
            self.search_slice(condition, &mut remaining, &mut found, deadline)?;
            self.report_progress(remaining.visited, total)?;
        }
        Ok(found)
    }

    /// What an answer says of the messages beside their numbers.
    pub(crate) fn beside(
        &mut self,
        key: &SearchKey,
        results: Option<SearchReturn>,
        found: &[usize],
        deadline: Instant,
    ) -> Result<Beside, Stop> {
        let highest = self.highest_told(key, results, found)?;
        let scores = match results.filter(|results| results.relevancy) {
            None => Vec::new(),
            Some(results) => {
                let part = results.partial.map_or(Some(found), |range| found.get(range.of(found.len())));
                self.relevance(key, part.unwrap_or_default(), deadline)?
            }
        };
        Ok(Beside { highest, scores })
    }

    /// What an answer says of mod-sequences: the highest one of the messages that it tells, if the key asked for any
    /// (RFC 7162 §3.1.5, §3.1.6, §3.1.10).
    fn highest_told(
        &mut self,
        key: &SearchKey,
        results: Option<SearchReturn>,
        found: &[usize],
    ) -> Result<Option<ModSeq>, Stop> {
        if !uses_modseq(key) || found.is_empty() {
            return Ok(None);
        }
        let mut told = results.map_or_else(|| found.to_vec(), |results| told(results, found));
        told.sort_unstable();
        Ok(Some(self.highest_modseq(&told)?))
    }

    /// `* SEARCH 2 3 6`, and ` (MODSEQ 5)` behind it.
    pub(crate) fn answer_plain(
        &mut self,
        word: &[u8],
        numbering: Numbering,
        found: &[usize],
        highest: Option<ModSeq>,
    ) -> Result<(), End> {
        let Self { connection, selected: Some(selected), .. } = self else { return Ok(()) };
        connection.out.extend_from_slice(word);
        for place in found {
            connection.out.push(b' ');
            response::number(&mut connection.out, u64::from(selected.number_at(*place, numbering)));
            connection.flush_if_full()?;
        }
        if let Some(modseq) = highest {
            connection.out.extend_from_slice(b" (MODSEQ ");
            response::number(&mut connection.out, modseq.value());
            connection.out.push(b')');
        }
        connection.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// `* ESEARCH (TAG "a1") UID MIN 2 MAX 6 ALL 2:3,6 COUNT 3` (RFC 4731 §3.1), and what `$` stands for from now on.
    pub(crate) fn answer_extended(
        &mut self,
        tag: &Tag,
        numbering: Numbering,
        results: SearchReturn,
        found: &[usize],
        beside: &Beside,
    ) -> Result<(), End> {
        self.answer_extended_of(tag, b"", numbering, results, found, beside)
    }

    /// What `$` stands for from now on.
    pub(crate) fn save_found(&mut self, results: SearchReturn, found: &[usize]) -> Result<(), End> {
        let Self { selected: Some(selected), .. } = self else { return Ok(()) };
        if results.save {
            // With MIN and MAX alone it is those that are saved (RFC 9051 §6.4.4.1, table 4).
            let first = found.first().filter(|_| results.min);
            let last = found.last().filter(|_| results.max);
            let partial = results.partial.and_then(|range| found.get(range.of(found.len())));
            let mut saved: Vec<usize> = match partial.filter(|_| !results.count) {
                // RFC 9394 §3.2, table 1.
                Some(partial) => first.into_iter().chain(last).chain(partial).copied().collect(),
                None if results.is_ends_only() => first.into_iter().chain(last).copied().collect(),
                None => found.to_vec(),
            };
            saved.sort_unstable();
            saved.dedup();
            selected.save(saved);
        }
        Ok(())
    }

    /// `source` stands behind the tag: which mailbox it is about.
    pub(crate) fn answer_extended_of(
        &mut self,
        tag: &Tag,
        source: &[u8],
        numbering: Numbering,
        results: SearchReturn,
        found: &[usize],
        beside: &Beside,
    ) -> Result<(), End> {
        self.save_found(results, found)?;
        let Self { connection, selected: Some(selected), .. } = self else { return Ok(()) };
        if !results.answers() {
            return Ok(());
        }
        let out = &mut connection.out;
        out.extend_from_slice(b"* ESEARCH (TAG ");
        response::string(out, tag.as_bytes());
        out.extend_from_slice(source);
        out.push(b')');
        if numbering == Numbering::Uid {
            out.extend_from_slice(b" UID");
        }
        for (word, wanted, place) in
            [(&b" MIN "[..], results.min, found.first()), (b" MAX ", results.max, found.last())]
        {
            if let Some(place) = place.filter(|_| wanted) {
                out.extend_from_slice(word);
                response::number(out, u64::from(selected.number_at(*place, numbering)));
            }
        }
        if results.all && !found.is_empty() {
            connection.out.extend_from_slice(b" ALL ");
            write_ordered(connection, selected, numbering, found)?;
        }
        if let Some(range) = results.partial {
            connection.out.extend_from_slice(b" PARTIAL (");
            response::partial_range(&mut connection.out, range);
            connection.out.push(b' ');
            match found.get(range.of(found.len())) {
                None | Some([]) => connection.out.extend_from_slice(b"NIL"),
                Some(part) => write_ordered(connection, selected, numbering, part)?,
            }
            connection.out.push(b')');
        }
        if results.relevancy {
            connection.out.extend_from_slice(b" RELEVANCY ");
            for (index, score) in beside.scores.iter().enumerate() {
                connection.out.push(if index == 0 { b'(' } else { b' ' });
                response::number(&mut connection.out, u64::from(*score));
                connection.flush_if_full()?;
            }
            connection.out.extend_from_slice(if beside.scores.is_empty() { b"()" } else { b")" });
        }
        let out = &mut connection.out;
        if results.count {
            out.extend_from_slice(b" COUNT ");
            response::number(out, found.len() as u64);
        }
        if let Some(modseq) = beside.highest {
            out.extend_from_slice(b" MODSEQ ");
            response::number(out, modseq.value());
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn search_slice(
        &mut self,
        condition: &mut Condition,
        remaining: &mut Remaining,
        found: &mut Vec<usize>,
        deadline: Instant,
    ) -> Result<(), Stop> {
        let Self { store, connection, selected: Some(selected), .. } = self else { return Ok(()) };
        let mut candidates = Vec::new();
        let (mut rows, mut octets) = (0, 0);
        store.read(&budget(), |reader| {
            remaining.visit(selected, reader, condition.columns(), |place, message| {
                rows += 1;
                let row = Row::new(place, message, selected);
                match condition.by_row(&row) {
                    Some(true) => found.push(place),
                    Some(false) => (),
                    None => {
                        octets += row.size;
                        candidates.push(Candidate { row, body: None });
                    }
                }
                let full = rows >= ROWS_PER_SLICE || octets >= OCTETS_PER_SLICE;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            for candidate in &mut candidates {
                candidate.body = reader.body(selected.mailbox, candidate.row.uid)?;
            }
            Ok(())
        })?;
        for candidate in candidates {
            let Some(body) = candidate.body else { continue };
            let stop = || {
                if Instant::now() >= deadline {
                    return Err(Stop::from(StoreError::OutOfBudget));
                }
                if connection.is_abandoned()? { Err(End::Disconnected.into()) } else { Ok(()) }
            };
            if condition.by_content(&candidate.row, &mut Opened::new(&body, &stop))? {
                found.push(candidate.row.place);
            }
        }
        // Decided by row and by content they came in two orders.
        found.sort_unstable();
        Ok(())
    }
}

/// What an answer says beside numbers.
pub(crate) struct Beside {
    /// See [`Session::beside`]; with MODSEQ.
    highest: Option<ModSeq>,
    /// Of those told, in their order; with RELEVANCY.
    scores: Vec<u32>,
}

impl Beside {
    pub(crate) fn highest(&self) -> Option<ModSeq> {
        self.highest
    }
}

/// The messages that an answer with these results is about (RFC 4731 §3.2).
fn told(results: SearchReturn, found: &[usize]) -> Vec<usize> {
    if !results.is_ends_only() {
        return found.to_vec();
    }
    let first = found.first().filter(|_| results.min);
    let last = found.last().filter(|last| results.max && first != Some(last));
    first.into_iter().chain(last).copied().collect()
}

/// Numbers in the order found, which SORT chose: a range only ever rises (RFC 5267 §3.2).
pub(crate) fn write_ordered(
    connection: &mut Connection,
    selected: &Selected,
    numbering: Numbering,
    found: &[usize],
) -> Result<(), End> {
    let mut numbers = found.iter().map(|place| selected.number_at(*place, numbering)).peekable();
    let mut first_range = true;
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        if !std::mem::take(&mut first_range) {
            connection.out.push(b',');
        }
        response::number_range(&mut connection.out, &(first..=last));
        connection.flush_if_full()?;
    }
    Ok(())
}
