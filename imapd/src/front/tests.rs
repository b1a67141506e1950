//! The front over real sockets, between a fake authd and a real keyd.

use std::{
    io::Read as _,
    net::SocketAddr,
    os::unix::net::UnixStream as StdUnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, ConnectionId, SessionId,
    authd::{AuthdToImapd, Client, ClientReply, ImapdAuthd, ImapdToAuthd, Login, Offence, TurnedAway},
    control::{ImapdSettings, KeydSettings, Service, SessionFacts},
    sasl::{Mechanism, SaslReply, SaslStep, Transport},
    stream,
    types::Protocol,
};
use keyd::{answer::Desk, group::Front as KeydFront};
use net_lib::front::listen;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    sync::mpsc,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Front;

pub(super) fn settings() -> ImapdSettings {
    ImapdSettings {
        connections: 100,
        pre_login_connections: 50,
        login_timeout_ms: 10_000,
        tls_timeout_ms: 5_000,
        plain_login_on_loopback: false,
    }
}

/// A front with its peers. authd knows `mox` with the password `right`; `absent` has an account whose process cannot be
/// had; `late` has one that is never heard of; `busy` is put off.
pub(super) struct Scene {
    front: Arc<Front>,
    pub(super) imap: SocketAddr,
    pub(super) imaps: SocketAddr,
    pub(super) trusted: CertificateDer<'static>,
    told: Arc<Mutex<Vec<Client>>>,
    cancelled: Arc<AtomicUsize>,
    pub(super) sessions: mpsc::UnboundedReceiver<(SessionFacts, UnixStream)>,
    _keys: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn new(settings: ImapdSettings) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let own = KeydSettings { names: vec!["imap.example".to_owned()], signatures_per_second: 1000 };
        let mut desk = Desk::open(KeydFront::Imapd, keys.path(), &own).unwrap();
        let chains = desk.answer(&ipc_proto::tls::TlsRequest::Chains, Instant::now());
        let ipc_proto::tls::TlsReply::Chains(chains) = chains else { panic!("{chains:?}") };
        let trusted = CertificateDer::from(chains[0].certificates[0].clone());
        let front =
            Front::new("imap.example".to_owned(), 1 << 20, settings, |violation| panic!("{violation}"));
        let mut front = front.unwrap_or_else(|fault| panic!("{fault}"));
        // Here sessions come before authd's answer, or not at all.
        front.session_wait = Duration::from_millis(300);
        let front = Arc::new(front);
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        thread::spawn(move || desk.serve(theirs));
        front.tls.set_channel(ours).unwrap();
        let told = Arc::default();
        let (made, sessions) = mpsc::unbounded_channel();
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let cancelled = Arc::<AtomicUsize>::default();
        authd(theirs, &front, Arc::clone(&told), made, Arc::clone(&cancelled));
        front.door.set_channel(ours, |violation| panic!("{violation}")).unwrap();
        let (imap, imaps) = (open(&front, Service::Imap), open(&front, Service::Imaps));
        front.tls.ready().await.unwrap();
        Self { front, imap, imaps, trusted, told, cancelled, sessions, _keys: keys }
    }

    async fn plain(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.imap).await.unwrap())
    }

    async fn shake(&self, stream: TcpStream) -> std::io::Result<BufReader<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("imap.example").unwrap();
        Ok(BufReader::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    pub(super) async fn tls(&self) -> BufReader<TlsStream<TcpStream>> {
        self.shake(TcpStream::connect(self.imaps).await.unwrap()).await.unwrap()
    }

    fn was_told(&self, wanted: impl Fn(&Client) -> bool) -> bool {
        self.told.lock().unwrap().iter().any(wanted)
    }
}

fn open(front: &Arc<Front>, service: Service) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = <Front as net_lib::front::Front>::entrance(service).unwrap();
    tokio::spawn(listen(Arc::clone(front), listener, entrance));
    address
}

fn authd(
    end: StdUnixStream,
    front: &Arc<Front>,
    told: Arc<Mutex<Vec<Client>>>,
    made: mpsc::UnboundedSender<(SessionFacts, UnixStream)>,
    cancelled: Arc<AtomicUsize>,
) {
    let front = Arc::downgrade(front);
    let serving = stream::serve::<ImapdAuthd>(end, move |request, _, responder| {
        let reply = match request {
            ImapdToAuthd::Client(client) => {
                told.lock().unwrap().push(client.clone());
                AuthdToImapd::Client(match client {
                    Client::Admit(..) => ClientReply::Admitted,
                    Client::Closed(_) | Client::Charge(..) => ClientReply::Noted,
                })
            }
            ImapdToAuthd::Sasl(connection, step) => AuthdToImapd::Sasl(match step {
                SaslStep::Start { mechanism: Mechanism::ScramSha256Plus, transport, initial: None } => {
                    let Transport::Bound(exported) = transport else { panic!("{transport:?}") };
                    SaslReply::Challenge(exported.to_vec())
                }
                SaslStep::Start { .. } => SaslReply::Challenge(Vec::new()),
                SaslStep::Answer(answer) => {
                    let front = front.upgrade().unwrap();
                    SaslReply::Ended(match answer.0.as_slice() {
                        b"right" => arrive(&front, connection, &made),
                        b"as another" => Login::OnlyAsYourself,
                        _ => Login::Denied { wait_ms: 50 },
                    })
                }
                SaslStep::Cancel => {
                    cancelled.fetch_add(1, Ordering::Relaxed);
                    SaslReply::Cancelled
                }
            }),
            ImapdToAuthd::Login { connection, user, password } => {
                let front = front.upgrade().unwrap();
                AuthdToImapd::Login(match (user.as_str(), password.0.as_slice()) {
                    ("mox", b"right") => arrive(&front, connection, &made),
                    ("absent", _) => {
                        front.sessions.refused(connection);
                        Login::Ok(SessionId(1))
                    }
                    ("late", _) => Login::Ok(facts(connection).session),
                    ("busy", _) => Login::TryLater,
                    _ => Login::Denied { wait_ms: 50 },
                })
            }
        };
        responder.reply(&reply, Vec::new());
    });
    tokio::spawn(serving.unwrap());
}

fn arrive(
    front: &Front,
    connection: ConnectionId,
    made: &mpsc::UnboundedSender<(SessionFacts, UnixStream)>,
) -> Login {
    let facts = facts(connection);
    let (theirs, ours) = StdUnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    made.send((facts, UnixStream::from_std(ours).unwrap())).unwrap();
    front.sessions.arrived(facts, theirs);
    Login::Ok(facts.session)
}

fn facts(connection: ConnectionId) -> SessionFacts {
    SessionFacts {
        session: SessionId(7),
        connection,
        protocol: Protocol::Imap,
        account: AccountId::new(1).unwrap(),
        without: Default::default(),
    }
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    // A TLS client reports a connection that ends without goodbye as an error.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_login_over_tls_reaches_its_session_and_what_was_pipelined_behind_it_too() {
    let mut scene = Scene::new(settings()).await;
    let mut client = scene.tls().await;
    assert!(line(&mut client).await.starts_with("* OK [CAPABILITY IMAP4rev1"));
    say(&mut client, "a LOGIN mox right\r\nb SELECT inbox\r\n").await;
    assert_eq!(
        line(&mut client).await,
        format!(
            "a OK [CAPABILITY {}] logged in\r\n",
            imapd::after_login(Default::default(), 1 << 20, imapd::MESSAGE_LIMIT)
        )
    );
    let (_, mut session) = scene.sessions.recv().await.unwrap();
    let mut got = [0; 16];
    session.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"b SELECT inbox\r\n");
    session.write_all(b"* BYE\r\nb OK\r\n").await.unwrap();
    drop(session);
    assert_eq!(rest(&mut client).await, "* BYE\r\nb OK\r\n");
    drop(client);
    scene.front.connections.all_gone().await;
}

#[tokio::test]
async fn starttls_then_authenticate_is_the_same() {
    let mut scene = Scene::new(settings()).await;
    let mut client = scene.plain().await;
    assert!(line(&mut client).await.contains("STARTTLS LOGINDISABLED"));
    say(&mut client, "a STARTTLS\r\n").await;
    assert_eq!(line(&mut client).await, "a OK begin TLS now\r\n");
    let mut client = scene.shake(client.into_inner()).await.unwrap();
    say(&mut client, "b CAPABILITY\r\n").await;
    let capabilities = line(&mut client).await;
    assert!(capabilities.contains("AUTH=PLAIN") && !capabilities.contains("STARTTLS"), "{capabilities}");
    assert_eq!(line(&mut client).await, "b OK done\r\n");
    say(&mut client, "c AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(line(&mut client).await, "+ \r\n");
    say(&mut client, "cmlnaHQ=\r\n").await;
    assert!(line(&mut client).await.starts_with("c OK"));
    assert!(scene.sessions.recv().await.is_some());
}

#[tokio::test]
async fn an_exchange_is_bound_to_this_tls_connection_and_can_be_cancelled() {
    let mut scene = Scene::new(settings()).await;
    let mut client = scene.tls().await;
    line(&mut client).await;
    let mut exported = client
        .get_ref()
        .get_ref()
        .1
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
        .unwrap();
    let challenge = format!("+ {}\r\n", imapd::encode_challenge(&exported));
    say(&mut client, "a AUTHENTICATE SCRAM-SHA-256-PLUS\r\n").await;
    assert_eq!(line(&mut client).await, challenge, "the front's value is the client's");
    exported[0] ^= 1;
    assert_ne!(challenge, format!("+ {}\r\n", imapd::encode_challenge(&exported)));
    say(&mut client, "*\r\n").await;
    assert_eq!(line(&mut client).await, "a BAD cancelled\r\n");
    say(&mut client, "b AUTHENTICATE SCRAM-SHA-256\r\n").await;
    assert_eq!(line(&mut client).await, "+ \r\n");
    assert_eq!(scene.cancelled.load(Ordering::Relaxed), 1);
    say(&mut client, "YXMgYW5vdGhlcg==\r\n").await;
    assert_eq!(line(&mut client).await, "b NO [AUTHORIZATIONFAILED] log in as yourself\r\n");
    say(&mut client, "c AUTHENTICATE LOGIN\r\n").await;
    assert_eq!(line(&mut client).await, "+ \r\n");
    say(&mut client, "cmlnaHQ=\r\n").await;
    assert!(line(&mut client).await.starts_with("c OK"));
    assert!(scene.sessions.recv().await.is_some());
}

/// Attack class 1: whatever is in the packet that starts TLS, it is not run, and the client is charged.
#[tokio::test]
async fn plaintext_behind_starttls_ends_the_connection_and_is_charged() {
    let scene = Scene::new(settings()).await;
    let mut client = scene.plain().await;
    line(&mut client).await;
    say(&mut client, "a STARTTLS\r\nb NOOP\r\n").await;
    let answers = rest(&mut client).await;
    assert!(answers.starts_with("a BAD") && !answers.contains("b OK"), "{answers}");
    scene.front.connections.all_gone().await;
    while !scene.was_told(|client| matches!(client, Client::Charge(_, Offence::Smuggling))) {
        tokio::task::yield_now().await;
    }
}

/// Attack class 1: plaintext that comes just behind the packet is no TLS, and is not run either.
#[tokio::test]
async fn plaintext_in_place_of_the_handshake_ends_the_connection() {
    let scene = Scene::new(settings()).await;
    let mut client = scene.plain().await;
    line(&mut client).await;
    say(&mut client, "a STARTTLS\r\n").await;
    assert_eq!(line(&mut client).await, "a OK begin TLS now\r\n");
    say(&mut client, "b NOOP\r\n").await;
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(!answer.escape_ascii().to_string().contains("b OK"));
    scene.front.connections.all_gone().await;
}

#[tokio::test]
async fn refused_logins_wait_and_the_third_ends_the_connection() {
    let scene = Scene::new(settings()).await;
    let mut client = scene.tls().await;
    line(&mut client).await;
    let start = Instant::now();
    for tag in ["a", "b", "c"] {
        say(&mut client, &format!("{tag} LOGIN mox wrong\r\n")).await;
        assert!(line(&mut client).await.starts_with(&format!("{tag} NO [AUTHENTICATIONFAILED]")));
    }
    assert!(start.elapsed() >= Duration::from_millis(150), "each is held as long as authd says");
    assert_eq!(rest(&mut client).await, "* BYE too many failed logins\r\n");
}

#[tokio::test]
async fn a_login_without_a_session_is_put_off_and_the_connection_goes_on() {
    let scene = Scene::new(settings()).await;
    let mut client = scene.tls().await;
    line(&mut client).await;
    for user in ["absent", "busy"] {
        say(&mut client, &format!("a LOGIN {user} x\r\n")).await;
        assert_eq!(line(&mut client).await, "a NO [UNAVAILABLE] busy, try again later\r\n", "{user}");
    }
    say(&mut client, "b NOOP\r\n").await;
    assert_eq!(line(&mut client).await, "b OK done\r\n");
}

/// The supervisor said nothing of the session in time: the client is told, may try again, and gets the stream of no
/// earlier login when that comes in the end.
#[tokio::test]
async fn a_session_that_never_comes_is_given_up() {
    let mut scene = Scene::new(settings()).await;
    let mut client = scene.tls().await;
    line(&mut client).await;
    say(&mut client, "a LOGIN late x\r\n").await;
    assert_eq!(line(&mut client).await, "a NO [UNAVAILABLE] busy, try again later\r\n");
    let admitted = scene.told.lock().unwrap().iter().find_map(|client| match client {
        Client::Admit(connection, _) => Some(*connection),
        Client::Closed(_) | Client::Charge(..) => None,
    });
    let (mut ours, theirs) = StdUnixStream::pair().unwrap();
    scene.front.sessions.arrived(facts(admitted.unwrap()), theirs);
    assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0, "nobody waits for it any more");
    say(&mut client, "b LOGIN mox right\r\n").await;
    assert!(line(&mut client).await.starts_with("b OK"));
    assert!(scene.sessions.recv().await.is_some());
}

/// Attack class 31: a stream that comes when nobody waits for it, or for another session, reaches no client.
#[tokio::test]
async fn streams_that_nobody_waits_for_are_closed() {
    let scene = Scene::new(settings()).await;
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    scene.front.sessions.arrived(facts(ConnectionId(12345)), theirs);
    ours.set_nonblocking(true).unwrap();
    let mut ours = UnixStream::from_std(ours).unwrap();
    assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn loopback_logs_in_without_tls_only_where_the_configuration_says_so() {
    let mut scene = Scene::new(ImapdSettings { plain_login_on_loopback: true, ..settings() }).await;
    let mut client = scene.plain().await;
    assert!(!line(&mut client).await.contains("LOGINDISABLED"));
    say(&mut client, "a LOGIN mox right\r\n").await;
    assert!(line(&mut client).await.starts_with("a OK"));
    let (_, session) = scene.sessions.recv().await.unwrap();
    drop(session);
    assert_eq!(rest(&mut client).await, "");
}

/// Attack class 14: a client that sends an octet now and then has one deadline for its whole command.
#[tokio::test]
async fn a_command_that_drips_in_is_cut_off_at_its_deadline() {
    let scene = Scene::new(ImapdSettings { login_timeout_ms: 400, ..settings() }).await;
    let client = scene.plain().await;
    let start = Instant::now();
    let (mut input, mut output) = tokio::io::split(client.into_inner());
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if output.write_all(b"x").await.is_err() {
                break;
            }
        }
    };
    let mut text = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = input.read_to_end(&mut text) => {}
    }
    assert!(text.ends_with(b"* BYE too slow\r\n"), "{}", text.escape_ascii());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// Attack class 14: slow handshakes hold up nobody else.
#[tokio::test]
async fn silent_handshakes_do_not_delay_others() {
    let scene = Scene::new(settings()).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(scene.imaps).await.unwrap());
    }
    let start = Instant::now();
    let mut client = scene.tls().await;
    assert!(line(&mut client).await.starts_with("* OK"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Attack class 15: strangers make room for the newest, the oldest first; who is logged in stays.
#[tokio::test]
async fn at_the_limit_the_oldest_stranger_makes_room() {
    let mut scene = Scene::new(ImapdSettings { pre_login_connections: 2, ..settings() }).await;
    let mut member = scene.tls().await;
    line(&mut member).await;
    say(&mut member, "a LOGIN mox right\r\n").await;
    assert!(line(&mut member).await.starts_with("a OK"));
    let (_, mut session) = scene.sessions.recv().await.unwrap();
    let mut oldest = scene.plain().await;
    line(&mut oldest).await;
    let mut second = scene.plain().await;
    line(&mut second).await;
    let mut newest = scene.plain().await;
    assert!(line(&mut newest).await.starts_with("* OK"));
    assert_eq!(rest(&mut oldest).await, "* BYE too many connections\r\n");
    say(&mut second, "a NOOP\r\n").await;
    assert_eq!(line(&mut second).await, "a OK done\r\n");
    session.write_all(b"* 1 EXISTS\r\n").await.unwrap();
    assert_eq!(line(&mut member).await, "* 1 EXISTS\r\n");
}

#[tokio::test]
async fn authd_hears_of_every_client_that_comes_and_goes() {
    let scene = Scene::new(settings()).await;
    let mut client = scene.plain().await;
    line(&mut client).await;
    let admitted = |client: &Client| matches!(client, Client::Admit(_, from) if from.0.is_loopback());
    assert!(scene.was_told(admitted));
    say(&mut client, "a LOGOUT\r\n").await;
    assert_eq!(rest(&mut client).await, "* BYE goodbye\r\na OK done\r\n");
    while !scene.was_told(|client| matches!(client, Client::Closed(_))) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_is_turned_away_is_told_why() {
    let scene = Scene::new(settings()).await;
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let serving = stream::serve::<ImapdAuthd>(theirs, |_, _, responder| {
        let reply = AuthdToImapd::Client(ClientReply::TurnedAway(TurnedAway::Rate));
        responder.reply(&reply, Vec::new());
    });
    tokio::spawn(serving.unwrap());
    scene.front.door.set_channel(ours, |violation| panic!("{violation}")).unwrap();
    let mut client = scene.plain().await;
    assert_eq!(rest(&mut client).await, "* BYE too many new connections from your network\r\n");
}
