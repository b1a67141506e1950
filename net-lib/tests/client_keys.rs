//! Clients that are asked for a certificate: what is taken, what is kept of it, and what it opens nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::Arc;

use common::{CONNECTION, Keys, Manner, Scene, settings};
use ipc_proto::{
    client_key::{ClientKey, Kind},
    key_proof::{KeyProof, ProofScheme},
    sasl::Transport,
};
use net_lib::{HandshakeError, TlsStream, sasl_transport};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion,
    client::ResolvesClientCert,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::{CertifiedKey, Signer, SigningKey},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

type Accepted = Result<(TlsStream, Option<Box<KeyProof>>), HandshakeError>;

/// A certificate that whoever looks at names, dates or extensions would refuse.
fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.not_before = rcgen::date_time_ymd(1999, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2000, 1, 1);
    let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    unknown.set_criticality(true);
    parameters.custom_extensions.push(unknown);
    let certificate = parameters.self_signed(&pair).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    Arc::new(CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&key).unwrap()))
}

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn client(
    keys: &Keys,
    shows: Option<Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(keys.certificate(0)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shows {
        Some(certified) => config.with_client_cert_resolver(Arc::new(Shows(certified))),
        None => config.with_no_client_auth(),
    })
}

/// Shakes hands and takes an octet of the server's, with which tickets come.
async fn shake(scene: &Scene, config: &Arc<ClientConfig>) -> (std::io::Result<HandshakeKind>, Accepted) {
    let (client, server) = scene.pair().await;
    let name = ServerName::try_from("0.example").unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let serving = async {
        let mut accepted = scene.handshaker.accept_asking(CONNECTION, server).await;
        if let Ok((stream, _)) = &mut accepted {
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
        }
        accepted
    };
    let connecting = async {
        let mut stream = connector.connect(name, client).await?;
        stream.read_exact(&mut [0; 1]).await?;
        std::io::Result::Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    tokio::join!(connecting, serving)
}

#[tokio::test]
async fn a_client_may_show_any_certificate_and_its_proof_is_kept() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    for (algorithm, kind, scheme) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Kind::EcdsaP256, ProofScheme::EcdsaP256Sha256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Kind::EcdsaP384, ProofScheme::EcdsaP384Sha384),
        (&rcgen::PKCS_ED25519, Kind::Ed25519, ProofScheme::Ed25519),
    ] {
        let shown = certified(algorithm);
        let (connected, accepted) = shake(&scene, &client(&keys, Some(Arc::clone(&shown)), &TLS13)).await;
        connected.unwrap();
        let (stream, proof) = accepted.unwrap();
        let kept = proof.clone().unwrap();
        assert_eq!((kept.key.kind(), kept.scheme), (kind, scheme));
        assert_eq!(kept.key, ClientKey::of_certificate(&shown.cert[0]).unwrap());
        assert!(matches!(sasl_transport(&stream, proof), Transport::Keyed(_, proof) if proof == *kept));
    }
    let (connected, accepted) = shake(&scene, &client(&keys, None, &TLS13)).await;
    connected.unwrap();
    let (stream, proof) = accepted.unwrap();
    assert_eq!(proof, None, "none is required");
    assert!(matches!(sasl_transport(&stream, proof), Transport::Bound(_)));
}

/// Attack class 42: TLS 1.2 has no proof that authd could check, and so the certificate counts for nothing.
#[tokio::test]
async fn a_certificate_in_tls_1_2_is_taken_and_opens_nothing() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let shown = certified(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (connected, accepted) = shake(&scene, &client(&keys, Some(shown), &TLS12)).await;
    connected.unwrap();
    let (stream, proof) = accepted.unwrap();
    assert_eq!(proof, None);
    assert_eq!(sasl_transport(&stream, proof), Transport::Tls);
}

/// Signs something else than the handshake.
#[derive(Debug)]
struct Liar(Arc<dyn SigningKey>);

#[derive(Debug)]
struct Lie(Box<dyn Signer>);

impl SigningKey for Liar {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered).map(|signer| Box::new(Lie(signer)) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Signer for Lie {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(&[message, b"!"].concat())
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

/// Attack class 42: somebody else's certificate, which anybody can have seen, ends the handshake without its key; so
/// does a key that is not taken.
#[tokio::test]
async fn a_wrong_proof_and_an_unusable_key_end_the_handshake() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    for version in [&TLS13, &TLS12] {
        let owner = certified(&rcgen::PKCS_ECDSA_P256_SHA256);
        let thief = certified(&rcgen::PKCS_ECDSA_P256_SHA256);
        let stolen = CertifiedKey::new(owner.cert.clone(), Arc::clone(&thief.key));
        let lie = CertifiedKey::new(owner.cert.clone(), Arc::new(Liar(Arc::clone(&owner.key))));
        for (certified, why) in [(stolen, "another's key"), (lie, "another message")] {
            let (_, accepted) = shake(&scene, &client(&keys, Some(Arc::new(certified)), version)).await;
            let error = accepted.unwrap_err().to_string();
            assert!(error.contains("BadSignature"), "{why}: {error}");
        }
        let unusable = certified(&rcgen::PKCS_ECDSA_P521_SHA512);
        let odd = CertifiedKey::new(unusable.cert.clone(), Arc::clone(&owner.key));
        let (_, accepted) = shake(&scene, &client(&keys, Some(Arc::new(odd)), version)).await;
        let error = accepted.unwrap_err().to_string();
        assert!(error.contains("kind that is not taken") || error.contains("Kind"), "{error}");
    }
}

/// Attack class 42: who shows a certificate gets no ticket, so that each of its sessions is new and has a proof of its
/// own; all others resume. A proof is never met again on another connection, whoever makes it.
#[tokio::test]
async fn sessions_with_a_proof_are_always_new_and_others_are_resumed() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    for version in [&TLS13, &TLS12] {
        let stranger = client(&keys, None, version);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (connected, accepted) = shake(&scene, &stranger).await;
            kinds.push(connected.unwrap());
            assert_eq!(accepted.unwrap().1, None);
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    }
    let shows = client(&keys, Some(certified(&rcgen::PKCS_ED25519)), &TLS13);
    let mut transcripts = Vec::new();
    for _ in 0..3 {
        let (connected, accepted) = shake(&scene, &shows).await;
        assert_eq!(connected.unwrap(), HandshakeKind::Full);
        let proof = accepted.unwrap().1.unwrap();
        assert!(!transcripts.contains(&proof.transcript));
        transcripts.push(proof.transcript);
        let (_, accepted) = shake(&scene, &client(&keys, None, &TLS13)).await;
        assert_eq!(accepted.unwrap().1, None, "what one connection showed is not another's");
    }
    let old = client(&keys, Some(certified(&rcgen::PKCS_ED25519)), &TLS12);
    for _ in 0..2 {
        assert_eq!(shake(&scene, &old).await.0.unwrap(), HandshakeKind::Full);
    }
}

/// Attack class 42: a front that asks for no certificates gets none, and a ticket of one front opens no session at
/// another.
#[tokio::test]
async fn no_certificate_is_asked_for_elsewhere_and_a_ticket_is_good_at_its_own_front_only() {
    let keys = Keys::new(&["0.example"]);
    let scene = Scene::new(&keys, Manner::Good, &settings()).await;
    let elsewhere = Scene::new(&keys, Manner::Good, &settings()).await;
    let shows = client(&keys, Some(certified(&rcgen::PKCS_ED25519)), &TLS13);
    let (connected, accepted) = elsewhere.shake(&shows, "0.example").await;
    assert!(connected.is_ok());
    assert_eq!(accepted.unwrap().get_ref().1.peer_certificates(), None);

    let stranger = client(&keys, None, &TLS13);
    assert_eq!(shake(&scene, &stranger).await.0.unwrap(), HandshakeKind::Full);
    assert_eq!(shake(&elsewhere, &stranger).await.0.unwrap(), HandshakeKind::Full);
}
