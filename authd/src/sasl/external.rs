//! EXTERNAL (RFC 4422 appendix A): the client proved in its TLS handshake to have the other half of a public key.
//!
//! Public keys are no secret, and a front could name any: so the signature is checked here, over what this process puts
//! together itself from the handshake's transcript hash.

use aws_lc_rs::{digest, signature};
use ipc_proto::{
    Secret,
    client_key::{ClientKey, Kind},
    key_proof::{KeyProof, ProofScheme},
    logins::Fingerprint,
};

use super::{Unfit, plain};
use crate::verifier::array;

/// By what the directory knows a key.
#[must_use]
pub fn fingerprint(key: &ClientKey) -> Fingerprint {
    Fingerprint(array(digest::digest(&digest::SHA256, key.info()).as_ref()))
}

/// Did the key's holder sign this handshake as a TLS 1.3 client?
#[must_use]
pub fn holds(proof: &KeyProof) -> bool {
    let (kind, algorithm): (_, &dyn signature::VerificationAlgorithm) = match proof.scheme {
        ProofScheme::EcdsaP256Sha256 => (Kind::EcdsaP256, &signature::ECDSA_P256_SHA256_ASN1),
        ProofScheme::EcdsaP384Sha384 => (Kind::EcdsaP384, &signature::ECDSA_P384_SHA384_ASN1),
        ProofScheme::Ed25519 => (Kind::Ed25519, &signature::ED25519),
        ProofScheme::RsaPssSha256 => (Kind::Rsa, &signature::RSA_PSS_2048_8192_SHA256),
        ProofScheme::RsaPssSha384 => (Kind::Rsa, &signature::RSA_PSS_2048_8192_SHA384),
        ProofScheme::RsaPssSha512 => (Kind::Rsa, &signature::RSA_PSS_2048_8192_SHA512),
    };
    let key = signature::UnparsedPublicKey::new(algorithm, proof.key.octets());
    proof.key.kind() == kind && key.verify(&proof.transcript.signed(), proof.signature.octets()).is_ok()
}

/// Whom the client wants to act for; `None`: whoever has the key.
pub fn acting_for(message: &Secret) -> Result<Option<String>, Unfit> {
    if message.0.is_empty() { Ok(None) } else { plain::user_name(&message.0).map(Some) }
}

#[cfg(test)]
mod tests;
