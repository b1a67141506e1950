//! Why the admin's wish was not done, in one line that says what to do.

use ipc_proto::{AccountId, alias::MAX_MEMBERS};
use mail_lib::address::Domain;

use crate::{
    name::{AccountName, NotAnAccountName},
    password::PasswordError,
    verifier::NoRandomness,
};

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such account.
    #[error("no account named {0}; see `moxctl account list`")]
    NoAccount(AccountName),
    /// The name is in use.
    #[error("there is already an account named {0}; choose another name, or see `moxctl account list`")]
    AccountExists(AccountName),
    /// Not a name.
    #[error(transparent)]
    AccountName(#[from] NotAnAccountName),
    /// Every number was given.
    #[error("all numbers for accounts are used up; this instance can have no more accounts")]
    NumbersUsedUp,
    /// Mail of an account that this directory does not know.
    #[error(
        "accounts/{0} holds mail of an account that this directory does not know: restore directory/ from a backup, \
         or move all of accounts/ away, then add the account again"
    )]
    NumberInUse(AccountId),
    /// No such domain.
    #[error("no domain {0}; add it with `moxctl domain add {0}`, or see `moxctl domain list`")]
    NoDomain(Domain),
    /// The domain is ours already.
    #[error("the domain {0} is there already; see `moxctl domain list`")]
    DomainExists(Domain),
    /// The domain has addresses.
    #[error(
        "the domain {domain} still has {addresses} address(es); remove them first, see `moxctl address list` and \
         `moxctl alias list`"
    )]
    DomainInUse {
        /// Which.
        domain: Domain,
        /// How many, aliases among them.
        addresses: u32,
    },
    /// Not a domain.
    #[error("{0} is not a domain name; write it like example.org")]
    NotADomain(String),
    /// Not an address.
    #[error("{0} is not an address; write it like name@example.org, @example.org or @*")]
    NotAnAddress(String),
    /// Somebody has it.
    #[error("{pattern} belongs to the account {account}; remove it first with `moxctl address rm {pattern}`")]
    AddressTaken {
        /// What was to be added.
        pattern: String,
        /// Whose it is.
        account: AccountName,
    },
    /// Nobody has it.
    #[error("nobody has the address {0}; see `moxctl address list`")]
    NoAddress(String),
    /// It is an alias.
    #[error("{0} is an alias; remove it first with `moxctl alias rm {0}`")]
    AddressIsAlias(String),
    /// No such alias.
    #[error("no alias {0}; see `moxctl alias list`")]
    NoAlias(String),
    /// An alias in an alias.
    #[error("{0} is an alias, and an alias has no aliases in it; add its members one by one")]
    AliasInAlias(String),
    /// Only accounts' addresses can be members.
    #[error("no account has the address {0}, so it cannot be a member; see `moxctl address list`")]
    NotAMemberAddress(String),
    /// It is not a member.
    #[error("{member} is not a member of {alias}; see `moxctl alias show {alias}`")]
    NotAMember {
        /// Of which.
        alias: String,
        /// Who.
        member: String,
    },
    /// Too many of them.
    #[error("an alias has at most {MAX_MEMBERS} members; make a second alias for the others")]
    TooManyMembers,
    /// Nobody would be left.
    #[error("an alias has at least one member; name one, or use `moxctl alias rm` or `moxctl alias disable`")]
    NoMembers,
    /// Not a name.
    #[error("the name of an app password is 1 to 64 octets without control characters; choose another")]
    AppPasswordName,
    /// The name is in use.
    #[error("there is already an app password named {0}; choose another name, or remove that one first")]
    AppPasswordExists(String),
    /// It would never open anything.
    #[error("an app password needs a protocol and, if it expires, a time to come")]
    AppPasswordUseless,
    /// No more room.
    #[error("the account has as many app passwords as it may; remove one first with `moxctl apppassword rm`")]
    TooManyAppPasswords,
    /// No such app password.
    #[error("no app password of that name; see `moxctl apppassword list {account}`")]
    NoAppPassword {
        /// Whose.
        account: String,
    },
    /// Not a name.
    #[error("the name of a login key is 1 to 64 octets without control characters; choose another")]
    LoginKeyName,
    /// The name is in use.
    #[error("there is already a login key named {0}; choose another name, or remove that one first")]
    LoginKeyExists(String),
    /// Somebody has the key.
    #[error(
        "this key is {name} of the account {account}, and a key opens one account only; make another key, or remove \
         that one first"
    )]
    LoginKeyTaken {
        /// What it is called there.
        name: String,
        /// Whose it is.
        account: AccountName,
    },
    /// It would never open anything.
    #[error("a login key needs a protocol and, if it expires, a time to come")]
    LoginKeyUseless,
    /// No more room.
    #[error("the account has as many login keys as it may; remove one first with `moxctl loginkey rm`")]
    TooManyLoginKeys,
    /// No such key.
    #[error("no login key of that name; see `moxctl loginkey list {account}`")]
    NoLoginKey {
        /// Whose.
        account: String,
    },
    /// Nothing is set.
    #[error("no quota is set there; see `moxctl quota list`")]
    NoQuota,
    /// Beyond what can be kept.
    #[error("a quota is at most {0}; give less, or `unlimited`")]
    QuotaTooLarge(u64),
    /// Not a good password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No salt.
    #[error("{0}; nothing was changed, try again")]
    NoRandomness(#[from] NoRandomness),
    /// The disk.
    #[error("the directory could not be written ({0}); nothing was changed: is the disk full or read-only?")]
    Database(#[from] rusqlite::Error),
    /// Too much at once.
    #[error("too many changes of the directory are waiting; try again")]
    Busy,
}

impl Refusal {
    pub(crate) fn not_a_domain(text: &str) -> Self {
        Self::NotADomain(shown(text))
    }

    pub(crate) fn not_an_address(text: &str) -> Self {
        Self::NotAnAddress(shown(text))
    }
}

/// In one line, without control octets, not too long.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}
