//! What the client has enabled, and what its answers look like then: mod-sequences (RFC 7162 §3.1, §3.2.4) and no sequence
//! numbers (RFC 9586).

use imapd::response::{self, Status};
use imapd::{Command, Extension, FetchItem, NotifyEvent, Numbering, SearchKey, SelectParameters, StatusItem};
use store_lib::{Columns, ModSeq, StoreError, Uid};

use crate::fetch::Remaining;
use crate::reply::{Reply, Stop};
use crate::selected::Selected;
use crate::session::Session;

/// Rows looked at in one read.
const ROWS_PER_SLICE: usize = 2000;

/// What the client has enabled, for as long as the session lasts.
#[derive(Debug)]
pub(crate) struct Awareness {
    /// CONDSTORE: every FETCH response has a MODSEQ.
    pub(crate) condstore: bool,
    /// QRESYNC: VANISHED instead of EXPUNGE, and a UID in every FETCH response.
    pub(crate) qresync: bool,
    /// UIDONLY: no sequence number either way.
    pub(crate) uid_only: bool,
    /// Behind every identifier of RFC 8474 that a guest is told: another account's objects have the same numbers as its own.
    pub(crate) id_suffix: String,
    /// The highest mod-sequence that this command's answers have shown.
    shown: ModSeq,
}

impl Default for Awareness {
    fn default() -> Self {
        let (condstore, qresync, uid_only) = (false, false, false);
        Self { condstore, qresync, uid_only, id_suffix: String::new(), shown: ModSeq::ZERO }
    }
}

impl Awareness {
    /// Of a session whose identifiers end so.
    pub(crate) fn with_ids(id_suffix: String) -> Self {
        Self { id_suffix, ..Self::default() }
    }

    /// Whether expunged messages are told by VANISHED, with their UIDs.
    pub(crate) fn tells_vanished(&self) -> bool {
        self.qresync || self.uid_only
    }

    /// `* 3 FETCH (`, or `* 17 UIDFETCH (`.
    pub(crate) fn begin_fetch(&self, out: &mut Vec<u8>, place: usize, uid: Uid) {
        out.extend_from_slice(b"* ");
        if self.uid_only {
            response::number(out, u64::from(uid.value()));
            out.extend_from_slice(b" UIDFETCH (");
        } else {
            response::number(out, place as u64 + 1);
            out.extend_from_slice(b" FETCH (");
        }
    }

    /// `MODSEQ (5)`
    pub(crate) fn write_modseq(&mut self, out: &mut Vec<u8>, modseq: ModSeq) {
        self.shown = self.shown.max(modseq);
        out.extend_from_slice(b"MODSEQ (");
        response::number(out, modseq.value());
        out.push(b')');
    }

    /// ` MODSEQ (5)`, if the client wants it.
    pub(crate) fn append_modseq(&mut self, out: &mut Vec<u8>, modseq: ModSeq) {
        if self.condstore {
            out.push(b' ');
            self.write_modseq(out, modseq);
        }
    }

    /// At the end of a command. A client takes the highest MODSEQ it saw for the one up to which it knows everything,
    /// unless it is told otherwise before the tagged answer (RFC 7162 §6): which it has to be while it is not told of
    /// everything before, such as messages expunged during FETCH.
    pub(crate) fn settle(&mut self, out: &mut Vec<u8>, selected: &Selected) {
        let known = selected.settled();
        if self.shown > known {
            tell_highest(out, known, "more changes are to be told");
        }
        self.shown = ModSeq::ZERO;
    }

    /// The tagged answer of this command tells the mod-sequence itself.
    pub(crate) fn forget_shown(&mut self) {
        self.shown = ModSeq::ZERO;
    }
}

/// `* OK [HIGHESTMODSEQ 5] text`
pub(crate) fn tell_highest(out: &mut Vec<u8>, modseq: ModSeq, text: &str) {
    response::untagged(out, Status::Ok, &format!("[HIGHESTMODSEQ {}] {text}", modseq.value()));
}

/// A number from the client. Above all that there will ever be none is.
pub(crate) fn modseq(value: u64) -> ModSeq {
    ModSeq::new(value).unwrap_or(ModSeq::MAX)
}

/// Whether the command tells the server that the client knows mod-sequences (RFC 7162 §3.1). SELECT and EXAMINE see
/// to it themselves, and are about another mailbox.
fn enables_condstore(command: &Command) -> bool {
    let enables = |extension: &Extension| matches!(extension, Extension::Condstore | Extension::Qresync);
    let asks = |items: &[StatusItem]| items.contains(&StatusItem::HighestModSeq);
    matches!(command, Command::Enable(extensions) if extensions.iter().any(enables))
        || matches!(command, Command::Fetch { items, modifiers, .. }
            if items.contains(&FetchItem::ModSeq) || modifiers.changed_since.is_some())
        || matches!(command, Command::Store { unchanged_since: Some(_), .. })
        || matches!(command, Command::Search { key, .. } if uses_modseq(key))
        || matches!(command, Command::Status { items, .. } if asks(items))
        || matches!(command, Command::Notify(notify) if notify.groups().iter().any(|group| {
            let items = group.events.iter().find_map(NotifyEvent::arrival_items);
            items.is_some_and(|items| items.contains(&FetchItem::ModSeq))
        }))
        || matches!(command, Command::List(list) if asks(&list.returns.status))
}

/// Whether the command has sequence numbers in it (RFC 9586 §3).
fn uses_sequence_numbers(command: &Command) -> bool {
    let is_number = |key: &SearchKey| matches!(key, SearchKey::Sequence(_));
    let has_matches = |parameters: &SelectParameters| {
        parameters.qresync.as_ref().is_some_and(|resync| resync.matches.is_some())
    };
    matches!(
        command,
        Command::Fetch { numbering: Numbering::Sequence, .. }
            | Command::Store { numbering: Numbering::Sequence, .. }
            | Command::Copy { numbering: Numbering::Sequence, .. }
            | Command::Move { numbering: Numbering::Sequence, .. }
            | Command::Search { numbering: Numbering::Sequence, .. }
            | Command::Sort { numbering: Numbering::Sequence, .. }
            | Command::Thread { numbering: Numbering::Sequence, .. }
    ) || matches!(command, Command::Search { key, .. } if key.any(&is_number))
        || matches!(command, Command::Sort { key, .. } | Command::Thread { key, .. } if key.any(&is_number))
        || matches!(command, Command::Select { parameters, .. } if has_matches(parameters))
        || matches!(command, Command::Examine { parameters, .. } if has_matches(parameters))
}

/// The answer to sequence numbers once UIDONLY is enabled (RFC 9586 §3).
pub(crate) fn uid_required() -> Reply {
    Reply::bad("[UIDREQUIRED] UIDONLY is enabled: say it with UIDs")
}

/// Whether a search has the key MODSEQ, and its answer therefore the highest one found.
pub(crate) fn uses_modseq(key: &SearchKey) -> bool {
    key.any(&|key| matches!(key, SearchKey::ModSeq(_)))
}

impl Session {
    /// Who has enabled UIDONLY has no use for sequence numbers, and is told so.
    pub(crate) fn check_numbering(&self, command: &Command) -> Result<(), Reply> {
        if self.aware.uid_only && uses_sequence_numbers(command) {
            return Err(uid_required());
        }
        Ok(())
    }

    /// From the first command on that shows that the client knows mod-sequences it is told them.
    pub(crate) fn note_awareness(&mut self, command: &Command) {
        if self.aware.condstore || !enables_condstore(command) {
            return;
        }
        self.aware.condstore = true;
        if let Some(selected) = &self.selected {
            tell_highest(&mut self.connection.out, selected.settled(), "from here on you are told");
        }
    }

    /// The highest mod-sequence of the messages at these rising places (RFC 7162 §3.1.6).
    pub(crate) fn highest_modseq(&mut self, places: &[usize]) -> Result<ModSeq, Stop> {
        let Some(selected) = &self.selected else { return Ok(ModSeq::ZERO) };
        let ranges = places.chunk_by(|place, next| place + 1 == *next);
        let ranges = ranges.filter_map(|run| Some(*run.first()?..run.last()? + 1)).collect();
        let mut remaining = Remaining::new(ranges);
        let mut highest = ModSeq::ZERO;
        while !remaining.is_done() {
            let mut rows = 0;
            self.read(|reader| -> Result<(), StoreError> {
                remaining.visit(selected, reader, Columns::Flags, |_, message| {
                    highest = highest.max(message.modseq);
                    rows += 1;
                    if rows < ROWS_PER_SLICE {
                        std::ops::ControlFlow::Continue(())
                    } else {
                        std::ops::ControlFlow::Break(())
                    }
                })
            })?;
        }
        self.aware.shown = self.aware.shown.max(highest);
        Ok(highest)
    }
}
