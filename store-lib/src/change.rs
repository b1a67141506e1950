//! What changed, told to the sessions after the commit and in its order.

use std::collections::{HashMap, VecDeque};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Annotated, EntryName, Flags, MailboxId, MailboxName, ModSeq, Origin, Uid};

mod notices;

pub use notices::{Activity, Noticed, Notices};

/// Events that wait for one session at most. One that reads slower has to look at its mailbox anew.
const MAX_WAITING: usize = 1_000;

/// One event and who caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The session that asked for it.
    pub origin: Origin,
    /// What is different now.
    pub event: Event,
}

/// What is different in a watched mailbox, or in the list of mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message came in: delivered, appended, copied or moved here.
    Appended {
        /// Its UID, above all earlier ones.
        uid: Uid,
        /// Of this change.
        modseq: ModSeq,
        /// That it came with.
        flags: Flags,
    },
    /// A message has other flags now.
    Flags {
        /// The message.
        uid: Uid,
        /// Of this change.
        modseq: ModSeq,
        /// All its flags.
        flags: Flags,
    },
    /// A message is gone: expunged or moved away.
    Expunged {
        /// The message.
        uid: Uid,
        /// Of this change.
        modseq: ModSeq,
    },
    /// The watched mailbox was deleted.
    Deleted,
    /// Mailboxes were made, renamed, deleted or subscribed.
    MailboxesChanged,
    /// URLs that were authorised with the watched mailbox's key are so no more (RFC 4467).
    AccessKeyReset,
    /// An entry of the watched mailbox, or of the account as a whole, has another value or none.
    Metadata {
        /// Whose.
        of: Annotated,
        /// Which.
        entry: EntryName,
    },
}

/// What happened to a mailbox itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChange {
    /// It was made.
    Created(MailboxName),
    /// It is no more.
    Deleted(MailboxName),
    /// It has another name.
    Renamed {
        /// Before.
        from: MailboxName,
        /// From now on.
        to: MailboxName,
    },
    /// Its name is subscribed; it need not exist.
    Subscribed(MailboxName),
    /// Its name is subscribed no more.
    Unsubscribed(MailboxName),
}

impl NameChange {
    /// The name that it is about; the new one.
    #[must_use]
    pub fn name(&self) -> &MailboxName {
        match self {
            Self::Created(name)
            | Self::Deleted(name)
            | Self::Renamed { to: name, .. }
            | Self::Subscribed(name)
            | Self::Unsubscribed(name) => name,
        }
    }
}

/// Who did it, and what.
pub(crate) type Named = (Origin, NameChange);

/// What a watcher finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// All changes since the last time, in commit order; may be empty.
    Changes(Vec<Change>),
    /// More changes than were kept: read the mailbox again.
    Resync,
}

/// The changes of one mailbox for one session. Its descriptor is readable while something waits.
///
/// Begin to watch first and read the mailbox after: an event whose modseq is at or below the mailbox's modseq
/// as read is part of what was read.
#[derive(Debug)]
pub struct Changes {
    id: u64,
    hub: Hub,
    slot: Arc<Mutex<Waiting>>,
    wake: PipeReader,
}

#[derive(Debug)]
struct Waiting {
    events: VecDeque<Change>,
    overflow: bool,
    /// Whether the pipe holds its one octet: written and read under this lock, so neither end ever blocks.
    signalled: bool,
    wake: PipeWriter,
}

/// Who watches what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Watchers>>);

#[derive(Debug, Default)]
struct Watchers {
    next: u64,
    slots: HashMap<u64, (MailboxId, Arc<Mutex<Waiting>>)>,
    notices: HashMap<u64, Arc<Mutex<notices::Waiting>>>,
}

/// One committed event on its way to the watchers; `mailbox` is `None` for everybody.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) mailbox: Option<MailboxId>,
    pub(crate) change: Change,
}

impl Hub {
    pub(crate) fn watch(&self, mailbox: MailboxId) -> io::Result<Changes> {
        let (reader, writer) = io::pipe()?;
        let slot = Arc::new(Mutex::new(Waiting {
            events: VecDeque::new(),
            overflow: false,
            signalled: false,
            wake: writer,
        }));
        let mut watchers = lock(&self.0);
        watchers.next += 1;
        let id = watchers.next;
        watchers.slots.insert(id, (mailbox, Arc::clone(&slot)));
        Ok(Changes { id, hub: self.clone(), slot, wake: reader })
    }

    pub(crate) fn publish(&self, published: &[Published], names: &[Named]) {
        if published.is_empty() && names.is_empty() {
            return;
        }
        let watchers = lock(&self.0);
        for slot in watchers.notices.values() {
            lock(slot).push(published, names);
        }
        for (mailbox, slot) in watchers.slots.values() {
            let mut waiting = lock(slot);
            for one in published {
                if one.mailbox.is_none_or(|about| about == *mailbox) {
                    waiting.push(&one.change);
                }
            }
        }
    }
}

impl Waiting {
    fn push(&mut self, change: &Change) {
        if self.overflow {
            return;
        }
        if self.events.len() >= MAX_WAITING {
            self.events = VecDeque::new();
            self.overflow = true;
        } else {
            self.events.push_back(change.clone());
        }
        if !self.signalled {
            // The pipe is empty, so one octet fits. A watcher that cannot be woken finds the event anyway.
            self.signalled = self.wake.write(&[1]).is_ok();
        }
    }
}

impl Changes {
    /// Takes what waits; the descriptor is not readable afterwards.
    pub fn drain(&mut self) -> Drained {
        let mut waiting = lock(&self.slot);
        if waiting.signalled {
            let _ = self.wake.read(&mut [0]);
            waiting.signalled = false;
        }
        if std::mem::take(&mut waiting.overflow) {
            return Drained::Resync;
        }
        Drained::Changes(std::mem::take(&mut waiting.events).into())
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        lock(&self.hub.0).slots.remove(&self.id);
    }
}

/// A panic elsewhere leaves these values whole: each change under the lock is complete by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expunged(uid: u32) -> Published {
        let event = Event::Expunged { uid: Uid::new(uid).unwrap(), modseq: ModSeq(uid.into()) };
        Published { mailbox: Some(MailboxId(1)), change: Change { origin: Origin::NONE, event } }
    }

    #[test]
    fn a_watcher_gets_its_mailbox_in_order_and_nothing_of_others() {
        let hub = Hub::default();
        let (mut one, mut two) = (hub.watch(MailboxId(1)).unwrap(), hub.watch(MailboxId(2)).unwrap());
        hub.publish(&[expunged(1), expunged(2)], &[]);
        hub.publish(&[expunged(3)], &[]);
        let Drained::Changes(changes) = one.drain() else { panic!("resync") };
        assert_eq!(changes, [1, 2, 3].map(|uid| expunged(uid).change));
        assert_eq!(one.drain(), Drained::Changes(Vec::new()));
        assert_eq!(two.drain(), Drained::Changes(Vec::new()));
    }

    /// Attack class 27: a session that never reads its changes costs a bounded queue and is told to look anew.
    #[test]
    fn a_watcher_that_never_reads_is_told_to_look_anew() {
        let hub = Hub::default();
        let mut watcher = hub.watch(MailboxId(1)).unwrap();
        for uid in 1..=100_000 {
            hub.publish(&[expunged(uid)], &[]);
        }
        assert_eq!(watcher.drain(), Drained::Resync);
        hub.publish(&[expunged(7)], &[]);
        assert_eq!(watcher.drain(), Drained::Changes(vec![expunged(7).change]));
    }

    #[test]
    fn a_dropped_watcher_leaves_nothing_behind() {
        let hub = Hub::default();
        drop(hub.watch(MailboxId(1)).unwrap());
        assert!(lock(&hub.0).slots.is_empty());
    }
}
