//! What an idle connection costs the front. The clients are another process, so that only the server's side counts.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
};

use super::tests::{Scene, settings};

const CLIENTS: usize = 200;

/// Where the process that plays the clients finds what to do: `plain|tls ADDRESS CERTIFICATE`.
const TASK: &str = "MOX_IMAPD_TEST_CLIENTS";

/// Memory that is no file's, swapped out or not, octets. (A test binary's own pages are shared with the clients'.)
fn private() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    rollup
        .lines()
        .filter(|line| line.starts_with("Anonymous:") || line.starts_with("Swap:"))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024)
        .sum()
}

/// Connects, logs in and waits for the end of its input. Does nothing unless it is told what to do.
#[test]
fn clients_in_a_process_of_their_own() {
    let Ok(task) = std::env::var(TASK) else { return };
    let mut words = task.split(' ');
    let (kind, address, file) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(file).unwrap())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut plain = Vec::new();
    let mut tls = Vec::new();
    for _ in 0..CLIENTS {
        let stream = TcpStream::connect(address).unwrap();
        if kind == "plain" {
            let mut stream = BufReader::new(stream);
            log_in(&mut stream);
            plain.push(stream);
        } else {
            let name = ServerName::try_from("imap.example").unwrap();
            let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            log_in(&mut stream);
            tls.push(stream);
        }
    }
    println!("\nall there");
    let _ = std::io::stdin().read(&mut [0; 1]);
}

fn log_in<S: Read + Write>(stream: &mut BufReader<S>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    stream.get_mut().write_all(b"a LOGIN mox right\r\n").unwrap();
    line.clear();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("a OK"), "{line}");
}

async fn per_connection(kind: &str) -> usize {
    let settings = ipc_proto::control::ImapdSettings {
        connections: 1000,
        pre_login_connections: 500,
        plain_login_on_loopback: true,
        ..settings()
    };
    let mut scene = Scene::new(settings).await;
    let certificate = tempfile::NamedTempFile::new().unwrap();
    fs::write(certificate.path(), &scene.trusted).unwrap();
    let address = if kind == "plain" { scene.imap } else { scene.imaps };
    // One connection first: what is made once does not count.
    scene.tls().await;
    let before = private();
    let mut clients = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "front::memory::clients_in_a_process_of_their_own", "--nocapture"])
        .env(TASK, format!("{kind} {address} {}", certificate.path().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = clients.stdout.take().unwrap();
    let (ready, there) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let _ = ready.send(lines.any(|line| line == "all there"));
        lines.for_each(drop);
    });
    assert!(there.await.unwrap());
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(scene.sessions.recv().await.unwrap());
    }
    let after = private();
    drop(clients.stdin.take());
    clients.wait().unwrap();
    let cost = after.saturating_sub(before) / CLIENTS;
    println!("{kind}: {cost} octets per idle connection");
    cost
}

/// Attack class 15: thousands of idle connections cost what they are expected to. The far ends of the sessions are in
/// this process too and make it a little more.
#[tokio::test]
async fn an_idle_plain_connection_costs_less_than_16_kib() {
    let cost = per_connection("plain").await;
    assert!(cost < 16 * 1024, "{cost} octets per idle connection");
}

/// Attack class 15: the same under TLS.
#[tokio::test]
async fn an_idle_tls_connection_costs_less_than_40_kib() {
    let cost = per_connection("tls").await;
    assert!(cost < 40 * 1024, "{cost} octets per idle connection");
}
