//! Delivery while the client waits.

use super::*;

const LATER: Outcome = Outcome::TryLater { no_space: false };
const NO_SPACE: Outcome = Outcome::TryLater { no_space: true };

#[tokio::test]
async fn each_recipient_gets_an_outcome_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("2@x.org", Owner::Disabled);
    assert_eq!(
        world.deliver(1, &["1@x.org", "ghost@x.org", "2@x.org"]).await,
        [Outcome::Filed, Outcome::NoSuchRecipient, Outcome::Stored],
        "one took it: what is disabled now may be enabled later"
    );
    assert_eq!(
        world.deliver(2, &["ghost@x.org", "2@x.org"]).await,
        [Outcome::NoSuchRecipient, Outcome::Disabled]
    );
    let filed = world.account(1, |account| account.filed.clone());
    assert_eq!(filed.len(), 1);
    assert_eq!(filed[0].octets, TEXT);
    assert_eq!(filed[0].connection, ConnectionId(42));
    assert_eq!(
        filed[0].prefix,
        "Return-Path: <sender@y.org>\r\nDelivered-To: 1@x.org\r\nReceived: from a\r\n\tby b\r\n"
    );
}

#[tokio::test]
async fn an_account_with_several_of_the_addresses_gets_one_copy() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("b@x.org", Owner::Account(AccountId::new(1).unwrap()));
    assert_eq!(world.deliver(1, &["1@x.org", "b@x.org"]).await, [Outcome::Filed; 2]);
    assert_eq!(world.has(1), 1);
}

#[tokio::test]
async fn accounts_are_delivered_to_in_parallel() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    // None of the three answers before all three have been asked.
    let barrier = Arc::new(Barrier::new(3));
    for number in 1..=3 {
        world.does(number, [Does::Meets(Arc::clone(&barrier))]);
    }
    assert_eq!(world.deliver(1, &["1@x.org", "2@x.org", "3@x.org"]).await, [Outcome::Filed; 3]);
}

/// Attack class 40: an account's process that dies at any point of a delivery costs neither a message nor a copy.
#[tokio::test]
async fn a_lost_answer_is_asked_for_before_the_message_is_sent_again() {
    for (does, asked, outcome, reason) in [
        (vec![Does::Dies], &["deliver", "have", "deliver"][..], Outcome::Filed, "died before the commit"),
        (vec![Does::FilesAndDies], &["deliver", "have"], Outcome::Filed, "died after the commit"),
        (vec![Does::Drops], &["deliver", "have", "deliver"], Outcome::Filed, "dropped it"),
        (vec![Does::FilesAndDrops], &["deliver", "have"], Outcome::Filed, "dropped the answer"),
        (vec![Does::Babbles], &["deliver", "have", "deliver"], Outcome::Filed, "answered nonsense"),
        (
            vec![Does::Dies, Does::FilesAndDies],
            &["deliver", "have", "deliver", "have"],
            Outcome::Filed,
            "died twice, the second time after the commit",
        ),
        (
            vec![Does::Dies, Does::Drops, Does::Dies],
            &["deliver", "have", "deliver", "have", "deliver"],
            Outcome::Stored,
            "died each time: the queue tries again",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        world.does(1, does);
        assert_eq!(world.deliver(1, &["1@x.org"]).await, [outcome], "{reason}");
        assert_eq!(world.asked(1), asked, "{reason}");
        world.later(i64::from(RETRY_MS) * 2).await;
        assert_eq!(world.has(1), 1, "{reason}");
        assert_eq!(queued_files(directory.path()), [""; 0], "{reason}");
    }
}

#[tokio::test]
async fn an_account_that_answers_nonsense_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.does(1, [Does::Babbles]);
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Filed]);
    let reported = world.board.violations.lock().unwrap().clone();
    assert_eq!(reported, [(ChannelId::QueuedAccountd, AccountId::new(1), Violation::Unexpected)]);
}

/// Attack class 39: where nothing was kept the client is told to come back, and nothing is stored on the full disk.
#[tokio::test]
async fn a_refusal_by_all_is_the_clients_to_repeat() {
    for (refusal, outcome) in [
        (AccountRefusal::NoSpace, NO_SPACE),
        (AccountRefusal::Fault, LATER),
        (AccountRefusal::MailboxFull, Outcome::MailboxFull),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        world.does(1, [Does::Refuses(refusal)]);
        assert_eq!(world.deliver(1, &["1@x.org"]).await, [outcome]);
        assert_eq!(queued_files(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn what_one_account_refuses_is_stored_when_another_took_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.does(2, [Does::Refuses(AccountRefusal::NoSpace)]);
    assert_eq!(world.deliver(1, &["1@x.org", "2@x.org"]).await, [Outcome::Filed, Outcome::Stored]);
    assert_eq!((world.has(1), world.has(2)), (1, 0));
    world.later(i64::from(RETRY_MS) * 2).await;
    assert_eq!((world.has(1), world.has(2)), (1, 1));
}

#[tokio::test]
async fn without_authd_nothing_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    // authd answers, but not for this question.
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(serve::<QueuedAuthd>(theirs, |_, _, responder| drop(responder)).unwrap());
    world.service.authd(ours).unwrap();
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [LATER]);
}

#[tokio::test]
async fn a_repeated_id_is_filed_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    for _ in 0..2 {
        assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Filed]);
    }
    assert_eq!(world.has(1), 1);
    // The first goes to the queue, the repeat finds the account: the queue's own attempt adds no second copy.
    world.refuses_channels(2, 1);
    assert_eq!(world.deliver(2, &["2@x.org"]).await, [Outcome::Stored]);
    assert_eq!(world.deliver(2, &["2@x.org"]).await, [Outcome::Filed]);
    world.later(i64::from(RETRY_MS) * 2).await;
    assert_eq!(world.has(2), 1);
    assert_eq!(queued_files(directory.path()), [""; 0]);
}

#[tokio::test]
async fn a_stop_waits_for_what_is_in_hand_and_takes_nothing_new() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (in_hand, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    world.does(1, [Does::Waits(Arc::clone(&in_hand), Arc::clone(&go))]);
    let service = world.service.clone();
    let (delivered, (), ()) = tokio::join!(
        world.deliver(1, &["1@x.org"]),
        async {
            in_hand.notified().await;
            service.stop(std::time::Duration::from_secs(60)).await;
        },
        async {
            while !world.service.0.stopping.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.deliver(2, &["1@x.org"]).await, [LATER]);
            go.notify_one();
        },
    );
    assert_eq!(delivered, [Outcome::Filed]);
}
