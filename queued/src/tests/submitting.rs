//! Messages of those who logged in.

use ipc_proto::{
    grant::{AuthdQueued, GRANT_SECONDS, Grant, Noted, Notice},
    submission::{
        QueuedToSubmitd, Sender, SubmissionRefusal, Submit, SubmitdQueued, SubmitdToQueued, Submitted,
        Ungranted,
    },
    types::Run,
};

use super::*;

/// The submitd of these tests.
pub(super) const RUN: Run = Run(7);

/// The authd.
pub(super) const AUTHD: Run = Run(3);

/// Account 1 is logged in there.
pub(super) const ONE: ConnectionId = ConnectionId(42);

/// Header and body of a message that account 1 may send.
pub(super) const MESSAGE: &[u8] =
    b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: One <1@x.org>\r\nMessage-ID: <a@b>\r\n\r\nworld\r\n";

/// What submits, beside the world.
pub(super) struct Submission {
    pub(super) authd: Asker<AuthdQueued>,
    pub(super) submitd: Asker<SubmitdQueued>,
}

pub(super) fn account(number: u32) -> AccountId {
    AccountId::new(number).unwrap()
}

pub(super) fn grant(run: Run, connection: ConnectionId, number: u32, now: i64) -> Notice {
    let until = Timestamp { seconds: now / 1000 + i64::from(GRANT_SECONDS), nanoseconds: 0 };
    Notice::Granted(Grant { run, connection, account: account(number), until })
}

pub(super) fn new_authd(service: &Service) -> Asker<AuthdQueued> {
    authd_of(service, AUTHD)
}

pub(super) fn authd_of(service: &Service, run: Run) -> Asker<AuthdQueued> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    service.notices(run, theirs).unwrap();
    Asker::start(ours, |_| {}).unwrap()
}

pub(super) fn new_submitd(service: &Service, run: Run) -> Asker<SubmitdQueued> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    service.submitd(run, theirs).unwrap();
    Asker::start(ours, |_| {}).unwrap()
}

pub(super) async fn tell(authd: &Asker<AuthdQueued>, notice: Notice) {
    assert_eq!(authd.call(&notice, Vec::new()).await.unwrap().0, Noted);
}

pub(super) async fn sender(submitd: &Asker<SubmitdQueued>, connection: ConnectionId) -> Sender {
    let request = SubmitdToQueued::Sender(connection, Some(address("1@x.org")));
    match submitd.call(&request, Vec::new()).await.unwrap().0 {
        QueuedToSubmitd::Sender(sender) => sender,
        other => panic!("{other:?}"),
    }
}

impl Submission {
    /// Account 1 is logged in.
    pub(super) async fn start(world: &World) -> Self {
        let authd = new_authd(&world.service);
        tell(&authd, grant(RUN, ONE, 1, world.now())).await;
        tell(&authd, Notice::Complete).await;
        Self { authd, submitd: new_submitd(&world.service, RUN) }
    }

    pub(super) async fn call(&self, submit: Submit, octets: &[u8]) -> QueuedToSubmitd {
        self.submitd.call(&SubmitdToQueued::Submit(submit), vec![sealed(octets)]).await.unwrap().0
    }

    pub(super) async fn submit(&self, submit: Submit, octets: &[u8]) -> Submitted {
        match self.call(submit, octets).await {
            QueuedToSubmitd::Submitted(submitted) => submitted,
            other => panic!("{other:?}"),
        }
    }

    /// The message of account 1.
    pub(super) async fn send(&self, id: u8, to: &[&str]) -> Submitted {
        self.submit(from_one(id, to, MESSAGE.len()), MESSAGE).await
    }

    async fn from(&self, header: &str) -> Submitted {
        let octets = format!("{header}\r\nworld\r\n");
        self.submit(from_one(9, &["2@x.org"], octets.len()), octets.as_bytes()).await
    }
}

pub(super) fn from_one(id: u8, to: &[&str], size: usize) -> Submit {
    let deliver = Deliver { reverse_path: Some(address("1@x.org")), ..message(id, to, size) };
    Submit { deliver, hold: None }
}

pub(super) fn filed() -> Submitted {
    Submitted::Delivered(vec![Outcome::Filed])
}

pub(super) fn refused(refusal: SubmissionRefusal) -> Submitted {
    Submitted::Refused(refusal)
}

#[tokio::test]
async fn a_submitted_message_is_delivered_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    for reason in ["at first", "to whom the answer was lost"] {
        assert_eq!(
            submission.send(1, &["2@x.org", "ghost@x.org"]).await,
            Submitted::Delivered(vec![Outcome::Filed, Outcome::NoSuchRecipient]),
            "{reason}"
        );
    }
    let filed = world.account(2, |account| account.filed.clone());
    assert_eq!(filed.len(), 1);
    assert_eq!(filed[0].octets, MESSAGE);
    assert_eq!(
        filed[0].prefix,
        "Return-Path: <1@x.org>\r\nDelivered-To: 2@x.org\r\nReceived: from a\r\n\tby b\r\n"
    );
}

/// RFC 6409 §8.2 and §8.3.
#[tokio::test]
async fn a_message_without_date_or_id_gets_them_above_its_own_octets() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    assert_eq!(submission.from("From: 1@x.org\r\n").await, filed());
    let message = world.account(2, |account| account.filed.pop().unwrap());
    assert_eq!(message.octets, b"From: 1@x.org\r\n\r\nworld\r\n");
    let id = message.id;
    assert_eq!(
        message.prefix.split_once("by b\r\n").unwrap().1,
        format!("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <{id}@mx.x.org>\r\n")
    );
}

#[tokio::test]
async fn the_sender_is_asked_of_authd() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let Submission { submitd, .. } = Submission::start(&world).await;
    let unknown = Sender::Ungranted(Ungranted::NotLoggedIn);
    for (connection, from, expected) in [
        (ONE, Some("1@x.org"), Sender::Ok),
        (ONE, None, Sender::Ok),
        (ONE, Some("2@x.org"), Sender::NotYours),
        (ONE, Some("1@y.org"), Sender::NotYours),
        (ConnectionId(43), Some("1@x.org"), unknown),
        (ConnectionId(43), None, unknown),
    ] {
        let request = SubmitdToQueued::Sender(connection, from.map(address));
        let reply = submitd.call(&request, Vec::new()).await.unwrap().0;
        assert_eq!(reply, QueuedToSubmitd::Sender(expected), "{connection} {from:?}");
    }
}

#[tokio::test]
async fn recipients_are_told_to_those_who_are_logged_in() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("3@x.org", Owner::Disabled);
    let Submission { submitd, .. } = Submission::start(&world).await;
    let mut queries: Vec<_> = ["2@x.org", "ghost@x.org", "a@y.org", "3@x.org"]
        .map(|text| RecipientQuery::Address(address(text)))
        .into();
    queries.push(RecipientQuery::Postmaster);
    let ask = |connection| SubmitdToQueued::Recipients(connection, queries.clone());
    let reply = submitd.call(&ask(ONE), Vec::new()).await.unwrap().0;
    let expected = vec![
        Recipient::Local(address("2@x.org")),
        Recipient::Unknown,
        Recipient::NotLocal,
        Recipient::Disabled,
        Recipient::Local(address("1@x.org")),
    ];
    assert_eq!(reply, QueuedToSubmitd::Recipients(Ok(expected)));
    let reply = submitd.call(&ask(ConnectionId(1)), Vec::new()).await.unwrap().0;
    assert_eq!(reply, QueuedToSubmitd::Recipients(Err(Ungranted::NotLoggedIn)));
    let many = SubmitdToQueued::Recipients(ONE, vec![RecipientQuery::Postmaster; 1001]);
    assert_eq!(submitd.call(&many, Vec::new()).await.unwrap().0, QueuedToSubmitd::Refused);
    assert_eq!(world.board.refused.lock().unwrap().pop(), Some(ViolationKind::Malformed));
}

/// Attack class 18: nobody writes in another's name. What readers could see as From: `mail_lib::header::origin`.
#[tokio::test]
async fn nobody_submits_in_the_name_of_another() {
    use SubmissionRefusal::{From, FromNotYours, Header};
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    world.set_owner("one@x.org", Owner::Account(account(1)));
    let submission = Submission::start(&world).await;
    for (header, refusal) in [
        ("From: 2@x.org\r\n", FromNotYours),
        ("From: \"1@x.org\" <2@x.org>\r\n", FromNotYours),
        ("From: 1@x.org\r\nSender: 2@x.org\r\n", FromNotYours),
        ("From: 2@x.org\r\nSender: 1@x.org\r\n", FromNotYours),
        ("From: 1@x.org\r\nfrom : 2@x.org\r\n", From),
        ("From: 1@x.org, 2@x.org\r\n", From),
        ("Subject: x\r\n", From),
        ("", From),
        ("From: 1@x.org\nFrom: 2@x.org\r\n", Header),
        ("no field\r\nFrom: 1@x.org\r\n", Header),
    ] {
        assert_eq!(submission.from(header).await, refused(refusal), "{header:?}");
    }
    assert_eq!(world.has(2), 0);
    assert_eq!(submission.from("From: one@x.org\r\nSender: 1@x.org\r\n").await, filed());
    let mut foreign = from_one(2, &["2@x.org"], MESSAGE.len());
    foreign.deliver.reverse_path = Some(address("2@x.org"));
    assert_eq!(submission.submit(foreign.clone(), MESSAGE).await, refused(SubmissionRefusal::SenderNotYours));
    foreign.deliver.reverse_path = None;
    assert_eq!(submission.submit(foreign, MESSAGE).await, filed(), "a receipt");
}

/// Attack class 10: a header without end, and one that is long within the bounds.
#[tokio::test]
async fn a_header_is_read_up_to_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    for (octets, expected) in [
        (100, filed()),
        (9_000, filed()),
        (100_000, filed()),
        (1 << 20, refused(SubmissionRefusal::Header)),
        (2 << 20, refused(SubmissionRefusal::Header)),
    ] {
        let header = format!("X: {}\r\nFrom: 1@x.org\r\n", "x".repeat(octets));
        assert_eq!(submission.from(&header).await, expected, "{octets}");
        world.account(2, |account| account.filed.clear());
    }
    let alone = b"From: 1@x.org\r\n";
    let submit = from_one(3, &["2@x.org"], alone.len());
    assert_eq!(submission.submit(submit, alone).await, filed(), "a header alone");
}

#[tokio::test]
async fn mail_for_others_hosts_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    assert_eq!(submission.send(1, &["2@x.org", "someone@y.org"]).await, refused(SubmissionRefusal::NotLocal));
    assert_eq!(world.has(2), 0, "none got it");
}

/// Attack class 26: what is refused from smtpd is refused from submitd.
#[tokio::test]
async fn requests_beyond_their_bounds_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let submission = Submission::start(&world).await;
    let base = from_one(1, &["2@x.org"], MESSAGE.len());
    let with = |change: fn(&mut Deliver)| {
        let mut submit = base.clone();
        change(&mut submit.deliver);
        submit
    };
    for (submit, kind) in [
        (with(|deliver| deliver.size += 1), ViolationKind::Fds),
        (with(|deliver| deliver.size = u64::MAX), ViolationKind::TooLarge),
        (with(|deliver| deliver.recipients.clear()), ViolationKind::Malformed),
        (with(|deliver| deliver.trace = b"From: 2@x.org".to_vec()), ViolationKind::Malformed),
        (with(|deliver| deliver.trace = b"From: 2@x.org\r\n".to_vec()), ViolationKind::Malformed),
        (
            with(|deliver| deliver.trace = b"Received: a\r\n\tb\r\nReceived : c\r\n".to_vec()),
            ViolationKind::Malformed,
        ),
    ] {
        assert_eq!(submission.call(submit, MESSAGE).await, QueuedToSubmitd::Refused);
        assert_eq!(world.board.refused.lock().unwrap().pop(), Some(kind));
    }
    // A field that goes on in the next line is still that one.
    let submit =
        with(|deliver| deliver.trace = b"Received: a\r\n\tFrom: 2@x.org\r\nRECEIVED: b\r\n".to_vec());
    assert_eq!(submission.call(submit, MESSAGE).await, QueuedToSubmitd::Submitted(filed()));
    // Neither has smtpd's files.
    let (number, file) = spool(&world.smtpd).await.unwrap();
    drop(file);
    let mut submit = from_one(1, &["2@x.org"], 0);
    submit.deliver.spool = Some(number);
    let request = SubmitdToQueued::Submit(submit);
    let reply = submission.submitd.call(&request, Vec::new()).await.unwrap().0;
    assert_eq!(reply, QueuedToSubmitd::Refused);
    assert_eq!(world.board.refused.lock().unwrap().pop(), Some(ViolationKind::Fds));
    assert_eq!(submission.send(1, &["2@x.org"]).await, filed(), "everybody else's mail goes on");
}

/// Attack class 27: smtpd's files take no place of submitd's, and end with smtpd alone.
#[tokio::test]
async fn spool_files_of_submitd_are_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let World { service, smtpd, .. } = World::start(directory.path());
    let submitd = new_submitd(&service, RUN);
    let mut held = Vec::new();
    for _ in 0..settings().spool_files {
        held.push(spool(&smtpd).await.unwrap());
    }
    assert!(spool(&smtpd).await.is_none());
    let (reply, mut fds) = submitd.call(&SubmitdToQueued::Spool, Vec::new()).await.unwrap();
    let QueuedToSubmitd::Spool(number) = reply else { panic!("{reply:?}") };
    File::from(fds.pop().unwrap()).write_all(MESSAGE).unwrap();
    drop(smtpd);
    until_queued_files(directory.path(), 1).await;

    let authd = new_authd(&service);
    tell(&authd, grant(RUN, ONE, 1, 1_000_000)).await;
    let mut submit = from_one(1, &["2@x.org"], MESSAGE.len());
    submit.deliver.spool = Some(number);
    let reply = submitd.call(&SubmitdToQueued::Submit(submit), Vec::new()).await.unwrap().0;
    assert_eq!(reply, QueuedToSubmitd::Submitted(filed()));
    let reply = submitd.call(&SubmitdToQueued::Forget(number), Vec::new()).await.unwrap().0;
    assert_eq!(reply, QueuedToSubmitd::Forgotten);
    until_queued_files(directory.path(), 0).await;
}
