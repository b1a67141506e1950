//! Messages from queued.

use std::sync::Barrier;

use ipc_proto::{CallError, delivery::AccountRefusal, stream};
use nix::unistd::pipe;
use store_lib::{Delivery, Flags, Parse, UnixSeconds};

use super::*;

#[test]
fn a_message_is_filed_as_it_came_behind_its_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let queued = world.queued();
    assert_eq!(deliver(&queued, 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(world.inbox(), [(1, stored(TEXT), true)]);
    until("the delivery is over", || world.account.activity().is_idle());
    world.check();
}

/// Attack class 40: a repeat after a lost answer gets the answer, not a second copy, also from the next process.
#[test]
fn a_repeated_id_gets_the_first_answer() {
    let directory = tempfile::tempdir().unwrap();
    let large = TEXT.repeat(8000);
    for round in 0..2 {
        let world = World::open(directory.path());
        let queued = world.queued();
        for (id, octets) in [(1, TEXT), (2, large.as_slice())] {
            assert_eq!(has(&queued, id), AccountdToQueued::Known(round > 0));
            assert_eq!(deliver(&queued, id, octets), AccountdToQueued::Filed);
            assert_eq!(deliver(&queued, id, octets), AccountdToQueued::Filed);
            assert_eq!(has(&queued, id), AccountdToQueued::Known(true));
        }
        assert_eq!(world.inbox(), [(1, stored(TEXT), true), (2, stored(&large), true)]);
        world.check();
    }
}

#[test]
fn large_messages_come_as_memfds_and_as_files() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let queued = world.queued();
    let large = TEXT.repeat(100_000);
    let request = |id| QueuedToAccountd::Deliver(delivery(id, large.len()));
    for (id, fd) in [(1, sealed(&large)), (2, read_only(&large))] {
        assert_eq!(queued.call(&request(id), vec![fd]).unwrap().0, AccountdToQueued::Filed);
    }
    assert!(world.inbox().iter().all(|(_, octets, parsed)| *octets == stored(&large) && *parsed));
    world.check();
}

/// Where a sender moved the shared file position does not matter.
#[test]
fn the_file_position_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let fd = sealed(TEXT);
    std::io::Seek::seek(&mut File::from(fd.try_clone().unwrap()), std::io::SeekFrom::Start(9)).unwrap();
    let request = QueuedToAccountd::Deliver(delivery(1, TEXT.len()));
    assert_eq!(world.queued().call(&request, vec![fd]).unwrap().0, AccountdToQueued::Filed);
    assert_eq!(world.inbox(), [(1, stored(TEXT), true)]);
    world.check();
}

/// Attack class 26: descriptors of the wrong kind cost queued its channel; the account goes on with the next.
#[test]
fn only_what_nobody_can_write_to_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let writable = {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(TEXT).unwrap();
        file
    };
    let partly = memfd(TEXT);
    fcntl(partly.as_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)).unwrap();
    let size = TEXT.len();
    for (fd, stated, reason) in [
        (OwnedFd::from(memfd(TEXT)), size, "no seals"),
        (partly.into(), size, "can be written to"),
        (writable.into(), size, "a file that can be written to"),
        (sealed(TEXT), size - 1, "longer than stated"),
        (sealed(TEXT), size + 1, "shorter than stated"),
        (pipe().unwrap().0, 0, "a pipe"),
        (UnixStream::pair().unwrap().0.into(), 0, "a socket"),
        (File::open(directory.path()).unwrap().into(), 0, "a directory"),
        (File::open("/dev/null").unwrap().into(), 0, "a device"),
    ] {
        let queued = world.queued();
        let request = QueuedToAccountd::Deliver(delivery(1, stated));
        let answer = queued.call(&request, vec![fd]).map(|(answer, _)| answer);
        // Dropped first, closed right after.
        assert!(matches!(answer, Err(CallError::Dropped | CallError::PeerRestarted)), "{reason}: {answer:?}");
        let seen = world.violations.recv_timeout(PATIENCE).unwrap();
        assert_eq!(seen, (ChannelId::QueuedAccountd, Violation::FdCount), "{reason}");
    }
    assert_eq!(world.inbox(), []);
    assert_eq!(deliver(&world.queued(), 2, TEXT), AccountdToQueued::Filed);
    world.check();
}

#[test]
fn a_message_over_the_limit_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let request = QueuedToAccountd::Deliver(delivery(1, (8 << 20) + 1));
    let answer = world.queued().call(&request, vec![sealed(&vec![b'a'; (8 << 20) + 1])]).unwrap().0;
    assert_eq!(answer, AccountdToQueued::Refused(AccountRefusal::Fault));
    assert_eq!(world.inbox(), []);
    world.check();
}

/// How many commits the write-ahead log holds: frames whose header has the database's size after a commit.
fn commits(directory: &Path) -> usize {
    let log = std::fs::read(directory.join("account.sqlite-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let salts = &log[16..24];
    log[32..]
        .chunks_exact(24 + page)
        .take_while(|frame| &frame[8..16] == salts)
        .filter(|frame| frame[4..8] != [0; 4])
        .count()
}

#[tokio::test]
async fn deliveries_that_come_together_share_a_commit() {
    const TOGETHER: u8 = 40;
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    // The writer is held inside the answer to a first delivery.
    let (held, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let staged = world.account.store.stage(b"", &mut &*TEXT, Parse::Yes, 1 << 20).unwrap();
    let first = Delivery {
        id: store_lib::DeliveryId([0xff; 16]),
        mailbox: MailboxName::inbox(),
        flags: Flags::default(),
        received: UnixSeconds(0),
    };
    let (holding, going) = (Arc::clone(&held), Arc::clone(&go));
    world.account.store.deliver(staged, first, move |result| {
        result.unwrap();
        holding.wait();
        going.wait();
    });
    held.wait();
    let before = commits(directory.path());
    let queued = stream::Asker::<QueuedAccountd>::start(world.channel(), |_| {}).unwrap();
    let mut running = tokio::task::JoinSet::new();
    for id in 0..TOGETHER {
        let queued = queued.clone();
        running.spawn(async move {
            let request = QueuedToAccountd::Deliver(delivery(id, TEXT.len()));
            queued.call(&request, vec![sealed(TEXT)]).await.unwrap().0
        });
    }
    // All are taken and staged while the writer does nothing: none waits for another's commit. A question behind them
    // on the same channel is answered when the delivery thread is done with them.
    tokio::task::yield_now().await;
    let have = QueuedToAccountd::Have(DeliveryId([0xff; 16]));
    assert_eq!(queued.call(&have, Vec::new()).await.unwrap().0, AccountdToQueued::Known(true));
    assert!(!world.account.activity().is_idle());
    go.wait();
    while let Some(answer) = running.join_next().await {
        assert_eq!(answer.unwrap(), AccountdToQueued::Filed);
    }
    assert_eq!(world.inbox().len(), usize::from(TOGETHER) + 1);
    let shared = commits(directory.path()) - before;
    assert!(shared <= 2, "{shared} commits for {TOGETHER} deliveries");
    world.check();
}

/// A new channel takes over while the old one's answers are still due.
#[test]
fn a_new_channel_of_queued_works_beside_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let (old, new) = (world.queued(), world.queued());
    assert_eq!(deliver(&new, 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(deliver(&old, 1, TEXT), AccountdToQueued::Filed);
    drop(old);
    assert_eq!(deliver(&new, 2, TEXT), AccountdToQueued::Filed);
    assert_eq!(world.inbox().len(), 2);
    world.check();
}

#[test]
fn while_stopping_nothing_new_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let queued = world.queued();
    world.account.deliveries.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    let request = QueuedToAccountd::Deliver(delivery(1, TEXT.len()));
    let answer = queued.call(&request, vec![sealed(TEXT)]).map(|(answer, _)| answer);
    assert!(matches!(answer, Err(CallError::Dropped)));
    world.check();
}

/// Attack class 9: the deepest structure that is looked into fits on the delivery thread's stack, and a message that
/// is deeper still is filed as it is.
#[test]
fn a_message_of_many_levels_is_filed() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let queued = world.queued();
    for (id, depth) in [(1, 99), (2, 100), (3, 101), (4, 2_000)] {
        let mut octets = Vec::new();
        for level in 0..depth {
            octets.extend(
                format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").bytes(),
            );
        }
        octets.extend(b"\r\ntext\r\n");
        assert_eq!(deliver(&queued, id, &octets), AccountdToQueued::Filed, "{depth}");
        let rfc822 = b"Content-Type: message/rfc822\r\n\r\n".repeat(depth);
        assert_eq!(deliver(&queued, 100 + id, &rfc822), AccountdToQueued::Filed, "{depth}");
    }
    assert_eq!(world.inbox().len(), 8);
    world.check();
}

#[test]
fn over_its_quota_an_account_refuses_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let queued = world.queued();
    let full = AccountdToQueued::Refused(AccountRefusal::MailboxFull);
    let quota = |messages| Order::Quota(Quota { octets: None, messages });
    assert_eq!(world.account.take(quota(Some(1)), Vec::new()).unwrap(), Next::Continue);
    assert_eq!(deliver(&queued, 1, TEXT), AccountdToQueued::Filed);
    assert_eq!(deliver(&queued, 2, TEXT), full);
    world.full.recv_timeout(PATIENCE).unwrap();
    assert_eq!(deliver(&queued, 1, TEXT), AccountdToQueued::Filed, "it was filed before");
    assert_eq!(world.account.take(quota(None), Vec::new()).unwrap(), Next::Continue);
    assert_eq!(deliver(&queued, 2, TEXT), AccountdToQueued::Filed);
    assert!(world.full.try_recv().is_err(), "said once");
    assert_eq!(world.inbox().len(), 2);
    world.check();
}
