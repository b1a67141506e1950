//! What is known about a mailbox.

use crate::flag::Keyword;
use crate::{MailboxId, MailboxName, ModSeq, SpecialUse, UidValidity};

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
