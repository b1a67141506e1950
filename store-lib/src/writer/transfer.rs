//! COPY, MOVE and EXPUNGE. Copies share the body; only its last message takes the body along.

use super::Transaction;
use super::filing::{Entry, PIECES};
use super::transaction::Delta;
use crate::change::Event;
use crate::{Copied, Counts, MailboxId, ModSeq, Origin, StoreError, SystemFlag, Uid};

/// Which messages a slice of EXPUNGE removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expunge {
    /// Those that still have `\Deleted`.
    Deleted,
    /// All that were named: undoing a COPY.
    Named,
    /// All that were named: a retention rule's.
    Old,
}

/// What becomes of the messages that are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Originals {
    /// COPY.
    Stay,
    /// MOVE.
    Go,
}

impl Transaction<'_> {
    /// One slice of a COPY or a MOVE.
    pub(crate) fn transfer(
        &mut self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        originals: Originals,
        origin: Origin,
    ) -> Result<Copied, StoreError> {
        self.mailbox(from)?;
        let mut target = self.mailbox(to)?;
        let modseq = self.next_modseq();
        let (mut added, mut removed) = (Delta::default(), Delta::default());
        let mut pairs = Vec::with_capacity(uids.len());
        for uid in uids {
            let Some((entry, _)) = self.entry(from, *uid)? else { continue };
            pairs.push((*uid, self.insert_message(&mut target, &entry, modseq, &mut added, origin)?));
            match originals {
                Originals::Stay => self.share_body(entry.body)?,
                Originals::Go => self.remove_message(from, *uid, &entry, modseq, &mut removed, origin)?,
            }
        }
        self.save_mailbox(&target, added, modseq)?;
        if originals == Originals::Go {
            // Read after the target was saved: both may be the same mailbox.
            let source = self.mailbox(from)?;
            self.save_mailbox(&source, removed, modseq)?;
        } else if !pairs.is_empty() {
            // MOVE adds nothing to what the account holds: it is how one makes room in it.
            self.check_quota()?;
        }
        Ok(Copied { uidvalidity: target.uidvalidity, pairs })
    }

    /// One slice of an EXPUNGE.
    pub(crate) fn expunge(
        &mut self,
        mailbox: MailboxId,
        uids: &[Uid],
        which: Expunge,
        origin: Origin,
    ) -> Result<Vec<(Uid, ModSeq)>, StoreError> {
        let mailbox = self.mailbox(mailbox)?;
        let mut delta = Delta::default();
        let mut used = None;
        let mut expunged = Vec::new();
        for uid in uids {
            let Some((entry, _)) = self.entry(mailbox.id, *uid)? else { continue };
            if which == Expunge::Deleted && !entry.flags.has(SystemFlag::Deleted) {
                continue;
            }
            let modseq = *used.get_or_insert_with(|| self.next_modseq());
            self.remove_message(mailbox.id, *uid, &entry, modseq, &mut delta, origin)?;
            match which {
                Expunge::Deleted | Expunge::Old => self.keep(mailbox.id, &entry)?,
                Expunge::Named => self.release_body(entry.body)?,
            }
            expunged.push((*uid, modseq));
        }
        if let Some(modseq) = used {
            self.save_mailbox(&mailbox, delta, modseq)?;
        }
        Ok(expunged)
    }

    /// Takes a message out of its mailbox and leaves a tombstone. The caller decides about the body.
    fn remove_message(
        &mut self,
        mailbox: MailboxId,
        uid: Uid,
        entry: &Entry,
        modseq: ModSeq,
        delta: &mut Delta,
        origin: Origin,
    ) -> Result<(), StoreError> {
        self.execute("DELETE FROM message WHERE mailbox = ?1 AND uid = ?2", (mailbox.0, uid.value()))?;
        self.execute(
            "INSERT INTO expunged (mailbox, modseq, uid) VALUES (?1, ?2, ?3)",
            (mailbox.0, modseq.0, uid.value()),
        )?;
        delta.remove(Counts::of(&entry.flags, entry.size))?;
        self.tell(mailbox, origin, Event::Expunged { uid, modseq });
        Ok(())
    }

    /// One message more has this body.
    fn share_body(&mut self, body: i64) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO shared (body, more) VALUES (?1, 1) ON CONFLICT (body) DO UPDATE SET more = more + 1",
            [body],
        )?;
        Ok(())
    }

    /// One message less has this body; without any it goes. A file goes after the commit.
    pub(super) fn release_body(&mut self, body: i64) -> Result<(), StoreError> {
        let more = self.row("SELECT more FROM shared WHERE body = ?1", [body], |row| row.get::<_, i64>(0))?;
        match more {
            Some(1) => {
                self.execute("DELETE FROM shared WHERE body = ?1", [body])?;
            }
            Some(_) => {
                self.execute("UPDATE shared SET more = more - 1 WHERE body = ?1", [body])?;
            }
            None => {
                self.remove_heading(body)?;
                let file: Option<Option<String>> =
                    self.row("DELETE FROM body WHERE id = ?1 RETURNING file", [body], |row| row.get(0))?;
                match file.flatten() {
                    Some(file) => {
                        self.execute("INSERT INTO unlinked (file) VALUES (?1)", [file])?;
                        self.effects.unlinked = true;
                    }
                    None => {
                        let (first, last) = (body * PIECES, body * PIECES + PIECES - 1);
                        self.execute("DELETE FROM octets WHERE id BETWEEN ?1 AND ?2", (first, last))?;
                    }
                }
            }
        }
        Ok(())
    }
}
