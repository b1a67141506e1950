//! SETACL and DELETEACL.

use super::Transaction;
use crate::acl::{self, check_bounds};
use crate::{Grantee, MailboxId, RightsChange, StoreError};

impl Transaction<'_> {
    /// Changes what somebody may do with a mailbox.
    pub(crate) fn change_rights(
        &mut self,
        mailbox: MailboxId,
        who: Grantee,
        change: RightsChange,
    ) -> Result<(), StoreError> {
        self.mailbox(mailbox)?;
        let rights = acl::of(self.connection, mailbox, who)?.changed(change);
        if rights.is_empty() {
            let sql = "DELETE FROM acl WHERE mailbox = ?1 AND who = ?2";
            self.execute(sql, (mailbox.0, acl::who(who)))?;
            return Ok(());
        }
        let sql = "INSERT INTO acl (mailbox, who, rights) VALUES (?1, ?2, ?3)
                   ON CONFLICT (mailbox, who) DO UPDATE SET rights = excluded.rights";
        self.execute(sql, (mailbox.0, acl::who(who), acl::column(rights)))?;
        check_bounds(self.connection, mailbox)
    }

    /// A new mailbox has the rights of the one above it: who may make it there can use it.
    pub(super) fn inherit_rights(&mut self, mailbox: MailboxId, parent: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO acl (mailbox, who, rights) SELECT ?1, who, rights FROM acl
                   WHERE mailbox = (SELECT id FROM mailbox WHERE name = ?2)";
        if self.execute(sql, (mailbox.0, parent))? == 0 {
            return Ok(());
        }
        check_bounds(self.connection, mailbox)
    }
}
