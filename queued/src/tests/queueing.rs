//! What was acknowledged and is not yet filed.

use std::fs;

use ipc_proto::authd::Owner;

use super::*;
use crate::{
    QueueError,
    change::Change,
    queue::{Envelope, LONGEST_PAUSE_MS},
};

const PAUSE: i64 = RETRY_MS as i64;

/// Attack class 40: what was acknowledged as stored is there after a restart, and is filed once.
#[tokio::test]
async fn a_stored_message_survives_a_restart_and_is_tried_when_it_is_due() {
    for is_large in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        world.refuses_channels(1, 1);
        let (outcomes, octets) = if is_large {
            (world.deliver_large(1, &["1@x.org"]).await, large())
        } else {
            (world.deliver(1, &["1@x.org"]).await, TEXT.to_vec())
        };
        assert_eq!(outcomes, [Outcome::Stored]);
        let files = [format!("message-{}", DeliveryId([1; 16]))];
        assert_eq!(queued_files(directory.path()), files[..usize::from(is_large)]);
        let (accounts, now) = (Arc::clone(&world.accounts), world.now());
        restart(world, directory.path()).await;

        let world = World::start_with(directory.path(), accounts, now);
        world.later(PAUSE / 2).await;
        assert_eq!(world.has(1), 0, "not yet due");
        world.later(PAUSE).await;
        let filed = world.account(1, |account| account.filed.clone());
        assert_eq!(filed.len(), 1);
        assert_eq!(filed[0].octets, octets);
        assert_eq!(filed[0].id, DeliveryId([1; 16]));
        assert_eq!(filed[0].connection, ConnectionId(42));
        assert_eq!(
            filed[0].prefix,
            "Return-Path: <sender@y.org>\r\nDelivered-To: 1@x.org\r\nReceived: from a\r\n\tby b\r\n"
        );
        assert!(world.is_empty().await);
        assert_eq!(queued_files(directory.path()), [""; 0]);
        world.later(LONGEST_PAUSE_MS * 2).await;
        assert_eq!(world.asked(1), ["deliver"], "it is gone from the queue");
    }
}

/// Ends one run, and waits until its disk thread has let go of the database.
pub(super) async fn restart(world: World, directory: &Path) {
    world.supervisor.abort();
    drop(world);
    while matches!(Queue::open(directory), Err(QueueError::InUse { .. })) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pauses_grow_while_nothing_gets_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 3);
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Stored]);
    world.later(PAUSE * 5 / 4).await;
    world.later(PAUSE * 5 / 4).await;
    world.account(1, |account| assert_eq!(account.refused, 2, "the second attempt was not yet due"));
    world.later(PAUSE * 5 / 4).await;
    world.account(1, |account| assert_eq!(account.refused, 1));
    world.later(PAUSE * 5).await;
    assert_eq!(world.has(1), 1);
}

#[tokio::test]
async fn messages_to_many_are_stored_and_delivered_in_turn() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let to: Vec<String> = (1..=30).map(|number| format!("{number}@x.org")).collect();
    let mut to: Vec<&str> = to.iter().map(String::as_str).collect();
    to.push("ghost@x.org");
    let outcomes = world.deliver(1, &to).await;
    assert_eq!(outcomes[..30], [Outcome::Stored; 30]);
    assert_eq!(outcomes[30], Outcome::NoSuchRecipient);
    assert!((1..=30).all(|number| world.has(number) == 0), "not while the client waits");
    world.later(0).await;
    assert!((1..=30).all(|number| world.has(number) == 1));
    assert!(world.is_empty().await);
}

#[tokio::test]
async fn the_loop_delivers_what_is_stored_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (in_hand, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    world.does(4, [Does::Waits(Arc::clone(&in_hand), Arc::clone(&go))]);
    let service = world.service.clone();
    let retrying = tokio::spawn(async move { service.retry().await });
    let outcomes = world.deliver(1, &["1@x.org", "2@x.org", "3@x.org", "4@x.org"]).await;
    assert_eq!(outcomes, [Outcome::Stored; 4]);
    in_hand.notified().await;
    go.notify_one();
    while !world.is_empty().await {
        tokio::task::yield_now().await;
    }
    assert!((1..=4).all(|number| world.has(number) == 1));
    retrying.abort();
}

#[tokio::test]
async fn who_got_it_leaves_the_queue_and_who_did_not_stays() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 1);
    world.refuses_channels(2, 2);
    assert_eq!(world.deliver(1, &["1@x.org", "2@x.org"]).await, [Outcome::Stored; 2]);
    world.later(PAUSE * 5 / 4).await;
    assert_eq!((world.has(1), world.has(2)), (1, 0));
    world.later(PAUSE * 5 / 4).await;
    assert_eq!((world.has(1), world.has(2)), (1, 1), "there was progress: the pause is the first again");
    assert_eq!(world.asked(1), ["deliver"]);
}

/// Nothing acknowledged is lost: until senders can be told, a message for an address that is gone stays.
#[tokio::test]
async fn a_message_whose_recipient_vanished_stays_in_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 1);
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Stored]);
    world.set_owner("1@x.org", Owner::Nobody);
    world.later(PAUSE * 2).await;
    assert!(!world.is_empty().await);
    // The admin gives the address to another account.
    world.set_owner("1@x.org", Owner::Account(AccountId::new(7).unwrap()));
    world.later(PAUSE * 4).await;
    assert_eq!((world.has(1), world.has(7)), (0, 1));
}

/// Attack class 39: a clock that was a year ahead does not hold mail back for a year, and one that jumps ahead only
/// tries early.
#[tokio::test]
async fn a_clock_that_jumps_does_not_hold_mail_back() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    for jump in [-YEAR, YEAR] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start_with(directory.path(), Accounts::default(), 2 * YEAR);
        world.refuses_channels(1, 1);
        assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Stored]);
        world.later(jump).await;
        assert_eq!(world.has(1), 1, "{jump}");
    }
}

/// Attack class 39: one damaged message does not hold up the others, and is not filed as if it were whole.
#[tokio::test]
async fn a_damaged_message_stays_and_the_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    for number in 1..=4 {
        world.refuses_channels(number, 1);
        let id = u8::try_from(number).unwrap();
        assert_eq!(world.deliver_large(id, &[&format!("{number}@x.org")]).await, [Outcome::Stored]);
    }
    let path = |id| directory.path().join(format!("message-{}", DeliveryId([id; 16])));
    fs::write(path(1), &TEXT[..5]).unwrap();
    fs::write(path(2), large().to_ascii_uppercase()).unwrap();
    fs::remove_file(path(3)).unwrap();
    world.later(PAUSE * 2).await;
    assert_eq!([1, 2, 3, 4].map(|number| world.has(number)), [0, 0, 0, 1]);
    fs::write(path(1), large()).unwrap();
    world.later(PAUSE * 4).await;
    assert_eq!(world.has(1), 1, "put back, it is delivered");
}

/// Attack class 39: a duplicate id with other content replaces nothing.
#[tokio::test]
async fn an_id_that_is_queued_is_not_taken_for_other_content() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 2);
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Stored]);
    let other = world.send(message(1, &["1@x.org"], 5), sealed(b"other")).await;
    assert_eq!(other, QueuedToSmtpd::Delivered(vec![Outcome::TryLater { no_space: false }]));
    world.later(PAUSE * 2).await;
    assert!(world.account(1, |account| account.filed[0].octets == TEXT));
}

/// Attack class 39: a queue that cannot be written acknowledges nothing.
#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let moved = directory.path().with_extension("moved");
    fs::rename(directory.path(), &moved).unwrap();
    world.refuses_channels(2, 2);
    let later = Outcome::TryLater { no_space: false };
    assert_eq!(world.deliver_large(1, &["1@x.org", "2@x.org"]).await, [Outcome::Filed, later]);
    fs::rename(&moved, directory.path()).unwrap();
    assert_eq!(world.deliver_large(2, &["2@x.org"]).await, [Outcome::Stored]);
}

/// Attack class 39: changes share a commit, and one that cannot be made does not take the others with it.
#[test]
fn one_change_that_fails_leaves_its_group_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut queue = Queue::open(directory.path()).unwrap();
    let store = |id: u8, text: &[u8]| {
        let Deliver { id, connection, reverse_path, recipients, trace, received, .. } =
            message(id, &["1@x.org"], 0);
        let body = crate::body::Body::sealed(sealed(text), text.len() as u64).unwrap();
        let envelope = Envelope { id, connection, reverse_path, trace, received };
        let recipients = recipients.into_iter().map(Into::into).collect();
        Change::Store { envelope, body, recipients, now: 0, next: 0, is_held: false }
    };
    assert!(queue.change(&[store(1, TEXT)]).iter().all(Result::is_ok));
    // The octets of this one are there already: a row that makes its own insert fail.
    queue.database.execute("PRAGMA foreign_keys = OFF", []).unwrap();
    queue.database.execute("INSERT INTO body VALUES (?1, x'')", [[5_u8; 16]]).unwrap();
    queue.database.execute("PRAGMA foreign_keys = ON", []).unwrap();
    let (id, done) = (DeliveryId([1; 16]), vec![address("1@x.org")]);
    let settle = Change::Settle { id, done, left: Vec::new(), attempts: 0, next: 9 };
    let large = large();
    let group =
        [store(2, TEXT), store(1, b"other"), store(3, &large), store(5, TEXT), settle, store(4, TEXT)];
    let results: Vec<_> = queue.change(&group).iter().map(Result::is_ok).collect();
    assert_eq!(results, [true, false, true, false, true, true]);
    let mut due: Vec<_> =
        queue.due(0, 9, |_| false).unwrap().iter().map(|due| due.envelope.id.0[0]).collect();
    due.sort_unstable();
    assert_eq!(due, [2, 3, 4]);
    assert_eq!(queued_files(directory.path()), [format!("message-{}", DeliveryId([3; 16]))]);
}

/// Attack class 40: a crash between any two steps of storing leaves files that nobody was promised, and no row
/// without its file.
#[tokio::test]
async fn what_a_crash_left_behind_is_removed_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 1);
    assert_eq!(world.deliver_large(1, &["1@x.org"]).await, [Outcome::Stored]);
    let (accounts, now) = (Arc::clone(&world.accounts), world.now());
    restart(world, directory.path()).await;
    for name in ["new-00", "spool-1", &format!("message-{}", DeliveryId([9; 16])), "notes.txt", "message-x"] {
        fs::write(directory.path().join(name), "left").unwrap();
    }
    let world = World::start_with(directory.path(), accounts, now);
    let kept = format!("message-{}", DeliveryId([1; 16]));
    assert_eq!(
        queued_files(directory.path()),
        [kept.as_str(), "message-x", "notes.txt"],
        "others' files stay"
    );
    world.later(PAUSE * 2).await;
    assert_eq!(world.has(1), 1);
}

/// Attack class 39: small messages lie in the database, so nothing beside it shows that something was in one that is empty.
#[test]
fn a_database_that_was_there_is_never_made_anew() {
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(Damage<'_>, &str); 3] = [
        (&|path| fs::write(path, "").unwrap(), "empty"),
        (
            &|path| fs::File::options().write(true).open(path).unwrap().set_len(50).unwrap(),
            "less than a header, which SQLite takes for nothing",
        ),
        (
            &|path| {
                fs::remove_file(path).unwrap();
                fs::write(path.with_extension("sqlite-wal"), "what was not folded in").unwrap();
            },
            "gone, and its log is there",
        ),
    ];
    for (damage, reason) in cases {
        let directory = tempfile::tempdir().unwrap();
        drop(Queue::open(directory.path()).unwrap());
        let path = directory.path().join("queue.sqlite");
        let _ = fs::remove_file(path.with_extension("sqlite-wal"));
        damage(&path);
        let before = fs::read(&path).ok();
        let error = Queue::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is missing or empty") && !error.contains('\n'), "{reason}: {error}");
        assert_eq!(fs::read(&path).ok(), before, "{reason}");
    }
}

/// Attack class 40: whatever a crash left of making it, the next start makes it.
#[test]
fn a_database_that_was_half_made_is_made() {
    let directory = tempfile::tempdir().unwrap();
    for leftover in ["new-queue.sqlite", "new-queue.sqlite-journal"] {
        fs::write(directory.path().join(leftover), "half").unwrap();
    }
    drop(Queue::open(directory.path()).unwrap());
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().starts_with("queue.sqlite")), "{names:?}");
}

/// Attack class 39: a database that is not whole is one line that says what to do, and is left as it is.
#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    let garbage = vec![b'x'; 8192];
    type Damage<'a> = &'a dyn Fn(&Path);
    let cut_to =
        |path: &Path, octets| fs::File::options().write(true).open(path).unwrap().set_len(octets).unwrap();
    let cases: [(Damage<'_>, &str, &str); 7] = [
        (&|path| fs::write(path, &garbage).unwrap(), "is damaged", "not a database"),
        (&|path| cut_to(path, 100), "is damaged", "nothing but its header"),
        (
            &|path| cut_to(path, 50),
            "is missing or empty",
            "less than a header, which SQLite takes for nothing",
        ),
        (
            &|path| {
                let whole = fs::read(path).unwrap();
                fs::write(path, &whole[..whole.len() / 2 + 100]).unwrap();
            },
            "is damaged",
            "cut short",
        ),
        (&|path| fs::write(path, "").unwrap(), "is missing or empty", "empty though messages are there"),
        (&|path| fs::remove_file(path).unwrap(), "is missing or empty", "gone though messages are there"),
        (
            &|path| {
                let database = rusqlite::Connection::open(path).unwrap();
                database.pragma_update(None, "user_version", 99).unwrap();
            },
            "knows up to 5",
            "of a later version",
        ),
    ];
    for (damage, text, reason) in cases {
        let directory = tempfile::tempdir().unwrap();
        drop(Queue::open(directory.path()).unwrap());
        let message = directory.path().join(format!("message-{}", DeliveryId([1; 16])));
        fs::write(&message, TEXT).unwrap();
        let path = directory.path().join("queue.sqlite");
        damage(&path);
        let before = fs::read(&path).ok();
        let error = Queue::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(text) && !error.contains('\n'), "{reason}: {error}");
        assert_eq!(fs::read(&path).ok(), before, "{reason}");
        assert_eq!(fs::read(&message).unwrap(), TEXT, "{reason}");
    }
}

#[test]
fn a_queue_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let _open = Queue::open(directory.path()).unwrap();
    assert!(matches!(Queue::open(directory.path()), Err(QueueError::InUse { .. })));
    let gone = directory.path().join("gone");
    assert!(matches!(Queue::open(&gone), Err(QueueError::Open { .. })));
}
