//! The other side of [`crate::tls`]: what this program's children play.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    net::Ipv4Addr,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::ValueEnum;
use ipc_proto::{ConnectionId, control::KeydSettings, tls::ImapdKeyd};
use keyd::{answer::Desk, group::Front};
use net_lib::{Handshaker, TlsSettings};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::PrivateKeyDer,
    server::NoServerSessionStorage,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tokio_rustls::TlsAcceptor;

use crate::failure::Failure;

/// What a client waits for.
const GREETING: &[u8] = b"* OK\r\n";

/// As in `net_lib`.
const THREADS: usize = 2;
/// As in `net_lib`.
const SEND_BUFFER: usize = 64 * 1024;

/// A part to play.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    /// A TLS server with the key at hand.
    Here,
    /// A TLS server that asks keyd.
    Keyd,
    /// That keyd: its channel is standard input.
    Desk,
}

pub(crate) fn play(part: Part, directory: &Path) -> Result<(), Failure> {
    match part {
        Part::Here => serve(AtHand::start()?, |front, stream| async move { front.greet(stream).await }),
        Part::Keyd => serve(key_in_keyd(directory)?, |front, stream| async move {
            if let Ok(mut stream) = front.accept(ConnectionId(1), stream).await {
                let _ = stream.write_all(GREETING).await;
                let _ = stream.shutdown().await;
            }
            Some(())
        }),
        Part::Desk => {
            let names = vec!["localhost".to_owned()];
            let settings = KeydSettings { names, signatures_per_second: 1_000_000 };
            let desk = Desk::open(Front::Imapd, directory, &settings);
            let mut desk = desk.map_err(|error| Failure::new(error.to_string()))?;
            desk.warm();
            let channel = io::stdin().as_fd().try_clone_to_owned();
            let channel = UnixStream::from(channel.map_err(|error| Failure::io("keyd's channel", error))?);
            desk.serve(channel).map_err(|violation| Failure::new(violation.to_string()))
        }
    }
}

/// Accepts, and hands each connection to a task, on one thread as a front does: until standard input ends.
fn serve<H: 'static, F: Future<Output = Option<()>> + 'static>(
    front: H,
    greet: impl Fn(Rc<H>, TcpStream) -> F,
) -> Result<(), Failure> {
    let failed = |error| Failure::io("a TLS server of the bench's own", error);
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let front = Rc::new(front);
    tokio::task::LocalSet::new().block_on(&runtime()?, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        crate::line(format_args!("{}", listener.local_addr().map_err(failed)?));
        loop {
            let (stream, _) = listener.accept().await.map_err(failed)?;
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(greet(Rc::clone(&front), stream));
        }
    })
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| Failure::io("a runtime", error))
}

fn key_in_keyd(directory: &Path) -> Result<Handshaker<ImapdKeyd>, Failure> {
    let failed = |error| Failure::io("keyd's part", error);
    let settings = TlsSettings {
        alpn: &["imap"],
        tickets: true,
        timeout: Duration::from_secs(10),
        at_once: NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN),
    };
    let handshaker =
        Handshaker::start(&settings, |violation| eprintln!("keyd: {violation}")).map_err(failed)?;
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let mut desk = Command::new(program);
    desk.args(["--play", "desk", "--dir"]).arg(directory);
    // It ends with its channel, which ends with this process.
    let _desk = desk.stdin(Stdio::from(OwnedFd::from(theirs))).spawn().map_err(failed)?;
    handshaker.set_channel(ours).map_err(failed)?;
    runtime()?.block_on(handshaker.ready()).map_err(|error| Failure::new(error.to_string()))?;
    Ok(handshaker)
}

/// Two threads for handshakes, as `net_lib` has them, with the key at hand.
struct AtHand {
    threads: Vec<mpsc::UnboundedSender<Job>>,
    next: Cell<usize>,
}

struct Job {
    stream: std::net::TcpStream,
    answer: oneshot::Sender<(std::net::TcpStream, ServerConnection)>,
}

impl AtHand {
    fn start() -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("a key at hand: {error}"));
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .map_err(|error| failed(&error))?;
        let key = PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .map_err(|error| failed(&error))?;
        // As the fronts' own.
        config.alpn_protocols = vec![b"imap".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(|error| failed(&error))?;
        config.send_tls13_tickets = 1;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let threads = (0..THREADS).map(|_| {
            let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
            let (runtime, acceptor) = (runtime()?, acceptor.clone());
            thread::spawn(move || {
                tokio::task::LocalSet::new().block_on(&runtime, async move {
                    while let Some(job) = queue.recv().await {
                        tokio::task::spawn_local(job.run(acceptor.clone()));
                    }
                });
            });
            Ok(jobs)
        });
        Ok(Self { threads: threads.collect::<Result<_, Failure>>()?, next: Cell::new(0) })
    }

    async fn greet(self: Rc<Self>, stream: TcpStream) -> Option<()> {
        let (answer, answered) = oneshot::channel();
        let thread = self.threads.get(self.next.get() % THREADS)?;
        self.next.set(self.next.get() + 1);
        thread.send(Job { stream: stream.into_std().ok()?, answer }).ok()?;
        let (stream, mut connection) = answered.await.ok()?;
        let mut stream = TcpStream::from_std(stream).ok()?;
        connection.writer().write_all(GREETING).ok()?;
        connection.send_close_notify();
        let mut octets = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut octets).ok()?;
        }
        stream.write_all(&octets).await.ok()?;
        stream.shutdown().await.ok()
    }
}

impl Job {
    async fn run(self, acceptor: TlsAcceptor) {
        let Ok(stream) = TcpStream::from_std(self.stream) else { return };
        let accept =
            acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
        let Ok(tls) = accept.await else { return };
        let (stream, connection) = tls.into_inner();
        if let Ok(stream) = stream.into_std() {
            let _ = self.answer.send((stream, connection));
        }
    }
}
