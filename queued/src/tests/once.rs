//! Attack class 40: exactly once, whatever dies when.

use proptest::prelude::*;

use super::*;
use crate::{
    QueueError,
    change::Change,
    queue::{Envelope, LONGEST_PAUSE_MS},
    recipient::Recipient,
};

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        Just(Does::Files),
        Just(Does::Refuses(AccountRefusal::NoSpace)),
        Just(Does::Refuses(AccountRefusal::Fault)),
        Just(Does::Dies),
        Just(Does::FilesAndDies),
        Just(Does::Drops),
        Just(Does::FilesAndDrops),
        Just(Does::Babbles),
    ]
}

/// From start to kill: with the runtime everything that was under way is gone.
fn life<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn yields(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two accounts fail as they like, queued itself is cut off after any number of steps and smtpd repeats: no
    /// account has two copies, and none lacks what was acknowledged.
    #[test]
    fn a_message_is_filed_once_whoever_fails(
        first in proptest::collection::vec(does(), 0..6),
        second in proptest::collection::vec(does(), 0..6),
        refused in 0u32..3,
        cut_off in proptest::option::of(0u32..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let accounts = Accounts::default();
        let to = ["1@x.org", "2@x.org"];
        accounts.lock().unwrap().extend([
            (1, Account { does: first.into(), ..Account::default() }),
            (2, Account { does: second.into(), refused: refused + 1, ..Account::default() }),
        ]);
        let mut outcomes = None;
        if let Some(steps) = cut_off {
            outcomes = life(async {
                let world = World::start_with(directory.path(), Arc::clone(&accounts), 0);
                tokio::select! {
                    biased;
                    outcomes = world.deliver(1, &to) => Some(outcomes),
                    () = yields(steps) => None,
                }
            });
            while matches!(Queue::open(directory.path()), Err(QueueError::InUse { .. })) {
                std::thread::yield_now();
            }
        }
        let (outcomes, is_empty) = life(async {
            let world = World::start_with(directory.path(), accounts, 0);
            let outcomes = match outcomes {
                Some(outcomes) => outcomes,
                None => world.deliver(1, &to).await,
            };
            for _ in 0..10 {
                world.later(2 * LONGEST_PAUSE_MS).await;
            }
            ([(outcomes[0], world.has(1)), (outcomes[1], world.has(2))], world.is_empty().await)
        });
        for (outcome, copies) in outcomes {
            prop_assert!(copies <= 1, "{outcome:?}");
            if matches!(outcome, Outcome::Filed | Outcome::Stored) {
                prop_assert_eq!(copies, 1, "{:?}", outcome);
            }
        }
        prop_assert!(is_empty);
        prop_assert_eq!(queued_files(directory.path()), Vec::<String>::new());
    }

    /// The same of a message in a spool file: the next queued finds it, and smtpd, which closed it, asks again.
    #[test]
    fn a_spooled_message_is_filed_once_whoever_fails(
        does in proptest::collection::vec(does(), 0..4),
        cut_off in 0u32..60,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let accounts = Accounts::default();
        accounts.lock().unwrap().insert(1, Account { does: does.into(), ..Account::default() });
        let number = life(async {
            let world = World::start_with(directory.path(), Arc::clone(&accounts), 0);
            let (number, mut file) = spool(&world.smtpd).await.unwrap();
            file.write_all(TEXT).unwrap();
            drop(file);
            tokio::select! {
                biased;
                _ = world.send_spooled(number, TEXT.len()) => {}
                () = yields(cut_off) => {}
            }
            number
        });
        while matches!(Queue::open(directory.path()), Err(QueueError::InUse { .. })) {
            std::thread::yield_now();
        }
        let (outcome, copies) = life(async {
            let world = World::start_with(directory.path(), accounts, 0);
            let QueuedToSmtpd::Delivered(outcomes) = world.send_spooled(number, TEXT.len()).await else {
                panic!("the spool file is gone")
            };
            for _ in 0..10 {
                world.later(2 * LONGEST_PAUSE_MS).await;
            }
            world.forget(number).await;
            until_queued_files(directory.path(), 0).await;
            (outcomes[0], world.has(1))
        });
        prop_assert!(copies <= 1, "{outcome:?}");
        if matches!(outcome, Outcome::Filed | Outcome::Stored) {
            prop_assert_eq!(copies, 1, "{:?}", outcome);
        }
    }

    #[test]
    fn a_stored_message_comes_back_as_it_was(
        id: [u8; 16],
        connection: u64,
        sender in proptest::option::of("[a-z\"]{1,9}"),
        trace in proptest::collection::vec(any::<u8>(), 0..64),
        seconds: i64,
        octets in proptest::collection::vec(any::<u8>(), 0..70_000),
        names in proptest::collection::btree_set("[a-z0-9]{1,9}", 1..9),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut queue = Queue::open(directory.path()).unwrap();
        let envelope = Envelope {
            id: DeliveryId(id),
            connection: ConnectionId(connection),
            reverse_path: sender.and_then(|name| Address::parse(&format!("{name}@y.org")).ok()),
            trace,
            received: Timestamp { seconds, nanoseconds: 7 },
        };
        let mut recipients: Vec<_> = names.iter().map(|name| Recipient::from(address(&format!("{name}@x.org")))).collect();
        recipients.sort_by_key(|recipient| recipient.address.to_string());
        let body = crate::body::Body::sealed(sealed(&octets), octets.len() as u64).unwrap();
        let store = Change::Store { envelope: envelope.clone(), body, recipients: recipients.clone(), now: 5, next: 10, is_held: false };
        queue.change(&[store]).pop().unwrap().unwrap();
        prop_assert_eq!(queued_files(directory.path()).len(), usize::from(octets.len() > 64 * 1024));
        drop(queue);

        let mut queue = Queue::open(directory.path()).unwrap();
        prop_assert!(queue.due(9, 10, |_| false).unwrap().is_empty());
        prop_assert_eq!(queue.next_due(|_| false).unwrap(), Some(10));
        prop_assert!(queue.due(10, 10, |_| true).unwrap().is_empty());
        let due = queue.due(10, 10, |_| false).unwrap().pop().unwrap();
        prop_assert_eq!(&due.envelope, &envelope);
        prop_assert_eq!(&due.recipients, &recipients);
        let mut back = Vec::new();
        queue.body(envelope.id).unwrap().copy_to(&mut back).unwrap();
        prop_assert_eq!(back, octets);
        let done = recipients.into_iter().map(|recipient| recipient.address).collect();
        let settle = Change::Settle { id: envelope.id, done, left: Vec::new(), attempts: 0, next: 20 };
        queue.change(&[settle]).pop().unwrap().unwrap();
        prop_assert_eq!(queue.next_due(|_| false).unwrap(), None);
        prop_assert_eq!(queued_files(directory.path()), Vec::<String>::new());
    }
}
