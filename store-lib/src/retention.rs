//! Retention rules of mailboxes: how long messages stay, and what becomes of them then.

use crate::{MailboxName, Reader, Store, StoreError};

/// What becomes of a message that is old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is expunged; it can come back as any other that was.
    Expunge,
    /// It goes to the mailbox for deleted mail.
    Trash,
}

impl Then {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Expunge => 0,
            Self::Trash => 1,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::Expunge, Self::Trash].into_iter().find(|then| then.code() == code)
    }
}

/// The rule of one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days that a message stays: since it came in, and since it came into this mailbox.
    pub days: u32,
    /// And then.
    pub then: Then,
}

impl Store {
    /// Sets or removes the rule of a mailbox; at most 100 mailboxes have one. It is carried out in the background.
    /// [`StoreError::NotAllowed`]: from the trash into the trash.
    pub fn set_retention(&self, mailbox: &MailboxName, rule: Option<Retention>) -> Result<(), StoreError> {
        let mailbox = mailbox.clone();
        self.session(1, move |transaction| transaction.set_retention(&mailbox, rule))
    }
}

impl Reader<'_> {
    /// All rules, by the names of their mailboxes.
    pub fn retentions(&self) -> Result<Vec<(MailboxName, Retention)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, days, outcome FROM retention JOIN mailbox ON mailbox.id = retention.mailbox ORDER BY name",
        )?;
        let mut rows = statement.query(())?;
        let mut rules = Vec::new();
        while let Some(row) = rows.next()? {
            let damaged = || StoreError::damaged("a bad retention rule");
            let name = crate::read::text(row, 0)?.and_then(|name| MailboxName::parse(name).ok());
            let then = Then::from_code(row.get(2)?).ok_or_else(damaged)?;
            rules.push((name.ok_or_else(damaged)?, Retention { days: row.get(1)?, then }));
        }
        Ok(rules)
    }
}
