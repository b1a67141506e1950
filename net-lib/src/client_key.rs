//! Certificates of clients: asked for, never required, and nothing but the wrapping of a public key. The proof that the
//! client has the other half must be right; what it was made of is kept for authd, which checks it again.
//!
//! Each handshake has a verifier of its own, so that what is shown on one connection cannot turn up on another. Who
//! shows a certificate gets no session ticket: a resumed session has no proof, and so every session that has one is new.

use std::sync::{Arc, Mutex, PoisonError};

use ipc_proto::{
    client_key::{ClientKey, Kind},
    key_proof::{KeyProof, ProofScheme, Signature, TranscriptHash},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ProducesTickets,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// What the client showed in one handshake.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Certificate>);

#[derive(Debug, Default)]
enum Certificate {
    #[default]
    None,
    /// A certificate, and in TLS 1.2 that is all: there is no proof that authd could check.
    Seen,
    /// With its proof.
    Proved(Box<KeyProof>),
}

impl Shown {
    fn set(&self, certificate: Certificate) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    fn take(&self) -> Certificate {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_none(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Certificate::None)
    }

    /// What is left when the handshake is over.
    pub(crate) fn into_proof(self: Arc<Self>) -> Option<Box<KeyProof>> {
        match self.take() {
            Certificate::None | Certificate::Seen => None,
            Certificate::Proved(proof) => Some(proof),
        }
    }
}

/// Takes any certificate with a usable key, of one handshake.
#[derive(Debug)]
pub(crate) struct AnyKey {
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) shown: Arc<Shown>,
}

/// As TLS names them.
const fn named(scheme: ProofScheme) -> SignatureScheme {
    match scheme {
        ProofScheme::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        ProofScheme::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        ProofScheme::Ed25519 => SignatureScheme::ED25519,
        ProofScheme::RsaPssSha256 => SignatureScheme::RSA_PSS_SHA256,
        ProofScheme::RsaPssSha384 => SignatureScheme::RSA_PSS_SHA384,
        ProofScheme::RsaPssSha512 => SignatureScheme::RSA_PSS_SHA512,
    }
}

/// The key that a scheme of TLS 1.3 is for: there, unlike in TLS 1.2, the name says the curve (RFC 8446 §4.2.3).
const fn key_of(scheme: ProofScheme) -> Kind {
    match scheme {
        ProofScheme::EcdsaP256Sha256 => Kind::EcdsaP256,
        ProofScheme::EcdsaP384Sha384 => Kind::EcdsaP384,
        ProofScheme::Ed25519 => Kind::Ed25519,
        ProofScheme::RsaPssSha256 | ProofScheme::RsaPssSha384 | ProofScheme::RsaPssSha512 => Kind::Rsa,
    }
}

/// For TLS 1.2, and for the certificates' own signatures, which clients look for here (RFC 8446 §4.2.3).
const ONLY_TLS12: [SignatureScheme; 3] =
    [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::RSA_PKCS1_SHA384, SignatureScheme::RSA_PKCS1_SHA512];

fn key_in(certificate: &CertificateDer<'_>) -> Result<ClientKey, Error> {
    ClientKey::of_certificate(certificate)
        .map_err(|unfit| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unfit)))))
}

impl AnyKey {
    fn check(&self, key: &ClientKey, content: &[u8], signed: &DigitallySignedStruct) -> Result<(), Error> {
        let mapped = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let fitting = mapped.and_then(|(_, algorithms)| {
            algorithms.iter().find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm())
        });
        let algorithm = fitting.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        algorithm
            .verify_signature(key.octets(), content, signed.signature())
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.shown.set(Certificate::Seen);
        key_in(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(&key_in(cert)?, message, dss)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key_in(cert)?;
        let scheme = ProofScheme::ALL.into_iter().find(|scheme| named(*scheme) == dss.scheme);
        let scheme = scheme
            .filter(|scheme| key_of(*scheme) == key.kind())
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        self.check(&key, message, dss)?;
        let transcript = TranscriptHash::of_signed(message)
            .ok_or_else(|| Error::General("rustls has clients sign something unknown".to_owned()))?;
        let signature = Signature::new(dss.signature())
            .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))?;
        self.shown.set(Certificate::Proved(Box::new(KeyProof { key, scheme, transcript, signature })));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ProofScheme::ALL.into_iter().map(named).chain(ONLY_TLS12).collect()
    }
}

/// Tickets for who has shown no certificate.
#[derive(Debug)]
pub(crate) struct WithoutKey {
    pub(crate) tickets: Arc<dyn ProducesTickets>,
    pub(crate) shown: Arc<Shown>,
}

impl ProducesTickets for WithoutKey {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.shown.is_none().then(|| self.tickets.encrypt(plain)).flatten()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.decrypt(cipher)
    }
}
