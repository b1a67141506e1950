//! What is known about a mailbox.

use rusqlite::{Connection, Params, Row};

use crate::flag::{Flags, Keyword};
use crate::{MailboxId, MailboxName, ModSeq, SpecialUse, StoreError, SystemFlag, UidValidity};

/// One mailbox as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// For all other calls.
    pub id: MailboxId,
    /// At present.
    pub name: MailboxName,
    /// Of its UIDs.
    pub uidvalidity: UidValidity,
    /// The UID that the next message gets. One above the highest UID is given out, then the mailbox is full.
    pub uidnext: u32,
    /// When it was made, in the order of changes.
    pub createseq: ModSeq,
    /// Of the latest change in it (HIGHESTMODSEQ).
    pub modseq: ModSeq,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whether its name is subscribed.
    pub subscribed: bool,
    /// Changed in the same transaction as the messages.
    pub counts: Counts,
    /// All keywords that its messages ever had, for FLAGS and PERMANENTFLAGS.
    pub keywords: Vec<Keyword>,
    /// Messages with this UID and above were not yet told to any session (`\Recent`).
    pub recent_from: u32,
    /// Up to this change not all expunged messages are known any more.
    pub(crate) expunged_from: ModSeq,
}

/// How many messages a mailbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Without `\Seen`.
    pub unseen: u64,
    /// With `\Deleted`.
    pub deleted: u64,
    /// Octets of all, prefixes included.
    pub size: u64,
}

impl Counts {
    /// What one message adds.
    pub(crate) fn of(flags: &Flags, size: u64) -> Self {
        Self {
            total: 1,
            unseen: u64::from(!flags.has(SystemFlag::Seen)),
            deleted: u64::from(flags.has(SystemFlag::Deleted)),
            size,
        }
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, uidvalidity, uidnext, createseq, modseq, special_use, ",
            "EXISTS (SELECT 1 FROM subscription WHERE subscription.name = mailbox.name), ",
            "total, unseen, deleted, size, keywords, recent_from, expunged_from FROM mailbox ",
            $rest
        )
    };
}

impl Mailbox {
    pub(crate) fn all(connection: &Connection) -> Result<Vec<Self>, StoreError> {
        let mut statement = connection.prepare_cached(select!("ORDER BY name"))?;
        let mut rows = statement.query(())?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Self::from_row(row)?);
        }
        Ok(all)
    }

    pub(crate) fn named(connection: &Connection, name: &MailboxName) -> Result<Option<Self>, StoreError> {
        Self::one(connection, select!("WHERE name = ?1"), [name.as_str()])
    }

    pub(crate) fn with_id(connection: &Connection, id: MailboxId) -> Result<Option<Self>, StoreError> {
        Self::one(connection, select!("WHERE id = ?1"), [id.0])
    }

    fn one(connection: &Connection, sql: &str, params: impl Params) -> Result<Option<Self>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(Self::from_row).transpose()
    }

    fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::damaged(format!("mailbox row with a bad {what}"));
        let count = |column: usize| -> Result<u64, StoreError> {
            u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged("count"))
        };
        let name = MailboxName::parse(row.get_ref(1)?.as_str().map_err(|_| damaged("name"))?);
        let keywords: Option<String> = row.get(12)?;
        Ok(Self {
            id: MailboxId(row.get(0)?),
            name: name.map_err(|_| damaged("name"))?,
            uidvalidity: UidValidity::new(row.get(2)?).ok_or_else(|| damaged("uidvalidity"))?,
            uidnext: row.get(3)?,
            createseq: ModSeq(row.get(4)?),
            modseq: ModSeq(row.get(5)?),
            special_use: row.get::<_, Option<i64>>(6)?.and_then(SpecialUse::from_code),
            subscribed: row.get(7)?,
            counts: Counts { total: count(8)?, unseen: count(9)?, deleted: count(10)?, size: count(11)? },
            keywords: keywords
                .unwrap_or_default()
                .split_ascii_whitespace()
                .filter_map(|word| Keyword::parse(word).ok())
                .collect(),
            recent_from: row.get(13)?,
            expunged_from: ModSeq(row.get(14)?),
        })
    }
}
