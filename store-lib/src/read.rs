//! Short reads: one transaction per closure, never held while waiting for a client.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::{Body, Columns, Mailbox, MailboxId, MailboxName, Message, ModSeq, Store, StoreError, Uid};

/// How long a read may take, and who can stop it before. Passed: [`StoreError::OutOfBudget`].
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Stop then.
    pub deadline: Option<Instant>,
    /// Stop when this becomes true.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// One consistent view of the account, for the time of one closure.
#[derive(Debug)]
pub struct Reader<'a> {
    _store: &'a Store,
}

impl Store {
    /// Runs `read` on one of the few reader connections; waits while all are busy. Keep it short: collect what fits
    /// the session's output buffer, return, write it to the client, come back for more.
    pub fn read<T>(
        &self,
        budget: &Budget,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _ = (budget, read);
        Err(StoreError::Closed)
    }
}

impl Reader<'_> {
    /// All mailboxes, by name.
    pub fn mailboxes(&self) -> Result<Vec<Mailbox>, StoreError> {
        Err(StoreError::Closed)
    }

    /// Subscribed names, of mailboxes that exist and of others.
    pub fn subscriptions(&self) -> Result<Vec<MailboxName>, StoreError> {
        Err(StoreError::Closed)
    }

    /// By name.
    pub fn find(&self, name: &MailboxName) -> Result<Option<Mailbox>, StoreError> {
        let _ = name;
        Err(StoreError::Closed)
    }

    /// By id; `None` when it was deleted.
    pub fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, StoreError> {
        let _ = id;
        Err(StoreError::Closed)
    }

    /// The UIDs of a mailbox, rising: sequence number N is at N-1.
    pub fn uids(&self, mailbox: MailboxId) -> Result<Vec<Uid>, StoreError> {
        let _ = mailbox;
        Err(StoreError::Closed)
    }

    /// Gives `each` the messages of a range of UIDs, rising, until it breaks. Messages that are gone are left out.
    pub fn fetch(
        &self,
        mailbox: MailboxId,
        uids: RangeInclusive<Uid>,
        columns: Columns,
        each: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let _ = (mailbox, uids, columns, each);
        Err(StoreError::Closed)
    }

    /// The octets of a message; `None` when it is gone.
    pub fn body(&self, mailbox: MailboxId, uid: Uid) -> Result<Option<Body>, StoreError> {
        let _ = (mailbox, uid);
        Err(StoreError::Closed)
    }

    /// Messages expunged after `since`, by modseq (VANISHED).
    pub fn expunged_since(
        &self,
        mailbox: MailboxId,
        since: ModSeq,
    ) -> Result<Vec<(Uid, ModSeq)>, StoreError> {
        let _ = (mailbox, since);
        Err(StoreError::Closed)
    }
}
