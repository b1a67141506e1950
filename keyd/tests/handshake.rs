//! keyd's signatures in real handshakes: a front's TLS with the key at the other end of a channel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{num::NonZeroUsize, os::unix::net::UnixStream, path::Path, sync::Arc, thread, time::Duration};

use ipc_proto::{
    ConnectionId,
    blocking::Link,
    control::KeydSettings,
    tls::{ImapdKeyd, KeyNumber, Refusal, Scheme, SmtpdKeyd, TlsReply, TlsRequest},
};
use keyd::{answer::Desk, group::Front};
use net_lib::{Handshaker, TlsSettings};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

fn settings(per_second: u32) -> KeydSettings {
    KeydSettings {
        names: vec!["mail.example".to_owned(), "127.0.0.1".to_owned()],
        signatures_per_second: per_second,
    }
}

/// keyd's thread for one front, and the front's end of its channel.
fn desk(front: Front, directory: &Path, per_second: u32) -> UnixStream {
    let mut desk = Desk::open(front, directory, &settings(per_second)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || desk.serve(theirs));
    ours
}

fn link(end: UnixStream) -> Link<ImapdKeyd> {
    let link = Link::default();
    link.set(end).unwrap();
    link
}

fn ask(link: &Link<ImapdKeyd>, request: &TlsRequest) -> TlsReply {
    link.call(request, Vec::new()).unwrap().0
}

fn certificate(link: &Link<ImapdKeyd>) -> CertificateDer<'static> {
    match ask(link, &TlsRequest::Chains) {
        TlsReply::Chains(chains) => CertificateDer::from(chains[0].certificates[0].clone()),
        other => panic!("{other:?}"),
    }
}

fn client(trusted: &CertificateDer<'static>, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn clients_that_trust_the_certificate_talk_tls12_and_tls13() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = certificate(&link(desk(Front::Imapd, directory.path(), 1000)));
    let tls = TlsSettings {
        alpn: &[],
        tickets: true,
        timeout: Duration::from_secs(10),
        at_once: NonZeroUsize::new(10).unwrap(),
    };
    let handshaker = Handshaker::<ImapdKeyd>::start(&tls, |violation| panic!("{violation}")).unwrap();
    handshaker.set_channel(desk(Front::Imapd, directory.path(), 1000)).unwrap();
    handshaker.ready().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (version, expected) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        for name in ["mail.example", "127.0.0.1"] {
            let connecting = async {
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let name = ServerName::try_from(name).unwrap();
                let mut stream = client(&trusted, version).connect(name, tcp).await.unwrap();
                assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
                stream.write_all(b"hello").await.unwrap();
                let mut answer = [0; 5];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"olleh");
            };
            let serving = async {
                let mut stream =
                    handshaker.accept(ConnectionId(1), listener.accept().await.unwrap().0).await.unwrap();
                let mut question = [0; 5];
                stream.read_exact(&mut question).await.unwrap();
                question.reverse();
                stream.write_all(&question).await.unwrap();
                stream.flush().await.unwrap();
            };
            tokio::join!(connecting, serving);
        }
    }
}

/// Attack class 42: what one front's key signs, another front's certificate does not vouch for.
#[test]
fn each_group_has_a_certificate_and_a_key_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut key_of = |front| {
        let mut desk = Desk::open(front, directory.path(), &settings(10)).unwrap();
        let chain = match desk.answer(&TlsRequest::Chains, std::time::Instant::now()) {
            TlsReply::Chains(mut chains) => chains.remove(0),
            other => panic!("{other:?}"),
        };
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain.certificates[0]).unwrap();
        parsed.public_key().raw.to_vec()
    };
    let [mx, imap, web, submission] =
        [Front::Smtpd, Front::Imapd, Front::Webd, Front::Submitd].map(&mut key_of);
    assert!(mx != imap && imap != web && web != mx);
    assert_eq!(submission, imap, "mail programs see one certificate");
}

/// Attack class 30: a captured front gets signatures of its own handshakes only, and not many.
#[test]
fn what_is_no_handshake_is_refused_and_the_channel_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let link = link(desk(Front::Imapd, directory.path(), 1000));
    let key = KeyNumber(0);
    let scheme = Scheme::EcdsaP256Sha256;
    let hash = |key, octets| TlsRequest::Tls13 { key, scheme, transcript_hash: vec![1; octets] };
    let exchange = |params: &[u8]| TlsRequest::Tls12 {
        key,
        scheme,
        client_random: [b' '; 32],
        server_random: [b' '; 32],
        params: params.to_vec(),
    };
    for (request, refusal, reason) in [
        (hash(KeyNumber(1), 32), Refusal::UnknownKey, "another key's number"),
        (hash(key, 0), Refusal::NotAHandshake, "no hash"),
        (hash(key, 64), Refusal::NotAHandshake, "a SHA-512 hash"),
        (exchange(b""), Refusal::NotAHandshake, "no parameters"),
        (
            exchange(b"TLS 1.3, server CertificateVerify\0"),
            Refusal::NotAHandshake,
            "the other verb's context",
        ),
    ] {
        assert_eq!(ask(&link, &request), TlsReply::Refused(refusal), "{reason}");
    }
    assert!(matches!(ask(&link, &hash(key, 32)), TlsReply::Signed(_)));
}

/// Attack class 30: and not many of them.
#[test]
fn a_front_that_asks_too_often_is_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(Front::Webd, directory.path(), &settings(5)).unwrap();
    let request = TlsRequest::Tls13 {
        key: KeyNumber(0),
        scheme: Scheme::EcdsaP256Sha256,
        transcript_hash: vec![1; 32],
    };
    let now = std::time::Instant::now();
    let signed = (0..50).filter(|_| matches!(desk.answer(&request, now), TlsReply::Signed(_))).count();
    assert_eq!(signed, 5);
    assert_eq!(desk.answer(&request, now), TlsReply::Refused(Refusal::RateLimited));
    let counts = desk.counts();
    assert_eq!((counts.signed, counts.limited, counts.refused), (5, 46, 0));
    assert!(matches!(desk.answer(&request, now + Duration::from_secs(1)), TlsReply::Signed(_)));
    assert!(matches!(desk.answer(&TlsRequest::Chains, now), TlsReply::Chains(_)), "chains are not limited");
}

/// Attack class 26: the wrong channel's messages end that channel, and only that.
#[test]
fn a_front_on_a_channel_that_is_not_its_own_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(Front::Imapd, directory.path(), &settings(5)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || {
        let first = desk.serve(theirs);
        (desk, first)
    });
    let wrong = Link::<SmtpdKeyd>::default();
    wrong.set(ours).unwrap();
    assert!(wrong.call(&TlsRequest::Chains, Vec::new()).is_err());
    let (mut desk, first) = serving.join().unwrap();
    assert!(first.is_err());
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || desk.serve(theirs));
    assert!(!certificate(&link(ours)).is_empty(), "the next channel is served");
}
