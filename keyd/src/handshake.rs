//! Builds what a server signs in a TLS handshake, and nothing else.
//!
//! The two forms cannot be taken for each other: where TLS 1.3 has the `T` of its context string, TLS 1.2 has the curve
//! type 3.

use ipc_proto::tls::Refusal;

/// RFC 8446 §4.4.3: 64 spaces, the context string, a zero octet, the transcript hash.
const TLS13_PREFIX: &[u8; 98] =
    b"                                                                TLS 1.3, server CertificateVerify\0";

/// named_curve (RFC 8422 §5.4).
const NAMED_CURVE: u8 = 3;

/// An uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The content of a server's CertificateVerify.
pub fn certificate_verify(transcript_hash: &[u8]) -> Result<Vec<u8>, Refusal> {
    // SHA-256 and SHA-384 are the hashes of all TLS 1.3 suites.
    match transcript_hash.len() {
        32 | 48 => Ok([TLS13_PREFIX, transcript_hash].concat()),
        _ => Err(Refusal::NotAHandshake),
    }
}

/// What a ServerKeyExchange of TLS 1.2 signs (RFC 8422 §5.4).
pub fn server_key_exchange(
    client_random: &[u8; 32],
    server_random: &[u8; 32],
    params: &[u8],
) -> Result<Vec<u8>, Refusal> {
    if !is_ecdhe_params(params) {
        return Err(Refusal::NotAHandshake);
    }
    Ok([client_random, server_random, params].concat())
}

/// Exactly ServerECDHParams: a curve by name, one that rustls offers, and a point of its length.
fn is_ecdhe_params(params: &[u8]) -> bool {
    let [NAMED_CURVE, group_high, group_low, length, point @ ..] = params else { return false };
    if usize::from(*length) != point.len() {
        return false;
    }
    match (u16::from_be_bytes([*group_high, *group_low]), point) {
        // x25519 (RFC 8422 §5.4.1).
        (29, point) => point.len() == 32,
        // secp256r1, secp384r1.
        (23, [UNCOMPRESSED, coordinates @ ..]) => coordinates.len() == 64,
        (24, [UNCOMPRESSED, coordinates @ ..]) => coordinates.len() == 96,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(group: u16, point: &[u8]) -> Vec<u8> {
        let [high, low] = group.to_be_bytes();
        [&[3, high, low, u8::try_from(point.len()).unwrap()], point].concat()
    }

    fn point(octets: usize) -> Vec<u8> {
        let mut point = vec![7; octets];
        point[0] = 4;
        point
    }

    #[test]
    fn the_context_of_tls13_is_as_the_rfc_prints_it() {
        let content = certificate_verify(&[1; 32]).unwrap();
        assert_eq!(content.len(), 64 + 33 + 1 + 32);
        assert!(content[..64].iter().all(|octet| *octet == 0x20));
        assert_eq!(&content[64..97], b"TLS 1.3, server CertificateVerify");
        assert_eq!(content[97], 0);
        assert_eq!(&content[98..], [1; 32]);
    }

    /// Attack class 30: whatever a captured front puts in the hash's place, it is a handshake that is signed.
    #[test]
    fn a_transcript_hash_has_the_length_of_one() {
        for length in (0..200).filter(|length| ![32, 48].contains(length)) {
            assert_eq!(certificate_verify(&vec![0; length]), Err(Refusal::NotAHandshake), "{length} octets");
        }
    }

    #[test]
    fn ecdhe_parameters_of_the_offered_groups_pass() {
        for (group, point, name) in
            [(29, vec![7; 32], "x25519"), (23, point(65), "secp256r1"), (24, point(97), "secp384r1")]
        {
            let signed = server_key_exchange(&[1; 32], &[2; 32], &params(group, &point)).unwrap();
            assert_eq!(signed, [&[1; 32][..], &[2; 32], &params(group, &point)].concat(), "{name}");
        }
    }

    /// Attack class 30: octets that are no ServerKeyExchange are not signed.
    #[test]
    fn anything_but_ecdhe_parameters_is_refused() {
        let good = params(29, &[7; 32]);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "empty"),
            (vec![3, 0, 29], "no point"),
            ([&good[..], &[0]].concat(), "something after the point"),
            (good[..good.len() - 1].to_vec(), "a point cut short"),
            (params(29, &[7; 31]), "x25519 with 31 octets"),
            (params(29, &[7; 33]), "x25519 with 33 octets"),
            (params(23, &point(64)), "secp256r1 with 64 octets"),
            (params(24, &point(65)), "secp384r1 with the point of secp256r1"),
            (params(23, &[2; 65]), "a point that is not uncompressed"),
            (params(4588, &[7; 32]), "X25519MLKEM768 is for TLS 1.3"),
            (params(25, &point(133)), "secp521r1 is not offered"),
            ([&[1], &good[1..]].concat(), "explicit_prime"),
            ([b"T", &good[1..]].concat(), "the octet where TLS 1.3 has its context"),
        ];
        for (params, reason) in cases {
            assert_eq!(
                server_key_exchange(&[0; 32], &[0; 32], &params),
                Err(Refusal::NotAHandshake),
                "{reason}"
            );
        }
    }

    proptest::proptest! {
        /// Attack class 30: no parts for TLS 1.2 make the content of TLS 1.3, so that one verb cannot stand in for the other.
        #[test]
        fn no_tls12_parts_make_tls13_content(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let params = [&TLS13_PREFIX[64..], &tail].concat();
            assert_eq!(server_key_exchange(&[b' '; 32], &[b' '; 32], &params), Err(Refusal::NotAHandshake));
        }
    }
}
