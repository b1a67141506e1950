//! A client's proof, made in a TLS handshake, that it has the other half of its public key: the parts of what it signed,
//! so that authd puts them together and checks the signature itself. A front cannot make one up.

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    error::DecodeError,
};

use crate::client_key::ClientKey;

/// What stands before the transcript hash in a client's CertificateVerify (RFC 8446 §4.4.3), behind 64 spaces.
const CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";

const PADDING: [u8; 64] = [b' '; 64];

/// Octets of the longest signature, of an RSA key of 4096 bits.
const MAX_SIGNATURE: usize = 512;

/// A CertificateVerify of a client in TLS 1.3. That it is here does not mean that it is right.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyProof {
    /// Whose.
    pub key: ClientKey,
    /// How it is signed.
    pub scheme: ProofScheme,
    /// What is signed.
    pub transcript: TranscriptHash,
    /// As TLS carries it.
    pub signature: Signature,
}

/// Signature schemes of TLS 1.3 (RFC 8446 §4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ProofScheme {
    /// ecdsa_secp256r1_sha256.
    EcdsaP256Sha256,
    /// ecdsa_secp384r1_sha384.
    EcdsaP384Sha384,
    /// ed25519.
    Ed25519,
    /// rsa_pss_rsae_sha256.
    RsaPssSha256,
    /// rsa_pss_rsae_sha384.
    RsaPssSha384,
    /// rsa_pss_rsae_sha512.
    RsaPssSha512,
}

impl ProofScheme {
    /// All, the preferred ones first.
    pub const ALL: [Self; 6] = [
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
    ];
}

/// Hash of a handshake up to the client's CertificateVerify, by the connection's cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TranscriptHash {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-384.
    Sha384([u8; 48]),
}

impl TranscriptHash {
    /// Out of what a client signs; `None`: it is not that.
    #[must_use]
    pub fn of_signed(content: &[u8]) -> Option<Self> {
        let hash = content.strip_prefix(&PADDING)?.strip_prefix(CONTEXT)?;
        let sha256 = hash.try_into().ok().map(Self::Sha256);
        sha256.or_else(|| hash.try_into().ok().map(Self::Sha384))
    }

    /// What a client signs.
    #[must_use]
    pub fn signed(&self) -> Vec<u8> {
        let hash: &[u8] = match self {
            Self::Sha256(hash) => hash,
            Self::Sha384(hash) => hash,
        };
        [&PADDING, CONTEXT, hash].concat()
    }
}

/// At most as long as the largest key's.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// `None`: longer than any.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        (octets.len() <= MAX_SIGNATURE).then(|| Self(octets.to_vec()))
    }

    /// As TLS carries it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl<C> Decode<C> for Signature {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::new(&Vec::decode(decoder)?).ok_or(DecodeError::Other("longer than any signature"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Signature {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_tls_1_3_client_signs_has_a_transcript_hash() {
        for hash in [TranscriptHash::Sha256([7; 32]), TranscriptHash::Sha384([8; 48])] {
            assert_eq!(TranscriptHash::of_signed(&hash.signed()), Some(hash));
        }
        let server = b"TLS 1.3, server CertificateVerify\0";
        for (content, why) in [
            ([&PADDING[..], CONTEXT, &[7; 31]].concat(), "no hash is 31 octets"),
            ([&PADDING[..], CONTEXT, &[7; 64]].concat(), "no suite hashes by SHA-512"),
            ([&PADDING[1..], CONTEXT, &[7; 32]].concat(), "a space is missing"),
            ([&PADDING[..], server, &[7; 32]].concat(), "a server's"),
            (vec![7; 32], "the hash alone"),
        ] {
            assert_eq!(TranscriptHash::of_signed(&content), None, "{why}");
        }
    }

    #[test]
    fn a_signature_has_a_bound_on_the_channel_too() {
        let decoded = |octets: usize| {
            let mut body = Vec::new();
            crate::codec::encode_to(&vec![1_u8; octets], &mut body).unwrap();
            crate::codec::decode::<Signature>(&body).is_ok()
        };
        assert!(decoded(MAX_SIGNATURE) && !decoded(MAX_SIGNATURE + 1));
    }
}
