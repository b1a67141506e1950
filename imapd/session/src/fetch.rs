//! FETCH (RFC 3501 §6.4.5, RFC 9051 §6.4.5), in slices: a reader of the store is held while a slice is collected, never
//! while the client takes it.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

use imapd::{FetchItem, FetchModifiers, MessageSet, Numbering, response};
use store_lib::{
    Body, Columns, Flags, Message, MessageId, ModSeq, Reader, StoreError, Summary, ThreadId, Uid, UnixSeconds,
};

use crate::binary::{self, Decoding, Measured};
use crate::connection::{Connection, OUTPUT_FULL};
use crate::limit::count;
use crate::reply::{Reply, Stop};
use crate::section::{Content, write_item};
use crate::selected::{Places, Selected, write_flags};
use crate::session::{Session, budget};
use crate::store::some_were_expunged;
use crate::sync::{Awareness, modseq};

/// Rows looked at in one read.
const ROWS_PER_SLICE: usize = 2000;
/// Messages whose octets are collected in one read at most.
const BODIES_PER_SLICE: usize = 100;

/// ENVELOPE of a message that was filed without being looked into.
const UNKNOWN_ENVELOPE: &[u8] = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";

/// What to tell about each message.
struct Plan {
    items: Vec<FetchItem>,
    columns: Columns,
    /// Some items are made of the message's octets.
    bodies: bool,
    /// THREADID is among them.
    threads: bool,
    sets_seen: bool,
    /// Only messages that were changed later.
    changed_since: ModSeq,
}

impl Plan {
    fn new(items: Vec<FetchItem>, numbering: Numbering, since: Option<u64>, aware: &Awareness) -> Self {
        let mut plan = Self {
            columns: Columns::Flags,
            bodies: false,
            threads: false,
            sets_seen: false,
            items: Vec::new(),
            changed_since: since.map_or(ModSeq::ZERO, modseq),
        };
        // The answer to a UID command always has the UID (RFC 3501 §6.4.8), with QRESYNC any (RFC 7162 §3.2.4);
        // UIDFETCH has it already (RFC 9586 §3.3).
        let uid =
            ((numbering == Numbering::Uid || aware.qresync) && !aware.uid_only).then_some(FetchItem::Uid);
        let modseq = aware.condstore.then_some(FetchItem::ModSeq);
        for item in uid.into_iter().chain(items).chain(modseq) {
            match &item {
                FetchItem::Body | FetchItem::BodyStructure | FetchItem::Envelope => {
                    plan.columns = Columns::Summary
                }
                item => plan.bodies |= is_body_item(item),
            }
            plan.threads |= item == FetchItem::ThreadId;
            plan.sets_seen |= item.sets_seen();
            // Asked twice, told once: what one command costs does not grow with repetitions.
            if !plan.items.contains(&item) {
                plan.items.push(item);
            }
        }
        plan
    }

    /// The items that are made of a message's octets, but those that cannot be decoded; the others are measured before
    /// anything of the message is told.
    fn measure(
        &self,
        decoding: &mut Decoding,
        connection: &Connection,
        content: &mut Content<'_>,
    ) -> Result<Vec<(&FetchItem, Measured)>, Stop> {
        let mut bodies = Vec::new();
        for item in self.items.iter().filter(|item| is_body_item(item)) {
            bodies.extend(decoding.measure(connection, content, item)?.map(|measured| (item, measured)));
        }
        Ok(bodies)
    }
}

/// The places of a command that are still to be visited.
pub(crate) struct Remaining {
    places: VecDeque<Range<usize>>,
    /// Messages visited so far; those that are gone are not.
    pub(crate) visited: usize,
}

impl Remaining {
    pub(crate) fn new(places: Places) -> Self {
        Self { places: places.into(), visited: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.places.is_empty()
    }

    /// Visits messages in order until `each` breaks; the next call goes on behind the last one visited.
    pub(crate) fn visit(
        &mut self,
        selected: &Selected,
        reader: &Reader<'_>,
        columns: Columns,
        mut each: impl FnMut(usize, Message<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let Self { places, visited } = self;
        while let Some(range) = places.front_mut() {
            let mut broke = false;
            let uids = selected.told().get(range.clone()).unwrap_or_default();
            if let (Some(first), Some(last)) = (uids.first(), uids.last()) {
                let start = range.start;
                reader.fetch(selected.mailbox, *first..=*last, columns, |message| {
                    // Rows and places rise together, so the row is nearly always that of the next place.
                    let next = range.start - start;
                    let at = match uids.get(next) {
                        Some(uid) if *uid == message.uid => next,
                        Some(_) | None => match uids.binary_search(&message.uid) {
                            Ok(at) => at,
                            Err(_) => return ControlFlow::Continue(()),
                        },
                    };
                    range.start = start + at + 1;
                    *visited += 1;
                    let flow = each(start + at, message);
                    broke = flow.is_break();
                    flow
                })?;
            }
            if !broke || range.start >= range.end {
                places.pop_front();
            }
            if broke {
                break;
            }
        }
        Ok(())
    }
}

/// A message and its octets, taken out of the store.
#[derive(Debug)]
pub(crate) struct Row {
    place: usize,
    pub(crate) uid: Uid,
    pub(crate) flags: Flags,
    /// FETCH has set `\Seen`, so the flags are told although not asked for.
    pub(crate) newly_seen: bool,
    pub(crate) modseq: ModSeq,
    received: UnixSeconds,
    saved: Option<UnixSeconds>,
    size: u64,
    id: MessageId,
    thread: Option<ThreadId>,
    /// ENVELOPE, BODYSTRUCTURE, BODY.
    summary: Option<[Vec<u8>; 3]>,
    body: Option<Body>,
}

impl Row {
    fn take(place: usize, message: Message<'_>) -> Self {
        Self {
            place,
            uid: message.uid,
            flags: message.flags,
            newly_seen: false,
            modseq: message.modseq,
            received: message.received,
            saved: message.saved,
            size: message.size,
            id: message.id,
            thread: None,
            summary: message.summary.map(|Summary { envelope, bodystructure, body, .. }| {
                [envelope.to_vec(), bodystructure.to_vec(), body.to_vec()]
            }),
            body: None,
        }
    }
}

/// What FETCH tells of a message beside its octets.
struct Head<'a> {
    uid: Uid,
    flags: &'a Flags,
    modseq: ModSeq,
    received: UnixSeconds,
    saved: Option<UnixSeconds>,
    size: u64,
    id: MessageId,
    thread: Option<ThreadId>,
    summary: Option<[&'a [u8]; 3]>,
}

impl Session {
    pub(crate) fn fetch(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        items: Vec<FetchItem>,
        modifiers: FetchModifiers,
    ) -> Result<Reply, Stop> {
        if modifiers.vanished {
            self.tell_vanished(set, modifiers.changed_since)?;
        }
        let mut places = self.selected()?.resolve(set, numbering)?;
        if let Some(partial) = modifiers.partial {
            places = part_of(&places, partial.of(count(&places)));
            self.check_limit(count(&places))?;
        }
        let places = self.within_limit(places);
        self.fetch_places(numbering, places, items, modifiers.changed_since)
    }

    pub(crate) fn fetch_places(
        &mut self,
        numbering: Numbering,
        places: Places,
        items: Vec<FetchItem>,
        changed_since: Option<u64>,
    ) -> Result<Reply, Stop> {
        let asked = count(&places);
        let plan = Plan::new(items, numbering, changed_since, &self.aware);
        let mut decoding = Decoding::new(self.limits.search);
        let mut remaining = Remaining::new(places);
        while !remaining.is_done() {
            if plan.bodies {
                self.fetch_bodies(&plan, &mut decoding, &mut remaining)?;
            } else {
                self.fetch_rows(&plan, &mut remaining)?;
            }
            self.connection.flush_if_full()?;
        }
        if remaining.visited < asked && numbering == Numbering::Sequence {
            return Ok(some_were_expunged());
        }
        if decoding.met_unknown {
            return Ok(Reply::no("[UNKNOWN-CTE] a part is in an encoding that is not known"));
        }
        Ok(Reply::ok("FETCH completed"))
    }

    /// What the store keeps beside the octets: written straight from its rows.
    fn fetch_rows(&mut self, plan: &Plan, remaining: &mut Remaining) -> Result<(), Stop> {
        let Self { store, connection, selected, aware, .. } = self;
        let Some(selected) = selected else { return Ok(()) };
        let out = &mut connection.out;
        let mut rows = 0;
        store.read(&budget(), |reader| {
            let mut failed = Ok(());
            remaining.visit(selected, reader, plan.columns, |place, message| {
                rows += 1;
                if message.modseq <= plan.changed_since {
                    return if rows < ROWS_PER_SLICE {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    };
                }
                let thread = match plan.threads {
                    true => reader.thread_of(message.id),
                    false => Ok(None),
                };
                let thread = match thread {
                    Ok(thread) => thread,
                    Err(error) => {
                        failed = Err(error);
                        return ControlFlow::Break(());
                    }
                };
                let head = Head {
                    thread,
                    uid: message.uid,
                    flags: &message.flags,
                    modseq: message.modseq,
                    received: message.received,
                    saved: message.saved,
                    size: message.size,
                    id: message.id,
                    summary: message
                        .summary
                        .map(|summary| [summary.envelope, summary.bodystructure, summary.body]),
                };
                write_head(out, selected, aware, place, &head, &plan.items, false);
                out.extend_from_slice(b")\r\n");
                if out.len() >= OUTPUT_FULL { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            failed
        })?;
        Ok(())
    }

    /// With the messages' octets: a slice is taken out of the store first, then written.
    fn fetch_bodies(
        &mut self,
        plan: &Plan,
        decoding: &mut Decoding,
        remaining: &mut Remaining,
    ) -> Result<(), Stop> {
        let Self { store, selected, .. } = &*self;
        let Some(selected) = selected else { return Ok(()) };
        let mut rows = Vec::new();
        let (mut octets, mut looked_at) = (0, 0);
        store.read(&budget(), |reader| {
            remaining.visit(selected, reader, plan.columns, |place, message| {
                looked_at += 1;
                if message.modseq <= plan.changed_since {
                    let full = looked_at >= ROWS_PER_SLICE;
                    return if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                }
                octets += message.size;
                rows.push(Row::take(place, message));
                let full = octets >= OUTPUT_FULL as u64 || rows.len() >= BODIES_PER_SLICE;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            for row in &mut rows {
                row.body = reader.body(selected.mailbox, row.uid)?;
                if plan.threads {
                    row.thread = reader.thread_of(row.id)?;
                }
            }
            Ok(())
        })?;
        if plan.sets_seen {
            self.set_seen(&mut rows);
            self.absorb_changes()?;
        }
        let Self { connection, selected: Some(selected), aware, .. } = self else { return Ok(()) };
        for row in &rows {
            let Some(body) = &row.body else {
                remaining.visited -= 1;
                continue;
            };
            let mut content = Content::new(body);
            let bodies = plan.measure(decoding, connection, &mut content)?;
            if row.newly_seen {
                selected.flags_told(row.uid);
            } else if bodies.is_empty() && plan.items.iter().all(is_body_item) {
                continue;
            }
            let head = Head {
                uid: row.uid,
                flags: &row.flags,
                modseq: row.modseq,
                received: row.received,
                saved: row.saved,
                size: row.size,
                id: row.id,
                thread: row.thread,
                summary: row.summary.as_ref().map(|summary| summary.each_ref().map(Vec::as_slice)),
            };
            let mut first = write_head(
                &mut connection.out,
                selected,
                aware,
                row.place,
                &head,
                &plan.items,
                row.newly_seen,
            );
            for (item, measured) in bodies {
                if !std::mem::take(&mut first) {
                    connection.out.push(b' ');
                }
                match measured {
                    Measured::NotBinary => write_item(connection, &mut content, item)?,
                    measured => binary::write(connection, &content, item, &measured)?,
                }
            }
            connection.out.extend_from_slice(b")\r\n");
            connection.flush_if_full()?;
        }
        Ok(())
    }
}

/// The messages of `places` whose turn is in `turns`.
pub(crate) fn part_of(places: &Places, turns: Range<usize>) -> Places {
    let mut before = 0;
    let mut part = Places::new();
    for range in places {
        let from = range.start + turns.start.saturating_sub(before).min(range.len());
        let to = range.start + turns.end.saturating_sub(before).min(range.len());
        if from < to {
            part.push(from..to);
        }
        before += range.len();
    }
    part
}

fn is_body_item(item: &FetchItem) -> bool {
    match item {
        FetchItem::Binary { .. }
        | FetchItem::BinarySize { .. }
        | FetchItem::BodySection { .. }
        | FetchItem::Preview { .. }
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Text => true,
        FetchItem::Body
        | FetchItem::BodyStructure
        | FetchItem::EmailId
        | FetchItem::Envelope
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::ModSeq
        | FetchItem::Rfc822Size
        | FetchItem::SaveDate
        | FetchItem::ThreadId
        | FetchItem::Uid => false,
    }
}

/// `* 3 FETCH (` and every item that is not made of the message's octets. Whether there was none.
fn write_head(
    out: &mut Vec<u8>,
    selected: &Selected,
    aware: &mut Awareness,
    place: usize,
    head: &Head<'_>,
    items: &[FetchItem],
    add_flags: bool,
) -> bool {
    aware.begin_fetch(out, place, head.uid);
    let extra = (add_flags && !items.contains(&FetchItem::Flags)).then_some(&FetchItem::Flags);
    let mut first = true;
    for item in items.iter().chain(extra).filter(|item| !is_body_item(item)) {
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        match item {
            FetchItem::Uid => {
                out.extend_from_slice(b"UID ");
                response::number(out, u64::from(head.uid.value()));
            }
            FetchItem::Flags => {
                out.extend_from_slice(b"FLAGS ");
                write_flags(out, head.flags, selected.tells_recent(head.uid));
            }
            FetchItem::InternalDate => {
                out.extend_from_slice(b"INTERNALDATE ");
                response::date_time(out, head.received.0);
            }
            FetchItem::ModSeq => aware.write_modseq(out, head.modseq),
            FetchItem::SaveDate => {
                out.extend_from_slice(b"SAVEDATE ");
                match head.saved {
                    Some(saved) => response::date_time(out, saved.0),
                    None => out.extend_from_slice(b"NIL"),
                }
            }
            FetchItem::EmailId => {
                out.extend_from_slice(format!("EMAILID ({}{})", head.id, aware.id_suffix).as_bytes());
            }
            FetchItem::Rfc822Size => {
                out.extend_from_slice(b"RFC822.SIZE ");
                response::number(out, head.size);
            }
            FetchItem::ThreadId => {
                out.extend_from_slice(b"THREADID ");
                match head.thread {
                    Some(thread) => {
                        out.extend_from_slice(format!("({thread}{})", aware.id_suffix).as_bytes())
                    }
                    // Nobody has looked yet (RFC 8474 §5.2).
                    None => out.extend_from_slice(b"NIL"),
                }
            }
            FetchItem::Envelope => {
                out.extend_from_slice(b"ENVELOPE ");
                out.extend_from_slice(head.summary.map_or(UNKNOWN_ENVELOPE, |[envelope, _, _]| envelope));
            }
            FetchItem::BodyStructure => {
                out.extend_from_slice(b"BODYSTRUCTURE ");
                write_structure(out, head.summary.map(|[_, structure, _]| structure), head.size);
            }
            FetchItem::Body => {
                out.extend_from_slice(b"BODY ");
                write_structure(out, head.summary.map(|[_, _, structure]| structure), head.size);
            }
            FetchItem::Binary { .. }
            | FetchItem::BinarySize { .. }
            | FetchItem::BodySection { .. }
            | FetchItem::Preview { .. }
            | FetchItem::Rfc822
            | FetchItem::Rfc822Header
            | FetchItem::Rfc822Text => (),
        }
    }
    first
}

/// A message that was not looked into is one plain text; nobody has counted its lines.
pub(crate) fn write_structure(out: &mut Vec<u8>, structure: Option<&[u8]>, size: u64) {
    let Some(structure) = structure else {
        out.extend_from_slice(b"(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"UTF-8\") NIL NIL \"8BIT\" ");
        response::number(out, size);
        out.extend_from_slice(b" 0)");
        return;
    };
    out.extend_from_slice(structure);
}
