//! What the admin is told and wants of logins: app passwords, attempts, and who misbehaved.

use std::net::IpAddr;

use bincode::{Decode, Encode};

use crate::{
    sasl::Mechanism,
    types::{AccountId, ClientAddress, Protocol, Timestamp},
};

/// What an app password opens; never nothing.
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
    /// The app password's name, where it was one.
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
