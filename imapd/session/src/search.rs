//! SEARCH (RFC 3501 §6.4.4, RFC 9051 §6.4.4), in slices. What the rows of the store decide is decided there; only
//! messages that are still open then have their octets read, outside the reader.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::Instant;

use imapd::{Numbering, SearchKey, SearchReturn, Tag, date_of, days_of, response};
use mail_lib::header;
use store_lib::{
    Body, Columns, Flags, Keyword, MessageId, ModSeq, Store, StoreError, SystemFlag, ThreadId, Uid,
    UnixSeconds,
};

use crate::End;
use crate::connection::Connection;
use crate::fetch::Remaining;
use crate::fuzzy::{self, Fuzzy};
use crate::limit::{common, count};
use crate::reply::{Reply, Stop};
use crate::selected::{Places, Selected};
use crate::session::{Session, budget};
use crate::store::flags_of;
use crate::sync::{modseq, uses_modseq};
use crate::wanted::{Opened, Wanted};

/// Rows looked at in one read.
const ROWS_PER_SLICE: usize = 2000;
/// Octets taken out of the store at once, beside those that are in files.
const OCTETS_PER_SLICE: u64 = 256 << 10;

/// A condition made ready: sets resolved, dates in days, texts as matchers.
pub(crate) enum Condition {
    All,
    And(Vec<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    System(SystemFlag),
    /// `None`: no message can have it.
    Keyword(Option<Keyword>),
    Recent,
    /// Places in the client's view.
    Places(Places),
    /// Those of a thread.
    Messages(HashSet<MessageId>),
    /// Size in octets.
    Larger(u64),
    ModSeq(ModSeq),
    Smaller(u64),
    Received(Days),
    /// Seconds since 1970, or later ones.
    ReceivedSince(i64),
    /// Seconds since 1970, or earlier ones.
    ReceivedUntil(i64),
    Saved(Days),
    EmailId(String),
    Sent(Days),
    Field(String, Wanted),
    Body(Wanted),
    Text(Wanted),
    Fuzzy(Fuzzy),
}

/// Days since 1970.
#[derive(Clone, Copy)]
pub(crate) enum Days {
    Before(i64),
    On(i64),
    Since(i64),
}

impl Days {
    fn matches(self, day: i64) -> bool {
        match self {
            Self::Before(limit) => day < limit,
            Self::On(wanted) => day == wanted,
            Self::Since(limit) => day >= limit,
        }
    }
}

/// A message that the rows alone did not decide.
struct Candidate {
    row: Row,
    body: Option<Body>,
}

struct Row {
    place: usize,
    uid: Uid,
    id: MessageId,
    recent: bool,
    flags: Flags,
    modseq: ModSeq,
    size: u64,
    received: i64,
    received_day: i64,
    saved_day: i64,
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
            remaining.visit(selected, reader, Columns::Flags, |place, message| {
                rows += 1;
                let row = Row {
                    place,
                    uid: message.uid,
                    id: message.id,
                    recent: selected.is_recent(message.uid),
                    flags: message.flags,
                    modseq: message.modseq,
                    // One that has none counts by its internal date (RFC 8514 §4.2).
                    saved_day: days_of(date_of(message.saved.unwrap_or(message.received).0)),
                    size: message.size,
                    received: message.received.0,
                    received_day: days_of(date_of(message.received.0)),
                };
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

impl Condition {
    pub(crate) fn new(key: &SearchKey, selected: &Selected, store: &Store) -> Result<Self, Stop> {
        let field =
            |name: &str, text: &imapd::SearchText| Self::Field(name.to_owned(), Wanted::in_field(name, text));
        let day = |date: &imapd::Date| days_of(*date);
        Ok(match key {
            SearchKey::All => Self::All,
            SearchKey::And(keys) => {
                let conditions: Result<Vec<_>, _> =
                    keys.iter().map(|key| Self::new(key, selected, store)).collect();
                Self::And(conditions?)
            }
            SearchKey::Or(left, right) => Self::Or(
                Box::new(Self::new(left, selected, store)?),
                Box::new(Self::new(right, selected, store)?),
            ),
            SearchKey::Not(key) => Self::Not(Box::new(Self::new(key, selected, store)?)),
            SearchKey::ThreadId(id) => Self::Messages(match ThreadId::parse(id.as_str()) {
                Some(thread) => {
                    store.read(&budget(), |reader| reader.messages_told_of(thread))?.into_iter().collect()
                }
                None => HashSet::new(),
            }),
            SearchKey::Flag(flag) => Self::flag(flag)?,
            SearchKey::Recent => Self::Recent,
            SearchKey::Saved => Self::Places(selected.saved_places()),
            SearchKey::Sequence(set) => {
                let largest = u32::try_from(selected.told().len()).unwrap_or(u32::MAX);
                Self::Places(selected.sequence_places(&set.resolve(largest)))
            }
            SearchKey::Uid(set) => {
                let largest = selected.told().last().map_or(0, |uid| uid.value());
                Self::Places(selected.uid_places(&set.resolve(largest)))
            }
            SearchKey::UidAfter(uid) => Self::Places(selected.places_after(uid.get())),
            SearchKey::UidBefore(uid) => Self::Places(selected.places_before(uid.get())),
            SearchKey::Larger(size) => Self::Larger(*size),
            SearchKey::Smaller(size) => Self::Smaller(*size),
            SearchKey::SaveDateSupported => Self::All,
            SearchKey::SavedBefore(date) => Self::Saved(Days::Before(day(date))),
            SearchKey::SavedOn(date) => Self::Saved(Days::On(day(date))),
            SearchKey::SavedSince(date) => Self::Saved(Days::Since(day(date))),
            SearchKey::EmailId(id) => Self::EmailId(id.as_str().to_owned()),
            SearchKey::ModSeq(value) => Self::ModSeq(modseq(*value)),
            SearchKey::Before(date) => Self::Received(Days::Before(day(date))),
            SearchKey::On(date) => Self::Received(Days::On(day(date))),
            SearchKey::Since(date) => Self::Received(Days::Since(day(date))),
            SearchKey::Older(seconds) => Self::ReceivedUntil(seconds_ago(*seconds)),
            SearchKey::Younger(seconds) => Self::ReceivedSince(seconds_ago(*seconds)),
            SearchKey::SentBefore(date) => Self::Sent(Days::Before(day(date))),
            SearchKey::SentOn(date) => Self::Sent(Days::On(day(date))),
            SearchKey::SentSince(date) => Self::Sent(Days::Since(day(date))),
            SearchKey::Bcc(text) => field("Bcc", text),
            SearchKey::Cc(text) => field("Cc", text),
            SearchKey::From(text) => field("From", text),
            SearchKey::Subject(text) => field("Subject", text),
            SearchKey::To(text) => field("To", text),
            SearchKey::Header(name, text) => field(&String::from_utf8_lossy(name), text),
            SearchKey::Body(text) => Self::Body(Wanted::in_body(text)),
            SearchKey::Text(text) => Self::Text(Wanted::anywhere(text)),
            SearchKey::Fuzzy(key) => fuzzy::condition(key, selected, store)?,
            // None is left when it comes to this.
            SearchKey::Filter(_) => Self::Not(Box::new(Self::All)),
        })
    }

    fn flag(flag: &imapd::Flag) -> Result<Self, Reply> {
        Ok(match flag {
            imapd::Flag::Answered => Self::System(SystemFlag::Answered),
            imapd::Flag::Flagged => Self::System(SystemFlag::Flagged),
            imapd::Flag::Deleted => Self::System(SystemFlag::Deleted),
            imapd::Flag::Seen => Self::System(SystemFlag::Seen),
            imapd::Flag::Draft => Self::System(SystemFlag::Draft),
            // One that is too long to be set is on no message.
            imapd::Flag::Keyword(_) => Self::Keyword(
                flags_of(std::slice::from_ref(flag)).ok().and_then(|flags| flags.keywords().first().cloned()),
            ),
        })
    }

    /// The places that sets of numbers leave, where all else has to hold beside them.
    fn places_within(&self, places: Places) -> Places {
        if let Self::Places(only) = self {
            common(&places, only)
        } else if let Self::And(conditions) = self {
            conditions.iter().fold(places, |places, condition| condition.places_within(places))
        } else {
            places
        }
    }

    /// All texts that are looked for.
    fn texts<'a>(&'a mut self, texts: &mut Vec<&'a mut Wanted>) {
        match self {
            Self::And(conditions) => conditions.iter_mut().for_each(|condition| condition.texts(texts)),
            Self::Or(left, right) => {
                left.texts(texts);
                right.texts(texts);
            }
            Self::Not(condition) => condition.texts(texts),
            Self::Field(_, wanted) | Self::Body(wanted) | Self::Text(wanted) => texts.push(wanted),
            Self::Fuzzy(fuzzy) => texts.extend(fuzzy.texts()),
            Self::All
            | Self::System(_)
            | Self::Keyword(_)
            | Self::Recent
            | Self::Places(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::EmailId(_)
            | Self::Messages(_)
            | Self::ModSeq(_)
            | Self::Received(_)
            | Self::ReceivedSince(_)
            | Self::ReceivedUntil(_)
            | Self::Saved(_)
            | Self::Sent(_) => {}
        }
    }

    /// Decides by the row of the store and the index alone; `None`: it takes the octets.
    fn by_row(&self, row: &Row) -> Option<bool> {
        match self {
            Self::All => Some(true),
            // One that is false decides, whatever the others need.
            Self::And(conditions) => conditions
                .iter()
                .try_fold(Some(true), |all, condition| match condition.by_row(row) {
                    Some(false) => Err(()),
                    Some(true) => Ok(all),
                    None => Ok(None),
                })
                .unwrap_or(Some(false)),
            Self::Or(left, right) => match (left.by_row(row), right.by_row(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
            Self::Not(condition) => condition.by_row(row).map(|holds| !holds),
            Self::System(flag) => Some(row.flags.has(*flag)),
            Self::Keyword(keyword) => {
                Some(keyword.as_ref().is_some_and(|keyword| row.flags.has_keyword(keyword)))
            }
            Self::Recent => Some(row.recent),
            Self::Places(places) => {
                let after = places.partition_point(|range| range.end <= row.place);
                Some(places.get(after).is_some_and(|range| range.contains(&row.place)))
            }
            Self::Messages(messages) => Some(messages.contains(&row.id)),
            Self::Larger(size) => Some(row.size > *size),
            Self::ModSeq(modseq) => Some(row.modseq >= *modseq),
            Self::Saved(days) => Some(days.matches(row.saved_day)),
            Self::EmailId(id) => Some(row.id.to_string() == *id),
            Self::Smaller(size) => Some(row.size < *size),
            Self::Received(days) => Some(days.matches(row.received_day)),
            Self::ReceivedSince(time) => Some(row.received >= *time),
            Self::ReceivedUntil(time) => Some(row.received <= *time),
            Self::Sent(_) => None,
            Self::Field(_, wanted) | Self::Body(wanted) | Self::Text(wanted) => {
                wanted.is_ruled_out(row.id).then_some(false)
            }
            Self::Fuzzy(fuzzy) => fuzzy.is_ruled_out(row.id).then_some(false),
        }
    }

    fn by_content(&mut self, row: &Row, message: &mut Opened<'_>) -> Result<bool, Stop> {
        if let Some(decided) = self.by_row(row) {
            return Ok(decided);
        }
        match self {
            Self::And(conditions) => {
                for condition in conditions {
                    if !condition.by_content(row, message)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(left, right) => Ok(left.by_content(row, message)? || right.by_content(row, message)?),
            Self::Not(condition) => Ok(!condition.by_content(row, message)?),
            Self::Sent(days) => {
                let days = *days;
                let date = message.header()?.first("Date").and_then(header::parse_date);
                // The day as its sender saw it, whatever the zone (RFC 3501 §6.4.4).
                let day =
                    date.map(|date| (date.unix_seconds + i64::from(date.offset_seconds)).div_euclid(86_400));
                Ok(day.is_some_and(|day| days.matches(day)))
            }
            Self::Field(name, wanted) => message.field_has(name, wanted),
            Self::Body(wanted) => message.body_has(wanted),
            Self::Fuzzy(fuzzy) => Ok(fuzzy.score(message)? > 0),
            Self::Text(wanted) => Ok(message.header_has(wanted)? || message.body_has(wanted)?),
            Self::All
            | Self::System(_)
            | Self::Keyword(_)
            | Self::Recent
            | Self::Places(_)
            | Self::Messages(_)
            | Self::Larger(_)
            | Self::ModSeq(_)
            | Self::Smaller(_)
            | Self::Received(_)
            | Self::Saved(_)
            | Self::EmailId(_)
            | Self::ReceivedSince(_)
            | Self::ReceivedUntil(_) => Ok(false),
        }
    }
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

/// The time that OLDER and YOUNGER are about (RFC 5032 §2).
fn seconds_ago(seconds: NonZeroU32) -> i64 {
    UnixSeconds::now().0.saturating_sub(i64::from(seconds.get()))
}
