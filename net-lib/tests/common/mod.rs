//! A keyd in a thread, and handshakes with it.
#![allow(dead_code)]

use std::{
    num::NonZeroUsize,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use ipc_proto::{
    ConnectionId,
    blocking::Answerer,
    tls::{Chain, KeyNumber, Refusal, Scheme, TlsReply, TlsRequest, WebdKeyd},
};
use net_lib::{HandshakeError, Handshaker, TlsSettings, TlsStream};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsConnector;

/// Whose handshakes these are.
pub(crate) const CONNECTION: ConnectionId = ConnectionId(77);

/// How a keyd behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// Takes requests for signatures and never answers them.
    Silent,
    /// Refuses every signature.
    Refusing,
}

/// Certificates for these names, each with a key of its own; the same for every keyd made from it.
pub(crate) struct Keys {
    pub(crate) pairs: Vec<rcgen::CertifiedKey<rcgen::KeyPair>>,
    pub(crate) signatures: Arc<AtomicUsize>,
    /// One permit for each signature that was asked for.
    pub(crate) asked: Arc<Semaphore>,
}

impl Keys {
    pub(crate) fn new(names: &[&str]) -> Self {
        let pairs =
            names.iter().map(|name| rcgen::generate_simple_self_signed([(*name).to_owned()]).unwrap());
        Self { pairs: pairs.collect(), signatures: Arc::default(), asked: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) fn certificate(&self, number: usize) -> CertificateDer<'static> {
        self.pairs[number].cert.der().clone()
    }

    pub(crate) fn signatures(&self) -> usize {
        self.signatures.load(Ordering::Relaxed)
    }

    /// A keyd's thread; the front's end of its channel, and what ends that keyd when dropped.
    pub(crate) fn keyd(&self, manner: Manner) -> (UnixStream, mpsc::Sender<()>) {
        let chains: Vec<Chain> = (0_u8..)
            .zip(&self.pairs)
            .map(|(number, pair)| Chain {
                key: KeyNumber(number),
                scheme: Scheme::EcdsaP256Sha256,
                names: vec![format!("{number}.example")],
                certificates: vec![pair.cert.der().to_vec()],
            })
            .collect();
        let keys: Vec<EcdsaKeyPair> = self
            .pairs
            .iter()
            .map(|pair| {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pair.signing_key.serialize_der())
                    .unwrap()
            })
            .collect();
        let (signatures, asked) = (Arc::clone(&self.signatures), Arc::clone(&self.asked));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (end, ended) = mpsc::channel::<()>();
        let closing = theirs.try_clone().unwrap();
        thread::spawn(move || {
            let _ = ended.recv();
            let _ = closing.shutdown(std::net::Shutdown::Both);
        });
        thread::spawn(move || {
            let mut answerer = Answerer::<WebdKeyd>::new(theirs, 100).unwrap();
            let mut unanswered = Vec::new();
            while let Ok(Some(question)) = answerer.next_question() {
                let (key, content) = match question.request {
                    TlsRequest::Chains => {
                        question.responder.reply(&TlsReply::Chains(chains.clone()), &[]);
                        continue;
                    }
                    TlsRequest::Tls13 { key, transcript_hash, .. } => {
                        let context = b"TLS 1.3, server CertificateVerify\0";
                        (key, [&[b' '; 64][..], context, &transcript_hash].concat())
                    }
                    TlsRequest::Tls12 { key, client_random, server_random, params, .. } => {
                        (key, [&client_random[..], &server_random, &params].concat())
                    }
                };
                asked.add_permits(1);
                match manner {
                    Manner::Silent => unanswered.push(question.responder),
                    Manner::Refusing => {
                        question.responder.reply(&TlsReply::Refused(Refusal::RateLimited), &[]);
                    }
                    Manner::Good => {
                        signatures.fetch_add(1, Ordering::Relaxed);
                        let signed = keys[usize::from(key.0)].sign(&SystemRandom::new(), &content).unwrap();
                        question.responder.reply(&TlsReply::Signed(signed.as_ref().to_vec()), &[]);
                    }
                }
            }
        });
        (ours, end)
    }
}

pub(crate) fn settings() -> TlsSettings {
    TlsSettings {
        alpn: &["imap"],
        tickets: true,
        timeout: Duration::from_secs(5),
        at_once: NonZeroUsize::new(50).unwrap(),
    }
}

pub(crate) struct Scene {
    pub(crate) handshaker: Arc<Handshaker<WebdKeyd>>,
    pub(crate) listener: TcpListener,
    pub(crate) _keyd: mpsc::Sender<()>,
}

impl Scene {
    pub(crate) async fn new(keys: &Keys, manner: Manner, settings: &TlsSettings) -> Self {
        let handshaker = Handshaker::start(settings, |violation| panic!("{violation}")).unwrap();
        let (channel, keyd) = keys.keyd(manner);
        handshaker.set_channel(channel).unwrap();
        handshaker.ready().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { handshaker: Arc::new(handshaker), listener, _keyd: keyd }
    }

    /// A connected pair of sockets.
    pub(crate) async fn pair(&self) -> (TcpStream, TcpStream) {
        let connect = TcpStream::connect(self.listener.local_addr().unwrap());
        let (client, server) = tokio::join!(connect, self.listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    pub(crate) async fn shake(
        &self,
        config: &Arc<ClientConfig>,
        name: &'static str,
    ) -> (std::io::Result<tokio_rustls::client::TlsStream<TcpStream>>, Result<TlsStream, HandshakeError>)
    {
        let (client, server) = self.pair().await;
        let connector = TlsConnector::from(Arc::clone(config));
        let name = ServerName::try_from(name).unwrap();
        let (connected, accepted) =
            tokio::join!(connector.connect(name, client), self.handshaker.accept(CONNECTION, server));
        (connected, accepted)
    }
}
