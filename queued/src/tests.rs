//! The service against made-up neighbours over real socketpairs: a supervisor, an authd and accounts that do as told.

mod aliases;
mod delivering;
mod from_below;
mod grants;
mod holding;
mod limits;
mod once;
mod queueing;
mod submitting;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use ipc_proto::{
    AccountId, ChannelId, ConnectionId, DeliveryId, Violation,
    authd::{AuthdToQueued, Owner, QueuedAuthd, QueuedToAuthd, Recipient, RecipientQuery},
    control::{QueuedSettings, ViolationKind},
    delivery::{
        AccountDelivery, AccountRefusal, AccountdToQueued, Deliver, Outcome, QueuedAccountd,
        QueuedToAccountd, QueuedToSmtpd, SmtpdQueued, SmtpdToQueued, SpoolNumber,
    },
    stream::{Asker, Responder, serve},
    types::Timestamp,
};
use mail_lib::address::Address;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use tokio::sync::{Barrier, Notify, mpsc};

use crate::{Disk, Host, Queue, Service, Switchboard, retry};

/// The pause after the first attempt in these tests.
const RETRY_MS: u32 = 60_000;

/// What a made-up account does with one delivery. After the last it files.
#[derive(Debug, Clone)]
enum Does {
    Files,
    Refuses(AccountRefusal),
    /// Dies before it has filed.
    Dies,
    /// Dies after it has filed: its answer is lost.
    FilesAndDies,
    /// Forgets the request.
    Drops,
    /// Files and forgets to say so.
    FilesAndDrops,
    /// Breaks the protocol: an answer to another question.
    Babbles,
    /// Waits until others wait here too, then files.
    Meets(Arc<Barrier>),
    /// Says that it has it in hand, and files when told.
    Waits(Arc<Notify>, Arc<Notify>),
}

/// A made-up account: what it is to do, what it was asked, what it has.
#[derive(Debug, Default)]
struct Account {
    does: VecDeque<Does>,
    /// The supervisor refuses its channel so often.
    refused: u32,
    asked: Vec<&'static str>,
    filed: Vec<Filed>,
}

#[derive(Debug, Clone)]
struct Filed {
    id: DeliveryId,
    connection: ConnectionId,
    prefix: String,
    octets: Vec<u8>,
}

impl Account {
    fn file(&mut self, delivery: &AccountDelivery, fd: OwnedFd) {
        if self.filed.iter().any(|filed| filed.id == delivery.id) {
            return;
        }
        let mut octets = vec![0; usize::try_from(delivery.size).unwrap()];
        File::from(fd).read_exact_at(&mut octets, 0).unwrap();
        let prefix = String::from_utf8(delivery.prefix.clone()).unwrap();
        self.filed.push(Filed { id: delivery.id, connection: delivery.connection, prefix, octets });
    }
}

type Accounts = Arc<Mutex<HashMap<u32, Account>>>;

/// One end of an account's channel.
fn play_account(accounts: &Accounts, number: u32, stream: UnixStream) {
    let kill = stream.try_clone().unwrap();
    let accounts = Arc::clone(accounts);
    let serving = serve::<QueuedAccountd>(stream, move |request, fds, responder| {
        let mut all = accounts.lock().unwrap();
        let account = all.entry(number).or_default();
        let delivery = match request {
            QueuedToAccountd::Have(id) => {
                account.asked.push("have");
                let known = account.filed.iter().any(|filed| filed.id == id);
                return responder.reply(&AccountdToQueued::Known(known), Vec::new());
            }
            QueuedToAccountd::Deliver(delivery) => delivery,
        };
        account.asked.push("deliver");
        let fd = fds.into_iter().next().unwrap();
        let die = |responder: Responder<QueuedAccountd>| {
            kill.shutdown(std::net::Shutdown::Both).unwrap();
            drop(responder);
        };
        match account.does.pop_front().unwrap_or(Does::Files) {
            Does::Files => {
                account.file(&delivery, fd);
                responder.reply(&AccountdToQueued::Filed, Vec::new());
            }
            Does::Refuses(refusal) => responder.reply(&AccountdToQueued::Refused(refusal), Vec::new()),
            Does::Dies => die(responder),
            Does::FilesAndDies => {
                account.file(&delivery, fd);
                die(responder);
            }
            Does::Drops => drop(responder),
            Does::FilesAndDrops => {
                account.file(&delivery, fd);
                drop(responder);
            }
            Does::Babbles => responder.reply(&AccountdToQueued::Known(true), Vec::new()),
            Does::Meets(barrier) => {
                account.file(&delivery, fd);
                tokio::spawn(async move {
                    barrier.wait().await;
                    responder.reply(&AccountdToQueued::Filed, Vec::new());
                });
            }
            Does::Waits(in_hand, go) => {
                account.file(&delivery, fd);
                in_hand.notify_one();
                tokio::spawn(async move {
                    go.notified().await;
                    responder.reply(&AccountdToQueued::Filed, Vec::new());
                });
            }
        }
    })
    .unwrap();
    tokio::spawn(serving);
}

type Owners = Arc<Mutex<BTreeMap<String, Owner>>>;

/// authd's end of a new channel. Addresses `N@x.org` belong to account N, the domain x.org is ours alone.
fn play_authd(owners: &Owners, service: &Service) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    service.authd(ours).unwrap();
    let known = Arc::clone(owners);
    let serving = serve::<QueuedAuthd>(theirs, move |request, _, responder| {
        let known = known.lock().unwrap();
        let owner = |address: &Address| {
            let number = address.localpart.as_str().parse().ok().and_then(AccountId::new);
            let number = number.filter(|_| address.domain.as_str() == "x.org");
            known.get(&address.to_string()).cloned().or(number.map(Owner::Account)).unwrap_or(Owner::Nobody)
        };
        let reply = match request {
            QueuedToAuthd::Owners(asked, _) => AuthdToQueued::Owners(asked.iter().map(owner).collect()),
            QueuedToAuthd::MaySend(account, asked) => AuthdToQueued::MaySend(
                asked.iter().map(|address| owner(address) == Owner::Account(account)).collect(),
            ),
            QueuedToAuthd::Recipients(_, asked) => {
                let what = |query| match query {
                    RecipientQuery::Postmaster => Recipient::Local(address("1@x.org")),
                    RecipientQuery::Address(asked) => match owner(&asked) {
                        Owner::Account(_) | Owner::Members(_) => Recipient::Local(asked),
                        Owner::Disabled => Recipient::Disabled,
                        Owner::Nobody if asked.domain.as_str() == "x.org" => Recipient::Unknown,
                        Owner::Nobody => Recipient::NotLocal,
                    },
                };
                AuthdToQueued::Recipients(asked.into_iter().map(what).collect())
            }
        };
        responder.reply(&reply, Vec::new());
    });
    tokio::spawn(serving.unwrap());
}

/// The made-up supervisor's ear.
#[derive(Debug)]
struct Board {
    open: mpsc::UnboundedSender<AccountId>,
    refused: Mutex<Vec<ViolationKind>>,
    violations: Mutex<Vec<(ChannelId, Option<AccountId>, Violation)>>,
}

impl Switchboard for Board {
    fn open_delivery(&self, account: AccountId) {
        let _ = self.open.send(account);
    }

    fn violation(&self, channel: ChannelId, account: Option<AccountId>, violation: Violation) {
        self.violations.lock().unwrap().push((channel, account, violation));
    }

    fn refused(&self, channel: ChannelId, kind: ViolationKind) {
        assert!(matches!(channel, ChannelId::SmtpdQueued | ChannelId::SubmitdQueued), "{channel:?}");
        self.refused.lock().unwrap().push(kind);
    }
}

/// Everything around one run of queued.
struct World {
    clock: Arc<AtomicI64>,
    owners: Owners,
    accounts: Accounts,
    board: Arc<Board>,
    service: Service,
    smtpd: Asker<SmtpdQueued>,
    supervisor: tokio::task::JoinHandle<()>,
}

fn settings() -> QueuedSettings {
    QueuedSettings {
        direct_recipients: 3,
        spool_files: 4,
        retry_ms: RETRY_MS,
        submission_messages: 1000,
        submission_new_recipients: 200,
    }
}

impl World {
    /// Starts queued on a directory.
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, Accounts::default(), 1_000_000)
    }

    /// The same after a restart: the accounts and the clock are as they were.
    fn start_with(directory: &Path, accounts: Accounts, now: i64) -> Self {
        let (open, mut opening) = mpsc::unbounded_channel();
        let board = Arc::new(Board { open, refused: Mutex::default(), violations: Mutex::default() });
        let clock = Arc::new(AtomicI64::new(now));
        let reading = Arc::clone(&clock);
        let mut queue = Queue::open(directory).unwrap();
        let spooled = queue.take_spooled();
        let disk = Disk::start(queue).unwrap();
        let switchboard: Arc<dyn Switchboard> = board.clone();
        let clock_of = Arc::new(move || reading.load(Ordering::Relaxed));
        let host = Host { name: "mx.x.org".to_owned(), message_size: 4 << 20 };
        let service = Service::new(settings(), host, disk, spooled, clock_of, switchboard);

        let owners = Arc::new(Mutex::new(BTreeMap::new()));
        play_authd(&owners, &service);

        let (of, supervised) = (Arc::clone(&accounts), service.clone());
        let supervisor = tokio::spawn(async move {
            while let Some(account) = opening.recv().await {
                let number = account.number();
                let refuse = {
                    let mut all = of.lock().unwrap();
                    let entry = all.entry(number).or_default();
                    entry.refused = entry.refused.saturating_sub(1);
                    entry.refused > 0
                };
                if refuse {
                    supervised.account_refused(account);
                } else {
                    let (ours, theirs) = UnixStream::pair().unwrap();
                    play_account(&of, number, theirs);
                    supervised.account(account, ours).unwrap();
                }
            }
        });
        let smtpd = connect(&service);
        Self { clock, owners, accounts, board, service, smtpd, supervisor }
    }

    fn account<T>(&self, number: u32, with: impl FnOnce(&mut Account) -> T) -> T {
        with(self.accounts.lock().unwrap().entry(number).or_default())
    }

    fn does(&self, number: u32, does: impl IntoIterator<Item = Does>) {
        self.account(number, |account| account.does.extend(does));
    }

    /// The next `times` channels to this account are refused.
    fn refuses_channels(&self, number: u32, times: u32) {
        self.account(number, |account| account.refused = times + 1);
    }

    /// How many messages it has, and what it was asked since the last time.
    fn has(&self, number: u32) -> usize {
        self.account(number, |account| account.filed.len())
    }

    fn asked(&self, number: u32) -> Vec<&'static str> {
        self.account(number, |account| std::mem::take(&mut account.asked))
    }

    fn set_owner(&self, address: &str, owner: Owner) {
        self.owners.lock().unwrap().insert(address.to_owned(), owner);
    }

    /// A message in a sealed memfd, as smtpd sends it.
    async fn deliver(&self, id: u8, to: &[&str]) -> Vec<Outcome> {
        match self.send(message(id, to, TEXT.len()), sealed(TEXT)).await {
            QueuedToSmtpd::Delivered(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// The same with one that is a file where it is queued.
    async fn deliver_large(&self, id: u8, to: &[&str]) -> Vec<Outcome> {
        let text = large();
        match self.send(message(id, to, text.len()), sealed(&text)).await {
            QueuedToSmtpd::Delivered(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, deliver: Deliver, fd: OwnedFd) -> QueuedToSmtpd {
        self.smtpd.call(&SmtpdToQueued::Deliver(deliver), vec![fd]).await.unwrap().0
    }

    /// A message in a spool file.
    async fn send_spooled(&self, number: SpoolNumber, size: usize) -> QueuedToSmtpd {
        let deliver = Deliver { spool: Some(number), ..message(1, &["1@x.org"], size) };
        self.smtpd.call(&SmtpdToQueued::Deliver(deliver), Vec::new()).await.unwrap().0
    }

    async fn forget(&self, number: SpoolNumber) {
        let reply = self.smtpd.call(&SmtpdToQueued::Forget(number), Vec::new()).await.unwrap().0;
        assert_eq!(reply, QueuedToSmtpd::Forgotten);
    }

    /// A while later, everything that is due is tried once.
    async fn later(&self, milliseconds: i64) {
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
        retry::run_once(&self.service.0).await;
    }

    /// Whether nothing is queued.
    async fn is_empty(&self) -> bool {
        self.service.0.disk.run(|queue| queue.next_due(|_| false)).await.unwrap().is_none()
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }
}

/// A spool file, as smtpd gets it.
async fn spool(smtpd: &Asker<SmtpdQueued>) -> Option<(SpoolNumber, File)> {
    match smtpd.call(&SmtpdToQueued::Spool, Vec::new()).await.unwrap() {
        (QueuedToSmtpd::Spool(number), fds) => Some((number, File::from(fds.into_iter().next().unwrap()))),
        (QueuedToSmtpd::NoSpool, _) => None,
        (other, _) => panic!("{other:?}"),
    }
}

/// Another channel of smtpd.
fn connect(service: &Service) -> Asker<SmtpdQueued> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    service.smtpd(theirs).unwrap();
    Asker::start(ours, |_| {}).unwrap()
}

const TEXT: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";

/// Larger than what lies in the database.
fn large() -> Vec<u8> {
    TEXT.repeat(3000)
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn message(id: u8, to: &[&str], size: usize) -> Deliver {
    Deliver {
        id: DeliveryId([id; 16]),
        connection: ConnectionId(42),
        reverse_path: Some(address("sender@y.org")),
        recipients: to.iter().map(|text| address(text)).collect(),
        trace: b"Received: from a\r\n\tby b\r\n".to_vec(),
        received: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 },
        size: size as u64,
        spool: None,
    }
}

fn memfd(octets: &[u8]) -> File {
    let mut file =
        File::from(memfd_create(c"m", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.write_all(octets).unwrap();
    file
}

fn with_seals(octets: &[u8], seals: SealFlag) -> OwnedFd {
    let file = memfd(octets);
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file.into()
}

/// What smtpd sets.
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

fn sealed(octets: &[u8]) -> OwnedFd {
    with_seals(octets, SEALS)
}

/// Until that lies in the queue's directory: files are removed after the answer.
async fn until_queued_files(directory: &Path, expected: usize) {
    while queued_files(directory).len() != expected {
        tokio::task::yield_now().await;
    }
}

/// What lies in the queue's directory besides the database.
fn queued_files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("queue.sqlite"))
        .collect();
    names.sort();
    names
}
