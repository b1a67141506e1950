//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), the server's side.
//!
//! ```text
//!   client-first ──▶ [`First`] ── salt, rounds, nonce ──▶ [`Second`] ──▶ server-first
//!   client-final ──▶ [`Second`] ──▶ [`Proof`] ── verifiers ──▶ server-final, or it is not the password
//! ```
//! Each step consumes the one before: a message cannot be used twice, and no step can be left out.

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipc_proto::sasl::{MAX_MESSAGE, Transport};
use subtle::ConstantTimeEq;

use super::Unfit;
use crate::verifier::{Credential, Keyring, NoRandomness, Verifier, array, random};

/// The longest nonce of a client, octets.
const MAX_NONCE: usize = 256;

/// The one kind of binding there is (RFC 9266).
const BINDING: &str = "p=tls-exporter";

/// Octets of our part of the nonce, before base64.
const NONCE: usize = 18;

/// Our part of an exchange's nonce.
pub fn nonce() -> Result<String, NoRandomness> {
    Ok(STANDARD.encode(random::<NONCE>()?))
}

/// What the client said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    user: String,
    nonce: String,
    /// client-first-message-bare.
    bare: String,
    /// What `c=` must hold: the GS2 header and, with -PLUS, the channel's value.
    channel: Vec<u8>,
}

impl First {
    /// Reads client-first-message. `plus`: the -PLUS mechanism was chosen.
    pub fn parse(message: &[u8], plus: bool, transport: &Transport) -> Result<Self, Unfit> {
        if message.len() > MAX_MESSAGE {
            return Err(Unfit::Form);
        }
        let text = std::str::from_utf8(message).map_err(|_| Unfit::Form)?;
        let (flag, rest) = text.split_once(',').ok_or(Unfit::Form)?;
        let (acting_for, bare) = rest.split_once(',').ok_or(Unfit::Form)?;
        let value = match (flag, plus, transport) {
            (BINDING, true, Transport::Bound(value)) => Some(value),
            ("n", false, _) | ("y", false, Transport::Loopback | Transport::Tls) => None,
            // It thinks that we cannot bind the channel, and we said that we can.
            ("y", false, Transport::Bound(_)) => return Err(Unfit::Downgrade),
            (flag, _, _) if matches!(flag, "n" | "y") || flag.starts_with("p=") => {
                return Err(Unfit::Binding);
            }
            (_, _, _) => return Err(Unfit::Form),
        };
        let mut fields = bare.split(',');
        // A mandatory extension `m=` would stand before the name: there is none that we know.
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(Unfit::Form)?;
        let user = sasl_name(user).ok_or(Unfit::Form)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Unfit::Form)?;
        let printable = |octet: u8| octet.is_ascii_graphic();
        if nonce.is_empty() || nonce.len() > MAX_NONCE || !nonce.bytes().all(printable) {
            return Err(Unfit::Form);
        }
        if !fields.all(is_extension) {
            return Err(Unfit::Form);
        }
        match acting_for.strip_prefix("a=") {
            // Nobody, said aloud: not in the grammar, and what GNU SASL sends for an empty name.
            Some("") => {}
            Some(name) if sasl_name(name).ok_or(Unfit::Form)? != user => return Err(Unfit::Proxy),
            None if !acting_for.is_empty() => return Err(Unfit::Form),
            Some(_) | None => {}
        }
        let mut channel = format!("{flag},{acting_for},").into_bytes();
        channel.extend(value.into_iter().flatten());
        Ok(Self { user, nonce: nonce.to_owned(), bare: bare.to_owned(), channel })
    }

    /// Who wants to log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// server-first-message, and what is waited for then.
    #[must_use]
    pub fn challenge(self, keyring: &Keyring, nonce: &str) -> (Vec<u8>, Second) {
        let nonce = format!("{}{nonce}", self.nonce);
        let first = format!("r={nonce},s={},i={}", STANDARD.encode(keyring.salt()), keyring.rounds());
        let said = format!("{},{first}", self.bare);
        (first.into_bytes(), Second { nonce, said, channel: self.channel })
    }
}

/// An exchange whose challenge is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Second {
    nonce: String,
    /// The part of AuthMessage that is known.
    said: String,
    channel: Vec<u8>,
}

impl Second {
    /// Reads client-final-message.
    pub fn answer(self, message: &[u8]) -> Result<Proof, Unfit> {
        if message.len() > MAX_MESSAGE {
            return Err(Unfit::Form);
        }
        let text = std::str::from_utf8(message).map_err(|_| Unfit::Form)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Unfit::Form)?;
        let proof = STANDARD.decode(proof).map_err(|_| Unfit::Form)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| Unfit::Form)?;
        let mut fields = without_proof.split(',');
        let channel = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(Unfit::Form)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Unfit::Form)?;
        if !fields.all(is_extension) {
            return Err(Unfit::Form);
        }
        if STANDARD.decode(channel).map_err(|_| Unfit::Form)? != self.channel {
            return Err(Unfit::Binding);
        }
        if nonce != self.nonce {
            return Err(Unfit::Nonce);
        }
        Ok(Proof { message: format!("{},{without_proof}", self.said).into_bytes(), proof })
    }
}

/// What the client has to show for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// AuthMessage.
    message: Vec<u8>,
    proof: [u8; 32],
}

impl Proof {
    /// server-final-message, if the client knows one of the passwords, and which. Takes the same time if it does not.
    #[must_use]
    pub fn check(&self, keyring: &Keyring) -> Option<(Credential, Vec<u8>)> {
        keyring.find(|verifier| self.passes(verifier))
    }

    fn passes(&self, verifier: &Verifier) -> Option<Vec<u8>> {
        let signature = self.sign(&verifier.stored_key);
        let mut client_key = [0; 32];
        for (to, (left, right)) in client_key.iter_mut().zip(signature.iter().zip(&self.proof)) {
            *to = left ^ right;
        }
        let right = digest::digest(&digest::SHA256, &client_key).as_ref().ct_eq(&verifier.stored_key);
        let last = format!("v={}", STANDARD.encode(self.sign(&verifier.server_key)));
        bool::from(right).then(|| last.into_bytes())
    }

    fn sign(&self, key: &[u8]) -> [u8; 32] {
        array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &self.message).as_ref())
    }
}

/// A name with its `,` and `=` written as `=2C` and `=3D`.
fn sasl_name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(sign);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// `x=value`, for us to ignore.
fn is_extension(field: &str) -> bool {
    let mut octets = field.bytes();
    octets.next().is_some_and(|octet| octet.is_ascii_alphabetic())
        && octets.next() == Some(b'=')
        && !field.bytes().any(|octet| octet == 0)
        && !field.starts_with("m=")
}

#[cfg(test)]
mod tests;
