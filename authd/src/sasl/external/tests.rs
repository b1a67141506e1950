use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    },
};
use ipc_proto::key_proof::{Signature, TranscriptHash};

use super::*;

const HANDSHAKE: TranscriptHash = TranscriptHash::Sha384([5; 48]);

fn info(key: &impl AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'static>>) -> ClientKey {
    ClientKey::parse(key.as_der().unwrap().as_ref()).unwrap()
}

fn proof(key: ClientKey, scheme: ProofScheme, signature: &[u8]) -> KeyProof {
    KeyProof { key, scheme, transcript: HANDSHAKE, signature: Signature::new(signature).unwrap() }
}

/// One for each scheme, each with a key of its own.
fn proofs() -> Vec<KeyProof> {
    let (random, content) = (SystemRandom::new(), HANDSHAKE.signed());
    let mut all = Vec::new();
    for (scheme, algorithm) in [
        (ProofScheme::EcdsaP256Sha256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        (ProofScheme::EcdsaP384Sha384, &ECDSA_P384_SHA384_ASN1_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let signature = pair.sign(&random, &content).unwrap();
        all.push(proof(info(pair.public_key()), scheme, signature.as_ref()));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    all.push(proof(info(pair.public_key()), ProofScheme::Ed25519, pair.sign(&content).as_ref()));
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    for (scheme, padding) in [
        (ProofScheme::RsaPssSha256, &RSA_PSS_SHA256),
        (ProofScheme::RsaPssSha384, &RSA_PSS_SHA384),
        (ProofScheme::RsaPssSha512, &RSA_PSS_SHA512),
    ] {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &random, &content, &mut signature).unwrap();
        all.push(proof(info(pair.public_key()), scheme, &signature));
    }
    all
}

/// Attack class 17: a signature is good for its key, its scheme and its handshake, and for nothing else.
#[test]
fn a_proof_holds_as_it_was_made_and_in_no_other_way() {
    let all = proofs();
    assert_eq!(all.iter().map(|proof| proof.scheme).collect::<Vec<_>>(), ProofScheme::ALL);
    for right in &all {
        assert!(holds(right), "{right:?}");
        for transcript in [TranscriptHash::Sha384([6; 48]), TranscriptHash::Sha256([5; 32])] {
            assert!(!holds(&KeyProof { transcript, ..right.clone() }), "another handshake: {right:?}");
        }
        for scheme in ProofScheme::ALL.into_iter().filter(|scheme| *scheme != right.scheme) {
            assert!(!holds(&KeyProof { scheme, ..right.clone() }), "as {scheme:?}: {right:?}");
        }
        for other in all.iter().filter(|other| other.key != right.key) {
            assert!(!holds(&KeyProof { key: other.key.clone(), ..right.clone() }), "another key: {right:?}");
        }
        for made_up in [&[][..], &[0; 64], &[0xff; 256], HANDSHAKE.signed().as_slice()] {
            assert!(!holds(&proof(right.key.clone(), right.scheme, made_up)), "made up: {right:?}");
        }
    }
}

/// `openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum` says the same.
#[test]
fn a_fingerprint_is_the_hash_of_the_whole_public_key() {
    let key = [&[48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0][..], &[9; 32]].concat();
    let expected =
        Fingerprint::parse("6882e88a9f5ac7395d194db92b5d00853e7d4672e54d8740876cbe77607e0ef6").unwrap();
    assert_eq!(fingerprint(&ClientKey::parse(&key).unwrap()), expected);
}

#[test]
fn a_client_may_say_for_whom_it_acts() {
    for (message, name) in [
        (&b""[..], Ok(None)),
        (b"mox", Ok(Some("mox".to_owned()))),
        ("jürgen@example.org".as_bytes(), Ok(Some("jürgen@example.org".to_owned()))),
        (b"mox\0", Err(Unfit::Form)),
        (b"\0mox\0secret", Err(Unfit::Form)),
        (b"\xff", Err(Unfit::Form)),
    ] {
        assert_eq!(acting_for(&Secret(message.to_vec())), name, "{}", message.escape_ascii());
    }
}
