//! STORE (RFC 3501 §6.4.6).

use imapd::{Flag, MessageSet, Numbering, StoreAction, response};
use store_lib::{FlagChange, Flags, Keyword, SystemFlag};

use crate::fetch::Row;
use crate::reply::{Reply, Stop};
use crate::selected::write_flags;
use crate::session::Session;

/// Messages changed in one go; the answers to them leave before the next.
const MESSAGES_PER_SLICE: usize = 500;

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
        action: StoreAction,
        silent: bool,
        flags: &[Flag],
    ) -> Result<Reply, Stop> {
        let selected = self.writable()?;
        let mailbox = selected.mailbox;
        let uids = selected.uids_at(&selected.resolve(set, numbering)?);
        let flags = flags_of(flags)?;
        let mut missing = false;
        for slice in uids.chunks(MESSAGES_PER_SLICE) {
            let change = match action {
                StoreAction::Replace => FlagChange::Replace(flags.clone()),
                StoreAction::Add => FlagChange::Add(flags.clone()),
                StoreAction::Remove => FlagChange::Remove(flags.clone()),
            };
            let stored = self.store.change_flags(mailbox, slice, change, self.origin)?;
            missing |= stored.len() < slice.len();
            // Our own changes come back as events; taken in time, they do not crowd out those of others.
            self.absorb_changes()?;
            let Self { selected: Some(selected), connection, .. } = &mut *self else { break };
            for message in stored {
                selected.learn(&message.flags);
                selected.introduce(&mut connection.out);
                let Some(place) = selected.place(message.uid).filter(|_| !silent) else { continue };
                selected.flags_told(message.uid);
                let out = &mut connection.out;
                out.extend_from_slice(b"* ");
                response::number(out, place as u64 + 1);
                out.extend_from_slice(b" FETCH (");
                if numbering == Numbering::Uid {
                    out.extend_from_slice(b"UID ");
                    response::number(out, u64::from(message.uid.value()));
                    out.push(b' ');
                }
                out.extend_from_slice(b"FLAGS ");
                write_flags(out, &message.flags, selected.tells_recent(message.uid));
                out.extend_from_slice(b")\r\n");
            }
            connection.flush_if_full()?;
        }
        if missing && numbering == Numbering::Sequence {
            return Ok(some_were_expunged());
        }
        Ok(Reply::ok("STORE completed"))
    }

    /// Sets `\Seen` on messages whose bodies the client fetches. Reading goes on when it cannot be set: a full disk
    /// must not keep anyone from their mail.
    pub(crate) fn set_seen(&mut self, messages: &mut [Row]) {
        let Some(selected) = &self.selected else { return };
        let unseen: Vec<_> =
            messages.iter().filter(|row| !row.flags.has(SystemFlag::Seen)).map(|row| row.uid).collect();
        if selected.read_only || unseen.is_empty() {
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
                        row.newly_seen = true;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "messages that were read stay unseen"),
        }
    }
}
