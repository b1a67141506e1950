//! submitd over loopback sockets, with peers that play authd, queued and keyd.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    time::Duration,
};

use ipc_proto::{
    ConnectionId,
    authd::{
        AuthdToSubmitd, Client as AuthdClient, ClientReply, Login, Recipient, RecipientQuery, SubmitdAuthd,
        SubmitdToAuthd,
    },
    delivery::Outcome,
    sasl::{SaslReply, SaslStep, Transport},
    stream::{Responder, serve},
    submission::{QueuedToSubmitd, Sender, Submit, SubmitdQueued, SubmitdToQueued, Submitted, Ungranted},
    tls::SubmitdKeyd,
    types::SessionId,
};
use rustls::RootCertStore;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    Client,
    peers::{keyd, settings, shake_hands},
};
use crate::front::{Entrance, Front, Settings, Submission};

type Secure = Client<tokio_rustls::client::TlsStream<TcpStream>>;

/// What the fakes of authd and queued know.
#[derive(Debug, Default)]
struct World {
    /// Who may submit: authd grants, queued looks.
    granted: Vec<ConnectionId>,
    transports: Vec<Transport>,
    submitted: Vec<Submit>,
    /// What queued answers every message with.
    outcome: Option<Submitted>,
}

struct Fixture {
    front: Arc<Front<Submission>>,
    starttls: SocketAddr,
    tls: SocketAddr,
    world: Arc<Mutex<World>>,
    roots: RootCertStore,
}

impl Fixture {
    async fn start(settings: Settings) -> Self {
        let front =
            Arc::new(Front::<Submission>::new(settings, |violation| panic!("keyd: {violation}")).unwrap());
        let world = Arc::new(Mutex::new(World::default()));
        front.authd.set_channel(authd(Arc::clone(&world)), |violation| panic!("authd: {violation}")).unwrap();
        front.queued.set(queued(Arc::clone(&world)), |violation| assert_eq!(violation, None)).unwrap();
        let mut roots = RootCertStore::empty();
        front.tls.set_channel(keyd::<SubmitdKeyd>(&mut roots)).unwrap();
        front.tls.ready().await.unwrap();
        let listen = |entrance| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(net_lib::front::listen(Arc::clone(&front), listener, entrance));
            address
        };
        let (starttls, tls) = (listen(Entrance::StartTls), listen(Entrance::Tls));
        Self { front, starttls, tls, world, roots }
    }

    /// Under TLS from the start, after EHLO.
    async fn greeted(&self) -> Secure {
        let stream = TcpStream::connect(self.tls).await.unwrap();
        let stream = shake_hands(self.roots.clone(), stream).await.unwrap();
        let mut client = Client { stream, input: Vec::new() };
        assert_eq!(client.reply().await, "220 mx.example ESMTP moxd\n");
        let welcome = client.say("EHLO [192.168.1.5]\r\n").await;
        assert!(
            welcome.contains("250-AUTH SCRAM-SHA-256-PLUS ") && !welcome.contains("STARTTLS"),
            "{welcome}"
        );
        client
    }

    async fn logged_in(&self) -> Secure {
        let mut client = self.greeted().await;
        assert_eq!(client.say("AUTH PLAIN cmlnaHQ=\r\n").await, "235 2.7.0 logged in\n");
        client
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

fn authd(world: Arc<Mutex<World>>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let handle = move |request, _fds, responder: Responder<SubmitdAuthd>| {
        let reply = match request {
            SubmitdToAuthd::Client(AuthdClient::Admit(..)) => AuthdToSubmitd::Client(ClientReply::Admitted),
            SubmitdToAuthd::Client(AuthdClient::Closed(connection)) => {
                world.lock().unwrap().granted.retain(|granted| *granted != connection);
                AuthdToSubmitd::Client(ClientReply::Noted)
            }
            SubmitdToAuthd::Client(AuthdClient::Charge(..)) => AuthdToSubmitd::Client(ClientReply::Noted),
            SubmitdToAuthd::Sasl(connection, step) => {
                let answer = match step {
                    SaslStep::Start { transport, initial, .. } => {
                        world.lock().unwrap().transports.push(transport);
                        initial
                    }
                    SaslStep::Answer(answer) => Some(answer),
                    SaslStep::Cancel => {
                        return responder.reply(&AuthdToSubmitd::Sasl(SaslReply::Cancelled), Vec::new());
                    }
                };
                AuthdToSubmitd::Sasl(match answer {
                    None => SaslReply::Challenge(b"Password".to_vec()),
                    Some(password) if password.0 == b"right" => {
                        world.lock().unwrap().granted.push(connection);
                        SaslReply::Ended(Login::Ok(SessionId(7)))
                    }
                    Some(_) => SaslReply::Ended(Login::Denied { wait_ms: 200 }),
                })
            }
        };
        responder.reply(&reply, Vec::new());
    };
    tokio::spawn(serve::<SubmitdAuthd>(theirs, handle).unwrap());
    ours
}

fn queued(world: Arc<Mutex<World>>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let handle = move |request, _fds, responder: Responder<SubmitdQueued>| {
        let mut world = world.lock().unwrap();
        let reply = match request {
            SubmitdToQueued::Sender(connection, from) => QueuedToSubmitd::Sender(match from {
                _ if !world.granted.contains(&connection) => Sender::Ungranted(Ungranted::NotLoggedIn),
                Some(from) if from.domain.as_str() == "b.org" => Sender::Ok,
                Some(_) | None => Sender::NotYours,
            }),
            SubmitdToQueued::Recipients(connection, _) if !world.granted.contains(&connection) => {
                QueuedToSubmitd::Recipients(Err(Ungranted::NotLoggedIn))
            }
            SubmitdToQueued::Recipients(_, queries) => {
                let judge = |query| match query {
                    RecipientQuery::Address(address) => Recipient::Local(address),
                    RecipientQuery::Postmaster => Recipient::Unknown,
                };
                QueuedToSubmitd::Recipients(Ok(queries.into_iter().map(judge).collect()))
            }
            SubmitdToQueued::Spool => QueuedToSubmitd::NoSpool,
            SubmitdToQueued::Forget(_) => QueuedToSubmitd::Forgotten,
            SubmitdToQueued::Submit(submit) => {
                let filed = Submitted::Delivered(vec![Outcome::Filed; submit.deliver.recipients.len()]);
                world.submitted.push(submit);
                QueuedToSubmitd::Submitted(world.outcome.clone().unwrap_or(filed))
            }
        };
        responder.reply(&reply, Vec::new());
    };
    tokio::spawn(serve::<SubmitdQueued>(theirs, handle).unwrap());
    ours
}

#[tokio::test]
async fn a_message_reaches_queued_under_its_connections_number_and_without_an_address() {
    let fixture = Fixture::start(settings()).await;
    let mut client = fixture.logged_in().await;
    let reply = client.deliver("Subject: x\r\n\r\nhello\r\n.\r\n").await;
    let Submit { deliver, hold } = fixture.world().submitted.pop().unwrap();
    assert_eq!(reply, format!("250 2.0.0 kept as {}\n", deliver.id));
    assert!(fixture.world().granted == [deliver.connection] && hold.is_none());
    let trace = String::from_utf8(deliver.trace).unwrap();
    assert!(
        trace.starts_with("Received: from localhost\r\n\tby mx.example with ESMTPSA (TLSv1.3 "),
        "{trace}"
    );
    assert!(!trace.contains("127.0.0.1") && !trace.contains("192.168.1.5"), "{trace}");
    assert!(matches!(fixture.world().transports[..], [Transport::Bound(value)] if value != [0; 32]));
}

/// Attack class 2: in the clear there is no AUTH, not even where it is not announced.
#[tokio::test]
async fn nobody_logs_in_in_the_clear() {
    for (plain_login_on_loopback, announced, code) in
        [(false, false, "538 5.7.11"), (true, true, "235 2.7.0")]
    {
        let fixture = Fixture::start(Settings { plain_login_on_loopback, ..settings() }).await;
        let stream = TcpStream::connect(fixture.starttls).await.unwrap();
        let mut client = Client { stream, input: Vec::new() };
        client.reply().await;
        let welcome = client.say("EHLO c.example\r\n").await;
        assert_eq!(welcome.contains("250-AUTH "), announced, "{welcome}");
        assert!(client.say("AUTH PLAIN cmlnaHQ=\r\n").await.starts_with(code));
        let asked = fixture.world().transports.len();
        assert_eq!(asked, usize::from(announced));
    }
}

#[tokio::test]
async fn a_login_under_starttls_is_bound_to_it() {
    let fixture = Fixture::start(settings()).await;
    let stream = TcpStream::connect(fixture.starttls).await.unwrap();
    let mut client = Client { stream, input: Vec::new() };
    client.reply().await;
    client.say("EHLO c.example\r\n").await;
    assert!(client.say("STARTTLS\r\n").await.starts_with("220 "));
    let stream = shake_hands(fixture.roots.clone(), client.stream).await.unwrap();
    let mut client = Client { stream, input: Vec::new() };
    client.say("EHLO c.example\r\n").await;
    assert_eq!(client.say("AUTH LOGIN\r\n").await, "334 UGFzc3dvcmQ=\n");
    assert_eq!(client.say("cmlnaHQ=\r\n").await, "235 2.7.0 logged in\n");
    assert!(matches!(fixture.world().transports[..], [Transport::Bound(_)]));
}

/// Attack class 16: each denial comes after the pause that authd wants, and three end the connection.
#[tokio::test]
async fn denied_logins_wait_and_three_are_enough() {
    let fixture = Fixture::start(settings()).await;
    let mut client = fixture.greeted().await;
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.say("AUTH PLAIN d3Jvbmc=\r\n").await, "535 5.7.8 wrong user name or password\n");
    }
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert_eq!(client.reply().await, "421 4.7.0 too many failed logins\n");
}

/// A grant that ended, as after an hour or a change of the password: who logs in again goes on.
#[tokio::test]
async fn a_login_that_is_over_is_asked_for_again() {
    let fixture = Fixture::start(settings()).await;
    let mut client = fixture.logged_in().await;
    fixture.world().granted.clear();
    assert_eq!(client.say("MAIL FROM:<a@b.org>\r\n").await, "530 5.7.0 log in again\n");
    assert_eq!(client.say("MAIL FROM:<a@b.org>\r\n").await, "530 5.7.0 log in first\n");
    assert!(client.say("AUTH PLAIN cmlnaHQ=\r\n").await.starts_with("235 "));
    assert!(client.say("MAIL FROM:<a@b.org>\r\n").await.starts_with("250 "));
    fixture.world().granted.clear();
    assert_eq!(client.say("RCPT TO:<c@b.org>\r\n").await, "530 5.7.0 log in again\n");
}

/// Attack class 15: who has not logged in makes room for others, who has stays.
#[tokio::test]
async fn who_has_not_logged_in_makes_room() {
    let fixture = Fixture::start(Settings { fresh: NonZeroUsize::MIN, ..settings() }).await;
    let mut owner = fixture.logged_in().await;
    let mut idle = fixture.greeted().await;
    fixture.greeted().await;
    assert_eq!(idle.reply().await, "421 4.3.2 too many connections, try later\n");
    assert_eq!(owner.say("NOOP\r\n").await, "250 2.0.0 ok\n");
}

/// The grant ends with the connection: authd hears of it.
#[tokio::test]
async fn a_closed_connection_is_logged_in_nowhere() {
    let fixture = Fixture::start(settings()).await;
    let mut client = fixture.logged_in().await;
    assert_eq!(fixture.world().granted.len(), 1);
    assert_eq!(client.say("QUIT\r\n").await, "221 2.0.0 bye\n");
    timeout(Duration::from_secs(10), fixture.front.connections.all_gone()).await.unwrap();
    timeout(Duration::from_secs(10), async {
        while !fixture.world().granted.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// Attack class 15: what somebody costs who is logged in under TLS and says nothing, the far end in this process
/// included.
#[tokio::test]
async fn idle_logged_in_connections_are_cheap() {
    const COUNT: usize = 200;
    let many = NonZeroUsize::new(2 * COUNT).unwrap();
    let fixture = Fixture::start(Settings { connections: many, fresh: many, ..settings() }).await;
    let _first = fixture.logged_in().await;
    let before = super::resident();
    let mut idle = Vec::new();
    for _ in 0..COUNT {
        idle.push(fixture.logged_in().await);
    }
    let each = super::resident().saturating_sub(before) / COUNT;
    assert!(each < 40 * 1024, "{each} octets");
}

/// Where failures are simulated, silence lasts until the process stops, or for an hour.
#[tokio::test]
async fn a_simulated_timeout_is_silent() {
    let mut settings = settings();
    let limits = crate::Limits { simulate_failures: true, ..(*settings.limits).clone() };
    settings.limits = Arc::new(limits);
    let fixture = Fixture::start(settings).await;
    let mut client = fixture.logged_in().await;
    client.send("NOOP\r\nMAIL FROM:<mailfrom-timeout@b.org>\r\nNOOP\r\n").await;
    assert_eq!(client.reply().await, "250 2.0.0 ok\n");
    assert!(timeout(Duration::from_millis(300), client.reply()).await.is_err(), "silent");
    net_lib::front::stop(&*fixture.front, Duration::from_secs(20)).await;
    assert_eq!(client.reply().await, "421 4.3.2 shutting down, try again\n");
}
