//! [`Store`]: opening, closing, and the calls that change something.

use std::path::Path;
use std::sync::Arc;

use crate::change::{Changes, Hub};
use crate::{
    DeliveryId, Flags, MailboxId, MailboxName, ModSeq, Origin, Staged, StoreError, Uid, UidValidity,
    UnixSeconds,
};

/// The store of one account. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hub: Hub,
}

/// One message to be filed by delivery.
#[derive(Debug)]
pub struct Delivery {
    /// A repeat of an id of the last 7 days files nothing and gets the first answer.
    pub id: DeliveryId,
    /// Where to; one that does not exist: [`StoreError::NoSuchMailbox`].
    pub mailbox: MailboxName,
    /// To begin with.
    pub flags: Flags,
    /// INTERNALDATE.
    pub received: UnixSeconds,
}

/// Where a message was filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filed {
    /// In this mailbox.
    pub mailbox: MailboxId,
    /// Of that mailbox.
    pub uidvalidity: UidValidity,
    /// Its UID there.
    pub uid: Uid,
    /// Of this change.
    pub modseq: ModSeq,
}

/// The answer to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Where, now or at the first time.
    pub filed: Filed,
    /// Whether this id had been filed before.
    pub repeat: bool,
}

/// What STORE does with flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// `+FLAGS`
    Add(Flags),
    /// `-FLAGS`
    Remove(Flags),
    /// `FLAGS`
    Replace(Flags),
}

/// One message's flags after a STORE, changed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFlags {
    /// The message.
    pub uid: Uid,
    /// Of its latest change; as before when nothing changed.
    pub modseq: ModSeq,
    /// All its flags.
    pub flags: Flags,
}

/// What COPY and MOVE did, for COPYUID (RFC 4315 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Of the mailbox copied to.
    pub uidvalidity: UidValidity,
    /// UID there for each UID here, in the order they were asked for; messages that are gone are left out.
    pub pairs: Vec<(Uid, Uid)>,
}

impl Store {
    /// Opens the account in the directory `dir`, which exists; an empty one gets the initial mailboxes.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let _ = dir;
        Err(StoreError::Closed)
    }

    /// Ends the writer after what is queued, and folds the log into the database. Later calls answer
    /// [`StoreError::Closed`]. Dropping the last clone does the same.
    pub fn close(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    /// A mark for the changes of one session.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::NONE
    }

    /// The changes of one mailbox from now on.
    pub fn watch(&self, mailbox: MailboxId) -> Result<Changes, StoreError> {
        self.0.hub.watch(mailbox).map_err(|error| StoreError::file(&error))
    }

    /// Files a message. `done` is called once, from the writer's thread and after the commit, so it must be short:
    /// hand the result on. `Ok` survives power loss. Waits only while very many deliveries are queued already.
    pub fn deliver(
        &self,
        staged: Staged,
        delivery: Delivery,
        done: impl FnOnce(Result<Delivered, StoreError>) + Send + 'static,
    ) {
        let _ = (staged, delivery);
        done(Err(StoreError::Closed));
    }

    /// What became of a delivery of the last 7 days; `None`: it was not filed.
    pub fn delivered(&self, id: DeliveryId) -> Result<Option<Filed>, StoreError> {
        let _ = id;
        Err(StoreError::Closed)
    }

    /// APPEND.
    pub fn append(
        &self,
        mailbox: MailboxId,
        staged: Staged,
        flags: Flags,
        received: UnixSeconds,
        origin: Origin,
    ) -> Result<Filed, StoreError> {
        let _ = (mailbox, staged, flags, received, origin);
        Err(StoreError::Closed)
    }

    /// STORE, in slices between which deliveries get their turn. Messages that are gone are left out.
    pub fn change_flags(
        &self,
        mailbox: MailboxId,
        uids: &[Uid],
        change: FlagChange,
        origin: Origin,
    ) -> Result<Vec<StoredFlags>, StoreError> {
        let _ = (mailbox, uids, change, origin);
        Err(StoreError::Closed)
    }

    /// COPY, in slices. Either all are copied or none stays (RFC 3501 §6.4.7).
    pub fn copy(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
    ) -> Result<Copied, StoreError> {
        let _ = (from, uids, to, origin);
        Err(StoreError::Closed)
    }

    /// MOVE, in slices, each message as a whole (RFC 6851 §3.3).
    pub fn move_messages(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
    ) -> Result<Copied, StoreError> {
        let _ = (from, uids, to, origin);
        Err(StoreError::Closed)
    }

    /// EXPUNGE: removes the messages with `\Deleted`, of `only` these UIDs or of all, in slices. What was removed.
    pub fn expunge(
        &self,
        mailbox: MailboxId,
        only: Option<&[Uid]>,
        origin: Origin,
    ) -> Result<Vec<(Uid, ModSeq)>, StoreError> {
        let _ = (mailbox, only, origin);
        Err(StoreError::Closed)
    }

    /// From which UID on messages are `\Recent` to the session that selects now; with `claim` to no later one.
    pub fn recent(&self, mailbox: MailboxId, claim: bool) -> Result<u32, StoreError> {
        let _ = (mailbox, claim);
        Err(StoreError::Closed)
    }

    /// CREATE, with the levels above it that are missing.
    pub fn create(&self, name: &MailboxName, origin: Origin) -> Result<MailboxId, StoreError> {
        let _ = (name, origin);
        Err(StoreError::Closed)
    }

    /// DELETE. The messages go in the background.
    pub fn delete(&self, name: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        let _ = (name, origin);
        Err(StoreError::Closed)
    }

    /// RENAME, with all levels below; of INBOX: moves its messages (RFC 3501 §6.3.5).
    pub fn rename(&self, from: &MailboxName, to: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        let _ = (from, to, origin);
        Err(StoreError::Closed)
    }

    /// SUBSCRIBE and UNSUBSCRIBE; the name need not exist.
    pub fn set_subscribed(
        &self,
        name: &MailboxName,
        subscribed: bool,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let _ = (name, subscribed, origin);
        Err(StoreError::Closed)
    }
}
