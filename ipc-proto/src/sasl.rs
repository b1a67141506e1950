//! SASL (RFC 4422) between a front and authd: the front carries octets and knows no mechanism; with SCRAM it never sees
//! what a login could be made of.
//!
//! `Start`, then as many `Answer`s as there are challenges. One exchange a connection: a new `Start` ends the one before.

use bincode::{Decode, Encode};

use crate::{authd::Login, key_proof::KeyProof, types::Secret};

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Mechanism {
    /// EXTERNAL (RFC 4422 appendix A): what the client proved in the TLS handshake.
    External,
    /// SCRAM-SHA-256-PLUS (RFC 7677), bound to the TLS connection by tls-exporter (RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN: a user name, then a password.
    Login,
}

impl Mechanism {
    /// All, in the order of announcing.
    pub const ALL: [Self; 5] =
        [Self::External, Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// As it is announced.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// By its name; capital letters do not matter.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Is it announced there? A channel can be bound only where there is one that can be, and there has to be a key for
    /// EXTERNAL.
    #[must_use]
    pub const fn offered(self, transport: &Transport) -> bool {
        match (self, transport) {
            (Self::External, Transport::Keyed(..)) => true,
            (Self::External, Transport::Loopback | Transport::Tls | Transport::Bound(_)) => false,
            (Self::ScramSha256Plus, Transport::Bound(_) | Transport::Keyed(..)) => true,
            (Self::ScramSha256Plus, Transport::Loopback | Transport::Tls) => false,
            (Self::ScramSha256 | Self::Plain | Self::Login, _) => true,
        }
    }
}

/// What carries the exchange. Nothing is exchanged in the clear but on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Transport {
    /// This machine, without TLS; the configuration allows it.
    Loopback,
    /// TLS 1.2, whose exporter is not unique without more ado.
    Tls,
    /// TLS 1.3, and its tls-exporter value.
    Bound([u8; 32]),
    /// The same, whose client has shown a key of its own in its handshake.
    Keyed([u8; 32], KeyProof),
}

impl Transport {
    /// The value that binds an exchange to its connection, where there is one.
    #[must_use]
    pub const fn binding(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Loopback | Self::Tls => None,
            Self::Bound(value) | Self::Keyed(value, _) => Some(value),
        }
    }
}

/// One step of the client's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SaslStep {
    /// A mechanism was chosen.
    Start {
        /// Which. One that is not [offered](Mechanism::offered) there is denied.
        mechanism: Mechanism,
        /// Over what.
        transport: Transport,
        /// The initial response, if the client sent one (RFC 4959); decoded.
        initial: Option<Secret>,
    },
    /// What the client answered to the challenge, decoded.
    Answer(Secret),
    /// The client gave up, or sent what is no base64.
    Cancel,
}

/// authd's next step.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SaslReply {
    /// To be sent to the client, who answers it.
    Challenge(Vec<u8>),
    /// The exchange is over.
    Ended(Login),
    /// It is forgotten.
    Cancelled,
}

/// The longest message of a client that authd takes, octets.
pub const MAX_MESSAGE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client_key::ClientKey,
        key_proof::{ProofScheme, Signature, TranscriptHash},
    };

    #[test]
    fn names_are_found_as_they_are_announced() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::named(mechanism.name()), Some(mechanism));
            assert_eq!(Mechanism::named(&mechanism.name().to_ascii_lowercase()), Some(mechanism));
        }
        for left_out in ["CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "NTLM", "SCRAM-SHA-256-", ""] {
            assert_eq!(Mechanism::named(left_out), None, "{left_out}");
        }
    }

    #[test]
    fn only_tls_1_3_is_bound_and_only_who_shows_a_key_is_offered_external() {
        let offered = |transport| Mechanism::ALL.map(|mechanism| mechanism.offered(&transport));
        let ed25519 = [&[48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0][..], &[9; 32]].concat();
        let proof = KeyProof {
            key: ClientKey::parse(&ed25519).unwrap(),
            scheme: ProofScheme::Ed25519,
            transcript: TranscriptHash::Sha256([1; 32]),
            signature: Signature::new(&[2; 64]).unwrap(),
        };
        assert_eq!(offered(Transport::Keyed([0; 32], proof)), [true; 5]);
        assert_eq!(offered(Transport::Bound([0; 32])), [false, true, true, true, true]);
        assert_eq!(offered(Transport::Tls), [false, false, true, true, true]);
        assert_eq!(offered(Transport::Loopback), [false, false, true, true, true]);
    }
}
