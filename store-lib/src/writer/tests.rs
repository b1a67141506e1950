//! The writer from inside: groups, lost transactions, a full database.

use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::queue::{Gathering, Job};
use super::{Outcome, Queue, Rank, Transaction};
use crate::{
    Budget, Delivery, DeliveryId, FlagChange, Flags, MailboxName, Origin, Parse, Retention, Store,
    StoreError, SystemFlag, Then, UnixSeconds, Which,
};

fn account() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn check(store: &Store) {
    let problems = store.verify().unwrap().problems;
    assert!(problems.is_empty(), "{problems:#?}");
}

fn deliver(
    store: &Store,
    number: u8,
    size: usize,
    done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
) {
    let octets = vec![b'x'; size];
    let staged = store.stage(b"", &mut &*octets, Parse::Yes, 1 << 20).unwrap();
    let delivery = Delivery {
        id: DeliveryId([number; 16]),
        mailbox: MailboxName::inbox(),
        flags: Flags::NONE,
        received: UnixSeconds(0),
    };
    store.deliver(staged, delivery, move |result| done(result.map(|_| ())));
}

/// Holds the writer inside a group until the returned sender is dropped or used.
fn hold(store: &Store) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    let (started, wait) = mpsc::channel();
    store.queue().push(
        Rank::Session { messages: 1 },
        move |_: &mut Transaction<'_>| {
            started.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        },
        |_, _| (),
    );
    wait.recv().unwrap();
    release
}

/// Rows that a connection of its own sees.
fn committed(dir: &TempDir) -> i64 {
    let other = Connection::open(dir.path().join("account.sqlite")).unwrap();
    other.query_row("SELECT count(*) FROM message", (), |row| row.get(0)).unwrap()
}

#[test]
fn a_group_is_one_commit_and_every_answer_comes_after_it() {
    let (dir, store) = account();
    let held = hold(&store);
    let (send, receive) = mpsc::channel();
    let dir = std::sync::Arc::new(dir);
    for number in 1..=20 {
        let (send, dir) = (send.clone(), std::sync::Arc::clone(&dir));
        deliver(&store, number, 100, move |result| send.send((result.is_ok(), committed(&dir))).unwrap());
    }
    assert_eq!(committed(&dir), 0);
    drop(held);
    assert!(receive.iter().take(20).all(|answer| answer == (true, 20)));
    check(&store);
}

/// The trap: a full database inside one job's savepoint ends the whole transaction. Neighbours are filed all the same,
/// once, and the one that does not fit is told so.
#[test]
fn a_job_that_fills_the_database_does_not_undo_its_neighbours() {
    let (dir, store) = account();
    let limit = |store: &Store, more: i64| {
        let (send, receive) = mpsc::channel();
        store.queue().push(
            Rank::Session { messages: 1 },
            move |transaction: &mut Transaction<'_>| {
                let read = |sql: &str| transaction.connection.query_row(sql, (), |row| row.get::<_, i64>(0));
                let pages = read("PRAGMA page_count")? + more;
                Ok(read(&format!("PRAGMA max_page_count = {pages}"))?)
            },
            move |result, _| send.send(result).unwrap(),
        );
        receive.recv().unwrap().unwrap()
    };
    limit(&store, 8);
    let held = hold(&store);
    let (send, receive) = mpsc::channel();
    for number in 1..=9 {
        let send = send.clone();
        let size = if number == 5 { 60_000 } else { 10 };
        deliver(&store, number, size, move |result| send.send((number, result)).unwrap());
    }
    drop(held);
    for (number, result) in receive.iter().take(9) {
        match (number, result) {
            (5, Err(StoreError::NoSpace)) => {}
            (5, other) => panic!("{other:?}"),
            (_, result) => result.unwrap(),
        }
    }
    assert_eq!(committed(&dir), 8);
    assert_eq!(store.delivered(DeliveryId([5; 16])).unwrap(), None);
    check(&store);
    // Space again: what did not fit fits, and numbers go on without a repeat.
    limit(&store, 100_000);
    let (send, receive) = mpsc::channel();
    deliver(&store, 5, 60_000, move |result| send.send(result).unwrap());
    receive.recv().unwrap().unwrap();
    assert_eq!(committed(&dir), 9);
    check(&store);
}

#[test]
fn a_failing_job_leaves_its_neighbours_rows() {
    let (dir, store) = account();
    let held = hold(&store);
    let (send, receive) = mpsc::channel();
    for number in 1..=3 {
        let send = send.clone();
        deliver(&store, number, 10, move |result| send.send(result.is_ok()).unwrap());
    }
    let failing = send.clone();
    store.queue().push(
        Rank::Delivery,
        |transaction: &mut Transaction<'_>| {
            transaction.execute("DELETE FROM message", ())?;
            Err::<(), _>(StoreError::NotAllowed)
        },
        move |result, _| failing.send(result.is_ok()).unwrap(),
    );
    drop(held);
    assert_eq!(receive.iter().take(4).filter(|ok| *ok).count(), 3);
    assert_eq!(committed(&dir), 3);
    check(&store);
}

/// When COMMIT itself fails nobody is told `Ok`. Files stay: after a power cut the log might hold the commit.
#[test]
fn a_commit_that_fails_is_told_to_the_whole_group() {
    let (dir, store) = account();
    let held = hold(&store);
    let (send, receive) = mpsc::channel();
    for (number, size) in [(1, 10), (2, 100_000)] {
        let send = send.clone();
        deliver(&store, number, size, move |result| send.send(result.is_ok()).unwrap());
    }
    let failing = send.clone();
    store.queue().push(
        Rank::Delivery,
        |transaction: &mut Transaction<'_>| {
            Ok(transaction.connection.execute_batch(
                "CREATE TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
                 INSERT INTO child VALUES (1)",
            )?)
        },
        move |result, outcome| {
            assert!(matches!(outcome, Outcome::Unknown(_)));
            failing.send(result.is_ok()).unwrap();
        },
    );
    drop(held);
    assert!(receive.iter().take(3).all(|ok| !ok));
    assert_eq!(committed(&dir), 0);
    let (send, receive) = mpsc::channel();
    deliver(&store, 2, 100_000, move |result| send.send(result).unwrap());
    receive.recv().unwrap().unwrap();
    assert_eq!(committed(&dir), 1);
    check(&store);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.verify().unwrap().problems.len(), 1); // the first file of message 2
}

#[test]
fn a_panicking_answer_does_not_end_the_writer() {
    let (dir, store) = account();
    deliver(&store, 1, 10, |_| panic!("the caller's own"));
    let (send, receive) = mpsc::channel();
    deliver(&store, 2, 10, move |result| send.send(result).unwrap());
    receive.recv().unwrap().unwrap();
    assert_eq!(committed(&dir), 2);
    check(&store);
}

#[test]
fn deliveries_go_first_and_sessions_always_get_a_slice() {
    let queue = Queue::new();
    for number in 0..100 {
        queue.push(Rank::Delivery, |_| Ok(()), |_: Result<(), _>, _| ());
        if number % 2 == 0 {
            queue.push(Rank::Session { messages: 400 }, |_| Ok(()), |_: Result<(), _>, _| ());
        }
    }
    let mut sizes = Vec::new();
    while !queue.is_empty() {
        let super::Taken::Group { jobs, .. } = queue.take(false, Gathering::default()) else {
            panic!("closed")
        };
        sizes.push(jobs.len());
        jobs.into_iter().for_each(|job: Box<dyn Job>| job.answer(Outcome::Failed(StoreError::Closed)));
    }
    assert_eq!(sizes[..3], [64, 38, 1]);
    assert_eq!(sizes.len(), 50);
}

/// Who delivers side by side shares a commit; a session is not made to wait for them, and nobody waits in vain for long.
#[test]
fn a_group_waits_for_those_of_the_last_one() {
    let patience = |seconds| Gathering { deliveries: 3, patience: Duration::from_secs(seconds) };
    for (sessions, gathering, expected, reason) in [
        (0, patience(600), 3, "as many as the last time"),
        (1, patience(600), 1, "a session waits"),
        (0, patience(0), 1, "the time is up"),
        (0, Gathering::after(1, Duration::from_secs(600)), 1, "the last one was alone"),
    ] {
        let queue = Queue::new();
        let push = |rank| queue.push(rank, |_| Ok(()), |_: Result<(), _>, _| ());
        let deliveries = std::thread::scope(|scope| {
            push(Rank::Delivery);
            (0..sessions).for_each(|_| push(Rank::Session { messages: 1 }));
            let taken = scope.spawn(|| queue.take(false, gathering));
            if expected > 1 {
                // Those that come while it waits, and end its waiting.
                (1..expected).for_each(|_| push(Rank::Delivery));
            }
            match taken.join().unwrap() {
                super::Taken::Group { deliveries, .. } => deliveries,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(deliveries, expected, "{reason}");
    }
}

#[test]
fn what_waits_for_a_writer_that_ended_is_answered() {
    let queue = Queue::new();
    let (send, receive) = mpsc::channel();
    let later = send.clone();
    queue.push(Rank::Delivery, |_| Ok(()), move |result: Result<(), _>, _| send.send(result).unwrap());
    queue.abandon();
    queue.push(Rank::Delivery, |_| Ok(()), move |result: Result<(), _>, _| later.send(result).unwrap());
    assert!(receive.iter().take(2).all(|result| matches!(result, Err(StoreError::Closed))));
}

#[test]
fn old_delivery_ids_are_forgotten_and_young_ones_kept() {
    let (dir, store) = account();
    for number in 1..=2 {
        let (send, receive) = mpsc::channel();
        deliver(&store, number, 10, move |result| send.send(result).unwrap());
        receive.recv().unwrap().unwrap();
    }
    store.close().unwrap();
    let connection = Connection::open(dir.path().join("account.sqlite")).unwrap();
    connection
        .execute("UPDATE delivered SET at = at - 7 * 24 * 3600 - 1 WHERE id = ?1", [[1_u8; 16]])
        .unwrap();
    super::chores::forget(&connection, UnixSeconds::now()).unwrap();
    drop(connection);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.delivered(DeliveryId([1; 16])).unwrap(), None);
    assert!(store.delivered(DeliveryId([2; 16])).unwrap().is_some());
    check(&store);
}

#[test]
fn a_long_log_is_folded_in_when_the_writer_is_idle() {
    let (dir, store) = account();
    for number in 1..=60 {
        let (send, receive) = mpsc::channel();
        deliver(&store, number, 60_000, move |result| send.send(result).unwrap());
        receive.recv().unwrap().unwrap();
    }
    let size = || std::fs::metadata(dir.path().join("account.sqlite")).unwrap().len();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while size() < 3_600_000 {
        assert!(std::time::Instant::now() < until, "{}", size());
        std::thread::yield_now();
    }
    store.read(&Budget::default(), |reader| reader.mailboxes()).unwrap();
    check(&store);
}

/// Octets of the log's file.
fn log_size(dir: &TempDir) -> u64 {
    std::fs::metadata(dir.path().join("account.sqlite-wal")).map_or(0, |found| found.len())
}

/// How often the log was begun anew: the number of checkpoints in its header.
fn log_generation(dir: &TempDir) -> u32 {
    let mut header = [0; 16];
    let mut file = std::fs::File::open(dir.path().join("account.sqlite-wal")).unwrap();
    std::io::Read::read_exact(&mut file, &mut header).unwrap();
    u32::from_be_bytes(*header.last_chunk().unwrap())
}

/// Nobody is idle here: the log is folded in while commits go on, and begun anew.
#[test]
fn a_log_that_never_rests_is_begun_anew() {
    let (dir, store) = account();
    let (send, receive) = mpsc::channel();
    let file = |number: u32| {
        let octets = vec![b'x'; 60_000];
        let staged = store.stage(b"", &mut &*octets, Parse::No, 1 << 20).unwrap();
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let (mailbox, flags, received) = (MailboxName::inbox(), Flags::NONE, UnixSeconds(0));
        let send = send.clone();
        store.deliver(staged, Delivery { id: DeliveryId(id), mailbox, flags, received }, move |result| {
            send.send(result.is_ok()).unwrap();
        });
    };
    // As if eight clients were at it: there is always something in the queue.
    (0..8).for_each(file);
    // The first commit since the log was last emptied writes its header.
    assert!(receive.recv().unwrap());
    file(8);
    let generation = log_generation(&dir);
    let mut sent = 9;
    while log_generation(&dir) == generation && sent < 4000 {
        assert!(receive.recv().unwrap());
        file(sent);
        sent += 1;
    }
    assert!(receive.iter().take(8).all(|filed| filed));
    assert_ne!(log_generation(&dir), generation, "after {sent} messages of 60 KB");
    check(&store);
}

/// A reader that stays holds the log back, for as long as it stays and no longer.
#[test]
fn a_reader_that_stays_holds_the_log_back_until_it_goes() {
    let (dir, store) = account();
    let reader = Connection::open(dir.path().join("account.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT modseq FROM account").unwrap();
    let seen = committed(&dir);
    let (send, receive) = mpsc::channel();
    let deliver_some = |numbers: std::ops::Range<u8>| {
        for number in numbers {
            let send = send.clone();
            deliver(&store, number, 60_000, move |result| send.send(result).unwrap());
            receive.recv().unwrap().unwrap();
        }
    };
    deliver_some(0..100);
    let rows: i64 = reader.query_row("SELECT count(*) FROM message", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, seen, "its view is the one that it began with");
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    deliver_some(100..200);
    store.close().unwrap();
    assert_eq!(log_size(&dir), 0, "all of it is in the database");
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(committed(&dir), 200);
    check(&store);
}

/// As after an update from a version without rows in `heading`: what was filed then is sorted all the same, and has its
/// rows when the chores were done.
#[test]
fn rows_for_sorting_are_filled_in_behind() {
    use crate::{SortKey, SortValue, Uid};
    use std::ops::ControlFlow;

    let (_dir, store) = account();
    for number in 0..250_u8 {
        let octets = format!("Subject: Re: {}\r\nDate: 1 Jan 2024\r\n\r\n", 255 - number);
        let parse = if number == 7 { Parse::No } else { Parse::Yes };
        let staged = store.stage(b"X-Prefix: x\r\n", &mut octets.as_bytes(), parse, 1 << 20).unwrap();
        let (send, receive) = mpsc::channel();
        let delivery = Delivery {
            id: DeliveryId([number; 16]),
            mailbox: MailboxName::inbox(),
            flags: Flags::NONE,
            received: UnixSeconds(i64::from(number)),
        };
        store.deliver(staged, delivery, move |result| send.send(result.is_ok()).unwrap());
        assert!(receive.recv().unwrap());
    }
    let run = |work: fn(&mut Transaction<'_>, &crate::files::Files) -> Result<bool, StoreError>| {
        let (send, receive) = mpsc::channel();
        let files = std::sync::Arc::clone(store.files());
        store.queue().push(
            Rank::Session { messages: 1 },
            move |transaction: &mut Transaction<'_>| work(transaction, &files),
            move |result, _| send.send(result).unwrap(),
        );
        receive.recv().unwrap().unwrap()
    };
    let values = |key: SortKey| {
        let inbox = MailboxName::inbox();
        let mut values = Vec::new();
        let read = store.read(&Budget::default(), |reader| {
            let mailbox = reader.find(&inbox)?.unwrap().id;
            reader.sort_values(mailbox, Uid::MIN..=Uid::MAX, key, |uid, value| {
                values.push(match value {
                    SortValue::Number(number) => format!("{} {number}", uid.value()),
                    SortValue::Text(text) => format!("{} {text}", uid.value()),
                });
                ControlFlow::Continue(())
            })
        });
        read.unwrap();
        values
    };
    let before = (values(SortKey::Subject), values(SortKey::Date));
    assert_eq!((before.0[0].as_str(), before.0[7].as_str()), ("1 255", "8 "));
    assert_eq!((before.1[0].as_str(), before.1[7].as_str()), ("1 1704067200", "8 7"));
    run(|transaction, _| {
        transaction.execute("DELETE FROM heading WHERE body <= 249", ())?;
        transaction.execute("INSERT INTO thread_backlog SELECT min(id), 249, 0 FROM body", ())?;
        transaction
            .execute("INSERT INTO heading_backlog SELECT min(id), 249 FROM body HAVING count(*) > 0", ())?;
        Ok(true)
    });
    assert_eq!((values(SortKey::Subject), values(SortKey::Date)), before);
    check(&store);
    let mut slices = 0;
    while run(|transaction, files| transaction.fill_headings(files)) {
        slices += 1;
        assert_eq!((values(SortKey::Subject), values(SortKey::Date)), before);
        check(&store);
    }
    assert_eq!(slices, 3);
    while run(|transaction, files| Ok(transaction.rethread(files)?.is_some())) {
        check(&store);
    }
    check(&store);
}

/// The rows of what is kept, changed behind the store's back.
fn change_kept(store: &Store, sql: &'static str) {
    let (send, receive) = mpsc::channel();
    store.queue().push(
        Rank::Session { messages: 1 },
        move |transaction: &mut Transaction<'_>| Ok(transaction.connection.execute_batch(sql)?),
        move |result, _| send.send(result).unwrap(),
    );
    receive.recv().unwrap().unwrap();
}

fn kept_ids(store: &Store) -> Vec<u64> {
    store.deleted(&Which::default(), 0, 100).unwrap().into_iter().map(|one| one.id).collect()
}

fn expunge_all(store: &Store) {
    let inbox =
        store.read(&Budget::default(), |reader| reader.find(&MailboxName::inbox())).unwrap().unwrap().id;
    let uids = store.read(&Budget::default(), |reader| reader.uids(inbox)).unwrap();
    let mark = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
    store.change_flags(inbox, &uids, mark, Origin::NONE).unwrap();
    store.expunge(inbox, None, Origin::NONE).unwrap();
}

fn delivered(store: &Store, number: u8, size: usize) -> Result<(), StoreError> {
    let (send, receive) = mpsc::channel();
    deliver(store, number, size, move |result| send.send(result).unwrap());
    receive.recv().unwrap()
}

#[test]
fn what_was_kept_long_enough_goes_and_so_does_what_a_wrong_clock_wrote() {
    let (_dir, store) = account();
    for number in 1..=4 {
        delivered(&store, number, 10).unwrap();
    }
    expunge_all(&store);
    assert_eq!(kept_ids(&store), [1, 2, 3, 4]);
    change_kept(
        &store,
        "UPDATE kept SET at = at - 3 * 86400 WHERE id = 1; UPDATE kept SET at = at + 30 * 86400 WHERE id = 2",
    );
    store.keep_deleted(2 * 86_400, u64::MAX);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while kept_ids(&store) != [3, 4] {
        assert!(std::time::Instant::now() < end, "{:?}", kept_ids(&store));
    }
    check(&store);
}

/// A full database: what was deleted makes room for what comes in.
#[test]
fn a_full_disk_lets_go_of_what_was_kept() {
    let (_dir, store) = account();
    for number in 1..=20 {
        delivered(&store, number, 60_000).unwrap();
    }
    expunge_all(&store);
    change_kept(&store, "PRAGMA max_page_count = 1");
    assert!(matches!(delivered(&store, 30, 60_000), Err(StoreError::NoSpace)));
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !kept_ids(&store).is_empty() {
        assert!(std::time::Instant::now() < end, "{:?}", kept_ids(&store));
    }
    delivered(&store, 30, 60_000).unwrap();
    check(&store);
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn uids(store: &Store, mailbox: &str) -> Vec<u32> {
    let found =
        store.read(&Budget::default(), |reader| reader.uids(reader.find(&name(mailbox))?.unwrap().id));
    found.unwrap().into_iter().map(crate::Uid::value).collect()
}

fn until_uids(store: &Store, mailbox: &str, expected: &[u32]) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while uids(store, mailbox) != expected {
        assert!(std::time::Instant::now() < end, "{mailbox}: {:?}", uids(store, mailbox));
    }
}

/// All that is there came 40 days ago: also into its mailbox.
const AGED: &str = "DELETE FROM day; INSERT INTO day SELECT unixepoch() - 40 * 86400, modseq FROM account";

/// Received long ago is not enough: it has to have been in the mailbox for as long.
#[test]
fn a_rule_is_about_what_was_in_its_mailbox_long_enough() {
    let (_dir, store) = account();
    for number in 1..=3 {
        delivered(&store, number, 10).unwrap();
    }
    let rule = |then| Some(Retention { days: 30, then });
    change_kept(&store, AGED);
    delivered(&store, 4, 10).unwrap();
    change_kept(&store, "UPDATE message SET received = unixepoch() WHERE uid = 2");
    store.set_retention(&MailboxName::inbox(), rule(Then::Trash)).unwrap();
    until_uids(&store, "INBOX", &[2, 4]);
    assert_eq!(uids(&store, "Trash"), [1, 2]);
    // There they are new.
    store.set_retention(&name("Trash"), rule(Then::Expunge)).unwrap();
    store.set_retention(&MailboxName::inbox(), None).unwrap();
    assert_eq!(uids(&store, "Trash"), [1, 2]);
    change_kept(&store, AGED);
    store.set_retention(&name("Trash"), rule(Then::Expunge)).unwrap();
    until_uids(&store, "Trash", &[]);
    assert_eq!(kept_ids(&store).len(), 2, "they can come back");
    assert_eq!(uids(&store, "INBOX"), [2, 4]);
    check(&store);
}

#[test]
fn a_rule_is_carried_out_in_slices_and_told_to_sessions() {
    let (_dir, store) = account();
    let inbox =
        store.read(&Budget::default(), |reader| reader.find(&MailboxName::inbox())).unwrap().unwrap().id;
    delivered(&store, 1, 10).unwrap();
    let mut all = vec![crate::Uid::MIN];
    // Four slices. When the last can be seen in the database, the three before it have been told: more than a watcher keeps.
    while all.len() < 1_600 {
        let more = &all[..all.len().min(1_600 - all.len())];
        store.copy(inbox, more, inbox, Origin::NONE).unwrap();
        all = store.read(&Budget::default(), |reader| reader.uids(inbox)).unwrap();
    }
    change_kept(&store, AGED);
    let mut watching = store.watch(inbox).unwrap();
    store.set_retention(&MailboxName::inbox(), Some(Retention { days: 30, then: Then::Expunge })).unwrap();
    until_uids(&store, "INBOX", &[]);
    assert!(matches!(watching.drain(), crate::Drained::Resync), "more than a watcher keeps");
    check(&store);
}

#[test]
fn rules_go_with_their_mailboxes_and_are_refused_where_they_make_no_sense() {
    let (_dir, store) = account();
    let rule = Retention { days: 1, then: Then::Trash };
    store.create(&name("a"), None, Origin::NONE).unwrap();
    store.set_retention(&name("a"), Some(rule)).unwrap();
    store.rename(&name("a"), &name("b"), Origin::NONE).unwrap();
    let rules = |store: &Store| store.read(&Budget::default(), |reader| reader.retentions()).unwrap();
    assert_eq!(rules(&store), [(name("b"), rule)]);
    store.delete(&name("b"), Origin::NONE).unwrap();
    assert_eq!(rules(&store), []);
    assert!(matches!(store.set_retention(&name("Trash"), Some(rule)), Err(StoreError::NotAllowed)));
    assert!(matches!(store.set_retention(&name("c"), Some(rule)), Err(StoreError::NoSuchMailbox)));
}
