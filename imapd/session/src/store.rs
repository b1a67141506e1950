//! STORE (RFC 3501 §6.4.6).

use imapd::{Flag, MessageSet, NumberSet, Numbering, StoreAction, response};
use store_lib::{FlagChange, Flags, Keyword, ModSeq, SystemFlag};

use crate::fetch::Row;
use crate::reply::{Reply, Stop};
use crate::selected::write_flags;
use crate::session::Session;
use crate::sync::modseq;

/// Messages changed in one go; the answers to them leave before the next.
const MESSAGES_PER_SLICE: usize = 500;

/// How STORE changes flags.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storing {
    pub(crate) action: StoreAction,
    /// The client does not want to be told.
    pub(crate) silent: bool,
    /// Only of messages that were not changed later.
    pub(crate) unchanged_since: Option<u64>,
}

/// The store's flags for those of a command.
pub(crate) fn flags_of(flags: &[Flag]) -> Result<Flags, Reply> {
    let mut found = Flags::NONE;
    for flag in flags {
        match flag {
            Flag::Answered => found = found.with(SystemFlag::Answered),
            Flag::Flagged => found = found.with(SystemFlag::Flagged),
            Flag::Deleted => found = found.with(SystemFlag::Deleted),
            Flag::Seen => found = found.with(SystemFlag::Seen),
            Flag::Draft => found = found.with(SystemFlag::Draft),
            Flag::Keyword(word) => {
                let added = Keyword::parse(word).and_then(|keyword| found.add_keyword(keyword));
                added.map_err(|error| Reply::no(format!("[LIMIT] {error}")))?;
            }
        }
    }
    Ok(found)
}

/// Some of the messages asked for are expunged, which the client could not know yet (RFC 2180 §4.2, RFC 5530 §3).
pub(crate) fn some_were_expunged() -> Reply {
    Reply::no("[EXPUNGEISSUED] some of these messages are expunged")
}

impl Session {
    pub(crate) fn store_flags(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        how: Storing,
        flags: &[Flag],
    ) -> Result<Reply, Stop> {
        let selected = self.writable()?;
        let mailbox = selected.mailbox;
        let places = selected.resolve(set, numbering)?;
        let places = self.within_limit(places);
        let uids = self.selected()?.uids_at(&places);
        let flags = flags_of(flags)?;
        let scope = self.flag_scope(mailbox)?;
        let unchanged_since = how.unchanged_since.map_or(ModSeq::MAX, modseq);
        let (mut missing, mut seen_to) = (false, 0);
        let mut modified = NumberSet::default();
        for slice in uids.chunks(MESSAGES_PER_SLICE) {
            let change = match how.action {
                StoreAction::Replace if !scope.is_everything() => {
                    FlagChange::ReplaceAmong(flags.clone(), scope)
                }
                StoreAction::Replace => FlagChange::Replace(flags.clone()),
                StoreAction::Add => FlagChange::Add(flags.clone()),
                StoreAction::Remove => FlagChange::Remove(flags.clone()),
            };
            let done = self.store.change_flags_since(mailbox, slice, change, unchanged_since, self.origin)?;
            missing |= done.stored.len() + done.modified.len() < slice.len();
            // Our own changes come back as events; taken in time, they do not crowd out those of others.
            self.absorb_changes()?;
            let Self { selected: Some(selected), connection, aware, .. } = &mut *self else { break };
            for place in done.modified.iter().filter_map(|uid| selected.place(*uid)) {
                modified.push(selected.number_at(place, numbering));
            }
            for message in done.stored {
                selected.learn(&message.flags);
                selected.introduce(&mut connection.out);
                // Whoever keeps mod-sequences is told those at least (RFC 7162 §3.1.3).
                let tells = !how.silent || aware.condstore;
                let Some(place) = selected.place(message.uid).filter(|_| tells) else { continue };
                // Flags that another session changed are owed although this STORE is silent.
                let silent = how.silent && !selected.owes_flags(message.uid);
                selected.flags_told(message.uid);
                let out = &mut connection.out;
                aware.begin_fetch(out, place, message.uid);
                let mut before: &[u8] = b"";
                if (numbering == Numbering::Uid || aware.qresync) && !aware.uid_only {
                    out.extend_from_slice(b"UID ");
                    response::number(out, u64::from(message.uid.value()));
                    before = b" ";
                }
                if !silent {
                    out.extend_from_slice(before);
                    out.extend_from_slice(b"FLAGS ");
                    write_flags(out, &message.flags, selected.tells_recent(message.uid));
                    before = b" ";
                }
                if aware.condstore {
                    out.extend_from_slice(before);
                    aware.write_modseq(out, message.modseq);
                }
                out.extend_from_slice(b")\r\n");
            }
            connection.flush_if_full()?;
            seen_to += slice.len();
            self.report_progress(seen_to, uids.len())?;
        }
        let missing = missing && numbering == Numbering::Sequence;
        if !modified.is_empty() {
            let mut code = b"[MODIFIED ".to_vec();
            response::number_set(&mut code, &modified);
            let code = String::from_utf8(code).unwrap_or_default();
            return Ok(if missing {
                Reply::no(format!("{code}] some were changed, others are expunged"))
            } else {
                Reply::ok(format!("{code}] some were changed"))
            });
        }
        Ok(if missing { some_were_expunged() } else { Reply::ok("STORE completed") })
    }

    /// Sets `\Seen` on messages whose bodies the client fetches. Reading goes on when it cannot be set: a full disk
    /// must not keep anyone from their mail.
    pub(crate) fn set_seen(&mut self, messages: &mut [Row]) {
        let Some(selected) = &self.selected else { return };
        let unseen: Vec<_> =
            messages.iter().filter(|row| !row.flags.has(SystemFlag::Seen)).map(|row| row.uid).collect();
        let may = self.flag_scope(selected.mailbox).is_ok_and(|scope| scope.seen);
        if selected.read_only || unseen.is_empty() || !may {
            return;
        }
        let change = FlagChange::Add(Flags::NONE.with(SystemFlag::Seen));
        match self.store.change_flags(selected.mailbox, &unseen, change, self.origin) {
            Ok(stored) => {
                for row in messages {
                    if let Ok(at) = stored.binary_search_by_key(&row.uid, |stored| stored.uid)
                        && let Some(stored) = stored.get(at)
                    {
                        row.flags = stored.flags.clone();
                        row.modseq = stored.modseq;
                        row.newly_seen = true;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "messages that were read stay unseen"),
        }
    }
}
