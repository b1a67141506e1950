//! The key that is elsewhere: rustls gives octets to sign, keyd gets the typed parts they were made of.

use std::{fmt, sync::Arc};

use ipc_proto::{
    blocking::Link,
    channel::{CallError, Violation},
    tls::{KeyNumber, Scheme, TlsReply, TlsRequest},
};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    sign::{Signer, SigningKey},
};

use crate::handshake::KeydChannel;

/// What stands before the transcript hash in a server's CertificateVerify (RFC 8446 §4.4.3).
const TLS13_CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// The spaces before it.
const TLS13_PADDING: usize = 64;

/// One octet of length cannot announce a longer point than this, and the parameters have four octets before it.
const MAX_PARAMS: usize = 4 + 255;

/// The way to keyd, for all keys of the front's group.
pub(crate) struct Remote<C: KeydChannel> {
    pub(crate) link: Link<C>,
    pub(crate) violated: Box<dyn Fn(Violation) + Send + Sync>,
}

impl<C: KeydChannel> Remote<C> {
    /// Asks keyd and waits: at most the channel's deadline for a channel, and as long for the answer.
    pub(crate) fn call(&self, request: &TlsRequest) -> Result<TlsReply, CallError> {
        match self.link.call(request, Vec::new()) {
            Ok((reply, _none)) => Ok(reply),
            Err(error) => {
                if let CallError::Violation(violation) = error {
                    (self.violated)(violation);
                }
                Err(error)
            }
        }
    }
}

/// A key of keyd's, as rustls wants it.
pub(crate) struct RemoteKey<C: KeydChannel> {
    pub(crate) remote: Arc<Remote<C>>,
    pub(crate) key: KeyNumber,
    pub(crate) scheme: Scheme,
}

impl<C: KeydChannel> fmt::Debug for RemoteKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteKey({:?}, {:?})", self.key, self.scheme)
    }
}

const fn rustls_scheme(scheme: Scheme) -> SignatureScheme {
    match scheme {
        Scheme::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
    }
}

impl<C: KeydChannel> SigningKey for RemoteKey<C> {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&rustls_scheme(self.scheme)).then(|| {
            Box::new(Self { remote: Arc::clone(&self.remote), key: self.key, scheme: self.scheme })
                as Box<dyn Signer>
        })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.scheme {
            Scheme::EcdsaP256Sha256 => SignatureAlgorithm::ECDSA,
        }
    }
}

impl<C: KeydChannel> Signer for RemoteKey<C> {
    /// Waits for keyd: only the handshake threads come here.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let request = typed(self.key, self.scheme, message)
            .ok_or_else(|| rustls::Error::General("rustls signs something unknown".to_owned()))?;
        match self.remote.call(&request) {
            Ok(TlsReply::Signed(signature)) => Ok(signature),
            Ok(TlsReply::Refused(refusal)) => Err(rustls::Error::General(format!("keyd refuses: {refusal}"))),
            Ok(TlsReply::Chains(_)) => {
                Err(rustls::Error::General("keyd answered another question".to_owned()))
            }
            Err(error) => Err(rustls::Error::General(format!("keyd: {error}"))),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        rustls_scheme(self.scheme)
    }
}

/// Takes apart what rustls built. The two forms cannot be confused: where TLS 1.3 has the `T` of its context, TLS 1.2
/// has the curve type.
fn typed(key: KeyNumber, scheme: Scheme, message: &[u8]) -> Option<TlsRequest> {
    let (head, rest) = message.split_at_checked(TLS13_PADDING)?;
    if let Some(hash) = rest.strip_prefix(TLS13_CONTEXT)
        && head.iter().all(|octet| *octet == b' ')
    {
        return matches!(hash.len(), 32 | 48).then(|| TlsRequest::Tls13 {
            key,
            scheme,
            transcript_hash: hash.to_vec(),
        });
    }
    let (client_random, server_random) = head.split_first_chunk::<32>()?;
    Some(TlsRequest::Tls12 {
        key,
        scheme,
        client_random: *client_random,
        server_random: *server_random.first_chunk::<32>()?,
        params: (rest.len() <= MAX_PARAMS).then(|| rest.to_vec())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyNumber = KeyNumber(3);
    const SCHEME: Scheme = Scheme::EcdsaP256Sha256;

    #[test]
    fn only_the_hash_of_a_tls13_message_crosses() {
        for length in [32, 48] {
            let message = [&[b' '; 64][..], TLS13_CONTEXT, &vec![7; length]].concat();
            assert_eq!(
                typed(KEY, SCHEME, &message),
                Some(TlsRequest::Tls13 { key: KEY, scheme: SCHEME, transcript_hash: vec![7; length] })
            );
        }
    }

    #[test]
    fn a_tls12_message_crosses_in_its_parts() {
        let params = [&[3, 0, 29, 32][..], &[9; 32]].concat();
        let message = [&[1; 32][..], &[2; 32], &params].concat();
        assert_eq!(
            typed(KEY, SCHEME, &message),
            Some(TlsRequest::Tls12 {
                key: KEY,
                scheme: SCHEME,
                client_random: [1; 32],
                server_random: [2; 32],
                params,
            })
        );
    }

    #[test]
    fn nothing_else_crosses() {
        for (message, reason) in [
            (vec![b' '; 63], "shorter than the padding"),
            ([&[b' '; 64][..], TLS13_CONTEXT, &[0; 31]].concat(), "no hash is 31 octets"),
            ([&[b' '; 64][..], TLS13_CONTEXT].concat(), "no hash at all"),
            (vec![1; 64 + MAX_PARAMS + 1], "longer than any parameters"),
        ] {
            assert_eq!(typed(KEY, SCHEME, &message), None, "{reason}");
        }
    }
}
