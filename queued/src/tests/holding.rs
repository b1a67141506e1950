//! Messages that are not to be delivered before a time.

use std::time::Duration;

use ipc_proto::{
    authd::Owner,
    submission::{MAX_HOLD, SubmissionRefusal, Submit, Submitted},
};

use super::{
    queueing::restart,
    submitting::{MESSAGE, Submission, filed, from_one, refused},
    *,
};
use crate::limits::DAY_MS;

const HOUR: i64 = 3_600_000;
const LONGEST: i64 = MAX_HOLD as i64 * 1000;

fn stored() -> Submitted {
    Submitted::Delivered(vec![Outcome::Stored])
}

/// Held until so much later.
fn held(world: &World, id: u8, milliseconds: i64) -> Submit {
    let until = world.now() + milliseconds;
    let nanoseconds = u32::try_from(until.rem_euclid(1000)).unwrap() * 1_000_000;
    let hold = Some(Timestamp { seconds: until.div_euclid(1000), nanoseconds });
    Submit { hold, ..from_one(id, &["2@x.org"], MESSAGE.len()) }
}

async fn hold(world: &World, submission: &Submission, milliseconds: i64) -> Submitted {
    submission.submit(held(world, 1, milliseconds), MESSAGE).await
}

/// Attack class 40: a message that is held is acknowledged, and there after a restart.
#[tokio::test]
async fn a_held_message_survives_a_restart_and_goes_out_when_its_time_comes() {
    for milliseconds in [1000, HOUR, 3 * HOUR, 30 * DAY_MS, LONGEST] {
        for is_large in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let world = World::start(directory.path());
            let submission = Submission::start(&world).await;
            let octets = MESSAGE.repeat(if is_large { 3000 } else { 1 });
            let mut submit = held(&world, 1, milliseconds);
            submit.deliver.size = octets.len() as u64;
            assert_eq!(submission.submit(submit, &octets).await, stored());
            let (accounts, now) = (Arc::clone(&world.accounts), world.now());
            drop(submission);
            restart(world, directory.path()).await;

            let world = World::start_with(directory.path(), accounts, now);
            world.later(milliseconds - 1).await;
            assert_eq!(world.has(2), 0, "{milliseconds}");
            world.later(1).await;
            assert_eq!(world.account(2, |account| account.filed[0].octets.clone()), octets);
            assert!(world.is_empty().await);
        }
    }
}

#[tokio::test]
async fn a_message_is_held_at_most_60_days_and_not_for_a_time_that_is_past() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    for (milliseconds, expected) in [
        (-DAY_MS, filed()),
        (0, filed()),
        (LONGEST + 1, refused(SubmissionRefusal::Hold)),
        (i64::MAX / 2, refused(SubmissionRefusal::Hold)),
    ] {
        assert_eq!(hold(&world, &submission, milliseconds).await, expected, "{milliseconds}");
    }
    for (seconds, expected) in [(i64::MIN, filed()), (i64::MAX, refused(SubmissionRefusal::Hold))] {
        let mut submit = from_one(1, &["2@x.org"], MESSAGE.len());
        submit.hold = Some(Timestamp { seconds, nanoseconds: u32::MAX });
        assert_eq!(submission.submit(submit, MESSAGE).await, expected, "{seconds}");
    }
    assert_eq!(hold(&world, &submission, LONGEST).await, stored());
}

/// Attack class 26: holding is no way around what is judged: the sender, the recipients, the limits.
#[tokio::test]
async fn a_held_message_is_judged_and_counted_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.service.change(QueuedSettings { submission_messages: 2, ..settings() });
    let submission = Submission::start(&world).await;
    let mut foreign = held(&world, 1, HOUR);
    foreign.deliver.reverse_path = Some(address("2@x.org"));
    assert_eq!(submission.submit(foreign, MESSAGE).await, refused(SubmissionRefusal::SenderNotYours));
    let mut elsewhere = held(&world, 2, HOUR);
    elsewhere.deliver.recipients = vec![address("a@y.org")];
    assert_eq!(submission.submit(elsewhere, MESSAGE).await, refused(SubmissionRefusal::NotLocal));
    world.set_owner("2@x.org", Owner::Nobody);
    let nobody = Submitted::Delivered(vec![Outcome::NoSuchRecipient]);
    assert_eq!(submission.submit(held(&world, 3, HOUR), MESSAGE).await, nobody);
    world.set_owner("2@x.org", Owner::Account(AccountId::new(2).unwrap()));
    for (id, expected) in [
        (4, stored()),
        (5, stored()),
        (4, stored()),
        (6, refused(SubmissionRefusal::TooManyMessages { limit: 2 })),
    ] {
        assert_eq!(submission.submit(held(&world, id, HOUR), MESSAGE).await, expected, "{id}");
    }
    assert_eq!(world.has(2), 0);
    world.later(HOUR).await;
    assert_eq!(world.has(2), 2);
}

#[tokio::test]
async fn after_its_first_attempt_a_held_message_is_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    assert_eq!(hold(&world, &submission, HOUR).await, stored());
    let all_stored = Submitted::Delivered(vec![Outcome::Stored; 4]);
    assert_eq!(submission.send(1, &["2@x.org", "3@x.org", "4@x.org", "5@x.org"]).await, all_stored);
    world.later(0).await;
    assert_eq!(world.has(2), 0, "one that is held is not set free by a repeat");
    world.refuses_channels(2, 1);
    world.later(HOUR).await;
    assert_eq!((world.has(2), world.has(5)), (0, 1));
    world.later(-DAY_MS).await;
    assert_eq!(world.has(2), 1, "due, as its pause lies a day ahead after the clock jumped back");
}

/// Attack class 39: a clock that was ahead does not hold mail back for longer than can be asked for.
#[tokio::test]
async fn a_clock_that_jumps_does_not_hold_a_message_for_ever() {
    for (jump, count) in
        [(-HOUR, 0), (-DAY_MS, 0), (-DAY_MS - 1, 1), (-365 * DAY_MS, 1), (LONGEST - 1, 0), (365 * DAY_MS, 1)]
    {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start_with(directory.path(), Accounts::default(), 2 * 365 * DAY_MS);
        let submission = Submission::start(&world).await;
        assert_eq!(hold(&world, &submission, LONGEST).await, stored());
        world.later(jump).await;
        assert_eq!(world.has(2), count, "{jump}");
    }
}

#[tokio::test]
async fn the_loop_sleeps_no_longer_than_until_a_held_message_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    let hour = Duration::from_secs(3600);
    assert_eq!(submission.submit(held(&world, 1, DAY_MS), MESSAGE).await, stored());
    assert_eq!(retry::run_once(&world.service.0).await, hour);
    assert_eq!(submission.submit(held(&world, 2, 90_000), MESSAGE).await, stored());
    assert_eq!(retry::run_once(&world.service.0).await, Duration::from_secs(90));
    world.later(90_000).await;
    assert_eq!(world.has(2), 1);
    assert_eq!(retry::run_once(&world.service.0).await, hour);
}
