//! Who may submit, from login to end, over restarts of each side.

use ipc_proto::{
    grant::{Grant, Notice},
    submission::{Sender, SubmissionRefusal, Submitted, Ungranted},
    types::Run,
};

use super::{
    submitting::{
        AUTHD, MESSAGE, ONE, RUN, Submission, account, authd_of, from_one, grant, new_authd, new_submitd,
        sender, tell,
    },
    *,
};

const NOT_LOGGED_IN: Sender = Sender::Ungranted(Ungranted::NotLoggedIn);
const TWO: ConnectionId = ConnectionId(43);

#[tokio::test]
async fn a_grant_counts_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let Submission { authd, submitd } = Submission::start(&world).await;
    for (end, reason) in [
        (Notice::Ended(RUN, ONE), "the connection ended"),
        (Notice::AccountEnded(account(1)), "the account's grants ended"),
    ] {
        tell(&authd, grant(RUN, ONE, 1, world.now())).await;
        tell(&authd, grant(RUN, TWO, 2, world.now())).await;
        assert_eq!(sender(&submitd, ONE).await, Sender::Ok);
        tell(&authd, end).await;
        assert_eq!(sender(&submitd, ONE).await, NOT_LOGGED_IN, "{reason}");
        assert_eq!(sender(&submitd, TWO).await, Sender::NotYours, "another one goes on");
    }
    let until = Timestamp { seconds: world.now() / 1000, nanoseconds: 0 };
    let expired = Grant { run: RUN, connection: ONE, account: account(1), until };
    tell(&authd, Notice::Granted(expired)).await;
    assert_eq!(sender(&submitd, ONE).await, NOT_LOGGED_IN, "its time is over");
}

/// Attack class 26: a captured submitd submits for nobody but those who are logged in at it now.
#[tokio::test]
async fn a_captured_submitd_gets_nowhere_with_anothers_connection() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let first = Submission::start(&world).await;
    tell(&first.authd, grant(Run(RUN.0 + 1), TWO, 2, world.now())).await;
    assert_eq!(sender(&first.submitd, TWO).await, NOT_LOGGED_IN, "of a later submitd");
    let refusal = SubmissionRefusal::Ungranted(Ungranted::NotLoggedIn);
    let mut submit = from_one(1, &["2@x.org"], MESSAGE.len());
    submit.deliver.connection = TWO;
    let reply = first.submit(submit, MESSAGE).await;
    assert_eq!(reply, Submitted::Refused(refusal));

    let second = new_submitd(&world.service, Run(RUN.0 + 1));
    assert_eq!(sender(&second, TWO).await, Sender::NotYours, "told before its channel came");
    assert_eq!(sender(&second, ONE).await, NOT_LOGGED_IN, "of an earlier submitd");
    assert_eq!(sender(&first.submitd, ONE).await, NOT_LOGGED_IN, "the earlier one is gone");
    tell(&first.authd, grant(RUN, ONE, 1, world.now())).await;
    assert_eq!(sender(&first.submitd, ONE).await, NOT_LOGGED_IN, "and gets no more");
    assert_eq!(world.has(2), 0);
}

#[tokio::test]
async fn grants_end_with_their_submitd_but_not_with_a_broken_channel() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let Submission { authd: _authd, submitd } = Submission::start(&world).await;
    // A frame without its descriptor: the channel goes, the supervisor makes another one.
    let submit = from_one(1, &["2@x.org"], 5);
    let request = ipc_proto::submission::SubmitdToQueued::Submit(submit);
    assert!(submitd.call(&request, Vec::new()).await.is_err());
    let renewed = new_submitd(&world.service, RUN);
    assert_eq!(sender(&renewed, ONE).await, Sender::Ok);
    assert_eq!(
        *world.board.violations.lock().unwrap(),
        [(ChannelId::SubmitdQueued, None, Violation::FdCount)]
    );
    let other = new_submitd(&world.service, RUN);
    drop(renewed);
    assert_eq!(sender(&other, ONE).await, Sender::Ok, "one of its channels is left");
    drop(other);
    while world.service.0.grants.count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sender(&new_submitd(&world.service, RUN), ONE).await, NOT_LOGGED_IN);
}

/// After a restart of queued nobody who is logged in is told otherwise.
#[tokio::test]
async fn a_new_queued_waits_until_it_was_told_everything() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let authd = new_authd(&world.service);
    let submitd = new_submitd(&world.service, RUN);
    let early = tokio::spawn({
        let submitd = submitd.clone();
        async move { (sender(&submitd, ONE).await, sender(&submitd, ConnectionId(1)).await) }
    });
    tokio::task::yield_now().await;
    tell(&authd, grant(RUN, TWO, 2, world.now())).await;
    assert!(!early.is_finished());
    tell(&authd, grant(RUN, ONE, 1, world.now())).await;
    assert_eq!(sender(&submitd, ONE).await, Sender::Ok, "known before all are");
    tell(&authd, Notice::Complete).await;
    assert_eq!(early.await.unwrap(), (Sender::Ok, NOT_LOGGED_IN));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_known_for_five_seconds_is_told_to_try_later() {
    let grants = crate::grants::Grants::default();
    let notices = grants.notices(AUTHD);
    let asked = tokio::time::Instant::now();
    assert_eq!(grants.account(RUN, ONE).await, Err(Ungranted::TryLater));
    assert_eq!(asked.elapsed().as_secs(), 5);
    let Notice::Granted(given) = grant(RUN, ONE, 1, 0) else { unreachable!() };
    // A clock that jumped makes a grant no longer than it can be.
    grants.note(notices, Notice::Granted(given), -1_000_000_000);
    assert_eq!(grants.account(RUN, ONE).await, Ok(account(1)));
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    grants.note(notices, Notice::Complete, 0);
    assert_eq!(grants.account(RUN, ONE).await, Err(Ungranted::NotLoggedIn));
}

#[tokio::test]
async fn grants_go_on_while_authd_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let Submission { authd, submitd } = Submission::start(&world).await;
    drop(authd);
    play_authd(&world.owners, &world.service);
    assert_eq!(sender(&submitd, ONE).await, Sender::Ok);
    let authd = authd_of(&world.service, Run(AUTHD.0 + 1));
    tell(&authd, Notice::Complete).await;
    assert_eq!(sender(&submitd, ONE).await, Sender::Ok, "the new one knows of none");
    tell(&authd, Notice::AccountEnded(account(1))).await;
    assert_eq!(sender(&submitd, ONE).await, NOT_LOGGED_IN, "but ends those of an account");
}

/// What ended while the channel was broken could not be told: it ends when the next one has told all.
#[tokio::test]
async fn what_the_same_authd_does_not_grant_again_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let Submission { authd, submitd } = Submission::start(&world).await;
    let three = ConnectionId(44);
    tell(&authd, grant(RUN, TWO, 1, world.now())).await;
    let later = authd_of(&world.service, Run(AUTHD.0 + 1));
    tell(&later, grant(RUN, three, 1, world.now())).await;
    let renewed = new_authd(&world.service);
    tell(&renewed, grant(RUN, TWO, 1, world.now())).await;
    for connection in [ONE, TWO, three] {
        assert_eq!(sender(&submitd, connection).await, Sender::Ok, "not all is told");
    }
    tell(&renewed, Notice::Complete).await;
    assert_eq!(sender(&submitd, ONE).await, NOT_LOGGED_IN, "not granted again");
    assert_eq!(sender(&submitd, TWO).await, Sender::Ok);
    assert_eq!(sender(&submitd, three).await, Sender::Ok, "another authd's");
    tell(&later, Notice::Complete).await;
    assert_eq!(sender(&submitd, three).await, Sender::Ok, "granted on that channel");
    let again = authd_of(&world.service, Run(AUTHD.0 + 1));
    tell(&again, Notice::Complete).await;
    assert_eq!(sender(&submitd, three).await, NOT_LOGGED_IN);
    assert_eq!(sender(&submitd, TWO).await, Sender::Ok);
}

/// Attack class 27: grants are bounded, and none that counts is lost to one more.
#[test]
fn more_grants_than_there_are_connections_are_not_noted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let grants = crate::grants::Grants::default();
    let notices = grants.notices(AUTHD);
    let mut noted = 0_u64;
    while grants.note(notices, grant(RUN, ConnectionId(noted), 1, 0), 0) != crate::grants::News::NoRoom {
        noted += 1;
    }
    assert_eq!(noted, 32_768);
    grants.note(notices, Notice::Ended(RUN, ConnectionId(5)), 0);
    assert_eq!(grants.note(notices, grant(RUN, ConnectionId(noted), 1, 0), 0), crate::grants::News::Grants);
}

/// After `moxctl` was answered, an address that is gone or disabled gets nothing: authd told queued before.
#[tokio::test]
async fn what_was_known_of_an_address_ends_with_the_change() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let authd = new_authd(&world.service);
    tell(&authd, Notice::Complete).await;
    assert_eq!(world.deliver(1, &["1@x.org"]).await, [Outcome::Filed]);
    for (id, owner, outcome) in
        [(2, Owner::Nobody, Outcome::NoSuchRecipient), (4, Owner::Disabled, Outcome::Disabled)]
    {
        world.set_owner("1@x.org", owner);
        assert_eq!(world.deliver(id, &["1@x.org"]).await, [Outcome::Filed], "authd is not asked again");
        tell(&authd, Notice::DirectoryChanged).await;
        assert_eq!(world.deliver(id + 1, &["1@x.org"]).await, [outcome]);
        world.set_owner("1@x.org", Owner::Account(account(1)));
        assert_eq!(world.deliver(id + 10, &["1@x.org"]).await, [Outcome::Filed]);
    }
    // A new authd: what the one before it said does not count.
    world.set_owner("1@x.org", Owner::Nobody);
    play_authd(&world.owners, &world.service);
    assert_eq!(world.deliver(20, &["1@x.org"]).await, [Outcome::NoSuchRecipient]);
    // One that tells nothing any more.
    world.set_owner("1@x.org", Owner::Account(account(1)));
    assert_eq!(world.deliver(21, &["1@x.org"]).await, [Outcome::Filed]);
    assert_eq!(world.service.0.owners.count(), 1);
    drop(authd);
    while world.service.0.owners.count() > 0 {
        tokio::task::yield_now().await;
    }
}
