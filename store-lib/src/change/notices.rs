//! What changed anywhere in the account, put together until a session asks: a mailbox that changed a thousand times is one
//! entry.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use super::{Event, Hub, NameChange, Named, Published, lock};
use crate::{Annotated, EntryName, MailboxId, Origin};

/// Mailboxes that changed, and changes of names, which wait for one session at most.
const MAX_WAITING: usize = 1_000;

/// What others did in one mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Messages came in.
    pub arrivals: bool,
    /// Messages were expunged.
    pub expunges: bool,
    /// Messages have other flags now.
    pub flags: bool,
}

/// All that others did since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noticed {
    /// In which mailboxes messages changed.
    pub mailboxes: BTreeMap<MailboxId, Activity>,
    /// What happened to mailboxes themselves, in order.
    pub names: Vec<NameChange>,
    /// Annotations that have another value or none, each once.
    pub entries: Vec<(Annotated, EntryName)>,
}

/// The changes of all mailboxes for one session, its own left out. The descriptor is readable while something waits.
#[derive(Debug)]
pub struct Notices {
    id: u64,
    hub: Hub,
    slot: Arc<Mutex<Waiting>>,
    wake: PipeReader,
}

#[derive(Debug)]
pub(super) struct Waiting {
    own: Origin,
    /// `None`: more than is kept.
    noticed: Option<Noticed>,
    /// Whether the pipe holds its one octet: written and read under the same lock.
    signalled: bool,
    wake: PipeWriter,
}

impl Hub {
    pub(crate) fn notice(&self, own: Origin) -> io::Result<Notices> {
        let (reader, writer) = io::pipe()?;
        let noticed = Some(Noticed::default());
        let slot = Arc::new(Mutex::new(Waiting { own, noticed, signalled: false, wake: writer }));
        let mut watchers = lock(&self.0);
        watchers.next += 1;
        let id = watchers.next;
        watchers.notices.insert(id, Arc::clone(&slot));
        Ok(Notices { id, hub: self.clone(), slot, wake: reader })
    }
}

impl Waiting {
    fn push_entry(&mut self, of: Annotated, entry: &EntryName) {
        let Some(noticed) = &mut self.noticed else { return };
        let is_known = noticed.entries.iter().any(|(whose, known)| *whose == of && known == entry);
        if !is_known && noticed.entries.len() <= MAX_WAITING {
            noticed.entries.push((of, entry.clone()));
        }
    }

    pub(super) fn push(&mut self, published: &[Published], names: &[Named]) {
        let (own, mut news) = (self.own, false);
        for one in published.iter().filter(|one| one.change.origin != own) {
            if let Event::Metadata { of, entry } = &one.change.event {
                news = true;
                self.push_entry(*of, entry);
            }
            let Some(mailbox) = one.mailbox else { continue };
            let activity = match one.change.event {
                Event::Appended { .. } => Activity { arrivals: true, ..Activity::default() },
                Event::Flags { .. } => Activity { flags: true, ..Activity::default() },
                Event::Expunged { .. } => Activity { expunges: true, ..Activity::default() },
                Event::Deleted | Event::MailboxesChanged | Event::AccessKeyReset | Event::Metadata { .. } => {
                    continue;
                }
            };
            news = true;
            if let Some(noticed) = &mut self.noticed {
                let known = noticed.mailboxes.entry(mailbox).or_default();
                known.arrivals |= activity.arrivals;
                known.expunges |= activity.expunges;
                known.flags |= activity.flags;
            }
        }
        for (_, name) in names.iter().filter(|(origin, _)| *origin != own) {
            news = true;
            if let Some(noticed) = self.noticed.as_mut().filter(|noticed| noticed.names.len() <= MAX_WAITING)
            {
                noticed.names.push(name.clone());
            }
        }
        let is_full = |noticed: &Noticed| {
            noticed.mailboxes.len().max(noticed.names.len()).max(noticed.entries.len()) > MAX_WAITING
        };
        if self.noticed.as_ref().is_some_and(is_full) {
            self.noticed = None;
        }
        if news && !self.signalled {
            self.signalled = self.wake.write(&[1]).is_ok();
        }
    }
}

impl Notices {
    /// Takes what waits; the descriptor is not readable afterwards. `None`: more happened than was kept, and nothing is
    /// known of it.
    pub fn drain(&mut self) -> Option<Noticed> {
        let mut waiting = lock(&self.slot);
        if waiting.signalled {
            let _ = self.wake.read(&mut [0]);
            waiting.signalled = false;
        }
        waiting.noticed.replace(Noticed::default())
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        lock(&self.hub.0).notices.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;
    use crate::{MailboxName, ModSeq, Uid};

    fn expunged(mailbox: i64, origin: Origin) -> Published {
        let event = Event::Expunged { uid: Uid::MIN, modseq: ModSeq::ZERO };
        Published { mailbox: Some(MailboxId(mailbox)), change: Change { origin, event } }
    }

    #[test]
    fn what_happens_in_a_mailbox_is_put_together_and_ones_own_left_out() {
        let hub = Hub::default();
        let (own, other) = (Origin(1), Origin(2));
        let mut notices = hub.notice(own).unwrap();
        let name = NameChange::Created(MailboxName::inbox());
        for _ in 0..10_000 {
            hub.publish(&[expunged(1, other), expunged(2, own)], &[]);
        }
        hub.publish(&[], &[(own, name.clone()), (other, name.clone())]);
        let expected = Noticed {
            mailboxes: [(MailboxId(1), Activity { expunges: true, ..Activity::default() })].into(),
            names: vec![name],
            entries: Vec::new(),
        };
        assert_eq!(notices.drain(), Some(expected));
        assert_eq!(notices.drain(), Some(Noticed::default()));
    }

    /// Attack class 27: a session that never reads costs a bounded memory and is told that it missed something.
    #[test]
    fn a_session_that_takes_no_notice_is_told_so() {
        let hub = Hub::default();
        let mut notices = hub.notice(Origin(1)).unwrap();
        for mailbox in 1..=100_000 {
            hub.publish(&[expunged(mailbox, Origin::NONE)], &[]);
        }
        assert_eq!(notices.drain(), None);
        for _ in 0..100_000 {
            hub.publish(&[], &[(Origin::NONE, NameChange::Created(MailboxName::inbox()))]);
        }
        assert_eq!(notices.drain(), None);
        hub.publish(&[expunged(7, Origin::NONE)], &[]);
        assert_eq!(notices.drain().map(|noticed| noticed.mailboxes.len()), Some(1));
        drop(notices);
        assert!(lock(&hub.0).notices.is_empty());
    }
}
