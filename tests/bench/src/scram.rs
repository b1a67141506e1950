//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side: with what a client keeps of a password between logins.

use std::{io::Read, io::Write, num::NonZeroU32};

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{failure::Failure, imap::Client};

const MECHANISM: &str = "SCRAM-SHA-256";

/// What a password becomes under one salt (RFC 5802 §3).
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    salt: Vec<u8>,
    rounds: NonZeroU32,
    client_key: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Keys {
    /// Takes as long as `rounds` say.
    pub(crate) fn derive(password: &str, salt: &[u8], rounds: NonZeroU32) -> Self {
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key).as_ref().to_vec();
        let server_key = sign(&salted, b"Server Key");
        Self { salt: salt.to_vec(), rounds, client_key, stored_key, server_key }
    }

    /// As Dovecot keeps it.
    pub(crate) fn verifier(&self) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|octets| STANDARD.encode(octets));
        format!("{{SCRAM-SHA-256}}{},{salt},{stored},{server}", self.rounds)
    }
}

/// Logs in. `kept`: what the login before this one left for the next, so that only the first derives keys.
pub(crate) fn login<S: Read + Write>(
    client: &mut Client<S>,
    user: &str,
    password: &str,
    kept: &mut Option<Keys>,
) -> Result<(), Failure> {
    let mut nonce = [0; 18];
    rand::fill(&mut nonce).map_err(|_| Failure::new("the system gave no random numbers"))?;
    let bare = format!("n={user},r={}", STANDARD.encode(nonce));
    let mut signature = None;
    let mut is_proved = false;
    client.authenticate(MECHANISM, format!("n,,{bare}").as_bytes(), |challenge| {
        if let Some(signature) = &signature {
            is_proved = challenge == signature;
            return Ok(Vec::new());
        }
        let first = std::str::from_utf8(challenge).ok().and_then(First::parse);
        let first = first.ok_or_else(|| Failure::new("the server's first SCRAM message is none"))?;
        let is_it = |keys: &&mut Keys| keys.salt == first.salt && keys.rounds == first.rounds;
        let keys = match kept.as_mut().filter(is_it) {
            Some(keys) => keys,
            None => kept.insert(Keys::derive(password, &first.salt, first.rounds)),
        };
        let (last, proof, expected) = first.answer(&bare, challenge, keys);
        signature = Some(expected);
        Ok(format!("{last},p={proof}").into_bytes())
    })?;
    if is_proved { Ok(()) } else { Err(Failure::new("the server did not prove that it knows the password")) }
}

/// server-first-message.
struct First<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    rounds: NonZeroU32,
}

impl<'a> First<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(fields.next()?.strip_prefix("s=")?).ok()?;
        let rounds = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        Some(Self { nonce, salt, rounds })
    }

    /// client-final-message without its proof, the proof, and what the server has to say to it.
    fn answer(&self, bare: &str, challenge: &[u8], keys: &Keys) -> (String, String, Vec<u8>) {
        let last = format!("c=biws,r={}", self.nonce);
        let message = format!("{bare},{},{last}", String::from_utf8_lossy(challenge));
        let signature = sign(&keys.stored_key, message.as_bytes());
        let proof: Vec<u8> =
            keys.client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let expected = format!("v={}", STANDARD.encode(sign(&keys.server_key, message.as_bytes())));
        (last, STANDARD.encode(proof), expected.into_bytes())
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 §3.
    #[test]
    fn proof_and_signature_are_those_of_rfc_7677() {
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let first = First::parse(challenge).unwrap();
        let keys = Keys::derive("pencil", &first.salt, first.rounds);
        let (last, proof, expected) =
            first.answer("n=user,r=rOprNGfwEbeRWgbNEkqO", challenge.as_bytes(), &keys);
        assert_eq!(last, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(proof, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(expected, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
