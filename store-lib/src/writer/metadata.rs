//! SETMETADATA.

use super::Transaction;
use crate::change::{Change, Event, Published};
use crate::metadata::check_bounds;
use crate::{
    Annotated, EntryName, MAX_METADATA_VALUE, MailboxId, MetadataChange, Origin, SpecialUse, StoreError,
};

impl Transaction<'_> {
    /// All changes or, with an `Err`, none (RFC 5464 §4.3).
    pub(crate) fn set_metadata(
        &mut self,
        of: Annotated,
        changes: &[MetadataChange],
        origin: Origin,
    ) -> Result<(), StoreError> {
        if let Annotated::Mailbox(id) = of {
            self.mailbox(id)?;
        }
        for change in changes {
            match (change, of) {
                (MetadataChange::Entry(name, value), _) => {
                    if self.set_entry(of, name, value.as_deref())? {
                        self.tell_metadata(of, name, origin);
                    }
                }
                (MetadataChange::SpecialUse(special_use), Annotated::Mailbox(id)) => {
                    self.set_special_use(id, *special_use, origin)?;
                }
                (MetadataChange::SpecialUse(_), Annotated::Server) => return Err(StoreError::NotAllowed),
            }
        }
        check_bounds(self.connection, of)
    }

    /// Whether anything is different now.
    fn set_entry(
        &mut self,
        of: Annotated,
        name: &EntryName,
        value: Option<&[u8]>,
    ) -> Result<bool, StoreError> {
        let Some(value) = value else {
            let sql = "DELETE FROM metadata WHERE mailbox = ?1 AND entry = ?2";
            return Ok(self.execute(sql, (of.column(), name.as_str()))? > 0);
        };
        if value.len() > MAX_METADATA_VALUE {
            return Err(StoreError::TooLarge { limit: MAX_METADATA_VALUE as u64 });
        }
        let sql = "INSERT INTO metadata (mailbox, entry, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT (mailbox, entry) DO UPDATE SET value = excluded.value WHERE value <> excluded.value";
        Ok(self.execute(sql, (of.column(), name.as_str(), value))? > 0)
    }

    /// At most one mailbox has a use, and INBOX none.
    fn set_special_use(
        &mut self,
        id: MailboxId,
        special_use: Option<SpecialUse>,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let mailbox = self.mailbox(id)?;
        if mailbox.special_use == special_use {
            return Ok(());
        }
        if mailbox.name.is_inbox() {
            return Err(StoreError::NotAllowed);
        }
        let code = special_use.map(SpecialUse::code);
        let taken = "SELECT EXISTS (SELECT 1 FROM mailbox WHERE special_use = ?1)";
        if self.row(taken, [code], |row| row.get(0))? == Some(true) {
            return Err(StoreError::UseTaken);
        }
        self.execute("UPDATE mailbox SET special_use = ?2 WHERE id = ?1", (id.0, code))?;
        if let Ok(name) = EntryName::parse(EntryName::SPECIAL_USE.as_bytes()) {
            self.tell_metadata(Annotated::Mailbox(id), &name, origin);
        }
        self.tell_mailboxes_changed(origin);
        Ok(())
    }

    fn tell_metadata(&mut self, of: Annotated, entry: &EntryName, origin: Origin) {
        let mailbox = match of {
            Annotated::Server => None,
            Annotated::Mailbox(id) => Some(id),
        };
        let change = Change { origin, event: Event::Metadata { of, entry: entry.clone() } };
        self.effects.events.push(Published { mailbox, change });
    }
}
