//! Fakes of authd, queued and keyd at the other ends of the channels.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    sync::{Arc, Mutex},
    time::Duration,
};

use ipc_proto::{
    authd::{
        AuthdToSmtpd, Client, ClientReply, Offence, Recipient, RecipientQuery, SmtpdAuthd, SmtpdToAuthd,
        TurnedAway,
    },
    delivery::{Deliver, Outcome, QueuedToSmtpd, SmtpdQueued, SmtpdToQueued, SpoolNumber},
    stream::{Responder, serve},
    tls::{Chain, KeyNumber, Scheme, SmtpdKeyd, TlsReply, TlsRequest},
};
use net_lib::KeydChannel;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use rcgen::{KeyPair, SigningKey};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc},
};

use super::super::{Front, incoming::Incoming, role::Entrance, settings::Settings};
use crate::Limits;

/// Settings that disturb no test.
pub(super) fn settings() -> Settings {
    Settings {
        limits: Arc::new(Limits {
            hostname: "mx.example".to_owned(),
            message_size: 10_000_000,
            simulate_failures: false,
        }),
        connections: std::num::NonZeroUsize::new(100).unwrap(),
        fresh: std::num::NonZeroUsize::new(100).unwrap(),
        memory_budget: 64 * 1024 * 1024,
        command_timeout: Duration::from_secs(20),
        tls_timeout: Duration::from_secs(20),
        data_timeout: Duration::from_secs(20),
        tarpit: false,
        loopback_exempt: true,
        plain_login_on_loopback: false,
    }
}

/// How the fake queued behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    /// For every recipient; `None`: requests are dropped.
    pub(super) outcome: Option<Outcome>,
    /// Whether there are spool files.
    pub(super) spool: bool,
    /// Hold answers until [`Fixture::release`].
    pub(super) hold: bool,
}

impl Default for Queued {
    fn default() -> Self {
        Self { outcome: Some(Outcome::Filed), spool: true, hold: false }
    }
}

type Delivery = (Deliver, Vec<u8>, bool);

/// A front that listens on loopback, and what its peers saw.
pub(super) struct Fixture {
    pub(super) front: Arc<Front<Incoming>>,
    pub(super) address: SocketAddr,
    delivered: Delivered,
    kill_queued: Mutex<UnixStream>,
    turned_away: Arc<Mutex<Option<TurnedAway>>>,
    charges: tokio::sync::Mutex<mpsc::UnboundedReceiver<Offence>>,
    roots: RootCertStore,
}

impl Fixture {
    pub(super) async fn start(settings: Settings) -> Self {
        Self::start_with(settings, Queued::default()).await
    }

    pub(super) async fn start_with(settings: Settings, queued: Queued) -> Self {
        Self::start_prepared(settings, queued, |_| ()).await
    }

    pub(super) async fn start_prepared(
        settings: Settings,
        queued: Queued,
        prepare: impl FnOnce(&mut Front<Incoming>),
    ) -> Self {
        let mut front = Front::new(settings, |violation| panic!("keyd: {violation}")).unwrap();
        prepare(&mut front);
        let front = Arc::new(front);
        let turned_away = Arc::default();
        let (charge, charges) = mpsc::unbounded_channel();
        front.authd.set_channel(authd(Arc::clone(&turned_away), charge), |v| panic!("authd: {v}")).unwrap();
        let delivered = Delivered::default();
        let (theirs, kill) = fake_queued(queued, delivered.clone());
        front.queued.set(theirs, |violation| assert_eq!(violation, None)).unwrap();
        let mut roots = RootCertStore::empty();
        front.tls.set_channel(keyd::<SmtpdKeyd>(&mut roots)).unwrap();
        front.tls.ready().await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(net_lib::front::listen(Arc::clone(&front), listener, Entrance::StartTls));
        let charges = tokio::sync::Mutex::new(charges);
        let kill_queued = Mutex::new(kill);
        Self { front, address, delivered, kill_queued, turned_away, charges, roots }
    }

    /// queued dies, and here is the next one.
    pub(super) fn restart_queued(&self, queued: Queued) {
        let (theirs, kill) = fake_queued(queued, self.delivered.clone());
        let killed = std::mem::replace(&mut *self.kill_queued.lock().unwrap(), kill);
        killed.shutdown(std::net::Shutdown::Both).unwrap();
        self.front.queued.set(theirs, |violation| assert_eq!(violation, None)).unwrap();
    }

    /// Until queued was told that a spool file is not needed any more.
    pub(super) async fn spool_file_is_forgotten(&self) {
        self.delivered.forgotten.notified().await;
    }

    /// What was delivered last.
    pub(super) fn take_delivery(&self) -> Delivery {
        self.delivered.deliveries.lock().unwrap().pop().unwrap()
    }

    pub(super) fn has_no_delivery(&self) -> bool {
        self.delivered.deliveries.lock().unwrap().is_empty()
    }

    pub(super) async fn delivery_arrives(&self) {
        self.delivered.arrived.notified().await;
    }

    pub(super) fn release(&self) {
        self.delivered.released.notify_one();
    }

    pub(super) fn turn_away(&self, why: Option<TurnedAway>) {
        *self.turned_away.lock().unwrap() = why;
    }

    pub(super) async fn next_charge(&self) -> Offence {
        self.charges.lock().await.recv().await.unwrap()
    }

    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        shake_hands(self.roots.clone(), stream).await
    }
}

pub(super) async fn shake_hands(
    roots: RootCertStore,
    stream: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mx.example").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn authd(turned_away: Arc<Mutex<Option<TurnedAway>>>, charge: mpsc::UnboundedSender<Offence>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut held: Vec<(Recipient, Responder<SmtpdAuthd>)> = Vec::new();
    let handle = move |request, _fds, responder: Responder<SmtpdAuthd>| {
        let client = |reply| AuthdToSmtpd::Client(reply);
        match request {
            SmtpdToAuthd::Client(Client::Admit(..)) => {
                let reply = match *turned_away.lock().unwrap() {
                    Some(why) => ClientReply::TurnedAway(why),
                    None => ClientReply::Admitted,
                };
                responder.reply(&client(reply), Vec::new());
            }
            SmtpdToAuthd::Client(Client::Charge(_, offence)) => {
                let _ = charge.send(offence);
                responder.reply(&client(ClientReply::Noted), Vec::new());
            }
            SmtpdToAuthd::Client(Client::Closed(_)) => {
                responder.reply(&client(ClientReply::Noted), Vec::new())
            }
            SmtpdToAuthd::Recipient(RecipientQuery::Postmaster, _) => drop(responder),
            SmtpdToAuthd::Recipient(RecipientQuery::Address(address), _) => {
                let localpart = address.localpart.as_str().to_owned();
                let verdict = if localpart.contains("unknown") {
                    Recipient::Unknown
                } else {
                    Recipient::Local(address)
                };
                if localpart.starts_with("hold") {
                    held.push((verdict, responder));
                    if held.len() == 3 {
                        while let Some((verdict, responder)) = held.pop() {
                            responder.reply(&AuthdToSmtpd::Recipient(verdict), Vec::new());
                        }
                    }
                } else if localpart != "silent" {
                    responder.reply(&AuthdToSmtpd::Recipient(verdict), Vec::new());
                }
            }
        }
    };
    tokio::spawn(serve::<SmtpdAuthd>(theirs, handle).unwrap());
    ours
}

/// What the fakes of queued share, as the real ones share a directory.
#[derive(Clone, Default)]
struct Delivered {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    arrived: Arc<Notify>,
    released: Arc<Notify>,
    spooled: Arc<Mutex<HashMap<SpoolNumber, std::fs::File>>>,
    forgotten: Arc<Notify>,
}

/// One end of its channel, and what ends it.
fn fake_queued(queued: Queued, delivered: Delivered) -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let kill = theirs.try_clone().unwrap();
    let handle = move |request, fds: Vec<OwnedFd>, responder: Responder<SmtpdQueued>| match request {
        SmtpdToQueued::Spool if !queued.spool => responder.reply(&QueuedToSmtpd::NoSpool, Vec::new()),
        SmtpdToQueued::Spool => {
            let (writer, reader) = super::spool_file().unwrap();
            let mut spooled = delivered.spooled.lock().unwrap();
            let number = SpoolNumber(spooled.len() as u64);
            spooled.insert(number, reader);
            responder.reply(&QueuedToSmtpd::Spool(number), vec![writer]);
        }
        SmtpdToQueued::Forget(number) => {
            delivered.spooled.lock().unwrap().remove(&number).unwrap();
            delivered.forgotten.notify_one();
            responder.reply(&QueuedToSmtpd::Forgotten, Vec::new());
        }
        SmtpdToQueued::Deliver(deliver) => {
            let all = SealFlag::F_SEAL_SEAL
                | SealFlag::F_SEAL_SHRINK
                | SealFlag::F_SEAL_GROW
                | SealFlag::F_SEAL_WRITE;
            let file = match deliver.spool {
                Some(number) => delivered.spooled.lock().unwrap()[&number].try_clone().unwrap(),
                None => std::fs::File::from(fds.into_iter().next().unwrap()),
            };
            let seals = fcntl(file.as_fd(), FcntlArg::F_GET_SEALS)
                .map_or(SealFlag::empty(), SealFlag::from_bits_retain);
            let mut octets = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut octets, 0).unwrap();
            assert_eq!(octets.len() as u64, deliver.size);
            let recipients = deliver.recipients.len();
            delivered.deliveries.lock().unwrap().push((deliver, octets, seals.contains(all)));
            delivered.arrived.notify_one();
            let Some(outcome) = queued.outcome else { return drop(responder) };
            let reply = QueuedToSmtpd::Delivered(vec![outcome; recipients]);
            if queued.hold {
                let released = Arc::clone(&delivered.released);
                tokio::spawn(async move {
                    released.notified().await;
                    responder.reply(&reply, Vec::new());
                });
            } else {
                responder.reply(&reply, Vec::new());
            }
        }
    };
    tokio::spawn(serve::<SmtpdQueued>(theirs, handle).unwrap());
    (ours, kill)
}

pub(super) fn keyd<C: KeydChannel>(roots: &mut RootCertStore) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    roots.add(certificate.der().clone()).unwrap();
    let chain = Chain {
        key: KeyNumber(1),
        scheme: Scheme::EcdsaP256Sha256,
        names: vec!["mx.example".to_owned()],
        certificates: vec![certificate.der().to_vec()],
    };
    let handle = move |request, _fds, responder: Responder<C>| {
        let reply = match request {
            TlsRequest::Chains => TlsReply::Chains(vec![chain.clone()]),
            TlsRequest::Tls13 { transcript_hash, .. } => {
                let signed =
                    [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &transcript_hash].concat();
                TlsReply::Signed(key.sign(&signed).unwrap())
            }
            TlsRequest::Tls12 { .. } => panic!("both sides have TLS 1.3"),
        };
        responder.reply(&reply, Vec::new());
    };
    tokio::spawn(serve::<C>(theirs, handle).unwrap());
    ours
}
