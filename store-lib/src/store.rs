//! [`Store`]: opening, closing, and the calls that change something.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;

use crate::change::{Changes, Hub, Notices};
use crate::files::{BodyName, Files};
use crate::hand::{Hand, LastEnd};
use crate::quota::InForce;
use crate::read::Pool;
use crate::search::{Backlog, SearchIndex};
use crate::writer::{Expunge, Keeping, Originals, Outcome, Queue, Rank, SLICE, Shared, Transaction, Writer};
use crate::{
    Annotated, Budget, DeliveryId, FlagScope, Flags, Grantee, MailboxId, MailboxName, MetadataChange, ModSeq,
    Origin, Quota, RightsChange, SpecialUse, Staged, StoreError, SystemFlag, Uid, UidValidity, UnixSeconds,
    schema, writer,
};

/// Messages that one call appends.
pub const MAX_APPENDED: usize = SLICE;

/// The store of one account. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// The directory, locked: a second store on it is refused, whoever opens it.
    lock: File,
    files: Arc<Files>,
    hand: Arc<Hand>,
    hub: Hub,
    pool: Pool,
    search: SearchIndex,
    backlog: Arc<Backlog>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    keeping: Arc<Keeping>,
    origins: AtomicU64,
    /// Per mailbox, up to where sessions were told of messages: ahead of what is stored.
    recent: Mutex<HashMap<MailboxId, u32>>,
    raw: Arc<AtomicBool>,
    quota: Arc<InForce>,
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

/// One message to be filed by a session.
#[derive(Debug)]
pub struct NewMessage {
    /// Its octets.
    pub staged: Staged,
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
    /// `FLAGS` by somebody who may change some flags only; the others stay.
    ReplaceAmong(Flags, FlagScope),
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

/// What a STORE with UNCHANGEDSINCE did (RFC 7162 §3.1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditional {
    /// Messages that it was done to.
    pub stored: Vec<StoredFlags>,
    /// Messages that were changed later than that, and are as they were.
    pub modified: Vec<Uid>,
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
        Self::open_after(dir, LastEnd::Crash { busy: true })
    }

    /// The same, for who knows how the run before this one ended, if it did not end in order.
    pub fn open_after(dir: &Path, last: LastEnd) -> Result<Self, StoreError> {
        let refused =
            |detail: std::io::Error| StoreError::Open { path: dir.to_owned(), detail: detail.to_string() };
        // SQLite follows no link on the way to the database, so the way has to be free of them.
        let dir = dir.canonicalize().map_err(refused)?;
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        let lock = File::options().read(true).custom_flags(flags).open(&dir).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::InUse { path: dir }),
            Err(std::fs::TryLockError::Error(error)) => return Err(refused(error)),
        }
        let used = Hand::is_there(&lock) || Files::is_used(&lock);
        let connection = schema::open_writer(&dir, &lock, used)?;
        let database = database_inode(&dir)?;
        let hand = Hand::open(&lock, database, last)?;
        let files = Arc::new(Files::open(&lock, hand.run)?);
        if hand.crashed() {
            files.sweep(hand.crashed_run(database), |name| is_named(&connection, name))?;
        }
        let (hub, queue, keeping) = (Hub::default(), Arc::new(Queue::new()), Arc::<Keeping>::default());
        let raw = Arc::new(AtomicBool::new(false));
        let backlog = Arc::<Backlog>::default();
        let quota = Arc::<InForce>::default();
        let writer = Writer::new(
            connection,
            dir.clone(),
            Arc::clone(&files),
            hub.clone(),
            Arc::clone(&queue),
            Shared {
                keeping: Arc::clone(&keeping),
                raw: Arc::clone(&raw),
                backlog: Arc::clone(&backlog),
                quota: Arc::clone(&quota),
            },
        );
        let writer = writer.map_err(|error| error.within(&dir))?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| StoreError::Fault(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            pool: Pool::new(&dir),
            search: SearchIndex::default(),
            backlog,
            dir,
            lock,
            files,
            hand: Arc::new(hand),
            hub,
            queue,
            writer: Mutex::new(Some(thread)),
            keeping,
            origins: AtomicU64::new(0),
            recent: Mutex::default(),
            raw,
            quota,
        })))
    }

    /// Ends the writer after what is queued, and folds the log into the database. Later calls answer
    /// [`StoreError::Closed`]. Dropping the last clone does the same.
    pub fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }

    /// Whether messages are kept and shown without being looked into, as if all had been filed with
    /// [`crate::Parse::No`]. Changes nothing that is stored.
    pub fn handle_raw(&self, raw: bool) {
        self.0.raw.store(raw, Ordering::Relaxed);
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.0.raw.load(Ordering::Relaxed)
    }

    /// What the account may hold from now on; at first as much as there is room for.
    pub fn set_quota(&self, quota: Quota) {
        self.0.quota.set(quota);
    }

    /// As it was set.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.0.quota.get()
    }

    /// A mark for the changes of one session.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin(self.0.origins.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The changes of one mailbox from now on.
    pub fn watch(&self, mailbox: MailboxId) -> Result<Changes, StoreError> {
        self.0.hub.watch(mailbox).map_err(|error| StoreError::file(&error))
    }

    /// What others than `own` change in any mailbox from now on.
    pub fn notices(&self, own: Origin) -> Result<Notices, StoreError> {
        self.0.hub.notice(own).map_err(|error| StoreError::file(&error))
    }

    /// Files a message. `done` is called once, from the writer's thread and after the commit, so it must be short and
    /// call nothing of the store: hand the result on. `Ok` survives power loss. Waits only while very many deliveries are queued already.
    pub fn deliver(
        &self,
        staged: Staged,
        delivery: Delivery,
        done: impl FnOnce(Result<Delivered, StoreError>) + Send + 'static,
    ) {
        let kept = staged.kept_file();
        let Delivery { id, mailbox, flags, received } = delivery;
        self.0.queue.push(
            Rank::Delivery,
            move |transaction| transaction.deliver(id, &mailbox, &staged, &flags, received),
            move |result, outcome| {
                let named = match (&result, outcome) {
                    (Ok(delivered), _) => !delivered.repeat,
                    (Err(_), outcome) => matches!(outcome, Outcome::Unknown(_)),
                };
                if let Some(kept) = kept.filter(|_| named) {
                    kept.keep();
                }
                done(result);
            },
        );
    }

    /// What became of a delivery of the last 7 days; `None`: it was not filed.
    pub fn delivered(&self, id: DeliveryId) -> Result<Option<Filed>, StoreError> {
        self.read(&Budget::default(), |reader| writer::delivered(reader.connection, id))
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
        let filed = self.append_all(mailbox, vec![NewMessage { staged, flags, received }], None, origin)?;
        filed.first().copied().ok_or(StoreError::Closed)
    }

    /// APPEND of several messages, at most [`MAX_APPENDED`] (RFC 3502), or REPLACE (RFC 8508): what it replaces, the
    /// message of that mailbox, goes in the same commit. All or nothing; what was filed, in order.
    pub fn append_all(
        &self,
        mailbox: MailboxId,
        messages: Vec<NewMessage>,
        replaces: Option<(MailboxId, Uid)>,
        origin: Origin,
    ) -> Result<Vec<Filed>, StoreError> {
        if messages.len() > MAX_APPENDED {
            return Err(StoreError::TooMany("messages in one command"));
        }
        let kept: Vec<_> = messages.iter().filter_map(|message| message.staged.kept_file()).collect();
        let (send, receive) = mpsc::sync_channel(1);
        self.0.queue.push(
            Rank::Session { messages: messages.len() },
            move |transaction| transaction.append(mailbox, &messages, replaces, origin),
            move |result, outcome| {
                if !matches!(outcome, Outcome::Failed(_)) {
                    kept.iter().for_each(|kept| kept.keep());
                }
                let _ = send.send(result);
            },
        );
        receive.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// STORE, in slices between which deliveries get their turn. Messages that are gone are left out. `Err`: earlier
    /// slices may have been changed; the watchers know which.
    pub fn change_flags(
        &self,
        mailbox: MailboxId,
        uids: &[Uid],
        change: FlagChange,
        origin: Origin,
    ) -> Result<Vec<StoredFlags>, StoreError> {
        Ok(self.change_flags_since(mailbox, uids, change, ModSeq::MAX, origin)?.stored)
    }

    /// The same for messages that were not changed after `unchanged_since`: looked at and changed in one transaction.
    pub fn change_flags_since(
        &self,
        mailbox: MailboxId,
        uids: &[Uid],
        change: FlagChange,
        unchanged_since: ModSeq,
        origin: Origin,
    ) -> Result<Conditional, StoreError> {
        let mut done = Conditional::default();
        for slice in uids.chunks(SLICE) {
            let (uids, change) = (slice.to_vec(), change.clone());
            let mut slice = self.session(slice.len(), move |transaction| {
                transaction.change_flags(mailbox, &uids, &change, unchanged_since, origin)
            })?;
            done.stored.append(&mut slice.stored);
            done.modified.append(&mut slice.modified);
        }
        Ok(done)
    }

    /// COPY, in slices. Either all are copied or none stays (RFC 3501 §6.4.7).
    pub fn copy(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
    ) -> Result<Copied, StoreError> {
        self.copy_telling(from, uids, to, origin, &mut |_| ())
    }

    /// The same; `tell` hears after each slice how many messages are done.
    pub fn copy_telling(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Copied, StoreError> {
        let (copied, error) = match self.transfer(from, uids, to, Originals::Stay, origin, tell) {
            Ok(copied) => return Ok(copied),
            Err(stopped) => stopped,
        };
        for slice in copied.chunks(SLICE) {
            let copies: Vec<Uid> = slice.iter().map(|(_, copy)| *copy).collect();
            self.session(slice.len(), move |transaction| {
                transaction.expunge(to, &copies, Expunge::Named, origin)
            })?;
        }
        Err(error)
    }

    /// MOVE, in slices, each message as a whole (RFC 6851 §3.3). `Err`: earlier slices may have been moved; the
    /// watchers know which.
    pub fn move_messages(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
    ) -> Result<Copied, StoreError> {
        self.move_telling(from, uids, to, origin, &mut |_| ())
    }

    /// The same; `tell` hears after each slice how many messages are done.
    pub fn move_telling(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        origin: Origin,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Copied, StoreError> {
        self.transfer(from, uids, to, Originals::Go, origin, tell).map_err(|(_, error)| error)
    }

    /// In slices. `Err`: what earlier ones have done, and why it went no further.
    fn transfer(
        &self,
        from: MailboxId,
        uids: &[Uid],
        to: MailboxId,
        originals: Originals,
        origin: Origin,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Copied, (Vec<(Uid, Uid)>, StoreError)> {
        let mut done: Option<Copied> = None;
        let mut count = 0;
        for slice in slices(uids) {
            let uids = slice.to_vec();
            let next = self.session(slice.len(), move |transaction| {
                transaction.transfer(from, &uids, to, originals, origin)
            });
            match (next, &mut done) {
                (Ok(next), None) => done = Some(next),
                (Ok(next), Some(done)) => done.pairs.extend(next.pairs),
                (Err(error), done) => {
                    return Err((done.take().map_or_else(Vec::new, |done| done.pairs), error));
                }
            }
            count += slice.len();
            tell(count);
        }
        done.ok_or((Vec::new(), StoreError::NoSuchMailbox))
    }

    /// EXPUNGE: removes the messages with `\Deleted`, of `only` these UIDs or of all, in slices. What was removed.
    pub fn expunge(
        &self,
        mailbox: MailboxId,
        only: Option<&[Uid]>,
        origin: Origin,
    ) -> Result<Vec<(Uid, ModSeq)>, StoreError> {
        let all;
        let uids = match only {
            Some(only) => only,
            None => {
                all = self.deleted_uids(mailbox)?;
                &all
            }
        };
        let mut expunged = Vec::new();
        for slice in uids.chunks(SLICE) {
            let uids = slice.to_vec();
            expunged.append(&mut self.session(slice.len(), move |transaction| {
                transaction.expunge(mailbox, &uids, Expunge::Deleted, origin)
            })?);
        }
        Ok(expunged)
    }

    /// Forgets all but the latest `kept` expunged messages of each mailbox, as is done of itself from 50,000 on.
    pub fn forget_expunged(&self, kept: u32) -> Result<(), StoreError> {
        self.session(SLICE, move |transaction| transaction.forget_expunged(kept))
    }

    fn deleted_uids(&self, mailbox: MailboxId) -> Result<Vec<Uid>, StoreError> {
        self.read(&Budget::default(), |reader| {
            let found = reader.mailbox(mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
            let mut uids = Vec::new();
            if found.counts.deleted > 0 {
                reader.fetch(mailbox, Uid::MIN..=Uid::MAX, crate::Columns::Flags, |message| {
                    if message.flags.has(SystemFlag::Deleted) {
                        uids.push(message.uid);
                    }
                    std::ops::ControlFlow::Continue(())
                })?;
            }
            Ok(uids)
        })
    }

    /// The UIDs that are `\Recent` to a session that looks now; with `claim` to no other one from now on. After a crash
    /// they may be recent again, unless [`Store::keep_recent`] was called.
    pub fn recent(&self, mailbox: MailboxId, claim: bool) -> Result<Range<u32>, StoreError> {
        let found = self.read(&Budget::default(), |reader| reader.mailbox(mailbox))?;
        let found = found.ok_or(StoreError::NoSuchMailbox)?;
        let mut claimed = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let from = claimed.get(&mailbox).copied().unwrap_or_default().max(found.recent_from);
        // Read before another session's claim, the row may be older than it.
        let recent = from..found.uidnext.max(from);
        if claim && !recent.is_empty() {
            claimed.insert(mailbox, recent.end);
        }
        Ok(recent)
    }

    /// Has what was claimed of a mailbox so far stored with some later commit. Does not wait.
    pub fn keep_recent(&self, mailbox: MailboxId) {
        let claimed = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner).get(&mailbox).copied();
        if let Some(uid) = claimed {
            self.0.queue.push(
                Rank::Session { messages: 1 },
                move |transaction| transaction.claim_recent(mailbox, uid),
                |_, _| (),
            );
        }
    }

    /// CREATE, with the levels above it that are missing. At most one mailbox has a use.
    pub fn create(
        &self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
        origin: Origin,
    ) -> Result<MailboxId, StoreError> {
        let name = name.clone();
        self.session(SLICE, move |transaction| transaction.create(&name, special_use, origin))
    }

    /// DELETE. The messages go in the background.
    pub fn delete(&self, name: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        let name = name.clone();
        self.session(SLICE, move |transaction| transaction.delete(&name, origin))
    }

    /// RENAME, with all levels below; of INBOX: moves its messages (RFC 3501 §6.3.5).
    pub fn rename(&self, from: &MailboxName, to: &MailboxName, origin: Origin) -> Result<(), StoreError> {
        let (from, to) = (from.clone(), to.clone());
        self.session(SLICE, move |transaction| transaction.rename(&from, &to, origin))
    }

    /// SETMETADATA: all changes or, with an `Err`, none (RFC 5464 §4.3).
    pub fn set_metadata(
        &self,
        of: Annotated,
        changes: Vec<MetadataChange>,
        origin: Origin,
    ) -> Result<(), StoreError> {
        self.session(SLICE, move |transaction| transaction.set_metadata(of, &changes, origin))
    }

    /// SETACL and DELETEACL (RFC 4314).
    pub fn change_rights(
        &self,
        mailbox: MailboxId,
        who: Grantee,
        change: RightsChange,
    ) -> Result<(), StoreError> {
        self.session(1, move |transaction| transaction.change_rights(mailbox, who, change))
    }

    /// SUBSCRIBE and UNSUBSCRIBE; the name need not exist.
    pub fn set_subscribed(
        &self,
        name: &MailboxName,
        subscribed: bool,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.session(1, move |transaction| transaction.set_subscribed(&name, subscribed, origin))
    }

    pub(crate) fn queue_job<T: Send + 'static>(
        &self,
        rank: Rank,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>, &Outcome) + Send + 'static,
    ) {
        self.0.queue.push(rank, work, done);
    }

    /// Queues a session's job and waits for it.
    pub(crate) fn session<T: Send + 'static>(
        &self,
        messages: usize,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = mpsc::sync_channel(1);
        self.0.queue.push(Rank::Session { messages }, work, move |result, _| {
            let _ = send.send(result);
        });
        receive.recv().unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.0.files
    }

    pub(crate) fn hand(&self) -> &Arc<Hand> {
        &self.0.hand
    }

    pub(crate) fn keeping(&self) -> &Keeping {
        &self.0.keeping
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.0.queue
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn search_index(&self) -> &SearchIndex {
        &self.0.search
    }

    pub(crate) fn backlog(&self) -> &Backlog {
        &self.0.backlog
    }
}

impl Inner {
    fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
        let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        // Before the writer's connection, so that closing that one folds the log in and removes it.
        self.pool.close();
        self.search.close();
        if thread.thread().id() == std::thread::current().id() {
            return Ok(()); // dropped by an answer, in the writer itself: it ends by itself
        }
        let ended = thread.join();
        self.queue.abandon();
        ended.map_err(|_| StoreError::Fault("the writer panicked".to_owned()))?;
        self.hand.mark_clean();
        self.lock.unlock().map_err(|error| StoreError::file(&error))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the account's store was not closed in order");
        }
    }
}

/// Slices of a list; an empty list has one, so that the mailboxes are looked at all the same.
fn slices(uids: &[Uid]) -> impl Iterator<Item = &[Uid]> {
    uids.is_empty().then_some(uids).into_iter().chain(uids.chunks(SLICE))
}

fn database_inode(dir: &Path) -> Result<u64, StoreError> {
    let found =
        std::fs::symlink_metadata(dir.join(schema::FILE_NAME)).map_err(|error| StoreError::file(&error))?;
    Ok(std::os::unix::fs::MetadataExt::ino(&found))
}

fn is_named(connection: &rusqlite::Connection, name: &BodyName) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM body WHERE file = ?1)";
    Ok(connection.query_row(sql, [name.as_str()], |row| row.get(0))?)
}

/// Sessions and deliveries share one store.
const _: fn() = || {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Store>();
};
