//! Filing a message: delivery and APPEND.

use super::Transaction;
use super::transaction::Delta;
use super::transfer::Expunge;
use crate::change::Event;
use crate::stage::{IN_DATABASE, Octets};
use crate::{
    Counts, Delivered, DeliveryId, Filed, Flags, Mailbox, MailboxId, MailboxName, ModSeq, NewMessage, Origin,
    Staged, StoreError, Uid, UidValidity, UnixSeconds,
};

/// Small messages go in pieces of which four fill a page of 4096 octets: whole rows of 2 to 4 KiB would leave up to
/// half of each page empty. Larger ones spread over overflow pages, which are filled.
const SMALL_PIECE: usize = 1000;
const LARGE_PIECE: usize = 16 * 1024;
/// Row ids that a body's pieces may take.
pub(crate) const PIECES: i64 = 8;

const _: () = assert!(4 * LARGE_PIECE == IN_DATABASE);

/// Everything of a message's row but its place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) flags: Flags,
    pub(super) received: UnixSeconds,
    pub(super) size: u64,
    pub(super) body: i64,
}

impl Transaction<'_> {
    /// Files a delivery, or finds what became of the same one before.
    pub(crate) fn deliver(
        &mut self,
        id: DeliveryId,
        mailbox: &MailboxName,
        staged: &Staged,
        flags: &Flags,
        received: UnixSeconds,
    ) -> Result<Delivered, StoreError> {
        if let Some(filed) = delivered(self.connection, id)? {
            return Ok(Delivered { filed, repeat: true });
        }
        let mut mailbox = Mailbox::named(self.connection, mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        let filed = self.file(&mut mailbox, staged, flags, received, Origin::NONE)?;
        self.execute(
            "INSERT INTO delivered (id, at, mailbox, uidvalidity, uid, modseq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                id.0,
                UnixSeconds::now().0,
                filed.mailbox.0,
                filed.uidvalidity.value(),
                filed.uid.value(),
                filed.modseq.0,
            ),
        )?;
        Ok(Delivered { filed, repeat: false })
    }

    /// Files the messages that a session brought, and removes the one that they replace.
    pub(crate) fn append(
        &mut self,
        mailbox: MailboxId,
        messages: &[NewMessage],
        replaces: Option<(MailboxId, Uid)>,
        origin: Origin,
    ) -> Result<Vec<Filed>, StoreError> {
        let mut mailbox = self.mailbox(mailbox)?;
        let modseq = self.next_modseq();
        let mut delta = Delta::default();
        let mut filed = Vec::with_capacity(messages.len());
        for NewMessage { staged, flags, received } in messages {
            let entry = Entry {
                flags: flags.clone(),
                received: *received,
                size: staged.size(),
                body: self.insert_body(staged, *received)?,
            };
            let uid = self.insert_message(&mut mailbox, &entry, modseq, &mut delta, origin)?;
            filed.push(Filed { mailbox: mailbox.id, uidvalidity: mailbox.uidvalidity, uid, modseq });
        }
        self.save_mailbox(&mailbox, delta, modseq)?;
        if let Some((mailbox, uid)) = replaces
            && self.expunge(mailbox, &[uid], Expunge::Named, origin)?.is_empty()
        {
            return Err(StoreError::NoSuchMessage);
        }
        Ok(filed)
    }

    fn file(
        &mut self,
        mailbox: &mut Mailbox,
        staged: &Staged,
        flags: &Flags,
        received: UnixSeconds,
        origin: Origin,
    ) -> Result<Filed, StoreError> {
        let body = self.insert_body(staged, received)?;
        let modseq = self.next_modseq();
        let mut delta = Delta::default();
        let entry = Entry { flags: flags.clone(), received, size: staged.size(), body };
        let uid = self.insert_message(mailbox, &entry, modseq, &mut delta, origin)?;
        self.save_mailbox(mailbox, delta, modseq)?;
        self.check_quota()?;
        Ok(Filed { mailbox: mailbox.id, uidvalidity: mailbox.uidvalidity, uid, modseq })
    }

    pub(super) fn insert_body(&mut self, staged: &Staged, received: UnixSeconds) -> Result<i64, StoreError> {
        let id = self.next_body();
        self.effects.filed += 1;
        self.effects.octets = self.effects.octets.saturating_add(staged.size());
        let file = match &staged.octets {
            Octets::Memory(_) => None,
            Octets::File(file) => Some(file.name.as_str()),
        };
        let summary = staged.summary.as_ref();
        self.execute(
            "INSERT INTO body (id, size, hash, file, prefix, parts, body, bodystructure, envelope)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                id,
                column(staged.size())?,
                staged.hash.as_bytes(),
                file,
                &staged.prefix,
                summary.map(|rendered| &rendered.parts),
                summary.map(|rendered| &rendered.body),
                summary.map(|rendered| &rendered.bodystructure),
                summary.map(|rendered| &rendered.envelope),
            ),
        )?;
        if let Some(rendered) = summary {
            self.insert_heading(id, &rendered.order, Some(received))?;
            self.assign_thread(id, &rendered.order, received.0)?;
        }
        if let Octets::Memory(octets) = &staged.octets {
            let piece = if octets.len() <= 4 * SMALL_PIECE { SMALL_PIECE } else { LARGE_PIECE };
            for (place, piece) in (id * PIECES..).zip(octets.chunks(piece)) {
                self.execute("INSERT INTO octets (id, piece) VALUES (?1, ?2)", (place, piece))?;
            }
        }
        Ok(id)
    }

    /// Gives the entry the next UID of the mailbox, counts it and tells the watchers. The caller saves the mailbox.
    pub(super) fn insert_message(
        &mut self,
        mailbox: &mut Mailbox,
        entry: &Entry,
        modseq: ModSeq,
        delta: &mut Delta,
        origin: Origin,
    ) -> Result<Uid, StoreError> {
        let uid = Uid::new(mailbox.uidnext).filter(|uid| *uid != Uid::MAX);
        let uid = uid.ok_or(StoreError::TooMany("messages in this mailbox"))?;
        mailbox.uidnext += 1;
        self.insert_message_as(mailbox, uid, entry, modseq, delta, origin)
    }

    /// The same with a UID that no message of the mailbox has or had.
    pub(super) fn insert_message_as(
        &mut self,
        mailbox: &mut Mailbox,
        uid: Uid,
        entry: &Entry,
        modseq: ModSeq,
        delta: &mut Delta,
        origin: Origin,
    ) -> Result<Uid, StoreError> {
        self.note_keywords(mailbox, &entry.flags)?;
        let (system, keywords) = entry.flags.to_columns();
        self.execute(
            "INSERT INTO message (mailbox, uid, modseq, createseq, flags, keywords, received, size, body, saved)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                mailbox.id.0,
                uid.value(),
                modseq.0,
                system,
                keywords,
                entry.received.0,
                column(entry.size)?,
                entry.body,
                UnixSeconds::now().0,
            ),
        )?;
        delta.add(Counts::of(&entry.flags, entry.size))?;
        self.tell(mailbox.id, origin, Event::Appended { uid, modseq, flags: entry.flags.clone() });
        Ok(uid)
    }
}

/// What became of a delivery, if it is known.
pub(crate) fn delivered(
    connection: &rusqlite::Connection,
    id: DeliveryId,
) -> Result<Option<Filed>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT mailbox, uidvalidity, uid, modseq FROM delivered WHERE id = ?1")?;
    let mut rows = statement.query([id.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let damaged = || StoreError::damaged("delivered row with a bad number");
    Ok(Some(Filed {
        mailbox: MailboxId(row.get(0)?),
        uidvalidity: UidValidity::new(row.get(1)?).ok_or_else(damaged)?,
        uid: Uid::new(row.get(2)?).ok_or_else(damaged)?,
        modseq: ModSeq(row.get(3)?),
    }))
}

fn column(octets: u64) -> Result<i64, StoreError> {
    i64::try_from(octets).map_err(|_| StoreError::TooMany("octets"))
}
