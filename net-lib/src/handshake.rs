//! Handshakes on two threads of their own, so that waiting for keyd never stops the front.
//!
//! Each thread runs many handshakes side by side and stands still only while keyd signs. A connection leaves the
//! front's event loop for its handshake and comes back with it.

use std::{
    fmt, io,
    num::NonZeroUsize,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ipc_proto::{
    Channel, ConnectionId, Violation,
    blocking::Link,
    key_proof::KeyProof,
    tls::{TlsReply, TlsRequest},
};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use tokio::{
    net::TcpStream,
    sync::{
        Notify, Semaphore,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsAcceptor;
use worker_lib::Slot;

use crate::{
    certificates::{Policy, Served},
    client_key::Shown,
    recorder::Recorded,
    signer::Remote,
    socket::{Socket, TlsStream},
};

/// How many threads sign. keyd answers a channel's requests one by one; the second thread computes meanwhile.
const THREADS: usize = 2;

/// What waits inside TLS for a client that does not read, octets. Four full records go out with one call.
const SEND_BUFFER: usize = 64 * 1024;

/// A front's channel to keyd.
pub trait KeydChannel: Channel<Request = TlsRequest, Reply = TlsReply> {}

impl<C: Channel<Request = TlsRequest, Reply = TlsReply>> KeydChannel for C {}

/// What a front wants of its TLS.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The protocols to agree on (RFC 7301), such as `imap`. A client that asks only for others is refused, so that
    /// it cannot be fooled into talking to another service. Empty: ALPN is ignored.
    pub alpn: &'static [&'static str],
    /// Session tickets, under keys that die with this process.
    pub tickets: bool,
    /// For the whole of a handshake, waiting included.
    pub timeout: Duration,
    /// Handshakes at once, over both threads.
    pub at_once: NonZeroUsize,
}

/// How a handshake ended without a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// As many handshakes as are allowed run already.
    #[error("too many TLS handshakes at once")]
    Busy,
    /// It took too long: the client, or keyd.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// The client's fault or keyd's; the text says which.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
    /// The handshake threads are gone.
    #[error("the TLS threads have ended")]
    Ended,
}

/// TLS for one front.
pub struct Handshaker<C: KeydChannel> {
    remote: Arc<Remote<C>>,
    threads: Vec<Worker>,
    /// Handshakes that may still start.
    room: Arc<Semaphore>,
    timeout: Duration,
    config: watch::Receiver<Option<Arc<Served>>>,
}

struct Worker {
    /// As many as there may be handshakes: those that were given up while the thread stood still count too.
    jobs: mpsc::Sender<Handshake>,
    pending: Arc<AtomicUsize>,
    /// There is a new channel to keyd. Several before the thread looks are one.
    fetch: Arc<Notify>,
}

struct Handshake {
    connection: ConnectionId,
    stream: std::net::TcpStream,
    /// Whether the client is asked for a certificate.
    asking: bool,
    deadline: Instant,
    answer: oneshot::Sender<Result<Finished, HandshakeError>>,
    _pending: Pending,
}

/// A connection between two event loops.
struct Finished {
    tls: Box<TlsStream>,
    stream: std::net::TcpStream,
    proof: Option<Box<KeyProof>>,
}

impl<C: KeydChannel> fmt::Debug for Handshaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshaker({:?})", C::ID)
    }
}

impl<C: KeydChannel> Handshaker<C> {
    /// Starts both threads. `violated` is told when keyd breaks the rules of the channel.
    pub fn start(
        settings: &TlsSettings,
        violated: impl Fn(Violation) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let tickets = if settings.tickets { Some(Ticketer::new().map_err(io::Error::other)?) } else { None };
        let policy = Arc::new(Policy {
            provider: Arc::new(default_provider()),
            alpn: settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            tickets,
        });
        let remote = Arc::new(Remote { link: Link::default(), violated: Box::new(violated) });
        let (publish, config) = watch::channel(None);
        let publish = Arc::new(publish);
        let at_once = settings.at_once.get().min(Semaphore::MAX_PERMITS);
        let mut threads = Vec::with_capacity(THREADS);
        for number in 1..=THREADS {
            let (jobs, queue) = mpsc::channel(at_once);
            let fetch = Arc::new(Notify::new());
            let shared = Shared {
                policy: Arc::clone(&policy),
                remote: Arc::clone(&remote),
                publish: Arc::clone(&publish),
                fetch: Arc::clone(&fetch),
                slot: Slot::of_thread(number),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            thread::Builder::new().name(format!("tls-{number}")).spawn(move || {
                warm(&shared.policy);
                runtime.block_on(shared.run(queue));
            })?;
            threads.push(Worker { jobs, pending: Arc::default(), fetch });
        }
        let room = Arc::new(Semaphore::new(at_once));
        Ok(Self { remote, threads, room, timeout: settings.timeout, config })
    }

    /// Takes a new channel to keyd and fetches the certificates over it.
    pub fn set_channel(&self, stream: UnixStream) -> io::Result<()> {
        self.remote.link.set(stream)?;
        match self.threads.first().filter(|thread| !thread.jobs.is_closed()) {
            Some(thread) => thread.fetch.notify_one(),
            None => return Err(io::Error::other(HandshakeError::Ended)),
        }
        Ok(())
    }

    /// For who only wants to know.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        Certificates(self.config.clone())
    }

    /// Returns when there are certificates.
    pub async fn ready(&self) -> Result<(), HandshakeError> {
        let mut config = self.config.clone();
        config.wait_for(Option::is_some).await.map(|_| ()).map_err(|_| HandshakeError::Ended)
    }

    /// Runs a whole handshake of this connection. Dropping the future ends it and closes the connection.
    pub async fn accept(
        &self,
        connection: ConnectionId,
        stream: TcpStream,
    ) -> Result<TlsStream, HandshakeError> {
        self.shake(connection, stream, false).await.map(|(tls, _)| tls)
    }

    /// The same, and asks the client for a certificate, without which it is taken as well. With the proof that it has
    /// the key of the one it showed: that is right, but authd is to check it again.
    pub async fn accept_asking(
        &self,
        connection: ConnectionId,
        stream: TcpStream,
    ) -> Result<(TlsStream, Option<Box<KeyProof>>), HandshakeError> {
        self.shake(connection, stream, true).await
    }

    async fn shake(
        &self,
        connection: ConnectionId,
        stream: TcpStream,
        asking: bool,
    ) -> Result<(TlsStream, Option<Box<KeyProof>>), HandshakeError> {
        let deadline = Instant::now() + self.timeout;
        let _room = self.room.try_acquire().map_err(|_| HandshakeError::Busy)?;
        let worker = self
            .threads
            .iter()
            .min_by_key(|worker| worker.pending.load(Ordering::Relaxed))
            .ok_or(HandshakeError::Ended)?;
        let (answer, answered) = oneshot::channel();
        let stream = stream.into_std()?;
        let handshake = Handshake {
            connection,
            stream,
            asking,
            deadline,
            answer,
            _pending: Pending::new(&worker.pending),
        };
        worker.jobs.try_send(handshake).map_err(|error| match error {
            TrySendError::Full(_) => HandshakeError::Busy,
            TrySendError::Closed(_) => HandshakeError::Ended,
        })?;
        let Finished { mut tls, stream, proof } = answered.await.map_err(|_| HandshakeError::Ended)??;
        tls.get_mut().0.put(stream)?;
        Ok((*tls, proof))
    }
}

/// Whether keyd has given certificates.
#[derive(Clone)]
pub struct Certificates(watch::Receiver<Option<Arc<Served>>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.are_there())
    }
}

impl Certificates {
    /// It has.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// A thread's first random octets take aws-lc 30 to 50 ms: not while a client waits.
fn warm(policy: &Policy) {
    let mut octets = [0; 32];
    if policy.provider.secure_random.fill(&mut octets).is_err() {
        tracing::error!("the random generator does not work: TLS handshakes will fail");
    }
}

/// What one thread works with.
struct Shared<C: KeydChannel> {
    policy: Arc<Policy>,
    remote: Arc<Remote<C>>,
    publish: Arc<watch::Sender<Option<Arc<Served>>>>,
    fetch: Arc<Notify>,
    slot: &'static Slot,
}

impl<C: KeydChannel> Shared<C> {
    /// Until the front drops its [`Handshaker`].
    async fn run(self, mut queue: mpsc::Receiver<Handshake>) {
        loop {
            tokio::select! {
                // In this order: with a new channel come new certificates, for the handshakes that wait too.
                biased;
                () = self.fetch.notified() => self.fetch(),
                next = queue.recv() => match next {
                    Some(handshake) => {
                        let connection = handshake.connection;
                        let run = handshake.run(self.publish.subscribe());
                        drop(tokio::spawn(Recorded::new(self.slot, connection, run)));
                    }
                    None => return,
                },
            }
        }
    }

    fn fetch(&self) {
        let chains = match self.remote.call(&TlsRequest::Chains) {
            Ok(TlsReply::Chains(chains)) => chains,
            Ok(TlsReply::Signed(_) | TlsReply::Refused(_)) => {
                return tracing::warn!("keyd answered another question than for its certificates");
            }
            // keyd is gone: the next channel brings the next attempt, and the certificates of before still hold.
            Err(error) => return tracing::warn!(%error, "no certificates from keyd"),
        };
        match Served::new(&self.policy, &self.remote, chains) {
            Ok(served) => drop(self.publish.send_replace(Some(Arc::new(served)))),
            Err(error) => tracing::warn!(%error, "keyd's certificates cannot be served"),
        }
    }
}

/// One of a thread's handshakes, waiting or under way.
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handshake {
    async fn run(self, config: watch::Receiver<Option<Arc<Served>>>) {
        let Self { connection: _, stream, asking, deadline, mut answer, _pending } = self;
        let result = tokio::select! {
            // In this order, so that a handshake that is overdue does not ask keyd any more.
            biased;
            () = answer.closed() => return,
            () = sleep_until(deadline) => Err(HandshakeError::Timeout),
            result = handshake(stream, asking, config) => result,
        };
        // The front may have lost interest meanwhile; then the connection closes here.
        let _ = answer.send(result);
    }
}

async fn handshake(
    stream: std::net::TcpStream,
    asking: bool,
    mut served: watch::Receiver<Option<Arc<Served>>>,
) -> Result<Finished, HandshakeError> {
    let served = match served.wait_for(Option::is_some).await {
        Ok(served) => served.clone().ok_or(HandshakeError::Ended)?,
        Err(_) => return Err(HandshakeError::Ended),
    };
    let shown = Arc::new(Shown::default());
    let config = if asking { served.asking(&shown).map_err(io::Error::other)? } else { served.plain() };
    let socket = Socket::new(TcpStream::from_std(stream)?);
    let accept = TlsAcceptor::from(config)
        .accept_with(socket, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
    let mut tls = Box::new(accept.await?);
    let stream = tls.get_mut().0.take()?;
    Ok(Finished { tls, stream, proof: shown.into_proof() })
}
