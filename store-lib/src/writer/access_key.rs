//! RESETKEY, and keys that are made when first needed.

use super::Transaction;
use crate::access_key::{OCTETS, random};
use crate::change::Event;
use crate::{MailboxId, Origin, StoreError};

impl Transaction<'_> {
    /// Another session may have made one meanwhile.
    pub(crate) fn access_key(&mut self, mailbox: MailboxId) -> Result<[u8; OCTETS], StoreError> {
        self.mailbox(mailbox)?;
        let sql = "INSERT OR IGNORE INTO access_key (mailbox, key) VALUES (?1, ?2)";
        self.execute(sql, (mailbox.0, random()?))?;
        let key = self.row("SELECT key FROM access_key WHERE mailbox = ?1", [mailbox.0], |row| row.get(0))?;
        key.ok_or_else(|| StoreError::damaged("an access key was not inserted"))
    }

    pub(crate) fn reset_access_key(&mut self, mailbox: MailboxId, origin: Origin) -> Result<(), StoreError> {
        self.mailbox(mailbox)?;
        let sql = "INSERT OR REPLACE INTO access_key (mailbox, key) VALUES (?1, ?2)";
        self.execute(sql, (mailbox.0, random()?))?;
        self.tell(mailbox, origin, Event::AccessKeyReset);
        Ok(())
    }

    pub(crate) fn remove_access_keys(&mut self, origin: Origin) -> Result<(), StoreError> {
        let with_key: Vec<i64> = {
            let mut statement = self.connection.prepare_cached("SELECT mailbox FROM access_key")?;
            statement.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        self.execute("DELETE FROM access_key", ())?;
        for mailbox in with_key {
            self.tell(MailboxId(mailbox), origin, Event::AccessKeyReset);
        }
        Ok(())
    }
}
