//! What moxctl and an account's process say about the care of an account's mail.

use bincode::{Decode, Encode};

use crate::types::Timestamp;

/// Most messages of a page: with the longest names and subjects it fits a frame.
pub const DELETED_PAGE: usize = 32;

/// Most mailboxes that [`Undeleted`] names.
pub const MAX_NAMED: usize = 100;

/// Which of the messages that can come back; all that is given has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Which {
    /// These.
    pub ids: Option<Vec<u64>>,
    /// Of this mailbox.
    pub mailbox: Option<String>,
    /// Expunged then or later.
    pub since: Option<Timestamp>,
}

/// One message that can come back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeletedInfo {
    /// Names it.
    pub id: u64,
    /// Where it was; `None`: nobody knows any more.
    pub mailbox: Option<String>,
    /// When it was expunged.
    pub at: Timestamp,
    /// When it came in.
    pub received: Timestamp,
    /// Octets.
    pub size: u64,
    /// Its author, cut.
    pub from: String,
    /// Its subject, cut.
    pub subject: String,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Undeleted {
    /// Messages.
    pub messages: u64,
    /// How many to which mailbox; of at most [`MAX_NAMED`] mailboxes.
    pub mailboxes: Vec<(String, u64)>,
}

/// How long messages of a mailbox stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RetentionRule {
    /// Days, since a message came in and since it came into the mailbox.
    pub days: u32,
    /// And then.
    pub then: Then,
}

/// What becomes of a message that is old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Then {
    /// It is expunged.
    Expunge,
    /// It goes to the mailbox for deleted mail.
    Trash,
}

/// The rule of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RetentionInfo {
    /// Which.
    pub mailbox: String,
    /// Its rule.
    pub rule: RetentionRule,
}
