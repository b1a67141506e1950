//! A password in the form in which it is hashed.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use ipc_proto::Secret;
use precis_profiles::{OpaqueString, precis_core::profile::PrecisFastInvocation};
use zeroize::Zeroizing;

/// The longest password, octets.
pub const MAX_PASSWORD: usize = 1024;
/// The shortest new password, octets.
pub const MIN_PASSWORD: usize = 8;

/// After the OpaqueString profile of RFC 8265 §4.2, so that two keyboards type one password. Wiped when dropped.
#[derive(Debug)]
pub struct Password(Secret);

/// Why something is not a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not UTF-8.
    #[error("the password is not UTF-8 text; type it again, or choose another")]
    NotText,
    /// Refused by RFC 8265.
    #[error(
        "the password has characters that passwords may not have, such as tabs or line ends; choose another"
    )]
    Forbidden,
    /// Not the same octets under all profiles that clients use.
    #[error(
        "the password has letters that mail programs send in more than one way; choose one without ligatures, \
         full-width letters and the like"
    )]
    Ambiguous,
    /// Too few octets.
    #[error("the password is too short; choose one of at least {MIN_PASSWORD} characters")]
    TooShort,
    /// Too many octets.
    #[error("the password is too long; choose one of at most {MAX_PASSWORD} octets")]
    TooLong,
}

impl Password {
    /// As typed at a login.
    pub fn prepare(typed: &Secret) -> Result<Self, PasswordError> {
        if typed.0.len() > MAX_PASSWORD {
            return Err(PasswordError::TooLong);
        }
        let text = std::str::from_utf8(&typed.0).map_err(|_| PasswordError::NotText)?;
        if text.is_ascii() {
            // The profile changes nothing in ASCII: it maps spaces outside ASCII and normalises. It refuses controls
            // and the empty string.
            if text.is_empty() || text.bytes().any(|octet| octet.is_ascii_control()) {
                return Err(PasswordError::Forbidden);
            }
            return Ok(Self(typed.clone()));
        }
        let octets = match OpaqueString::enforce(text).map_err(|_| PasswordError::Forbidden)? {
            Cow::Borrowed(text) => text.as_bytes().to_vec(),
            Cow::Owned(text) => text.into_bytes(),
        };
        Ok(Self(Secret(octets)))
    }

    /// As chosen for an account.
    pub fn choose(typed: &Secret) -> Result<Self, PasswordError> {
        let password = Self::prepare(typed)?;
        // SCRAM's clients hash after SASLprep (RFC 4013), which has normal form KC where OpaqueString has C: a password in
        // which they differ would pass with PLAIN and fail with SCRAM.
        let text = std::str::from_utf8(password.octets()).map_err(|_| PasswordError::NotText)?;
        if !ComposingNormalizerBorrowed::new_nfkc().is_normalized(text) {
            return Err(PasswordError::Ambiguous);
        }
        match password.octets().len() {
            ..MIN_PASSWORD => Err(PasswordError::TooShort),
            MIN_PASSWORD..=MAX_PASSWORD => Ok(password),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// What cannot be a password is hashed all the same, to take the time that a wrong one takes. It is cut to a length
    /// that no password has.
    #[must_use]
    pub fn impossible(typed: &Secret) -> Self {
        Self(Secret(typed.0.iter().copied().take(MAX_PASSWORD + 1).collect()))
    }

    /// To be hashed.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0.0
    }

    /// Behind an account's number, for a keyed hash.
    #[must_use]
    pub(crate) fn after(&self, number: u32) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(4 + self.octets().len()));
        octets.extend_from_slice(&number.to_be_bytes());
        octets.extend_from_slice(self.octets());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.as_bytes().to_vec())
    }

    #[test]
    fn passwords_are_enforced_and_not_only_prepared() {
        for (typed, octets) in [
            ("moxmoxmox", "moxmoxmox"),
            // RFC 8265 §4.2.2: spaces outside ASCII become U+0020, and the result is in normal form C.
            ("correct\u{a0}horse", "correct horse"),
            ("cafe\u{301} cafe", "café cafe"),
            // Case is kept; leading and trailing spaces too.
            (" Correct Horse ", " Correct Horse "),
        ] {
            assert_eq!(Password::prepare(&secret(typed)).unwrap().octets(), octets.as_bytes(), "{typed:?}");
        }
    }

    #[test]
    fn the_short_way_for_ascii_agrees_with_the_profile() {
        for octet in 0..128u8 {
            for text in [format!("{}", char::from(octet)), format!("ab{}cd", char::from(octet))] {
                let enforced = OpaqueString::enforce(text.as_str()).ok().map(|text| text.as_bytes().to_vec());
                let ours = Password::prepare(&secret(&text)).ok().map(|password| password.octets().to_vec());
                assert_eq!(ours, enforced, "{text:?}");
            }
        }
        assert!(OpaqueString::enforce("").is_err());
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_with_the_reason() {
        for (typed, error) in [
            (&b""[..], PasswordError::Forbidden),
            (b"1234567", PasswordError::TooShort),
            ("o\u{fb03}cial secret".as_bytes(), PasswordError::Ambiguous),
            ("full\u{ff57}idth letters".as_bytes(), PasswordError::Ambiguous),
            ("soft\u{ad}hyphen inside".as_bytes(), PasswordError::Forbidden),
            (b"tab\tinside", PasswordError::Forbidden),
            (b"nul\0inside", PasswordError::Forbidden),
            (b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", PasswordError::NotText),
        ] {
            assert_eq!(
                Password::choose(&Secret(typed.to_vec())).unwrap_err(),
                error,
                "{}",
                typed.escape_ascii()
            );
        }
        assert!(Password::choose(&Secret(vec![b'a'; 1024])).is_ok());
        assert_eq!(Password::choose(&Secret(vec![b'a'; 1025])).unwrap_err(), PasswordError::TooLong);
        assert!(Password::choose(&Secret(vec![b'a'; 8])).is_ok());
    }
}
