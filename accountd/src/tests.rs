//! A real store in a directory of its own, with made-up neighbours on real socketpairs.

mod caring;
mod crashing;
mod delivering;
mod importing;
mod serving;
mod sharing;
mod sleeping;

use std::{
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, ChannelId, ConnectionId, DeliveryId, SessionId, Violation,
    admin::AdminAccountd,
    blocking::Asker,
    control::{AccountdSettings, Order, PreviousEnd},
    delivery::{AccountDelivery, AccountdToQueued, QueuedAccountd, QueuedToAccountd},
    quota::Quota,
    types::{Run, Timestamp},
};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use store_lib::{Budget, Columns, MailboxName, Uid};

use crate::{Account, Next, Supervisor};

/// A hang is a failure after this.
const PATIENCE: Duration = Duration::from_secs(10);

const TEXT: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";
const PREFIX: &[u8] = b"Return-Path: <sender@y.org>\r\n";

/// The made-up supervisor's ears.
#[derive(Debug)]
struct Ears {
    asked: Mutex<mpsc::Sender<()>>,
    slept: Mutex<mpsc::Sender<(SessionId, u32)>>,
    ended: Mutex<mpsc::Sender<SessionId>>,
    violations: Mutex<mpsc::Sender<(ChannelId, Violation)>>,
    fulls: Mutex<mpsc::Sender<()>>,
}

impl Supervisor for Ears {
    fn quiet(&self) {
        let _ = self.asked.lock().unwrap().send(());
    }

    fn asleep(&self, session: SessionId, count: u32) {
        let _ = self.slept.lock().unwrap().send((session, count));
    }

    fn session_ended(&self, session: SessionId) {
        let _ = self.ended.lock().unwrap().send(session);
    }

    fn full(&self) {
        let _ = self.fulls.lock().unwrap().send(());
    }

    fn violation(&self, channel: ChannelId, violation: Violation) {
        let _ = self.violations.lock().unwrap().send((channel, violation));
    }
}

struct World {
    account: Account,
    asked: mpsc::Receiver<()>,
    slept: mpsc::Receiver<(SessionId, u32)>,
    ended: mpsc::Receiver<SessionId>,
    violations: mpsc::Receiver<(ChannelId, Violation)>,
    full: mpsc::Receiver<()>,
}

fn number() -> AccountId {
    AccountId::new(7).unwrap()
}

fn settings() -> AccountdSettings {
    AccountdSettings {
        account: number(),
        quiet_ms: 60_000,
        sessions: 2,
        idle_timeout_ms: 1_800_000,
        write_timeout_ms: 10_000,
        hibernate_after_ms: 60_000,
        hibernate_expiry_ms: 86_400_000,
        asleep: Vec::new(),
        undelete_days: 7,
        undelete_size: 4 << 30,
        previous: PreviousEnd::Harmless,
        quota: Quota::default(),
    }
}

impl World {
    fn open(directory: &Path) -> Self {
        Self::open_after(directory, PreviousEnd::Harmless)
    }

    /// As the supervisor starts it when the process before it ended so.
    fn open_after(directory: &Path, previous: PreviousEnd) -> Self {
        Self::open_with(directory, &AccountdSettings { previous, ..settings() })
    }

    fn open_with(directory: &Path, settings: &AccountdSettings) -> Self {
        let ((ended, ends), (violations, violated)) = (mpsc::channel(), mpsc::channel());
        let ((asks, asked), (sleeps, slept)) = (mpsc::channel(), mpsc::channel());
        let (fulls, full) = mpsc::channel();
        let ears = Ears {
            asked: Mutex::new(asks),
            slept: Mutex::new(sleeps),
            ended: Mutex::new(ended),
            violations: Mutex::new(violations),
            fulls: Mutex::new(fulls),
        };
        let account = Account::open(directory, settings, 8 << 20, Arc::new(ears)).unwrap();
        Self { account, asked, slept, ended: ends, violations: violated, full }
    }

    /// A new channel from queued, as the supervisor hands it out.
    fn channel(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let order =
            Order::Channel { channel: ChannelId::QueuedAccountd, account: Some(number()), run: Run(1) };
        assert_eq!(self.account.take(order, vec![theirs.into()]).unwrap(), Next::Continue);
        ours
    }

    /// A channel of moxctl.
    fn moxctl(&self) -> Asker<AdminAccountd> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let order =
            Order::Channel { channel: ChannelId::AdminAccountd, account: Some(number()), run: Run(0) };
        self.account.take(order, vec![theirs.into()]).unwrap();
        Asker::new(ours).unwrap()
    }

    fn queued(&self) -> Asker<QueuedAccountd> {
        Asker::new(self.channel()).unwrap()
    }

    /// UID, octets with their prefix, and whether it was looked into, of each message in the inbox.
    fn inbox(&self) -> Vec<(u32, Vec<u8>, bool)> {
        self.account
            .store
            .read(&Budget::default(), |reader| {
                let inbox = reader.find(&MailboxName::inbox())?.unwrap().id;
                let mut uids = Vec::new();
                reader.fetch(inbox, Uid::MIN..=Uid::MAX, Columns::Flags, |message| {
                    uids.push(message.uid);
                    std::ops::ControlFlow::Continue(())
                })?;
                let mut messages = Vec::new();
                for uid in uids {
                    let body = reader.body(inbox, uid)?.unwrap();
                    let mut octets = vec![0; usize::try_from(body.size()).unwrap()];
                    assert_eq!(body.read_at(0, &mut octets)?, octets.len());
                    messages.push((uid.value(), octets, body.parts().is_some()));
                }
                Ok(messages)
            })
            .unwrap()
    }

    /// Counts are recounted and bodies hashed at the end of every test.
    fn check(self) {
        let report = self.account.store.verify().unwrap();
        assert_eq!(report.problems, []);
        self.account.close(PATIENCE).unwrap();
    }
}

/// Waits for something that another thread is about to make true.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn delivery(id: u8, size: usize) -> AccountDelivery {
    AccountDelivery {
        id: DeliveryId([id; 16]),
        connection: ConnectionId(42),
        prefix: PREFIX.to_vec(),
        received: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
        size: size as u64,
    }
}

fn deliver(queued: &Asker<QueuedAccountd>, id: u8, octets: &[u8]) -> AccountdToQueued {
    let request = QueuedToAccountd::Deliver(delivery(id, octets.len()));
    queued.call(&request, vec![sealed(octets)]).unwrap().0
}

fn has(queued: &Asker<QueuedAccountd>, id: u8) -> AccountdToQueued {
    queued.call(&QueuedToAccountd::Have(DeliveryId([id; 16])), Vec::new()).unwrap().0
}

fn stored(octets: &[u8]) -> Vec<u8> {
    [PREFIX, octets].concat()
}

fn memfd(octets: &[u8]) -> File {
    let mut file =
        File::from(memfd_create(c"m", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.write_all(octets).unwrap();
    file
}

fn sealed(octets: &[u8]) -> OwnedFd {
    let file = memfd(octets);
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(SealFlag::all())).unwrap();
    file.into()
}

/// A file that was opened read-only, as queued's spool files and queued messages are.
fn read_only(octets: &[u8]) -> OwnedFd {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(octets).unwrap();
    File::open(file.path()).unwrap().into()
}
