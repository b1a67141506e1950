//! One address, several accounts: each of them once, whoever cannot be had now in its turn.

use ipc_proto::queue::{
    AdminQueued, AdminToQueued, QUEUE_PAGE, QueuedDetail, QueuedMessage, QueuedToAdmin, WaitReason,
};

use super::*;

const PAUSE: i64 = RETRY_MS as i64;

fn members(numbers: &[u32]) -> Owner {
    Owner::Members(numbers.iter().map(|number| AccountId::new(*number).unwrap()).collect())
}

fn admin(world: &World) -> Asker<AdminQueued> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    world.service.admin(theirs).unwrap();
    Asker::start(ours, |_| {}).unwrap()
}

async fn list(admin: &Asker<AdminQueued>, after: Option<&QueuedMessage>) -> Vec<QueuedMessage> {
    let after = after.map(|last| (last.stored, last.id));
    match admin.call(&AdminToQueued::List { after }, Vec::new()).await.unwrap().0 {
        QueuedToAdmin::Messages(page) => page,
        other => panic!("{other:?}"),
    }
}

async fn show(admin: &Asker<AdminQueued>, id: u8) -> Option<QueuedDetail> {
    match admin.call(&AdminToQueued::Show(DeliveryId([id; 16])), Vec::new()).await.unwrap().0 {
        QueuedToAdmin::Message(detail) => Some(*detail),
        QueuedToAdmin::NoMessage => None,
        other => panic!("{other:?}"),
    }
}

/// Attack class 39: nobody gets a message twice, by whatever ways it reaches an account.
#[tokio::test]
async fn an_account_that_is_reached_by_several_ways_gets_one_copy() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("team@x.org", members(&[1, 2]));
    world.set_owner("all@x.org", members(&[2, 3]));
    let outcomes = world.deliver(1, &["team@x.org", "all@x.org", "3@x.org"]).await;
    assert_eq!(outcomes, [Outcome::Filed; 3]);
    for (number, delivered_to) in [(1, Some("team@x.org")), (2, None), (3, None)] {
        let filed = world.account(number, |account| account.filed.clone());
        assert_eq!(filed.len(), 1, "{number}");
        let expected = delivered_to.map(|address| format!("Delivered-To: {address}\r\n"));
        let found = filed[0].prefix.lines().find(|line| line.starts_with("Delivered-To"));
        assert_eq!(found.map(|line| format!("{line}\r\n")), expected, "{number}");
    }
    assert!(world.is_empty().await);
}

#[tokio::test]
async fn members_who_cannot_be_had_get_it_in_their_turn_and_the_others_not_again() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("team@x.org", members(&[1, 2, 3]));
    world.refuses_channels(2, 2);
    world.does(3, [Does::Refuses(AccountRefusal::MailboxFull)]);
    assert_eq!(world.deliver(1, &["team@x.org"]).await, [Outcome::Stored]);
    assert_eq!([1, 2, 3].map(|number| world.has(number)), [1, 0, 0]);
    let admin = admin(&world);
    let detail = show(&admin, 1).await.unwrap();
    assert_eq!(detail.recipients[0].members, Some(2));
    assert_eq!(detail.recipients[0].reason, Some(WaitReason::Unreachable));
    world.later(PAUSE * 2).await;
    assert_eq!([1, 2, 3].map(|number| world.has(number)), [1, 0, 1]);
    assert_eq!(show(&admin, 1).await.unwrap().recipients[0].members, Some(1));
    world.later(PAUSE * 4).await;
    assert_eq!([1, 2, 3].map(|number| world.has(number)), [1, 1, 1]);
    assert_eq!(world.asked(1), ["deliver"], "who has it is not asked again");
    assert!(world.is_empty().await);
}

/// What waits for somebody who is a member no more goes: nobody is told, and nobody else gets it.
#[tokio::test]
async fn a_member_who_was_removed_meanwhile_gets_nothing_and_holds_up_nothing() {
    for (now, reason) in [(members(&[1, 4]), "removed"), (Owner::Nobody, "the alias is gone")] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        world.set_owner("team@x.org", members(&[1, 2]));
        world.refuses_channels(2, 1);
        assert_eq!(world.deliver(1, &["team@x.org"]).await, [Outcome::Stored]);
        world.set_owner("team@x.org", now);
        world.later(PAUSE * 2).await;
        assert_eq!([1, 2, 4].map(|number| world.has(number)), [1, 0, 0], "{reason}");
        assert!(world.is_empty().await, "{reason}");
    }
}

#[tokio::test]
async fn an_alias_of_more_than_can_be_waited_for_is_delivered_in_turn() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let many: Vec<u32> = (1..=60).collect();
    world.set_owner("team@x.org", members(&many));
    assert_eq!(world.deliver(1, &["team@x.org"]).await, [Outcome::Stored]);
    assert!(many.iter().all(|number| world.has(*number) == 0), "not while the client waits");
    world.later(0).await;
    assert!(many.iter().all(|number| world.has(*number) == 1));
    assert!(world.is_empty().await);
}

#[tokio::test]
async fn more_recipients_than_authd_is_asked_about_at_once_all_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let to: Vec<String> = (1..=250).map(|number| format!("{number}@x.org")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    assert_eq!(world.deliver(1, &to).await, [Outcome::Stored; 250]);
    world.later(0).await;
    assert!((1..=250).all(|number| world.has(number) == 1));
}

#[tokio::test]
async fn the_admin_sees_what_waits_and_why_and_never_a_body() {
    for large_one in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        let admin = admin(&world);
        assert_eq!(list(&admin, None).await, []);
        world.refuses_channels(1, 2);
        let outcomes = if large_one {
            world.deliver_large(1, &["1@x.org"]).await
        } else {
            world.deliver(1, &["1@x.org"]).await
        };
        assert_eq!(outcomes, [Outcome::Stored]);
        let page = list(&admin, None).await;
        let QueuedMessage { id, from, recipients, first, size, attempts, reason, .. } = page[0].clone();
        assert_eq!((page.len(), id), (1, DeliveryId([1; 16])));
        assert_eq!((from, recipients, first), (Some(address("sender@y.org")), 1, Some(address("1@x.org"))));
        assert_eq!(size, if large_one { large().len() } else { TEXT.len() } as u64);
        assert_eq!((attempts, reason), (0, Some(WaitReason::Unreachable)));
        let detail = show(&admin, 1).await.unwrap();
        assert_eq!(detail.message, page[0]);
        let header = String::from_utf8(detail.header).unwrap();
        assert_eq!(header, "Received: from a\r\n\tby b\r\nSubject: hello\r\n");
        assert!(!detail.cut);
        world.later(PAUSE * 2).await;
        assert_eq!(list(&admin, None).await[0].attempts, 1);
        world.set_owner("1@x.org", Owner::Disabled);
        world.later(PAUSE * 4).await;
        assert_eq!(list(&admin, None).await[0].reason, Some(WaitReason::Disabled));
        world.set_owner("1@x.org", Owner::Account(AccountId::new(1).unwrap()));
        world.later(PAUSE * 40).await;
        assert_eq!((list(&admin, None).await, show(&admin, 1).await), (vec![], None));
    }
}

/// A queue from before there were aliases is brought forward, with what waits in it.
#[tokio::test]
async fn a_queue_of_the_schema_before_gets_aliases_and_keeps_its_messages() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.refuses_channels(1, 1);
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Stored]);
    let (accounts, now) = (Arc::clone(&world.accounts), world.now());
    queueing::restart(world, directory.path()).await;
    let database = rusqlite::Connection::open(directory.path().join("queue.sqlite")).unwrap();
    let back = "
        DROP INDEX message_next; ALTER TABLE message DROP COLUMN hold_ms; CREATE INDEX message_next ON message (next_ms);
        DROP TABLE submitted; DROP TABLE correspondent;
        DROP TABLE member; ALTER TABLE recipient DROP COLUMN reason;
        PRAGMA user_version = 2;
    ";
    database.execute_batch(back).unwrap();
    drop(database);
    let world = World::start_with(directory.path(), accounts, now);
    assert_eq!(show(&admin(&world), 1).await.unwrap().recipients[0].reason, None);
    world.later(PAUSE * 2).await;
    assert_eq!(world.has(1), 1);
    assert!(world.is_empty().await);
}

#[tokio::test]
async fn the_queue_is_listed_page_by_page_the_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let count = QUEUE_PAGE + 20;
    world.refuses_channels(1, 1000);
    for id in 0..u8::try_from(count).unwrap() {
        // Some come in the same millisecond.
        world.clock.fetch_add(i64::from(id % 3), Ordering::Relaxed);
        assert_eq!(world.deliver(id, &["1@x.org"]).await, [Outcome::Stored]);
    }
    let admin = admin(&world);
    let mut all = list(&admin, None).await;
    assert_eq!(all.len(), QUEUE_PAGE);
    let rest = list(&admin, all.last()).await;
    assert_eq!(rest.len(), count - QUEUE_PAGE);
    all.extend(rest);
    assert!(all.is_sorted_by(|one, two| (one.stored, one.id) < (two.stored, two.id)));
    assert_eq!(list(&admin, all.last()).await, []);
}
