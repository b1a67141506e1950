//! Logins of submitd, and what queued is told of them, over real channels.

use ipc_proto::{
    grant::{AuthdQueued, GRANT_SECONDS, Grant, Noted, Notice},
    logins::Protocols,
    sasl::{Mechanism, SaslReply, SaslStep, Transport},
    stream::serve,
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;

const SUBMITD: Run = Run(7);

/// submitd's side.
struct Submitd(Asker<SubmitdAuthd>);

impl Submitd {
    fn start(instance: &Instance, run: Run) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        instance.service.channel(ChannelId::SubmitdAuthd, run, theirs).unwrap();
        Self(Asker::start(ours, |_| ()).unwrap())
    }

    async fn client(&self, client: Client) {
        let request = SubmitdToAuthd::Client(client);
        assert!(matches!(self.0.call(&request, Vec::new()).await.unwrap().0, AuthdToSubmitd::Client(_)));
    }

    async fn admit(&self, connection: u64) {
        let address = ClientAddress("192.0.2.1".parse().unwrap());
        self.client(Client::Admit(ConnectionId(connection), address)).await;
    }

    /// PLAIN.
    async fn log_in(&self, connection: u64, password: &str) -> Login {
        let initial = Some(Secret(format!("\0alice\0{password}").into_bytes()));
        let (mechanism, transport) = (Mechanism::Plain, Transport::Tls);
        let step = SaslStep::Start { mechanism, transport, initial };
        let request = SubmitdToAuthd::Sasl(ConnectionId(connection), step);
        match self.0.call(&request, Vec::new()).await.unwrap().0 {
            AuthdToSubmitd::Sasl(SaslReply::Ended(login)) => login,
            other => panic!("{other:?}"),
        }
    }

    async fn logs_in(&self, connection: u64) {
        self.admit(connection).await;
        assert!(matches!(self.log_in(connection, "moxmoxmox").await, Login::Ok(_)));
    }
}

/// queued's side: what it was told, in order. Dropped, it is gone.
struct Queued {
    told: UnboundedReceiver<Notice>,
    serving: tokio::task::JoinHandle<()>,
}

impl Queued {
    fn start(instance: &Instance) -> Self {
        Self::start_answering(instance, |_| true)
    }

    /// One that leaves a notice without an answer unless it is confirmed.
    fn start_answering(
        instance: &Instance,
        mut confirms: impl FnMut(&Notice) -> bool + Send + 'static,
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (tell, told) = unbounded_channel();
        let serving = serve::<AuthdQueued>(ours, move |notice, _, responder| {
            let confirmed = confirms(&notice);
            let _ = tell.send(notice);
            if confirmed {
                responder.reply(&Noted, Vec::new());
            }
        })
        .unwrap();
        instance.service.channel(ChannelId::AuthdQueued, Run(1), theirs).unwrap();
        let serving = tokio::spawn(async move {
            serving.await;
        });
        Self { told, serving }
    }

    async fn next(&mut self) -> Notice {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.expect("a notice").unwrap()
    }

    async fn granted(&mut self) -> Grant {
        match self.next().await {
            Notice::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn with_queued() -> (Instance, Asker<AdminAuthd>, Queued, AccountId) {
    let (instance, admin) = Instance::with_accounts().await;
    let mut queued = Queued::start(&instance);
    assert_eq!(queued.next().await, Notice::Complete);
    let alice = instance.service.0.book.read().login(&crate::name::LoginName::typed("alice")).unwrap().id;
    (instance, admin, queued, alice)
}

#[tokio::test]
async fn queued_knows_of_a_login_before_submitd_does_and_of_its_end() {
    let (mut instance, _admin, mut queued, alice) = with_queued().await;
    let submitd = Submitd::start(&instance, SUBMITD);
    submitd.logs_in(3).await;
    let grant = queued.told.try_recv().expect("told before submitd was answered");
    let Notice::Granted(Grant { run, connection, account, until }) = grant else { panic!("{grant:?}") };
    assert_eq!((run, connection, account), (SUBMITD, ConnectionId(3), alice));
    let lasts = until.seconds - Timestamp::now().seconds;
    assert!((i64::from(GRANT_SECONDS) - 5..=i64::from(GRANT_SECONDS)).contains(&lasts), "{lasts} s");
    assert!(instance.events.try_recv().is_err(), "the supervisor makes no session for it");
    assert_eq!(submitd.log_in(3, "moxmoxmox").await, Login::TryLater, "one login a connection");
    submitd.client(Client::Closed(ConnectionId(3))).await;
    assert_eq!(queued.next().await, Notice::Ended(SUBMITD, ConnectionId(3)));
}

#[tokio::test]
async fn without_a_proof_or_an_admission_nothing_is_granted() {
    let (_instance, _admin, mut queued, _) = with_queued().await;
    let submitd = Submitd::start(&_instance, SUBMITD);
    assert_eq!(submitd.log_in(9, "moxmoxmox").await, Login::TryLater, "not admitted");
    submitd.admit(1).await;
    assert!(matches!(submitd.log_in(1, "wrong password").await, Login::Denied { .. }));
    assert!(queued.told.try_recv().is_err());
}

#[tokio::test]
async fn an_app_password_for_reading_does_not_send() {
    let (_instance, admin, mut queued, _) = with_queued().await;
    let mut passwords = Vec::new();
    for (name, protocols) in [
        ("reads", Protocols { imap: true, submission: false }),
        ("sends", Protocols { imap: false, submission: true }),
    ] {
        let request = AdminToAuthd::AppPasswordAdd {
            account: "alice".into(),
            name: name.into(),
            protocols,
            expires: None,
        };
        let AuthdToAdmin::AppPassword(password) = ask_admin(&admin, request).await else { panic!() };
        passwords.push(String::from_utf8(password.0.clone()).unwrap());
        assert_eq!(queued.next().await, Notice::DirectoryChanged);
    }
    let submitd = Submitd::start(&_instance, SUBMITD);
    submitd.admit(1).await;
    assert!(matches!(submitd.log_in(1, &passwords[0]).await, Login::Denied { .. }));
    assert!(matches!(submitd.log_in(1, &passwords[1]).await, Login::Ok(_)));
    queued.granted().await;
}

#[tokio::test]
async fn a_new_queued_is_told_all_grants_that_still_hold() {
    let (instance, _admin, queued, _) = with_queued().await;
    let submitd = Submitd::start(&instance, SUBMITD);
    for connection in [1, 2, 3] {
        submitd.logs_in(connection).await;
    }
    submitd.client(Client::Closed(ConnectionId(2))).await;
    drop(queued);
    let mut queued = Queued::start(&instance);
    let mut connections = [queued.granted().await, queued.granted().await].map(|grant| grant.connection.0);
    connections.sort_unstable();
    assert_eq!(connections, [1, 3]);
    assert_eq!(queued.next().await, Notice::Complete);
}

#[tokio::test]
async fn grants_end_with_their_submitd() {
    let (instance, _admin, mut queued, _) = with_queued().await;
    let submitd = Submitd::start(&instance, SUBMITD);
    submitd.logs_in(1).await;
    queued.granted().await;
    drop(submitd);
    assert_eq!(queued.next().await, Notice::Ended(SUBMITD, ConnectionId(1)));
    let submitd = Submitd::start(&instance, Run(8));
    submitd.logs_in(1).await;
    assert_eq!(queued.granted().await.run, Run(8));
}

#[tokio::test]
async fn what_an_account_loses_queued_hears_before_the_admin_is_answered() {
    let (mut instance, admin, mut queued, alice) = with_queued().await;
    let submitd = Submitd::start(&instance, SUBMITD);
    submitd.logs_in(1).await;
    queued.granted().await;
    instance.changed(&admin, password_set("alice", "another password")).await;
    assert_eq!(queued.told.try_recv().unwrap(), Notice::DirectoryChanged);
    assert_eq!(queued.next().await, Notice::AccountEnded(alice));
    drop(queued);
    let mut queued = Queued::start(&instance);
    assert_eq!(queued.next().await, Notice::Complete, "a revoked grant is not told again");
    // The lists change nothing, and queued may go on with what it knows.
    ask_admin(&admin, AdminToAuthd::AccountList { after: None }).await;
    assert!(queued.told.try_recv().is_err());
}

#[tokio::test]
async fn a_change_is_told_again_until_queued_confirms_it() {
    let (instance, admin) = Instance::with_accounts().await;
    let mut before = 2;
    let mut queued = Queued::start_answering(&instance, move |notice| {
        let change = *notice == Notice::DirectoryChanged;
        before -= u32::from(change && before > 0);
        !change || before == 0
    });
    assert_eq!(queued.next().await, Notice::Complete);
    ask_admin(&admin, AdminToAuthd::DomainAdd("example.com".into())).await;
    for _ in 0..2 {
        assert_eq!(queued.next().await, Notice::DirectoryChanged);
    }
    ask_admin(&admin, AdminToAuthd::AccountList { after: None }).await;
    assert!(queued.told.try_recv().is_err(), "it was confirmed");
}

#[tokio::test]
async fn without_queued_nobody_is_told_that_he_may_submit() {
    let (instance, _admin) = Instance::with_accounts().await;
    let submitd = Submitd::start(&instance, SUBMITD);
    submitd.admit(1).await;
    assert_eq!(submitd.log_in(1, "moxmoxmox").await, Login::TryLater);
    let mut queued = Queued::start(&instance);
    assert_eq!(queued.next().await, Notice::Complete);
    assert!(matches!(submitd.log_in(1, "moxmoxmox").await, Login::Ok(_)), "the connection may try again");
    queued.granted().await;
}
