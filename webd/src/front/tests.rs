//! The front over real sockets, between a fake authd and a real keyd.

use std::{net::SocketAddr, os::unix::net::UnixStream as StdUnixStream, sync::Arc, thread, time::Instant};

use ipc_proto::{
    authd::{Client, ClientReply, TurnedAway, WebdAuthd},
    control::{KeydSettings, Service, WebdSettings},
    stream,
    tls::{TlsReply, TlsRequest},
};
use keyd::{answer::Desk, group::Front as KeydFront};
use net_lib::front::listen;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Front;

fn settings() -> WebdSettings {
    WebdSettings { connections: 50, header_timeout_ms: 5_000, idle_timeout_ms: 20_000, tls_timeout_ms: 5_000 }
}

struct Scene {
    front: Arc<Front>,
    http: SocketAddr,
    https: SocketAddr,
    trusted: CertificateDer<'static>,
    _keys: tempfile::TempDir,
}

impl Scene {
    async fn new(settings: WebdSettings) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let own = KeydSettings { names: vec!["web.example".to_owned()], signatures_per_second: 1000 };
        let mut desk = Desk::open(KeydFront::Webd, keys.path(), &own).unwrap();
        let TlsReply::Chains(chains) = desk.answer(&TlsRequest::Chains, Instant::now()) else { panic!() };
        let trusted = CertificateDer::from(chains[0].certificates[0].clone());
        let front = Front::new("web.example", settings, |violation| panic!("{violation}"));
        let front = Arc::new(front.unwrap_or_else(|fault| panic!("{fault}")));
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        thread::spawn(move || desk.serve(theirs));
        front.tls.set_channel(ours).unwrap();
        authd(&front, ClientReply::Admitted);
        let (http, https) = (open(&front, Service::Http), open(&front, Service::Https));
        front.tls.ready().await.unwrap();
        Self { front, http, https, trusted, _keys: keys }
    }

    /// Sends `request` and reads to the end.
    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

fn authd(front: &Front, verdict: ClientReply) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let serving = stream::serve::<WebdAuthd>(theirs, move |request, _, responder| {
        let reply = match request {
            Client::Admit(..) => verdict.clone(),
            Client::Closed(_) | Client::Charge(..) => ClientReply::Noted,
        };
        responder.reply(&reply, Vec::new());
    });
    tokio::spawn(serving.unwrap());
    front.door.set_channel(ours, |violation| panic!("{violation}")).unwrap();
}

fn open(front: &Arc<Front>, service: Service) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = <Front as net_lib::front::Front>::entrance(service).unwrap();
    tokio::spawn(listen(Arc::clone(front), listener, entrance));
    address
}

#[tokio::test]
async fn the_page_comes_over_https_with_the_webs_own_certificate() {
    let scene = Scene::new(settings()).await;
    let mut roots = RootCertStore::empty();
    roots.add(scene.trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(scene.https).await.unwrap();
    let name = ServerName::try_from("web.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    assert!(answer.ends_with("</html>\n"), "{answer}");
}

#[tokio::test]
async fn port_80_serves_the_same_and_many_requests_on_one_connection() {
    let scene = Scene::new(settings()).await;
    let answer = scene
        .ask(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("\r\n\r\nok\n"), "{answer}");
    assert!(!answer.to_lowercase().contains("server:"), "{answer}");
}

#[tokio::test]
async fn requests_that_are_too_much_are_refused() {
    let scene = Scene::new(settings()).await;
    let many = "x: y\r\n".repeat(65);
    let long = "y".repeat(9000);
    for (request, status, reason) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nx".to_owned(),
            "405",
            "a body to come",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde".to_owned(), "413", "GET with a body"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431", "65 more fields"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {long}\r\n\r\n"), "431", "a long field"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "4", "a long path"),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), "400", "no HTTP"),
        ("EHLO a\r\n\r\n".to_owned(), "400", "another protocol"),
    ] {
        let answer = scene.ask(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{reason}: {answer}");
    }
    scene.front.connections.all_gone().await;
}

/// Attack class 14: a header that drips in is cut off at its deadline; others are served meanwhile.
#[tokio::test]
async fn slow_headers_are_cut_off() {
    let scene = Scene::new(WebdSettings { header_timeout_ms: 300, ..settings() }).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(scene.http).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        slow.push(stream);
    }
    let answer = scene.ask(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("ok\n"));
    let start = Instant::now();
    scene.front.connections.all_gone().await;
    assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    drop(slow);
}

/// Attack class 14: a client that asks and never reads is gone after the idle time.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let scene = Scene::new(WebdSettings { idle_timeout_ms: 300, header_timeout_ms: 300, ..settings() }).await;
    let stream = TcpStream::connect(scene.http).await.unwrap();
    let asking = async {
        loop {
            stream.writable().await.unwrap();
            match stream.try_write(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100)) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asking).await.unwrap();
    scene.front.connections.all_gone().await;
}

/// Attack class 15: at the limit the oldest connection makes room.
#[tokio::test]
async fn at_the_limit_the_oldest_connection_makes_room() {
    let scene = Scene::new(WebdSettings { connections: 3, ..settings() }).await;
    let mut first = TcpStream::connect(scene.http).await.unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(TcpStream::connect(scene.http).await.unwrap());
    }
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ok\n"));
    assert!(scene.front.connections.count() <= 3);
}

#[tokio::test]
async fn who_is_turned_away_gets_nothing() {
    let scene = Scene::new(settings()).await;
    authd(&scene.front, ClientReply::TurnedAway(TurnedAway::Concurrent));
    assert_eq!(scene.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
}
