//! What the admin is told and wants of logins: app passwords, login keys, attempts, and who misbehaved.

use std::{fmt, net::IpAddr};

use bincode::{Decode, Encode};

use crate::{
    sasl::Mechanism,
    types::{AccountId, ClientAddress, Protocol, Timestamp},
};

/// What an app password or a login key opens; never nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Protocols {
    /// Reading mail.
    pub imap: bool,
    /// Sending mail.
    pub submission: bool,
}

impl Protocols {
    /// All.
    pub const ALL: Self = Self { imap: true, submission: true };

    /// Is this one of them?
    #[must_use]
    pub const fn contains(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Imap => self.imap,
            Protocol::Submission => self.submission,
        }
    }
}

/// Most app passwords of an account.
pub const MAX_APP_PASSWORDS: usize = 16;

/// One app password.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AppPasswordInfo {
    /// Its name, unique within the account.
    pub name: String,
    /// What it opens.
    pub protocols: Protocols,
    /// When it was made.
    pub created: Timestamp,
    /// From then on it opens nothing.
    pub expires: Option<Timestamp>,
    /// When it opened a session last.
    pub last_use: Option<Timestamp>,
}

/// Most login keys of an account.
pub const MAX_LOGIN_KEYS: usize = 16;

/// SHA-256 of a client's public key ([`crate::client_key::ClientKey::info`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// 64 hexadecimal digits, with or without a colon between two of them each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 32];
        let colons = text.contains(':');
        let (pair, count) = if colons { (3, 32 * 3 - 1) } else { (2, 32 * 2) };
        if text.len() != count {
            return None;
        }
        for (octet, part) in octets.iter_mut().zip(text.as_bytes().chunks(pair)) {
            let [high, low, behind @ ..] = part else { return None };
            if !matches!(behind, [] | [b':']) {
                return None;
            }
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *octet = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// One login key: whoever proves in a TLS handshake to have its other half is let in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LoginKeyInfo {
    /// Its name, unique within the account.
    pub name: String,
    /// Of the public key; no other account has it.
    pub fingerprint: Fingerprint,
    /// What it opens.
    pub protocols: Protocols,
    /// When it was added.
    pub created: Timestamp,
    /// From then on it opens nothing.
    pub expires: Option<Timestamp>,
    /// When it opened a session last.
    pub last_use: Option<Timestamp>,
}

/// One kind of login attempt: those of one name, from one network, in one way and with one result, are counted together
/// for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LoginInfo {
    /// Its place in the log; later ones have higher numbers.
    pub number: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many.
    pub count: u32,
    /// The account's name; `None`: a name that is nobody's.
    pub account: Option<String>,
    /// The name as it was typed, where it has the form of one.
    pub user: Option<String>,
    /// Where the last one came from.
    pub address: ClientAddress,
    /// For what.
    pub protocol: Protocol,
    /// How; `None`: the LOGIN command of IMAP.
    pub mechanism: Option<Mechanism>,
    /// The app password's name, where it was one; with EXTERNAL, the login key's.
    pub app_password: Option<String>,
    /// What came of it.
    pub result: LoginResult,
}

/// What came of a login attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LoginResult {
    /// Proved.
    Ok,
    /// Wrong password, or nobody's name.
    Denied,
    /// Too many failures before: not judged.
    Limited,
    /// The account is disabled or has no password.
    Disabled,
}

/// Who is remembered for what.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AbuseInfo {
    /// Who.
    pub who: Abuser,
    /// Failed logins that still count, of a minute.
    pub failures_minute: u32,
    /// Failed logins that still count, of a day.
    pub failures_day: u32,
    /// Points for other offences that still count.
    pub points: u32,
    /// Connections, or logins, are refused now.
    pub refused: bool,
}

/// Whom the abuse memory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Abuser {
    /// An address, or a block of them.
    Network {
        /// The first address.
        address: IpAddr,
        /// How many leading bits count.
        prefix: u8,
    },
    /// An account, from networks that are not its owner's.
    Account(AccountId),
    /// An account, from a network of its owner.
    Owner {
        /// Which.
        account: AccountId,
        /// The first address of the network.
        address: IpAddr,
        /// How many leading bits count.
        prefix: u8,
    },
    /// A name that is nobody's; only its hash is kept.
    Nobody,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AbuseClear {
    /// All.
    Everything,
    /// An address, and the blocks that it is in.
    Address(ClientAddress),
    /// An account, wherever from; by its name.
    Account(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_the_forms_that_programs_print() {
        let plain = "00ff".repeat(16);
        let colons = ["00", "FF"].repeat(16).join(":");
        let expected = Fingerprint([0, 0xff].repeat(16).try_into().unwrap());
        assert_eq!(Fingerprint::parse(&plain), Some(expected));
        assert_eq!(Fingerprint::parse(&colons), Some(expected));
        assert_eq!(expected.to_string(), plain);
        let spaced = colons.replace(':', " ");
        let odd = format!("{}:", &colons[..colons.len() - 1]);
        for wrong in ["", "00ff", &plain[1..], &format!("{plain}0"), &plain.replace('f', "g"), &spaced, &odd]
        {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Fingerprint::parse(&"ü".repeat(32)), None, "no digits at all");
    }
}
