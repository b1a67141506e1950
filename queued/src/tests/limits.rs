//! How much an account may submit.

use ipc_proto::submission::{SubmissionRefusal, Submitted};

use super::{
    queueing::restart,
    submitting::{MESSAGE, ONE, RUN, Submission, account, filed, from_one, grant, refused, tell},
    *,
};
use crate::{
    change::{Change, Changed},
    limits::{Charge, DAY_MS, Limits},
};

const ALL_FILED: [Outcome; 3] = [Outcome::Filed; 3];

fn too_many(limit: u32) -> Submitted {
    refused(SubmissionRefusal::TooManyMessages { limit })
}

fn too_many_new(limit: u32) -> Submitted {
    refused(SubmissionRefusal::TooManyNewRecipients { limit })
}

fn limit(world: &World, messages: u32, new_recipients: u32) {
    world.service.change(QueuedSettings {
        submission_messages: messages,
        submission_new_recipients: new_recipients,
        ..settings()
    });
}

/// Time goes on; account 1 logs in again.
async fn pass(world: &World, submission: &Submission, milliseconds: i64) {
    let now = world.clock.fetch_add(milliseconds, Ordering::Relaxed) + milliseconds;
    tell(&submission.authd, grant(RUN, ONE, 1, now)).await;
}

#[tokio::test]
async fn an_account_submits_so_many_messages_in_24_hours_and_no_more() {
    const STEP: i64 = 3_600_000;
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    limit(&world, 2, 200);
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed());
    pass(&world, &submission, STEP).await;
    assert_eq!(submission.send(2, &["2@x.org"]).await, filed());
    assert_eq!(submission.send(3, &["2@x.org"]).await, too_many(2));
    limit(&world, 3, 200);
    assert_eq!(submission.send(3, &["2@x.org"]).await, filed(), "the setting counts at once");
    limit(&world, 2, 200);
    assert_eq!(submission.send(4, &["2@x.org"]).await, too_many(2));

    tell(&submission.authd, grant(RUN, ConnectionId(43), 3, world.now())).await;
    let text = b"From: 3@x.org\r\n";
    let mut other = from_one(5, &["2@x.org"], text.len());
    other.deliver.connection = ConnectionId(43);
    other.deliver.reverse_path = Some(address("3@x.org"));
    assert_eq!(submission.submit(other, text).await, filed(), "another account has its own");

    pass(&world, &submission, DAY_MS - 1).await;
    assert_eq!(submission.send(6, &["2@x.org"]).await, too_many(2));
    pass(&world, &submission, 1).await;
    assert_eq!(submission.send(6, &["2@x.org"]).await, filed(), "they are 24 hours old");
    assert_eq!(submission.send(7, &["2@x.org"]).await, filed());
    assert_eq!(submission.send(8, &["2@x.org"]).await, too_many(2));
    assert_eq!(world.has(2), 6);
}

#[tokio::test]
async fn an_account_writes_to_so_many_new_addresses_in_24_hours_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    limit(&world, 1000, 3);
    let three = ["2@x.org", "3@x.org", "2@x.org"];
    assert_eq!(submission.send(1, &three).await, Submitted::Delivered(ALL_FILED.to_vec()));
    assert_eq!(submission.send(2, &["4@x.org", "5@x.org"]).await, too_many_new(3));
    assert_eq!(submission.send(2, &["4@x.org"]).await, filed(), "one is left");
    assert_eq!(submission.send(3, &["5@x.org"]).await, too_many_new(3));
    assert_eq!(submission.send(4, &["5@x.org", "2@x.org"]).await, too_many_new(3));
    assert_eq!((world.has(2), world.has(5)), (1, 0), "nobody gets what is refused");
    assert_eq!(submission.send(5, &["4@x.org"]).await, filed(), "a known one");
    pass(&world, &submission, DAY_MS - 1).await;
    assert_eq!(submission.send(6, &["5@x.org"]).await, too_many_new(3));
    pass(&world, &submission, 1).await;
    let new = ["5@x.org", "6@x.org", "7@x.org"];
    assert_eq!(submission.send(6, &new).await, Submitted::Delivered(ALL_FILED.to_vec()));
    assert_eq!(submission.send(7, &["2@x.org"]).await, filed(), "known from the day before");
    assert_eq!(submission.send(8, &["8@x.org"]).await, too_many_new(3));
}

/// Attack class 26: a captured submitd gets no more by asking again, under the same id or another one, before or after a
/// restart.
#[tokio::test]
async fn what_counts_is_kept_over_a_restart_and_a_repeat_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    limit(&world, 2, 2);
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed());
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed());
    let (accounts, now) = (Arc::clone(&world.accounts), world.now());
    drop(submission);
    restart(world, directory.path()).await;

    let world = World::start_with(directory.path(), accounts, now);
    let submission = Submission::start(&world).await;
    limit(&world, 2, 2);
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed(), "asked of the next queued");
    assert_eq!(
        submission.send(1, &["3@x.org", "4@x.org"]).await,
        too_many_new(2),
        "the same id, other people"
    );
    assert_eq!(submission.send(1, &["3@x.org"]).await, filed());
    assert_eq!(submission.send(1, &["2@x.org", "3@x.org"]).await, too_many(2));
    assert_eq!(submission.send(2, &["2@x.org"]).await, too_many(2));
    assert_eq!((world.has(2), world.has(3), world.has(4)), (1, 1, 0));
}

#[tokio::test]
async fn what_nobody_kept_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    limit(&world, 1, 1);
    let full = Submitted::Delivered(vec![Outcome::MailboxFull]);
    for id in 1..4 {
        world.does(2, [Does::Refuses(AccountRefusal::MailboxFull)]);
        assert_eq!(submission.send(id, &["2@x.org"]).await, full);
    }
    world.refuses_channels(3, 1);
    let stored = Submitted::Delivered(vec![Outcome::Stored]);
    assert_eq!(submission.send(4, &["3@x.org"]).await, stored);
    assert_eq!(submission.send(5, &["3@x.org"]).await, too_many(1), "what is stored counts");
    // What is refused before it is delivered does not count either.
    limit(&world, 2, 1);
    let mut foreign = from_one(6, &["3@x.org"], MESSAGE.len());
    foreign.deliver.reverse_path = Some(address("2@x.org"));
    assert_eq!(submission.submit(foreign, MESSAGE).await, refused(SubmissionRefusal::SenderNotYours));
    assert_eq!(submission.send(7, &["3@x.org"]).await, filed());
}

/// Attack class 39: a clock that was a year ahead, or goes back a year, does not keep anybody from writing.
#[tokio::test]
async fn a_clock_that_jumps_does_not_use_up_what_an_account_may() {
    const YEAR: i64 = 365 * DAY_MS;
    for jump in [-YEAR, YEAR] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start_with(directory.path(), Accounts::default(), 2 * YEAR);
        let submission = Submission::start(&world).await;
        limit(&world, 1, 1);
        assert_eq!(submission.send(1, &["2@x.org"]).await, filed());
        assert_eq!(submission.send(2, &["3@x.org"]).await, too_many(1));
        pass(&world, &submission, jump).await;
        assert_eq!(submission.send(2, &["3@x.org"]).await, filed(), "{jump}");
        assert_eq!(submission.send(3, &["2@x.org"]).await, too_many(1), "{jump}");
    }
    let directory = tempfile::tempdir().unwrap();
    let world = World::start_with(directory.path(), Accounts::default(), 2 * YEAR);
    let submission = Submission::start(&world).await;
    limit(&world, 1, 1);
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed());
    pass(&world, &submission, -DAY_MS).await;
    assert_eq!(submission.send(2, &["3@x.org"]).await, too_many(1), "a small correction gives nothing");
}

/// The queue alone, with nobody who delivers.
struct Till {
    queue: Queue,
    _directory: tempfile::TempDir,
}

impl Till {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { queue: Queue::open(directory.path()).unwrap(), _directory: directory }
    }

    fn change(&mut self, change: Change) -> Changed {
        self.queue.change(&[change]).pop().unwrap().unwrap()
    }

    fn charge(&mut self, id: u8, to: &[&str]) -> Changed {
        self.change(Change::Charge(charge(id, to)))
    }

    fn refund(&mut self, id: u8, to: &[&str]) {
        let Charge { account, key, .. } = charge(id, to);
        assert_eq!(self.change(Change::Refund { account, key }), Changed::Made);
    }

    fn count(&self, what: &str) -> u32 {
        let of = format!("SELECT count(*) FROM {what}");
        self.queue.database.query_row(&of, [], |row| row.get(0)).unwrap()
    }
}

/// At most two messages to two new addresses.
fn charge(id: u8, to: &[&str]) -> Charge {
    let to: Vec<_> = to.iter().map(|text| address(text)).collect();
    let limits = Limits { messages: 2, new_recipients: 2 };
    Charge::new(account(1), DeliveryId([id; 16]), &to, limits, 2 * DAY_MS)
}

/// Attack class 26: what fails while another copy of it, or another message to the same people, gets through takes
/// nothing back that was used.
#[test]
fn only_what_nobody_else_used_is_given_back() {
    let exceeds = Changed::Exceeds(SubmissionRefusal::TooManyNewRecipients { limit: 2 });
    let mut till = Till::new();
    assert_eq!(till.charge(1, &["a@x.org", "b@x.org"]), Changed::Made);
    assert_eq!(till.charge(1, &["a@x.org", "b@x.org"]), Changed::Made);
    till.refund(1, &["a@x.org", "b@x.org"]);
    assert_eq!(till.charge(2, &["c@x.org"]), exceeds, "the other copy was kept");
    till.refund(1, &["a@x.org", "b@x.org"]);
    till.refund(1, &["a@x.org", "b@x.org"]);
    assert_eq!(till.count("submitted") + till.count("correspondent"), 0);

    assert_eq!(till.charge(1, &["a@x.org", "b@x.org"]), Changed::Made);
    assert_eq!(till.charge(2, &["b@x.org"]), Changed::Made);
    till.refund(1, &["a@x.org", "b@x.org"]);
    assert_eq!(till.charge(3, &["c@x.org", "d@x.org"]), exceeds, "the second message went to b");
    assert_eq!(till.charge(3, &["c@x.org"]), Changed::Made);
}

/// Charges share a commit, and one that is too much does not take the others with it.
#[test]
fn each_of_a_group_is_counted_by_itself() {
    let mut till = Till::new();
    let group: Vec<_> = (1..=3).map(|id| Change::Charge(charge(id, &["a@x.org"]))).collect();
    let answers: Vec<_> = till.queue.change(&group).into_iter().map(Result::unwrap).collect();
    let exceeds = Changed::Exceeds(SubmissionRefusal::TooManyMessages { limit: 2 });
    assert_eq!(answers, [Changed::Made, Changed::Made, exceeds]);
}

/// Attack class 27: what is remembered is bounded, and what is too old goes.
#[test]
fn no_more_is_remembered_than_there_is_room_for() {
    let mut till = Till::new();
    till.queue
        .database
        .execute_batch(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100000)
             INSERT INTO correspondent SELECT 1, CAST(n AS BLOB), n, NULL FROM number;
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1500)
             INSERT INTO submitted SELECT n % 3 + 1, CAST(n AS BLOB), n, 1 FROM number;",
        )
        .unwrap();
    assert_eq!(till.charge(1, &["a@x.org", "b@x.org"]), Changed::Made);
    assert_eq!(till.count("correspondent"), 100_000);
    assert_eq!(till.count("correspondent WHERE first_ms <= 2"), 0, "the oldest are forgotten");
    assert_eq!(till.count("submitted"), 501);
    assert_eq!(till.charge(1, &["a@x.org", "b@x.org"]), Changed::Made);
    assert_eq!(till.count("submitted"), 1, "of all accounts");
}
