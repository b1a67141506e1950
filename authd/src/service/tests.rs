use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use ipc_proto::{
    CallError, Secret,
    authd::{
        AccountInfo, AuthdToQueued, Login, Offence, Owner, Pattern, QueuedToAuthd, Recipient, RecipientQuery,
    },
    control::{Role, SessionFacts, ViolationKind},
    logins::Abuser,
    stream::Asker,
    types::ClientAddress,
};
use mail_lib::address::Address;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

mod crashed;
mod external;
mod neighbours;
mod quotas;
mod sasl;
mod submission;
mod waking;

const ROUNDS: u32 = 1000;

/// The service over real channels, and the supervisor's side of it.
struct Instance {
    service: Service,
    events: UnboundedReceiver<Event>,
    path: TempDir,
}

fn settings() -> AuthdSettings {
    AuthdSettings {
        loopback_exempt: true,
        connection_rate: [300, 900, 2700],
        connections: [30, 90, 270],
        failure_rate: [10, 30, 90],
        failure_day: [50, 150, 450],
        hash_threads: 2,
        rounds: ROUNDS,
    }
}

impl Instance {
    fn start() -> Self {
        Self::start_in(TempDir::new().unwrap())
    }

    fn start_in(path: TempDir) -> Self {
        let directory = Directory::open(path.path(), "mail.example.org", ROUNDS).unwrap();
        let (up, events) = unbounded_channel();
        let up = Box::new(move |event| up.send(event).unwrap_or(()));
        let service = Service::start(directory, &settings(), up).unwrap();
        Self { service, events, path }
    }

    fn ask<C: Channel>(&self) -> Asker<C> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.service.channel(C::ID, Run(1), theirs).unwrap();
        Asker::start(ours, |_| ()).unwrap()
    }

    /// A domain, and accounts alice and bob with the password `moxmoxmox`.
    async fn with_accounts() -> (Self, Asker<AdminAuthd>) {
        let mut instance = Self::start();
        let admin = instance.ask::<AdminAuthd>();
        done(&admin, AdminToAuthd::DomainAdd("example.org".into())).await;
        for name in ["alice", "bob"] {
            instance.add(&admin, name).await;
            instance.changed(&admin, password_set(name, "moxmoxmox")).await;
        }
        (instance, admin)
    }

    /// A change that ends all sessions of an account: the supervisor is told before the admin is answered.
    async fn changed(&mut self, admin: &Asker<AdminAuthd>, request: AdminToAuthd) -> AccountId {
        done(admin, request).await;
        match self.events.try_recv() {
            Ok(Event::DisconnectAccount(account)) => account,
            other => panic!("{other:?}"),
        }
    }

    async fn add(&mut self, admin: &Asker<AdminAuthd>, name: &str) -> AccountId {
        let address = Pattern::parse(&format!("{name}@example.org")).unwrap();
        let request = AdminToAuthd::AccountAdd { name: name.into(), address: Some(address) };
        let supervisor = async {
            let Event::CreateAccount(account) = self.events.recv().await.unwrap() else { panic!() };
            self.service.order(&Order::AccountReady(account));
        };
        let (reply, ()) = tokio::join!(admin.call(&request, Vec::new()), supervisor);
        match reply.unwrap().0 {
            AuthdToAdmin::Added(account) => account,
            other => panic!("{other:?}"),
        }
    }

    /// The supervisor's part of a login that succeeds.
    async fn join(&mut self) -> SessionFacts {
        let Event::Connect { front: Role::Imapd, facts } = self.events.recv().await.unwrap() else {
            panic!()
        };
        self.service.order(&Order::Connected(facts.session));
        facts
    }

    async fn login_ok(&mut self, imapd: &Imapd, connection: u64, user: &str, password: &str) -> SessionFacts {
        let (login, facts) = tokio::join!(imapd.login(connection, user, password), self.join());
        assert_eq!(login, Login::Ok(facts.session));
        assert_eq!(facts.connection, ConnectionId(connection));
        facts
    }
}

async fn ask_admin(admin: &Asker<AdminAuthd>, request: AdminToAuthd) -> AuthdToAdmin {
    admin.call(&request, Vec::new()).await.unwrap().0
}

async fn done(admin: &Asker<AdminAuthd>, request: AdminToAuthd) {
    assert_eq!(ask_admin(admin, request).await, AuthdToAdmin::Done);
}

fn password_set(account: &str, password: &str) -> AdminToAuthd {
    AdminToAuthd::PasswordSet { account: account.into(), password: Secret(password.as_bytes().to_vec()) }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// imapd's side.
struct Imapd(Asker<ImapdAuthd>);

impl Imapd {
    async fn client(&self, client: Client) -> ClientReply {
        match self.0.call(&ImapdToAuthd::Client(client), Vec::new()).await.unwrap().0 {
            AuthdToImapd::Client(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn admit(&self, connection: u64, from: &str) -> ClientReply {
        let from = ClientAddress(from.parse::<IpAddr>().unwrap());
        self.client(Client::Admit(ConnectionId(connection), from)).await
    }

    async fn login(&self, connection: u64, user: &str, password: &str) -> Login {
        let request = ImapdToAuthd::Login {
            connection: ConnectionId(connection),
            user: user.into(),
            password: Secret(password.as_bytes().to_vec()),
        };
        match self.0.call(&request, Vec::new()).await.unwrap().0 {
            AuthdToImapd::Login(login) => login,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn recipients_and_owners_are_looked_up_over_their_channels() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let carol = instance.add(&admin, "carol").await;
    let smtpd = instance.ask::<SmtpdAuthd>();
    for (query, expected) in [
        (
            RecipientQuery::Address(address("Carol@example.org")),
            Recipient::Local(address("Carol@example.org")),
        ),
        (RecipientQuery::Address(address("dave@example.org")), Recipient::Unknown),
        (RecipientQuery::Address(address("dave@elsewhere.org")), Recipient::NotLocal),
        (RecipientQuery::Postmaster, Recipient::Local(address("postmaster@mail.example.org"))),
    ] {
        let reply = smtpd.call(&SmtpdToAuthd::Recipient(query.clone(), None), Vec::new()).await.unwrap().0;
        assert_eq!(reply, AuthdToSmtpd::Recipient(expected), "{query:?}");
    }
    let queued = instance.ask::<QueuedAuthd>();
    let addresses: Vec<_> = (0..1000)
        .map(|number| address(if number % 2 == 0 { "carol@example.org" } else { "nobody@example.org" }))
        .collect();
    let answer = queued.call(&QueuedToAuthd::Owners(addresses, None), Vec::new()).await.unwrap().0;
    let AuthdToQueued::Owners(owners) = answer else { panic!("{answer:?}") };
    assert_eq!(owners.len(), 1000);
    assert_eq!(owners[..2], [Owner::Account(carol), Owner::Nobody]);
}

#[tokio::test]
async fn a_login_becomes_a_session_that_the_supervisor_joins() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    for (connection, user) in [(1, "alice"), (2, "ALICE@Example.org")] {
        assert_eq!(imapd.admit(connection, "192.0.2.1").await, ClientReply::Admitted);
        let facts = instance.login_ok(&imapd, connection, user, "moxmoxmox").await;
        assert_eq!(facts.account.number(), 1);
    }
    assert_eq!(imapd.login(1, "bob", "moxmoxmox").await, Login::TryLater, "one login for one connection");
    assert_eq!(instance.service.0.state().sessions.len(), 2);
    let sessions = instance.service.0.book.read().accounts_after(None);
    assert!(matches!(
        &sessions[..],
        [AccountInfo { last_login: Some(_), .. }, AccountInfo { last_login: None, .. }]
    ));
}

/// Attack class 16: whether a user exists shows neither in the reply nor in the work.
#[tokio::test]
async fn unknown_disabled_and_wrong_cost_the_same_and_get_the_same_reply() {
    let (mut instance, admin) = Instance::with_accounts().await;
    instance.add(&admin, "nopass").await;
    instance.add(&admin, "off").await;
    done(&admin, password_set("off", "moxmoxmox")).await;
    done(&admin, AdminToAuthd::AccountDisable("off".into(), true)).await;
    let imapd = Imapd(instance.ask());
    let long = "x".repeat(400);
    for (connection, (user, password)) in [
        ("alice", "wrongwrong"),
        ("alice@example.org", ""),
        ("alice", "nul\0nul\0"),
        ("nobody", "moxmoxmox"),
        ("nobody@example.org", "moxmoxmox"),
        ("nobody@elsewhere.org", "moxmoxmox"),
        ("' OR 1=1 --", "moxmoxmox"),
        ("", "moxmoxmox"),
        (long.as_str(), "otherother"),
        ("nopass", "moxmoxmox"),
        ("off", "moxmoxmox"),
    ]
    .into_iter()
    .enumerate()
    {
        let connection = connection as u64;
        let from = format!("10.{connection}.0.1");
        assert_eq!(imapd.admit(connection, &from).await, ClientReply::Admitted);
        let before = instance.service.rounds();
        assert_eq!(imapd.login(connection, user, password).await, Login::Denied { wait_ms: 0 }, "{user}");
        assert_eq!(instance.service.rounds() - before, u64::from(ROUNDS), "{user}");
    }
    assert_eq!(instance.service.0.state().sessions.len(), 0);
}

#[tokio::test]
async fn a_password_that_was_proved_lately_is_not_hashed_again() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    for connection in 0..5 {
        imapd.admit(connection, "192.0.2.1").await;
        instance.login_ok(&imapd, connection, "alice", "moxmoxmox").await;
    }
    assert_eq!(instance.service.rounds(), u64::from(ROUNDS));
    imapd.admit(9, "192.0.2.1").await;
    assert_eq!(imapd.login(9, "bob", "moxmoxmo").await, Login::Denied { wait_ms: 0 });
    assert_eq!(imapd.login(9, "alice", "moxmoxmo").await, Login::Denied { wait_ms: 0 });
    assert_eq!(instance.service.rounds(), 3 * u64::from(ROUNDS));
}

/// Attack class 31: sessions outlive the authd that opened them, and a change of the password ends them all the same.
#[tokio::test]
async fn sessions_from_before_a_restart_are_cut_too() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    drop((imapd, admin));
    instance.service.stop().await;
    let mut instance = Instance::start_in(instance.path);
    assert_eq!(instance.service.0.state().sessions.len(), 0, "nothing is known of them");
    let admin = instance.ask::<AdminAuthd>();
    assert_eq!(instance.changed(&admin, password_set("alice", "otherother")).await.number(), 1);
    assert!(instance.events.try_recv().is_err());
}

/// Attack class 32: what was proved for an account that was removed proves nothing for the next of its name.
#[tokio::test]
async fn after_a_change_the_old_password_opens_nothing_and_its_sessions_are_cut() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    let remove = || AdminToAuthd::AccountRemove("alice".into());
    let disable = || AdminToAuthd::AccountDisable("alice".into(), true);
    for (round, change) in [password_set("alice", "otherother"), disable(), remove()].into_iter().enumerate()
    {
        let (first, second, third) = (10 * round as u64, 10 * round as u64 + 1, 10 * round as u64 + 2);
        for connection in [first, second, third] {
            imapd.admit(connection, "192.0.2.1").await;
        }
        let password = if round == 1 { "otherother" } else { "moxmoxmox" };
        let one = instance.login_ok(&imapd, first, "alice", password).await.session;
        let two = instance.login_ok(&imapd, second, "alice", password).await.session;
        let other = instance.login_ok(&imapd, third, "bob", "moxmoxmox").await.session;
        assert_eq!(instance.changed(&admin, change).await.number(), 1);
        assert!(instance.events.try_recv().is_err(), "bob's session goes on");
        for session in [one, two, other] {
            instance.service.order(&Order::SessionEnded(session));
        }
        imapd.admit(first, "192.0.2.1").await;
        assert_eq!(
            imapd.login(first, "alice", password).await,
            Login::Denied { wait_ms: 0 },
            "round {round}"
        );
        match round {
            0 => {}
            1 => {
                done(&admin, AdminToAuthd::AccountDisable("alice".into(), false)).await;
                instance.changed(&admin, password_set("alice", "moxmoxmox")).await;
            }
            _ => {
                let again = instance.add(&admin, "alice").await;
                assert_eq!(again.number(), 3, "a number of its own");
                assert_eq!(imapd.login(first, "alice", "moxmoxmox").await, Login::Denied { wait_ms: 0 });
            }
        }
    }
    assert_eq!(instance.service.0.state().sessions.len(), 0);
}

/// The change comes while the old password is being hashed.
#[tokio::test]
async fn a_login_that_is_overtaken_by_a_password_change_is_denied() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    let state = Arc::clone(&instance.service.0);
    let judging = login_begun(&instance, "alice", "moxmoxmox");
    instance.changed(&admin, password_set("alice", "otherother")).await;
    let login = judging.await;
    assert!(matches!(login, Login::Denied { .. }), "{login:?}");
    assert!(state.state().proven.is_empty());
    assert!(instance.events.try_recv().is_err());
}

/// A login that has begun, on a front of its own; nothing of it runs before it is awaited.
fn login_begun(instance: &Instance, user: &str, password: &str) -> impl Future<Output = Login> + use<> {
    let shared = Arc::clone(&instance.service.0);
    let front = instance.service.front(Role::Imapd, Run(1));
    let connection = ConnectionId(1);
    let from = ClientAddress("192.0.2.1".parse().unwrap());
    assert_eq!(shared.client(front, Client::Admit(connection, from)), ClientReply::Admitted);
    let judging =
        login::begin(&shared, front, connection, user, &Secret(password.as_bytes().to_vec()), None).unwrap();
    async move { judging.finish(&shared).await }
}

#[tokio::test]
async fn a_session_that_the_supervisor_cannot_join_is_try_later_and_leaves_nothing() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    let refuse = async {
        let Event::Connect { facts, .. } = instance.events.recv().await.unwrap() else { panic!() };
        instance.service.order(&Order::ConnectRefused(facts.session));
    };
    let (login, ()) = tokio::join!(imapd.login(1, "alice", "moxmoxmox"), refuse);
    assert_eq!(login, Login::TryLater);
    assert_eq!(instance.service.0.state().sessions.len(), 0);
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
}

#[tokio::test]
async fn a_supervisor_that_does_not_answer_is_waited_for_five_seconds() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    imapd.admit(2, "192.0.2.1").await;
    // The password is known: nothing but time is waited for.
    tokio::time::pause();
    let before = Instant::now();
    assert_eq!(imapd.login(2, "alice", "moxmoxmox").await, Login::TryLater);
    assert_eq!(before.elapsed().as_secs(), 5);
    let Event::Connect { facts, .. } = instance.events.recv().await.unwrap() else { panic!() };
    assert_eq!(instance.events.recv().await, Some(Event::Disconnect(facts.session)));
    instance.service.order(&Order::Connected(facts.session));
    assert_eq!(instance.events.recv().await, Some(Event::Disconnect(facts.session)), "too late is cut again");
    assert_eq!(instance.service.0.state().sessions.len(), 1);
}

/// Attack classes 16 and 26: a captured imapd that makes up addresses gets no more guesses at an account than all the
/// world together, and the owner still logs in from home.
#[tokio::test]
async fn made_up_addresses_buy_no_guesses_and_do_not_lock_out_the_owner() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "203.0.113.7").await;
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    let before = instance.service.rounds();
    let mut judged = 0;
    for connection in 100..200_u64 {
        imapd.admit(connection, &format!("10.{connection}.0.1")).await;
        judged += u32::from(
            imapd.login(connection, "alice", &format!("guess{connection}")).await != Login::TryLater,
        );
    }
    assert!((30..=32).contains(&judged), "{judged}");
    assert_eq!(
        instance.service.rounds() - before,
        u64::from(judged) * u64::from(ROUNDS),
        "no hash beyond that"
    );
    imapd.admit(2, "203.0.113.9").await;
    instance.login_ok(&imapd, 2, "alice@example.org", "moxmoxmox").await;
    imapd.admit(3, "10.99.0.1").await;
    instance.login_ok(&imapd, 3, "bob", "moxmoxmox").await;
}

/// Attack class 16: a device that keeps trying an old password makes no new guess.
#[tokio::test]
async fn a_forgotten_device_with_an_old_password_does_not_lock_its_owner_out() {
    let (mut instance, admin) = Instance::with_accounts().await;
    instance.changed(&admin, password_set("alice", "thisyears")).await;
    let imapd = Imapd(instance.ask());
    for (number, user) in ["alice", "nobody"].into_iter().enumerate() {
        let (connection, from) = (number as u64, format!("10.{number}.0.1"));
        imapd.admit(connection, &from).await;
        let before = instance.service.rounds();
        for _ in 0..1000 {
            assert!(matches!(imapd.login(connection, user, "moxmoxmox").await, Login::Denied { .. }));
        }
        assert_eq!(instance.service.rounds() - before, u64::from(ROUNDS), "{user}");
        let mut judged = 0;
        for guess in (0..50).map(|guess| format!("guess{guess}")) {
            judged += u32::from(imapd.login(connection, user, &guess).await != Login::TryLater);
        }
        assert!((9..=10).contains(&judged), "new guesses are limited: {judged} at {user}");
    }
    imapd.admit(9, "10.9.0.1").await;
    instance.login_ok(&imapd, 9, "alice", "thisyears").await;
    instance.changed(&admin, password_set("alice", "moxmoxmox")).await;
    imapd.admit(9, "10.9.0.1").await;
    instance.login_ok(&imapd, 9, "alice", "moxmoxmox").await;
}

#[tokio::test]
async fn failures_on_a_connection_make_its_replies_wait() {
    let (instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "127.0.0.1").await;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Login::Denied { wait_ms } = imapd.login(1, "nobody", "moxmoxmox").await else { panic!() };
        waits.push(wait_ms);
    }
    assert_eq!(waits, [0, 0, 0, 1000, 2000, 3000]);
}

/// Attack class 26: a front speaks only of connections that it was admitted, on this channel, and has not closed.
#[tokio::test]
async fn connections_that_were_not_admitted_cannot_be_charged_or_log_in() {
    let (mut instance, _admin) = Instance::with_accounts().await;
    let (imapd, other) = (Imapd(instance.ask()), Imapd(instance.ask()));
    imapd.admit(1, "192.0.2.1").await;
    for _ in 0..20 {
        other.client(Client::Charge(ConnectionId(1), Offence::Crash)).await;
        other.client(Client::Closed(ConnectionId(1))).await;
    }
    assert_eq!(other.login(1, "alice", "moxmoxmox").await, Login::TryLater, "another front's number");
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    imapd.client(Client::Closed(ConnectionId(1))).await;
    for _ in 0..20 {
        imapd.client(Client::Charge(ConnectionId(1), Offence::Crash)).await;
    }
    assert_eq!(imapd.login(1, "alice", "moxmoxmox").await, Login::TryLater, "it was closed");
    assert_eq!(imapd.admit(1, "192.0.2.1").await, ClientReply::Admitted, "it was not charged");
    for _ in 0..20 {
        imapd.client(Client::Charge(ConnectionId(1), Offence::Crash)).await;
    }
    let smtpd = instance.ask::<SmtpdAuthd>();
    let from = ClientAddress("192.0.2.1".parse().unwrap());
    let knock = SmtpdToAuthd::Client(Client::Admit(ConnectionId(2), from));
    let reply = smtpd.call(&knock, Vec::new()).await.unwrap().0;
    let abuse = AuthdToSmtpd::Client(ClientReply::TurnedAway(TurnedAway::Abuse));
    assert_eq!(reply, abuse, "one that it holds was");
    assert_eq!(imapd.admit(2, "192.0.2.1").await, ClientReply::Admitted, "its owner is at home there");
}

/// Attack class 27: whatever a captured front claims, the tables have their bounds.
#[tokio::test]
async fn a_front_that_claims_endless_connections_and_sessions_is_bounded() {
    let instance = Instance::start();
    let shared = &instance.service.0;
    let (front, other) =
        (instance.service.front(Role::Imapd, Run(1)), instance.service.front(Role::Webd, Run(1)));
    let knock = |front, number| {
        let from = ClientAddress("127.0.0.1".parse().unwrap());
        shared.client(front, Client::Admit(ConnectionId(number), from))
    };
    let admitted = (0..20_000).filter(|number| knock(front, *number) == ClientReply::Admitted).count();
    assert_eq!(admitted, 16_384);
    assert_eq!(knock(other, 0), ClientReply::Admitted, "another front has its own room");
    let account = AccountId::new(1).unwrap();
    let opened: Vec<_> = (0..40_000).filter_map(|_| shared.state().sessions.open(account)).collect();
    assert_eq!(opened.len(), 32_768);
    shared.cut(account);
    opened.iter().for_each(|(session, _)| instance.service.order(&Order::SessionEnded(*session)));
    assert_eq!(shared.state().sessions.len(), 0);
}

#[tokio::test]
async fn when_a_fronts_channel_ends_all_its_connections_are_closed() {
    let (instance, _admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    for connection in 0..30 {
        assert_eq!(imapd.admit(connection, "192.0.2.1").await, ClientReply::Admitted);
    }
    let webd = instance.ask::<WebdAuthd>();
    let knock = Client::Admit(ConnectionId(0), ClientAddress("192.0.2.1".parse().unwrap()));
    let full = webd.call(&knock, Vec::new()).await.unwrap().0;
    assert_eq!(full, ClientReply::TurnedAway(TurnedAway::Concurrent), "all services count together");
    drop(imapd);
    while instance.service.0.state().connections.fronts() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(webd.call(&knock, Vec::new()).await.unwrap().0, ClientReply::Admitted);
}

/// Attack class 27: the three kinds of work do not wait for one another.
#[tokio::test]
async fn lookups_are_answered_while_logins_and_the_admin_wait() {
    let (instance, admin) = Instance::with_accounts().await;
    let imapd = Arc::new(Imapd(instance.ask()));
    let unfinished = Arc::new(AtomicUsize::new(0));
    for connection in 0..60_u64 {
        imapd.admit(connection, &format!("10.{connection}.0.1")).await;
        let (imapd, unfinished) = (Arc::clone(&imapd), Arc::clone(&unfinished));
        unfinished.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            imapd.login(connection, &format!("nobody{connection}"), "moxmoxmox").await;
            unfinished.fetch_sub(1, Ordering::Relaxed);
        });
    }
    for _ in 0..20 {
        let (admin, unfinished) = (admin.clone(), Arc::clone(&unfinished));
        unfinished.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            done(&admin, password_set("bob", "otherother")).await;
            unfinished.fetch_sub(1, Ordering::Relaxed);
        });
    }
    tokio::task::yield_now().await;
    let smtpd = instance.ask::<SmtpdAuthd>();
    let query = SmtpdToAuthd::Recipient(RecipientQuery::Address(address("alice@example.org")), None);
    let reply = smtpd.call(&query, Vec::new()).await.unwrap().0;
    assert_eq!(reply, AuthdToSmtpd::Recipient(Recipient::Local(address("alice@example.org"))));
    assert!(unfinished.load(Ordering::Relaxed) > 0, "the look-up came first");
    while unfinished.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn accounts_are_prepared_by_the_supervisor_and_asked_for_again_until_they_are() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let asked = tokio::spawn(async move {
        ask_admin(&admin, AdminToAuthd::AccountAdd { name: "carol".into(), address: None }).await
    });
    let Some(Event::CreateAccount(reply)) = instance.events.recv().await else { panic!() };
    // The supervisor says nothing: from here on only time is waited for.
    tokio::time::pause();
    let before = Instant::now();
    assert_eq!(asked.await.unwrap(), AuthdToAdmin::Added(reply));
    assert_eq!(before.elapsed().as_secs(), 5);
    tokio::time::resume();
    instance.service.stop().await;
    let Instance { service, path, .. } = instance;
    drop(service);
    let mut instance = Instance::start_in(path);
    assert_eq!(instance.events.recv().await, Some(Event::CreateAccount(reply)));
    assert!(instance.events.try_recv().is_err(), "the others were prepared");
    instance.service.order(&Order::AccountReady(reply));
    instance.service.stop().await;
    let Instance { path, .. } = instance;
    let mut instance = Instance::start_in(path);
    assert!(instance.events.try_recv().is_err());
}

#[tokio::test]
async fn the_admin_is_told_what_is_wrong_and_stopping_loses_nothing() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let refused = ask_admin(&admin, AdminToAuthd::AccountRemove("nobody".into())).await;
    assert_eq!(refused, AuthdToAdmin::Refused("no account named nobody; see `moxctl account list`".into()));
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "203.0.113.7").await;
    instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await;
    instance.service.stop().await;
    let refused = ask_admin(&admin, AdminToAuthd::DomainAdd("example.net".into())).await;
    assert!(matches!(refused, AuthdToAdmin::Refused(_)));
    let Instance { path, .. } = instance;
    let instance = Instance::start_in(path);
    let admin = instance.ask::<AdminAuthd>();
    let AuthdToAdmin::Accounts(accounts) = ask_admin(&admin, AdminToAuthd::AccountList { after: None }).await
    else {
        panic!()
    };
    assert!(accounts[0].last_login.is_some() && accounts[1].last_login.is_none());
}

/// Attack class 26: nonsense ends that channel, is reported, and nothing else happens.
#[tokio::test]
async fn a_peer_that_breaks_the_rules_loses_its_channel_and_the_others_go_on() {
    use std::io::Write;
    let (mut instance, _admin) = Instance::with_accounts().await;
    let smtpd = instance.ask::<SmtpdAuthd>();
    for channel in
        [ChannelId::ImapdAuthd, ChannelId::WebdAuthd, ChannelId::QueuedAuthd, ChannelId::AdminAuthd]
    {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        instance.service.channel(channel, Run(1), theirs).unwrap();
        ours.write_all(&[0xff; 64]).unwrap();
        let event = instance.events.recv().await.unwrap();
        assert!(
            matches!(event, Event::Violation { channel: told, account: None, .. } if told == channel),
            "{event:?}"
        );
    }
    // Another channel's build id: the right program with the wrong end.
    let (ours, theirs) = UnixStream::pair().unwrap();
    instance.service.channel(ChannelId::ImapdAuthd, Run(1), theirs).unwrap();
    let wrong = Asker::<AdminAuthd>::start(ours, |_| ()).unwrap();
    let error = wrong.call(&AdminToAuthd::AccountRemove("alice".into()), Vec::new()).await.unwrap_err();
    assert!(matches!(error, CallError::PeerRestarted | CallError::Violation(_)), "{error:?}");
    let event = instance.events.recv().await.unwrap();
    assert!(
        matches!(event, Event::Violation { kind: ViolationKind::Build | ViolationKind::Unexpected, .. }),
        "{event:?}"
    );
    let query = SmtpdToAuthd::Recipient(RecipientQuery::Address(address("alice@example.org")), None);
    assert!(smtpd.call(&query, Vec::new()).await.is_ok());
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert!(
        instance.service.channel(ChannelId::SmtpdKeyd, Run(1), theirs).is_err(),
        "not a channel of authd"
    );
}
