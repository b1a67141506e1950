//! Who shares mailboxes with whom, on disk.

use std::collections::BTreeSet;

use ipc_proto::AccountId;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    Directory, Refusal,
    book::{Book, Principal},
    database::{for_each, id},
};

pub(super) const SCHEMA: &str = "
CREATE TABLE share (
    owner INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    principal INTEGER NOT NULL,
    PRIMARY KEY (owner, principal)
) STRICT, WITHOUT ROWID;
";

impl Directory {
    /// Keeps with whom an account shares something now.
    pub(crate) fn set_shares(&mut self, owner: AccountId, with: BTreeSet<Principal>) -> Result<(), Refusal> {
        let (known, before) = {
            let book = self.book.read();
            (book.account(owner).is_some(), book.shares_of(owner))
        };
        // One that was removed has nothing to share.
        if !known || before == with {
            return Ok(());
        }
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM share WHERE owner = ?1", [owner.number()])?;
        for principal in &with {
            transaction.execute(
                "INSERT INTO share (owner, principal) VALUES (?1, ?2)",
                params![owner.number(), column(*principal)],
            )?;
        }
        transaction.commit()?;
        self.book.write().set_shares(owner, with);
        Ok(())
    }
}

fn column(principal: Principal) -> u32 {
    match principal {
        Principal::Anyone => 0,
        Principal::Account(account) => account.number(),
    }
}

pub(super) fn read(database: &Connection, book: &mut Book) -> rusqlite::Result<()> {
    for_each(database, "SELECT owner, principal FROM share", |row| {
        let owner = id(row, 0)?;
        let principal = AccountId::new(row.get(1)?).map_or(Principal::Anyone, Principal::Account);
        let mut with = book.shares_of(owner);
        with.insert(principal);
        book.set_shares(owner, with);
        Ok(())
    })
}
