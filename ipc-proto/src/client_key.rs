//! The public key of a client, which is all that counts of its certificate: who can prove to have the other half is let
//! in (SASL EXTERNAL). No name, date, extension or signature in the certificate is looked at.
//!
//! Strangers send certificates to the fronts, so that nothing here is larger than a handshake may be, nothing recurses
//! and nothing is copied but the key.

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

/// Modulus of an RSA key, bits. The bound keeps a proof within a frame.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The longest public exponent, octets.
const MAX_EXPONENT: usize = 4;

/// Contents of AlgorithmIdentifier (RFC 3279 §2.3.1, RFC 5480 §2.1.1, RFC 8410 §3).
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];

/// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256; the key is an uncompressed point.
    EcdsaP256,
    /// ECDSA on P-384; the key is an uncompressed point.
    EcdsaP384,
    /// Ed25519; the key is 32 octets.
    Ed25519,
    /// RSA, 2048 to 4096 bits; the key is an RSAPublicKey (RFC 8017 §A.1.1).
    Rsa,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Not DER, or not of this shape.
    #[error("neither a certificate nor a public key in DER")]
    Form,
    /// RSASSA-PSS, P-521, Ed448 and so on.
    #[error("a key of a kind that is not taken; take ECDSA on P-256 or P-384, Ed25519, or RSA")]
    Kind,
    /// Too weak, or too much work.
    #[error("an RSA key of {0} bits; take one of 2048 to 4096 bits")]
    RsaBits(usize),
}

/// A public key as a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), of one of the [kinds](Kind) that are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    kind: Kind,
    /// All of it, DER.
    info: Vec<u8>,
    /// How many octets at its end are the key.
    key: usize,
}

impl ClientKey {
    /// Out of a certificate (RFC 5280 §4.1), version 1 or 3.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, NotAKey> {
        Self::parse(info_in(certificate).ok_or(NotAKey::Form)?)
    }

    /// From a SubjectPublicKeyInfo.
    pub fn parse(info: &[u8]) -> Result<Self, NotAKey> {
        let (algorithm, key) = parts(info).ok_or(NotAKey::Form)?;
        let kind = match algorithm {
            RSA => Kind::Rsa,
            P256 => Kind::EcdsaP256,
            P384 => Kind::EcdsaP384,
            ED25519 => Kind::Ed25519,
            _ => return Err(NotAKey::Kind),
        };
        let point = |octets: usize| (key.len() == octets && key.first() == Some(&4)).then_some(());
        match kind {
            Kind::EcdsaP256 => point(65).ok_or(NotAKey::Form)?,
            Kind::EcdsaP384 => point(97).ok_or(NotAKey::Form)?,
            Kind::Ed25519 => (key.len() == 32).then_some(()).ok_or(NotAKey::Form)?,
            Kind::Rsa => {
                let bits = rsa_bits(key).ok_or(NotAKey::Form)?;
                RSA_BITS.contains(&bits).then_some(()).ok_or(NotAKey::RsaBits(bits))?;
            }
        }
        Ok(Self { kind, info: info.to_vec(), key: key.len() })
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The contents of its AlgorithmIdentifier, DER.
    #[must_use]
    pub const fn algorithm(&self) -> &'static [u8] {
        match self.kind {
            Kind::EcdsaP256 => P256,
            Kind::EcdsaP384 => P384,
            Kind::Ed25519 => ED25519,
            Kind::Rsa => RSA,
        }
    }

    /// All of it, DER: what a fingerprint is taken of.
    #[must_use]
    pub fn info(&self) -> &[u8] {
        &self.info
    }

    /// The key alone, as its [`Kind`] has it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.info.len().checked_sub(self.key).and_then(|from| self.info.get(from..)).unwrap_or_default()
    }
}

impl Encode for ClientKey {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.info.encode(encoder)
    }
}

impl<C> Decode<C> for ClientKey {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::parse(&Vec::decode(decoder)?).map_err(|_| DecodeError::Other("not a public key"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for ClientKey {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// The SubjectPublicKeyInfo of a certificate: what follows version, serial number, algorithm, issuer, validity, subject.
fn info_in(mut certificate: &[u8]) -> Option<&[u8]> {
    let mut signed = take(&mut certificate, SEQUENCE)?.content;
    let mut fields = take(&mut signed, SEQUENCE)?.content;
    if fields.first() == Some(&VERSION) {
        take(&mut fields, VERSION)?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        take(&mut fields, tag)?;
    }
    let info = take(&mut fields, SEQUENCE)?.whole;
    certificate.is_empty().then_some(info)
}

/// The algorithm and the key of a SubjectPublicKeyInfo.
fn parts(mut info: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = take(&mut info, SEQUENCE)?.content;
    let algorithm = take(&mut fields, SEQUENCE)?.content;
    // No bits of the last octet are unused.
    let (0, key) = take(&mut fields, BIT_STRING)?.content.split_first()? else { return None };
    (info.is_empty() && fields.is_empty()).then_some((algorithm, key))
}

fn rsa_bits(mut key: &[u8]) -> Option<usize> {
    let mut fields = take(&mut key, SEQUENCE)?.content;
    let modulus = positive(take(&mut fields, INTEGER)?.content)?;
    let exponent = positive(take(&mut fields, INTEGER)?.content)?;
    let highest = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    let sound = key.is_empty() && fields.is_empty() && exponent.len() <= MAX_EXPONENT;
    sound.then(|| modulus.len() * 8 - highest)
}

/// The octets of a positive INTEGER without the zero that its sign may need.
fn positive(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, rest @ ..] if rest.first()? & 0x80 != 0 => Some(rest),
        [1..=0x7f, ..] => Some(content),
        _ => None,
    }
}

/// A value of DER.
struct Value<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// Takes a value with this tag off the front. Lengths are definite and as short as can be (X.690 §10.1).
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<Value<'a>> {
    let all = *input;
    let (&found, rest) = all.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first().filter(|(length, _)| **length > 0x7f)?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)).checked_sub(0x100)? + 0x100, rest)
        }
        // Nothing in a handshake is longer.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = all.get(..all.len() - rest.len())?;
    *input = rest;
    (found == tag).then_some(Value { whole, content })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        authd::{ImapdAuthd, ImapdToAuthd},
        channel::Channel,
        codec,
        key_proof::{KeyProof, ProofScheme, Signature, TranscriptHash},
        sasl::{MAX_MESSAGE, Mechanism, SaslStep, Transport},
        types::{ConnectionId, Secret},
    };

    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length = match content.len() {
            0..=0x7f => vec![length[1]],
            0x80..=0xff => vec![0x81, length[1]],
            _ => vec![0x82, length[0], length[1]],
        };
        [&[tag][..], &length, content].concat()
    }

    fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let key = value(BIT_STRING, &[&[0], key].concat());
        value(SEQUENCE, &[value(SEQUENCE, algorithm), key].concat())
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let key = value(SEQUENCE, &[value(INTEGER, modulus), value(INTEGER, exponent)].concat());
        info(RSA, &key)
    }

    fn modulus(bits: usize) -> Vec<u8> {
        let mut octets = vec![0xff; bits.div_ceil(8)];
        octets[0] >>= bits.div_ceil(8) * 8 - bits;
        if octets[0] & 0x80 != 0 {
            octets.insert(0, 0);
        }
        octets
    }

    fn certificate(version: &[u8], info: &[u8]) -> Vec<u8> {
        let odd = value(SEQUENCE, b"\x06\x01\x01 whatever");
        let fields =
            [version, &value(INTEGER, &[1]), &odd, &odd, &odd, &odd, info, &value(0xa3, b"extensions")]
                .concat();
        value(SEQUENCE, &[value(SEQUENCE, &fields), odd, value(BIT_STRING, b"\0signature")].concat())
    }

    #[test]
    fn a_key_is_found_in_whatever_certificate_it_comes() {
        let ed25519 = info(ED25519, &[9; 32]);
        for version in [&[][..], &value(VERSION, &value(INTEGER, &[2]))] {
            let key = ClientKey::of_certificate(&certificate(version, &ed25519)).unwrap();
            assert_eq!((key.kind(), key.info(), key.octets()), (Kind::Ed25519, &ed25519[..], &[9; 32][..]));
        }
    }

    #[test]
    fn keys_of_four_kinds_are_taken_and_no_weak_ones() {
        let point = |octets: usize| [&[4][..], &vec![7; octets - 1]].concat();
        for (info, kind, why) in [
            (info(P256, &point(65)), Ok(Kind::EcdsaP256), "P-256"),
            (info(P384, &point(97)), Ok(Kind::EcdsaP384), "P-384"),
            (info(ED25519, &[1; 32]), Ok(Kind::Ed25519), "Ed25519"),
            (rsa(&modulus(2048), &[1, 0, 1]), Ok(Kind::Rsa), "RSA"),
            (rsa(&modulus(4096), &[3]), Ok(Kind::Rsa), "the largest"),
            (rsa(&modulus(2047), &[1, 0, 1]), Err(NotAKey::RsaBits(2047)), "a bit too small"),
            (rsa(&modulus(1024), &[1, 0, 1]), Err(NotAKey::RsaBits(1024)), "weak"),
            (rsa(&modulus(4097), &[1, 0, 1]), Err(NotAKey::RsaBits(4097)), "a bit too large"),
            (rsa(&modulus(2048), &[1, 0, 0, 0, 1]), Err(NotAKey::Form), "a large exponent"),
            (rsa(&[0xff; 256], &[3]), Err(NotAKey::Form), "a negative modulus"),
            (rsa(&[&[0][..], &[0x7f; 256]].concat(), &[3]), Err(NotAKey::Form), "a zero too many"),
            (info(RSA, b"nothing"), Err(NotAKey::Form), "no RSAPublicKey"),
            (info(P256, &[&[2][..], &[7; 32]].concat()), Err(NotAKey::Form), "a compressed point"),
            (info(P256, &point(97)), Err(NotAKey::Form), "another curve's point"),
            (info(ED25519, &[1; 33]), Err(NotAKey::Form), "too long"),
            (info(&[6, 3, 0x2b, 0x65, 0x71], &[1; 57]), Err(NotAKey::Kind), "Ed448"),
            (info(&[ED25519, &[5, 0]].concat(), &[1; 32]), Err(NotAKey::Kind), "parameters too many"),
        ] {
            assert_eq!(ClientKey::parse(&info).map(|key| key.kind()), kind, "{why}");
        }
    }

    #[test]
    fn the_largest_proof_fits_the_channel_that_carries_it() {
        let proof = KeyProof {
            key: ClientKey::parse(&rsa(&modulus(4096), &[0x7f, 0xff, 0xff, 0xff])).unwrap(),
            scheme: ProofScheme::RsaPssSha512,
            transcript: TranscriptHash::Sha384([1; 48]),
            signature: Signature::new(&[2; 512]).unwrap(),
        };
        let (mechanism, transport) = (Mechanism::External, Transport::Keyed([7; 32], proof));
        let initial = Some(Secret(vec![3; MAX_MESSAGE]));
        let step = SaslStep::Start { mechanism, transport, initial };
        let mut body = Vec::new();
        codec::encode_to(&ImapdToAuthd::Sasl(ConnectionId(u64::MAX), step), &mut body).unwrap();
        assert!(body.len() <= ImapdAuthd::MAX_BODY, "{}", body.len());
    }

    /// Attack class 42: a certificate that two readers could understand in two ways has no key.
    #[test]
    fn only_strict_der_is_read() {
        let good = info(ED25519, &[9; 32]);
        let certificate = certificate(&[], &good);
        for cut in 0..certificate.len() {
            assert_eq!(ClientKey::of_certificate(&certificate[..cut]), Err(NotAKey::Form), "cut at {cut}");
        }
        for (octets, why) in [
            ([&good[..], &[0]].concat(), "something behind it"),
            ([&[0x30, 0x81, 42][..], &good[2..]].concat(), "a length that is longer than it need be"),
            ([&[0x30, 0x82, 0, 42][..], &good[2..]].concat(), "the same, longer"),
            ([&[0x30, 0x80][..], &good[2..], &[0, 0]].concat(), "an indefinite length"),
            ([&[0x31][..], &good[1..]].concat(), "another tag"),
            (
                value(SEQUENCE, &[value(SEQUENCE, ED25519), value(BIT_STRING, &[1, 2, 4])].concat()),
                "odd bits",
            ),
        ] {
            assert_eq!(ClientKey::parse(&octets), Err(NotAKey::Form), "{why}");
        }
        assert_eq!(ClientKey::of_certificate(&[&certificate[..], &[0]].concat()), Err(NotAKey::Form));
    }

    #[test]
    fn the_fuzzers_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/client_key");
        for (name, kind) in [
            ("certificate-ed25519", Ok(Kind::Ed25519)),
            ("certificate-p256", Ok(Kind::EcdsaP256)),
            ("certificate-p256-explicit-curve", Err(NotAKey::Kind)),
            ("certificate-p384", Ok(Kind::EcdsaP384)),
            ("certificate-p521", Err(NotAKey::Kind)),
            ("certificate-rsa-unknown-critical-extension", Ok(Kind::Rsa)),
            ("certificate-rsa-weak", Err(NotAKey::RsaBits(1024))),
            ("certificate-version-1", Ok(Kind::EcdsaP256)),
        ] {
            let certificate = fs::read(corpus.join(name)).unwrap();
            assert_eq!(ClientKey::of_certificate(&certificate).map(|key| key.kind()), kind, "{name}");
        }
        for entry in fs::read_dir(&corpus).unwrap() {
            crate::check::check_client_key(&fs::read(entry.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_octets_hold(
            at in 0_usize..100, octet: u8, octets in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            crate::check::check_client_key(&octets);
            let mut certificate = certificate(&value(VERSION, &value(INTEGER, &[2])), &info(ED25519, &[9; 32]));
            if let Some(place) = certificate.get_mut(at) {
                *place = octet;
            }
            crate::check::check_client_key(&certificate);
        }
    }
}
