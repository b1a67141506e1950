//! STORE, and the mark behind `\Recent`.

use super::Transaction;
use super::filing::Entry;
use super::transaction::Delta;
use crate::change::Event;
use crate::{
    Conditional, Counts, FlagChange, Flags, MailboxId, ModSeq, Origin, StoreError, StoredFlags, Uid,
    UnixSeconds,
};

impl Transaction<'_> {
    /// One slice of a STORE. Messages that are gone are left out; those changed after `unchanged_since` are named.
    pub(crate) fn change_flags(
        &mut self,
        mailbox: MailboxId,
        uids: &[Uid],
        change: &FlagChange,
        unchanged_since: ModSeq,
        origin: Origin,
    ) -> Result<Conditional, StoreError> {
        let mut mailbox = self.mailbox(mailbox)?;
        let mut delta = Delta::default();
        let mut used = None;
        let mut done = Conditional::default();
        for uid in uids {
            let Some((entry, before)) = self.entry(mailbox.id, *uid)? else { continue };
            if before > unchanged_since {
                done.modified.push(*uid);
                continue;
            }
            let flags = change.apply(&entry.flags)?;
            if flags == entry.flags {
                done.stored.push(StoredFlags { uid: *uid, modseq: before, flags });
                continue;
            }
            self.note_keywords(&mut mailbox, &flags)?;
            let modseq = *used.get_or_insert_with(|| self.next_modseq());
            let (system, keywords) = flags.to_columns();
            self.execute(
                "UPDATE message SET modseq = ?3, flags = ?4, keywords = ?5 WHERE mailbox = ?1 AND uid = ?2",
                (mailbox.id.0, uid.value(), modseq.0, system, keywords),
            )?;
            delta.remove(Counts::of(&entry.flags, entry.size))?;
            delta.add(Counts::of(&flags, entry.size))?;
            self.tell(mailbox.id, origin, Event::Flags { uid: *uid, modseq, flags: flags.clone() });
            done.stored.push(StoredFlags { uid: *uid, modseq, flags });
        }
        if let Some(modseq) = used {
            self.save_mailbox(&mailbox, delta, modseq)?;
        }
        Ok(done)
    }

    /// Notes that a session was told of all messages below `uid`.
    pub(crate) fn claim_recent(&mut self, mailbox: MailboxId, uid: u32) -> Result<(), StoreError> {
        self.execute(
            "UPDATE mailbox SET recent_from = MAX(recent_from, ?2) WHERE id = ?1",
            (mailbox.0, uid),
        )?;
        Ok(())
    }

    /// A message's row and its modseq.
    pub(super) fn entry(&self, mailbox: MailboxId, uid: Uid) -> Result<Option<(Entry, ModSeq)>, StoreError> {
        let found = self.row(
            "SELECT flags, keywords, received, size, body, modseq FROM message WHERE mailbox = ?1 AND uid = ?2",
            (mailbox.0, uid.value()),
            |row| {
                let flags = Flags::from_columns(row.get(0)?, row.get_ref(1)?.as_str_or_null()?);
                let received = UnixSeconds(row.get(2)?);
                let size = row.get::<_, i64>(3)?.unsigned_abs();
                Ok((Entry { flags, received, size, body: row.get(4)? }, ModSeq(row.get(5)?)))
            },
        )?;
        Ok(found)
    }
}

impl FlagChange {
    fn apply(&self, flags: &Flags) -> Result<Flags, StoreError> {
        let mut flags = flags.clone();
        match self {
            Self::Add(more) => flags.add(more).map_err(|_| StoreError::TooMany("keywords on a message"))?,
            Self::Remove(less) => flags.remove(less),
            Self::Replace(new) => flags = new.clone(),
            Self::ReplaceAmong(new, scope) => {
                flags.remove(&scope.of(&flags.clone()));
                flags.add(&scope.of(new)).map_err(|_| StoreError::TooMany("keywords on a message"))?;
            }
        }
        Ok(flags)
    }
}
