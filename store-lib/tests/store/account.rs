//! An account in a temporary directory. Every test ends with a recount of everything.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use store_lib::{
    Budget, Columns, Delivered, Delivery, DeliveryId, Filed, Flags, Mailbox, MailboxId, MailboxName, Origin,
    Parse, Staged, Store, StoreError, Uid, UnixSeconds,
};
use tempfile::TempDir;

pub(crate) const LIMIT: u64 = 50 * 1024 * 1024;

/// A store; checked when dropped.
pub(crate) struct Account {
    pub(crate) dir: TempDir,
    store: Option<Store>,
}

impl Account {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self { dir, store: Some(store) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Drops the store and opens it again.
    pub(crate) fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(Store::open(self.dir.path()).unwrap());
    }

    /// The account as it would be found if the process had been killed now.
    pub(crate) fn killed_now(&self) -> Self {
        let dir = TempDir::new().unwrap();
        copy_tree(self.path(), dir.path());
        let store = Store::open(dir.path()).unwrap();
        Self { dir, store: Some(store) }
    }

    pub(crate) fn mailbox(&self, name: &str) -> Mailbox {
        let name = MailboxName::parse(name).unwrap();
        self.store().read(&Budget::default(), |reader| reader.find(&name)).unwrap().unwrap()
    }

    pub(crate) fn id(&self, name: &str) -> MailboxId {
        self.mailbox(name).id
    }

    pub(crate) fn stage(&self, octets: &[u8]) -> Result<Staged, StoreError> {
        self.store().stage(b"Received: by us\r\n", &mut &*octets, Parse::Yes, LIMIT)
    }

    pub(crate) fn deliver(&self, octets: &[u8]) -> Filed {
        let delivered = self.try_deliver("INBOX", octets, fresh_id()).unwrap();
        assert!(!delivered.repeat);
        delivered.filed
    }

    pub(crate) fn try_deliver(
        &self,
        mailbox: &str,
        octets: &[u8],
        id: DeliveryId,
    ) -> Result<Delivered, StoreError> {
        let staged = self.stage(octets)?;
        let (send, receive) = mpsc::channel();
        self.store().deliver(staged, delivery(mailbox, id), move |result| send.send(result).unwrap());
        receive.recv().unwrap()
    }

    pub(crate) fn listing(&self, mailbox: MailboxId) -> Vec<(u32, Flags)> {
        let mut listing = Vec::new();
        let all = |reader: &store_lib::Reader<'_>| {
            reader.fetch(mailbox, Uid::MIN..=Uid::MAX, Columns::Flags, |message| {
                listing.push((message.uid.value(), message.flags));
                ControlFlow::Continue(())
            })
        };
        self.store().read(&Budget::default(), all).unwrap();
        listing
    }

    pub(crate) fn uids(&self, mailbox: MailboxId) -> Vec<u32> {
        let uids = self.store().read(&Budget::default(), |reader| reader.uids(mailbox)).unwrap();
        uids.into_iter().map(Uid::value).collect()
    }

    /// All octets of a message, prefix included.
    pub(crate) fn octets(&self, mailbox: MailboxId, uid: u32) -> Option<Vec<u8>> {
        let body =
            self.store().read(&Budget::default(), |reader| reader.body(mailbox, uid_of(uid))).unwrap()?;
        let mut octets = vec![0; usize::try_from(body.size()).unwrap() + 10];
        let read = body.read_at(0, &mut octets).unwrap();
        octets.truncate(read);
        Some(octets)
    }

    /// Files below `msg/`, without the directories.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files_below(&self.path().join("msg"))
    }

    pub(crate) fn check(&self) {
        let report = self.store().verify().unwrap();
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.store.is_some() {
            self.check();
        }
    }
}

pub(crate) fn uid_of(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

pub(crate) fn fresh_id() -> DeliveryId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    DeliveryId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

pub(crate) fn delivery(mailbox: &str, id: DeliveryId) -> Delivery {
    let mailbox = MailboxName::parse(mailbox).unwrap();
    Delivery { id, mailbox, flags: Flags::NONE, received: UnixSeconds(1_700_000_000) }
}

pub(crate) fn nobody() -> Origin {
    Origin::NONE
}

pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
