//! Filing messages from elsewhere.

use super::Transaction;
use super::filing::Entry;
use super::transaction::Delta;
use crate::import::{Import, ImportMessage, ImportTarget, Imported};
use crate::{
    Flags, MAX_KEYWORDS_PER_MAILBOX, Mailbox, MailboxId, Origin, SpecialUse, StoreError, Uid, UnixSeconds,
};

/// UIDs beyond the source's UIDNEXT that are left to it: for mail that still comes in there until nobody uses it.
const UIDS_LEFT: u32 = 65_536;
/// A UIDVALIDITY from here on is not taken over: those of later mailboxes have to be above.
const HIGHEST_VALIDITY: u32 = 0xf000_0000;
/// Keys that are forgotten at once.
const FORGET_AT_ONCE: i64 = 10_000;

impl Transaction<'_> {
    pub(crate) fn begin_import(&mut self, target: &ImportTarget) -> Result<Import, StoreError> {
        let id = match Mailbox::named(self.connection, &target.mailbox)? {
            Some(mailbox) => mailbox.id,
            None => self.create(&target.mailbox, None, Origin::NONE)?,
        };
        if let Some(special_use) = target.special_use {
            self.give_use(id, special_use)?;
        }
        if target.subscribed {
            self.set_subscribed(&target.mailbox, true, Origin::NONE)?;
        }
        let mailbox = self.mailbox(id)?;
        let find = "SELECT id, uid_limit FROM import_source WHERE mailbox = ?1 AND name = ?2";
        let found = self.row(find, (id.0, &target.source), |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some((source, uid_limit)) = found {
            let same = target.uids.is_some_and(|(validity, _)| validity == mailbox.uidvalidity.value());
            let uid_limit: Option<u32> = uid_limit;
            return Ok(Import { source, mailbox: id, uid_limit: uid_limit.filter(|_| same) });
        }
        let uid_limit = match target.uids {
            Some((validity, next)) => self.take_over_uids(&mailbox, validity, next)?,
            None => None,
        };
        let insert = "INSERT INTO import_source (mailbox, name, uid_limit) VALUES (?1, ?2, ?3) RETURNING id";
        let source = self.row(insert, (id.0, &target.source, uid_limit), |row| row.get(0))?;
        let source = source.ok_or_else(|| StoreError::damaged("a source's row was not inserted"))?;
        Ok(Import { source, mailbox: id, uid_limit })
    }

    /// Unless the mailbox has one, or another mailbox that ever had a message has this one.
    fn give_use(&mut self, mailbox: MailboxId, special_use: SpecialUse) -> Result<(), StoreError> {
        let has = "SELECT special_use IS NOT NULL FROM mailbox WHERE id = ?1";
        if self.row(has, [mailbox.0], |row| row.get(0))? != Some(false) {
            return Ok(());
        }
        let code = special_use.code();
        self.execute("UPDATE mailbox SET special_use = NULL WHERE special_use = ?1 AND uidnext = 1", [code])?;
        let given = self.execute(
            "UPDATE mailbox SET special_use = ?2
             WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM mailbox WHERE special_use = ?2)",
            (mailbox.0, code),
        )?;
        if given > 0 {
            self.tell_mailboxes_changed(Origin::NONE);
        }
        Ok(())
    }

    /// Gives a mailbox that never had a message the UIDVALIDITY of the source, if no other that had one has it: the first UID that is not
    /// the source's. `None`: it keeps its own.
    fn take_over_uids(
        &mut self,
        mailbox: &Mailbox,
        validity: u32,
        next: u32,
    ) -> Result<Option<u32>, StoreError> {
        let Some(limit) = next.checked_add(UIDS_LEFT).filter(|limit| *limit < HIGHEST_VALIDITY) else {
            return Ok(None);
        };
        if mailbox.uidnext != 1 || validity == 0 || validity >= HIGHEST_VALIDITY {
            return Ok(None);
        }
        self.raise_uidvalidity(validity);
        // Accounts that are made at about the same time have the same ones. One that no message ever had can go.
        let other = "SELECT id, uidnext FROM mailbox WHERE uidvalidity = ?1 AND id <> ?2";
        let other = self.row(other, (validity, mailbox.id.0), |row| Ok((row.get(0)?, row.get(1)?)))?;
        match other {
            None => {}
            Some((id, 1)) => {
                let (id, new): (i64, u32) = (id, self.next_uidvalidity()?);
                self.execute("UPDATE mailbox SET uidvalidity = ?2 WHERE id = ?1", (id, new))?;
            }
            Some(_) => return Ok(None),
        }
        self.execute(
            "UPDATE mailbox SET uidvalidity = ?2, uidnext = ?3 WHERE id = ?1",
            (mailbox.id.0, validity, limit),
        )?;
        self.tell_mailboxes_changed(Origin::NONE);
        Ok(Some(limit))
    }

    /// `true`: there is more to forget.
    pub(crate) fn forget_imported(&mut self, import: Import) -> Result<bool, StoreError> {
        let sql = "DELETE FROM imported WHERE (source, key) IN
                   (SELECT source, key FROM imported WHERE source = ?1 LIMIT ?2)";
        let forgotten = self.execute(sql, (import.source, FORGET_AT_ONCE))?;
        Ok(i64::try_from(forgotten) == Ok(FORGET_AT_ONCE))
    }

    pub(crate) fn import(
        &mut self,
        import: Import,
        messages: &[ImportMessage],
        origin: Origin,
    ) -> Result<Vec<Imported>, StoreError> {
        let mut mailbox = self.mailbox(import.mailbox)?;
        let modseq = self.next_modseq();
        let mut delta = Delta::default();
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            let note = "INSERT OR IGNORE INTO imported (source, key) VALUES (?1, ?2)";
            if self.execute(note, (import.source, message.key.0))? == 0 {
                outcomes.push(Imported::Known);
                continue;
            }
            let received = sayable(message.received);
            let body = self.insert_body(&message.staged, received)?;
            let flags = fitting(&mailbox, &message.flags)?;
            let entry = Entry { flags, received, size: message.staged.size(), body };
            let asked = self.free_uid(import, message.uid)?;
            let uid = match asked {
                Some(uid) => self.insert_message_as(&mut mailbox, uid, &entry, modseq, &mut delta, origin)?,
                None => self.insert_message(&mut mailbox, &entry, modseq, &mut delta, origin)?,
            };
            outcomes.push(Imported::Filed { uid, as_asked: message.uid.is_none_or(|asked| asked == uid) });
        }
        self.save_mailbox(&mailbox, delta, modseq)?;
        Ok(outcomes)
    }

    /// The UID that was asked for, if it is one of the source's and no message has or had it.
    fn free_uid(&self, import: Import, asked: Option<Uid>) -> Result<Option<Uid>, StoreError> {
        let (Some(limit), Some(uid)) = (import.uid_limit, asked) else { return Ok(None) };
        if uid.value() >= limit {
            return Ok(None);
        }
        let used = "SELECT EXISTS (SELECT 1 FROM message WHERE mailbox = ?1 AND uid = ?2)
                    OR EXISTS (SELECT 1 FROM expunged WHERE mailbox = ?1 AND uid = ?2)";
        let used = self.row(used, (import.mailbox.0, uid.value()), |row| row.get(0))?;
        Ok((used == Some(false)).then_some(uid))
    }
}

/// The flags without keywords that the mailbox has no room for.
fn fitting(mailbox: &Mailbox, flags: &Flags) -> Result<Flags, StoreError> {
    let mut room = MAX_KEYWORDS_PER_MAILBOX.saturating_sub(mailbox.keywords.len());
    let mut left_out = Flags::NONE;
    for keyword in flags.keywords() {
        if mailbox.keywords.contains(keyword) {
            continue;
        }
        if room == 0 {
            left_out.add_keyword(keyword.clone()).map_err(|_| StoreError::TooMany("keywords"))?;
        } else {
            room -= 1;
        }
    }
    let mut fitting = flags.clone();
    fitting.remove(&left_out);
    Ok(fitting)
}

/// Forgets a slice of what came from elsewhere into a mailbox that is gone. `true`: there may be more.
pub(super) fn forget_sources(transaction: &mut Transaction<'_>, mailbox: i64) -> Result<bool, StoreError> {
    let find = "SELECT id, uid_limit FROM import_source WHERE mailbox = ?1 LIMIT 1";
    let Some(source) = transaction.row(find, [mailbox], |row| row.get::<_, i64>(0))? else {
        return Ok(false);
    };
    let import = Import { source, mailbox: MailboxId(mailbox), uid_limit: None };
    if !transaction.forget_imported(import)? {
        transaction.execute("DELETE FROM import_source WHERE id = ?1", [source])?;
    }
    Ok(true)
}

/// Times from elsewhere may be anything; IMAP can say those of the years 1 to 9999.
fn sayable(received: UnixSeconds) -> UnixSeconds {
    UnixSeconds(received.0.clamp(-62_135_596_800, 253_402_300_799))
}
