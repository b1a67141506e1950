//! Secrets on their way to who judges them: the client's lines inside AUTHENTICATE (RFC 3501 §6.2.2, RFC 4959).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a client must not see in a log: a password, or a SASL answer that holds one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To be passed on to who checks it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// To be passed on to who checks it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// One answer of the client to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslAnswer {
    /// `*`: the client gives up; answered with BAD.
    Cancel,
    /// Decoded; may hold a password.
    Data(Secret),
}

/// The line is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64")]
pub struct SaslError;

impl SaslAnswer {
    /// Reads a line as [`crate::Event::Line`] brings it.
    pub fn parse(line: &[u8]) -> Result<Self, SaslError> {
        if line == b"*" {
            return Ok(Self::Cancel);
        }
        decode(line).map(Self::Data)
    }
}

/// A challenge as it stands in a continuation.
#[must_use]
pub fn encode_challenge(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}

/// An initial response: `=` is the empty one (RFC 4959 §3).
pub(crate) fn initial_response(text: &[u8]) -> Result<Secret, SaslError> {
    if text == b"=" { Ok(Secret::new(Vec::new())) } else { decode(text) }
}

/// Canonical base64 only: padded, no stray bits.
fn decode(text: &[u8]) -> Result<Secret, SaslError> {
    STANDARD.decode(text).map(Secret::new).map_err(|_| SaslError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_canonical_base64_or_a_star() {
        assert_eq!(SaslAnswer::parse(b"*"), Ok(SaslAnswer::Cancel));
        assert_eq!(SaslAnswer::parse(b"AGEAYg=="), Ok(SaslAnswer::Data(Secret::new(b"\0a\0b".to_vec()))));
        assert_eq!(SaslAnswer::parse(b""), Ok(SaslAnswer::Data(Secret::new(Vec::new()))));
        for bad in [&b"AGEAYg"[..], b"AGEAYh==", b"AGE AYg==", b"=", b"**", b"\xff\xff\xff\xff"] {
            assert_eq!(SaslAnswer::parse(bad), Err(SaslError), "{}", bad.escape_ascii());
        }
    }
}
