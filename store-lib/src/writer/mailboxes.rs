//! CREATE, DELETE, RENAME, SUBSCRIBE.

use super::Transaction;
use super::transaction::Delta;
use crate::change::{Event, NameChange};
use crate::name::SEPARATOR;
use crate::{Mailbox, MailboxId, MailboxName, Origin, SpecialUse, StoreError, Uid};

/// Mailboxes of an account.
const MAX_MAILBOXES: i64 = 10_000;

impl Transaction<'_> {
    /// Makes a mailbox, and those above it that are missing: every mailbox has its parents.
    pub(crate) fn create(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
        origin: Origin,
    ) -> Result<MailboxId, StoreError> {
        if self.named(name)?.is_some() {
            return Err(StoreError::MailboxExists);
        }
        let code = special_use.map(SpecialUse::code);
        let taken = "SELECT EXISTS (SELECT 1 FROM mailbox WHERE special_use = ?1)";
        if self.row(taken, [code], |row| row.get(0))? == Some(true) {
            return Err(StoreError::UseTaken);
        }
        self.create_parents(name, origin)?;
        let id = self.insert_mailbox(name, origin)?;
        self.execute("UPDATE mailbox SET special_use = ?2 WHERE id = ?1", (id.0, code))?;
        self.tell_mailboxes_changed(origin);
        Ok(id)
    }

    /// Removes a mailbox without others below it. Its messages are removed later, in slices.
    pub(crate) fn delete(&mut self, name: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        if name.is_inbox() {
            return Err(StoreError::NotAllowed);
        }
        let mailbox = self.named(name)?.ok_or(StoreError::NoSuchMailbox)?;
        if !self.below(name)?.is_empty() {
            return Err(StoreError::HasChildren);
        }
        self.execute("DELETE FROM mailbox WHERE id = ?1", [mailbox.id.0])?;
        self.execute("DELETE FROM metadata WHERE mailbox = ?1", [mailbox.id.0])?;
        self.execute("DELETE FROM access_key WHERE mailbox = ?1", [mailbox.id.0])?;
        self.execute("DELETE FROM acl WHERE mailbox = ?1", [mailbox.id.0])?;
        self.drop_usage(mailbox.counts)?;
        self.execute("INSERT INTO doomed (mailbox) VALUES (?1)", [mailbox.id.0])?;
        self.note_gone(&mailbox)?;
        self.effects.doomed = true;
        self.tell(mailbox.id, origin, Event::Deleted);
        self.tell_name(origin, NameChange::Deleted(name.clone()));
        self.tell_mailboxes_changed(origin);
        Ok(())
    }

    /// Renames a mailbox with all below it; subscriptions go along.
    pub(crate) fn rename(
        &mut self,
        from: &MailboxName,
        to: &MailboxName,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let mailbox = self.named(from)?.ok_or(StoreError::NoSuchMailbox)?;
        if self.named(to)?.is_some() {
            return Err(StoreError::MailboxExists);
        }
        if from.is_inbox() {
            return self.rename_inbox(&mailbox, to, origin);
        }
        if to.below(from).is_some() {
            return Err(StoreError::NotAllowed);
        }
        self.create_parents(to, origin)?;
        self.set_name(mailbox.id, from, to, origin)?;
        for (id, old) in self.below(from)? {
            let rest = old.below(from).unwrap_or_default();
            let new = MailboxName::parse(&format!("{to}{SEPARATOR}{rest}"));
            self.set_name(id, &old, &new.map_err(|_| StoreError::NotAllowed)?, origin)?;
        }
        self.tell_mailboxes_changed(origin);
        Ok(())
    }

    /// Moves the messages of INBOX to a new mailbox, with their UIDs; what is below INBOX stays (RFC 3501 §6.3.5).
    fn rename_inbox(&mut self, inbox: &Mailbox, to: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        self.create_parents(to, origin)?;
        let id = self.insert_mailbox(to, origin)?;
        let modseq = self.next_modseq();
        let uids: Vec<u32> = {
            let mut statement =
                self.connection.prepare_cached("SELECT uid FROM message WHERE mailbox = ?1")?;
            statement.query_map([inbox.id.0], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        let (old, new, modseq_column) = (inbox.id.0, id.0, modseq.0);
        self.execute(
            "INSERT INTO expunged (mailbox, modseq, uid) SELECT mailbox, ?2, uid FROM message WHERE mailbox = ?1",
            (old, modseq_column),
        )?;
        self.execute(
            "UPDATE message SET mailbox = ?2, modseq = ?3 WHERE mailbox = ?1",
            (old, new, modseq_column),
        )?;
        self.execute(
            "UPDATE mailbox SET (uidnext, recent_from, modseq, total, unseen, deleted, size, keywords) =
             (SELECT uidnext, recent_from, ?3, total, unseen, deleted, size, keywords FROM mailbox WHERE id = ?1)
             WHERE id = ?2",
            (old, new, modseq_column),
        )?;
        self.execute("UPDATE mailbox SET total = 0, unseen = 0, deleted = 0, size = 0 WHERE id = ?1", [old])?;
        self.save_mailbox(inbox, Delta::default(), modseq)?;
        for uid in uids.into_iter().filter_map(Uid::new) {
            self.tell(inbox.id, origin, Event::Expunged { uid, modseq });
        }
        self.tell_mailboxes_changed(origin);
        Ok(())
    }

    /// Adds or removes a subscription.
    pub(crate) fn set_subscribed(
        &mut self,
        name: &MailboxName,
        subscribed: bool,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let sql = if subscribed {
            "INSERT OR IGNORE INTO subscription (name) VALUES (?1)"
        } else {
            "DELETE FROM subscription WHERE name = ?1"
        };
        if self.execute(sql, [name.as_str()])? == 0 {
            return Ok(());
        }
        // Names need not exist, so the number of mailboxes does not bound them.
        let limit = "SELECT count(*) <= ?1 FROM subscription";
        if self.row(limit, [MAX_MAILBOXES], |row| row.get(0))? != Some(true) {
            return Err(StoreError::TooMany("subscriptions"));
        }
        self.tell_mailboxes_changed(origin);
        let change = if subscribed { NameChange::Subscribed } else { NameChange::Unsubscribed };
        self.tell_name(origin, change(name.clone()));
        Ok(())
    }

    fn named(&self, name: &MailboxName) -> Result<Option<Mailbox>, StoreError> {
        Mailbox::named(self.connection, name)
    }

    /// All mailboxes below a name.
    fn below(&self, name: &MailboxName) -> Result<Vec<(MailboxId, MailboxName)>, StoreError> {
        let all = Mailbox::all(self.connection)?.into_iter();
        Ok(all.filter(|one| one.name.below(name).is_some()).map(|one| (one.id, one.name)).collect())
    }

    fn create_parents(&mut self, name: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        let Some(parent) = name.parent() else { return Ok(()) };
        if self.named(&parent)?.is_none() {
            self.create_parents(&parent, origin)?; // at most as deep as a name may be
            self.insert_mailbox(&parent, origin)?;
        }
        Ok(())
    }

    fn insert_mailbox(&mut self, name: &MailboxName, origin: Origin) -> Result<MailboxId, StoreError> {
        if self.row("SELECT count(*) < ?1 FROM mailbox", [MAX_MAILBOXES], |row| row.get(0))? != Some(true) {
            return Err(StoreError::TooMany("mailboxes"));
        }
        let uidvalidity = self.next_uidvalidity()?;
        let modseq = self.next_modseq();
        let id = self.row(
            "INSERT INTO mailbox (name, uidvalidity, uidnext, recent_from, createseq, modseq)
             VALUES (?1, ?2, 1, 1, ?3, ?3) RETURNING id",
            (name.as_str(), uidvalidity, modseq.0),
            |row| row.get(0),
        )?;
        self.tell_name(origin, NameChange::Created(name.clone()));
        let id = id.map(MailboxId).ok_or_else(|| StoreError::damaged("a mailbox row was not inserted"))?;
        if let Some(parent) = name.parent() {
            self.inherit_rights(id, parent.as_str())?;
        }
        Ok(id)
    }

    fn set_name(
        &mut self,
        id: MailboxId,
        old: &MailboxName,
        new: &MailboxName,
        origin: Origin,
    ) -> Result<(), StoreError> {
        self.tell_name(origin, NameChange::Renamed { from: old.clone(), to: new.clone() });
        self.execute("UPDATE mailbox SET name = ?2 WHERE id = ?1", (id.0, new.as_str()))?;
        if self.execute("DELETE FROM subscription WHERE name = ?1", [old.as_str()])? > 0 {
            self.execute("INSERT OR IGNORE INTO subscription (name) VALUES (?1)", [new.as_str()])?;
        }
        Ok(())
    }
}
