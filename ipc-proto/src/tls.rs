//! Fronts ask keyd for certificate chains and for the one signature that a TLS handshake needs.
//!
//! keyd is no oracle: it builds what is signed itself from these typed parts, with the key of the listener group that
//! belongs to the channel asked on (smtpd: mx; imapd and submitd: mail clients; webd: web).

use bincode::{Decode, Encode};

use crate::channel::{Message, channel};

/// What a front may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TlsRequest {
    /// The certificate chains of this front's listener group. Answered by `Chains`.
    Chains,
    /// Sign a TLS 1.3 CertificateVerify as a server (RFC 8446 §4.4.3): keyd puts the 64 spaces and the context string
    /// before the hash. Answered by `Signed` or `Refused`.
    Tls13 {
        /// Which key, by the number that `Chains` gave.
        key: KeyNumber,
        /// How to sign.
        scheme: Scheme,
        /// The handshake's transcript hash: 32 octets (SHA-256) or 48 (SHA-384).
        transcript_hash: Vec<u8>,
    },
    /// Sign a TLS 1.2 ECDHE ServerKeyExchange (RFC 8422 §5.4). Answered by `Signed` or `Refused`.
    Tls12 {
        /// Which key, by the number that `Chains` gave.
        key: KeyNumber,
        /// How to sign.
        scheme: Scheme,
        /// ClientHello.random.
        client_random: [u8; 32],
        /// ServerHello.random.
        server_random: [u8; 32],
        /// ServerECDHParams: curve type 3, a named group, a point of that group's length, and nothing after.
        params: Vec<u8>,
    },
}

/// A key of the front's group; it means nothing elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct KeyNumber(pub u8);

/// The signature schemes that keyd's keys can make (RFC 8446 §4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Scheme {
    /// ecdsa_secp256r1_sha256.
    EcdsaP256Sha256,
}

/// One certificate with its chain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Chain {
    /// The key to ask signatures of.
    pub key: KeyNumber,
    /// What the key can do.
    pub scheme: Scheme,
    /// Server names that this certificate is for, A-labels in lower case; the first chain is also the default.
    pub names: Vec<String>,
    /// DER, the leaf first.
    pub certificates: Vec<Vec<u8>>,
}

/// What keyd answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TlsReply {
    /// All chains of the group; never empty.
    Chains(Vec<Chain>),
    /// The signature as TLS carries it (ECDSA: DER).
    Signed(Vec<u8>),
    /// No signature.
    Refused(Refusal),
}

/// Why keyd does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// No such key in this front's group.
    #[error("no such key")]
    UnknownKey,
    /// The parts are not those of a handshake.
    #[error("not a TLS handshake")]
    NotAHandshake,
    /// This front asks faster than it can accept connections.
    #[error("too many signatures asked for")]
    RateLimited,
    /// The key failed to sign.
    #[error("the key failed")]
    Failed,
}

impl Message for TlsRequest {}
impl Message for TlsReply {}

channel! {
    /// smtpd's handshakes, with the key of group mx.
    SmtpdKeyd: TlsRequest => TlsReply, max_body: 65_536, deadline: 2
}
channel! {
    /// imapd's handshakes, with the key of group mail clients.
    ImapdKeyd: TlsRequest => TlsReply, max_body: 65_536, deadline: 2
}
channel! {
    /// submitd's handshakes, with the key of group mail clients.
    SubmitdKeyd: TlsRequest => TlsReply, max_body: 65_536, deadline: 2
}
channel! {
    /// webd's handshakes, with the key of group web.
    WebdKeyd: TlsRequest => TlsReply, max_body: 65_536, deadline: 2
}
