//! What authd is asked: may this client connect, whose is this address, is this a login, and what the admin wants.

use std::time::Duration;

use bincode::{Decode, Encode};
use mail_lib::address::{Address, Domain};

use crate::{
    alias::{AliasInfo, AliasRequest, MemberInfo},
    capability::Capabilities,
    channel::{Message, channel},
    logins::{AbuseClear, AbuseInfo, AppPasswordInfo, Fingerprint, LoginInfo, LoginKeyInfo, Protocols},
    quota::{Quota, QuotaInfo, QuotaRequest},
    sasl::{SaslReply, SaslStep},
    types::{AccountId, ClientAddress, ConnectionId, Secret, SessionId, Timestamp},
};

/// What every front may say of its connections. A front can charge only connections that it was admitted and has not
/// closed; authd keeps the client's address from `Admit`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Client {
    /// A client connected: may it stay? Answered by `Admitted` or `TurnedAway`.
    Admit(ConnectionId, ClientAddress),
    /// It is gone. Answered by `Noted`.
    Closed(ConnectionId),
    /// It did something that honest clients do not. Answered by `Noted`.
    Charge(ConnectionId, Offence),
}

/// What a connection can be charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Offence {
    /// Handling its input panicked.
    Crash,
    /// It broke a parser's bounds.
    Bounds,
    /// Bare CR, bare LF or NUL in message data, or plaintext behind STARTTLS.
    Smuggling,
    /// Addresses that do not exist, over and over.
    Harvesting,
}

/// authd's answer to [`Client`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientReply {
    /// Go on.
    Admitted,
    /// Say so and close: 421 or BYE.
    TurnedAway(TurnedAway),
    /// Noted.
    Noted,
}

/// Why a client may not connect now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum TurnedAway {
    /// Too many connections at once from its address block.
    #[error("too many connections from your network")]
    Concurrent,
    /// Too many connections in a minute from its address block.
    #[error("too many new connections from your network")]
    Rate,
    /// Its address block has been charged too often.
    #[error("too many errors from your network")]
    Abuse,
}

/// What smtpd may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SmtpdToAuthd {
    /// About a connection. Answered by `Client`.
    Client(Client),
    /// RCPT TO, and whom the message is from; `None` is the null reverse-path. Answered by `Recipient`.
    Recipient(RecipientQuery, Option<Address>),
}

/// Whom RCPT TO names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecipientQuery {
    /// An address.
    Address(Address),
    /// `<postmaster>` without a domain (RFC 5321 §4.1.1.3).
    Postmaster,
}

/// What authd answers smtpd.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToSmtpd {
    /// About a connection.
    Client(ClientReply),
    /// About a recipient.
    Recipient(Recipient),
}

/// What a recipient is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Recipient {
    /// Mail for it can be accepted; for `Postmaster` the address that stands for it.
    Local(Address),
    /// The domain is ours, the localpart is nobody. 550 5.1.1.
    Unknown,
    /// The domain is not ours. 550 5.7.1.
    NotLocal,
    /// The domain or the account is disabled, or an alias that has no member to deliver to now. 450 4.2.1.
    Disabled,
    /// An alias to which only its members may post, and the reverse-path is none of theirs. 550 5.7.1.
    MembersOnly,
    /// The account was over its quota a moment ago. 452 4.2.2.
    Full,
}

/// What imapd may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ImapdToAuthd {
    /// About a connection. Answered by `Client`.
    Client(Client),
    /// A user name and a password, under TLS or from loopback only: PLAIN or LOGIN. On success authd has the supervisor
    /// make the session: its stream reaches imapd as an order of the supervisor. Answered by `Login`.
    Login {
        /// Must have been admitted.
        connection: ConnectionId,
        /// As typed: an address, or an account's name. At most 320 octets.
        user: String,
        /// As typed, at most 1,024 octets.
        password: Secret,
    },
    /// A step of AUTHENTICATE, under TLS or from loopback only, on a connection that must have been admitted. On success
    /// as with `Login`. Answered by `Sasl`.
    Sasl(ConnectionId, SaslStep),
}

/// What authd answers imapd.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToImapd {
    /// About a connection.
    Client(ClientReply),
    /// About a login.
    Login(Login),
    /// About AUTHENTICATE.
    Sasl(SaslReply),
}

/// What submitd may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SubmitdToAuthd {
    /// About a connection. Answered by `Client`.
    Client(Client),
    /// A step of AUTH, under TLS or from loopback only, on a connection that must have been admitted. On success queued
    /// knows already that this connection may submit ([`crate::grant`]). Answered by `Sasl`.
    Sasl(ConnectionId, SaslStep),
}

/// What authd answers submitd.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToSubmitd {
    /// About a connection.
    Client(ClientReply),
    /// About AUTH.
    Sasl(SaslReply),
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Login {
    /// Proved. imapd: the session's stream comes from the supervisor under the connection's number. submitd: queued was told.
    Ok(SessionId),
    /// Wrong password, unknown user or disabled account: one answer, the same work. Reply after `wait`.
    Denied {
        /// How long to hold the reply, milliseconds.
        wait_ms: u32,
    },
    /// Not judged: too many logins wait, too many failures from there, or the account's process cannot be had.
    TryLater,
    /// Not judged: the client asks to act for somebody else (RFC 4422 §3.4.1), which nobody may.
    OnlyAsYourself,
}

impl Login {
    /// How long to hold the reply.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Denied { wait_ms } => Duration::from_millis(u64::from(*wait_ms)),
            Self::Ok(_) | Self::TryLater | Self::OnlyAsYourself => Duration::ZERO,
        }
    }
}

/// What queued may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueuedToAuthd {
    /// Whose are these, at most [`MAX_OWNERS`]? With whom the message is from: of an alias's members the sender is left out.
    /// Answered in order by `Owners`.
    Owners(Vec<Address>, Option<Address>),
    /// May the account send as each of these? As many at most. Answered in order by `MaySend`.
    MaySend(AccountId, Vec<Address>),
    /// What are these, for this account as the sender? As many at most. Answered in order by `Recipients`.
    Recipients(AccountId, Vec<RecipientQuery>),
}

/// What authd answers queued.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToQueued {
    /// One per address asked about.
    Owners(Vec<Owner>),
    /// Likewise.
    MaySend(Vec<bool>),
    /// Likewise.
    Recipients(Vec<Recipient>),
}

/// Addresses of one [`QueuedToAuthd::Owners`], at most: were all of them aliases with
/// [`crate::alias::MAX_MEMBERS`] members each, the answer fits its channel.
pub const MAX_OWNERS: usize = 100;

/// Who gets an address's mail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Owner {
    /// This account.
    Account(AccountId),
    /// These, each of them once and at least one: the address is an alias.
    Members(Vec<AccountId>),
    /// Nobody.
    Nobody,
    /// Its domain or account takes no mail now.
    Disabled,
}

/// The admin's operations on the directory. Lists are paged: at most [`PAGE`] entries that sort after `after`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AdminToAuthd {
    /// A new account, with its first address. Answered by `Added`.
    AccountAdd {
        /// 1 to 64 of a-z, 0-9, `.`, `-`, `_`, starting with a letter or digit.
        name: String,
        /// Its address; the domain must exist.
        address: Option<Pattern>,
    },
    /// Forgets an account and its addresses. Its mail stays on disk until the admin removes it. Answered by `Done`.
    AccountRemove(String),
    /// Disabled accounts take no mail and no login. Answered by `Done`.
    AccountDisable(String, bool),
    /// What is switched off in its sessions from then on; those that are open end. Answered by `Done`.
    AccountWithout(String, Capabilities),
    /// Answered by `Accounts`.
    AccountList {
        /// The last name of the page before.
        after: Option<String>,
    },
    /// Answered by `Done`.
    AddressAdd {
        /// The account's name.
        account: String,
        /// What it gets.
        pattern: Pattern,
    },
    /// Answered by `Done`.
    AddressRemove(Pattern),
    /// A disabled address takes no mail for now, and nobody logs in by it. Answered by `Done`.
    AddressDisable(Pattern, bool),
    /// Answered by `Addresses`.
    AddressList {
        /// The last pattern of the page before.
        after: Option<String>,
    },
    /// Answered by `Done`.
    DomainAdd(DomainText),
    /// Refused while it has addresses. Answered by `Done`.
    DomainRemove(DomainText),
    /// Disabled domains take no mail. Answered by `Done`.
    DomainDisable(DomainText, bool),
    /// Answered by `Domains`.
    DomainList {
        /// The last name of the page before.
        after: Option<String>,
    },
    /// Replaces the account's password; 8 to 1,024 octets after PRECIS OpaqueString (RFC 8265). Answered by `Done`.
    PasswordSet {
        /// The account's name.
        account: String,
        /// The new password.
        password: Secret,
    },
    /// Makes another password of an account, for one program; authd makes it up. Answered by `AppPassword`.
    AppPasswordAdd {
        /// The account's name.
        account: String,
        /// 1 to 64 octets without controls, unique within the account.
        name: String,
        /// What it opens.
        protocols: Protocols,
        /// From then on it opens nothing.
        expires: Option<Timestamp>,
    },
    /// Its account's sessions end. Answered by `Done`.
    AppPasswordRemove {
        /// The account's name.
        account: String,
        /// The app password's.
        name: String,
    },
    /// Of one account, by its name. Answered by `AppPasswords`.
    AppPasswordList(String),
    /// Lets in whoever proves to have the other half of a public key (SASL EXTERNAL). Answered by `Done`.
    LoginKeyAdd {
        /// The account's name.
        account: String,
        /// 1 to 64 octets without controls, unique within the account.
        name: String,
        /// Of the public key; an account's alone.
        fingerprint: Fingerprint,
        /// What it opens.
        protocols: Protocols,
        /// From then on it opens nothing.
        expires: Option<Timestamp>,
    },
    /// Its account's sessions end. Answered by `Done`.
    LoginKeyRemove {
        /// The account's name.
        account: String,
        /// The key's.
        name: String,
    },
    /// Of one account, by its name. Answered by `LoginKeys`.
    LoginKeyList(String),
    /// The log of login attempts, the latest first. Answered by `Logins`.
    LoginList {
        /// Of this account only.
        account: Option<String>,
        /// The last number of the page before.
        before: Option<u64>,
    },
    /// Who is remembered for misbehaving, those first whose turn is up last. Answered by `Abuse`.
    AbuseList {
        /// How many to pass over.
        skip: u32,
    },
    /// Forgets. Answered by `Cleared`.
    AbuseClear(AbuseClear),
    /// About aliases. Answered as it says there.
    Alias(AliasRequest),
    /// About quotas. Answered as it says there.
    Quota(QuotaRequest),
}

impl AdminToAuthd {
    /// It changes nothing of the directory.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        match self {
            Self::AccountList { .. }
            | Self::AddressList { .. }
            | Self::DomainList { .. }
            | Self::AppPasswordList(_)
            | Self::LoginKeyList(_)
            | Self::LoginList { .. }
            | Self::AbuseList { .. }
            | Self::AbuseClear(_) => true,
            Self::Alias(request) => request.only_looks(),
            Self::Quota(request) => request.only_looks(),
            Self::AccountAdd { .. }
            | Self::AccountRemove(_)
            | Self::AccountDisable(..)
            | Self::AccountWithout(..)
            | Self::AddressAdd { .. }
            | Self::AddressRemove(_)
            | Self::AddressDisable(..)
            | Self::DomainAdd(_)
            | Self::DomainRemove(_)
            | Self::DomainDisable(..)
            | Self::PasswordSet { .. }
            | Self::AppPasswordAdd { .. }
            | Self::AppPasswordRemove { .. }
            | Self::LoginKeyAdd { .. }
            | Self::LoginKeyRemove { .. } => false,
        }
    }
}

/// Most entries of a page.
pub const PAGE: usize = 200;

/// A domain name on a channel: A-labels in lower case, checked by authd on arrival.
pub type DomainText = String;

/// What mail an account gets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Pattern {
    /// `name@example.org`.
    Address(Address),
    /// `@example.org`: all of a domain that is nobody else's.
    Domain(DomainText),
    /// `@*`: all that is nobody else's, whatever the domain. For test instances.
    Everything,
}

impl Pattern {
    /// Parses the three written forms.
    pub fn parse(text: &str) -> Result<Self, mail_lib::address::AddressError> {
        match text.strip_prefix('@') {
            Some("*") => Ok(Self::Everything),
            Some(domain) => Ok(Self::Domain(Domain::parse(domain)?.as_str().to_owned())),
            None => Ok(Self::Address(Address::parse(text)?)),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Everything => f.write_str("@*"),
        }
    }
}

/// What authd answers the admin.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToAdmin {
    /// Done and on disk.
    Done,
    /// The new account's number.
    Added(AccountId),
    /// A page.
    Accounts(Vec<AccountInfo>),
    /// A page.
    Addresses(Vec<AddressInfo>),
    /// A page.
    Domains(Vec<DomainInfo>),
    /// The new app password; it is told this once.
    AppPassword(Secret),
    /// All of an account's.
    AppPasswords(Vec<AppPasswordInfo>),
    /// All of an account's.
    LoginKeys(Vec<LoginKeyInfo>),
    /// A page.
    Logins(Vec<LoginInfo>),
    /// A page.
    Abuse(Vec<AbuseInfo>),
    /// How many entries were forgotten.
    Cleared(u32),
    /// A page.
    Aliases(Vec<AliasInfo>),
    /// A page.
    Members(Vec<MemberInfo>),
    /// A page.
    Quotas(Vec<QuotaInfo>),
    /// What an account may hold.
    Quota(Quota),
    /// One line that says what is wrong and what to do.
    Refused(String),
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AccountInfo {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Takes no mail and no login.
    pub disabled: bool,
    /// Has a password.
    pub password: bool,
    /// How many addresses it has.
    pub addresses: u32,
    /// Last login.
    pub last_login: Option<Timestamp>,
    /// What is switched off in its sessions.
    pub without: Capabilities,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AddressInfo {
    /// In its written form.
    pub pattern: Pattern,
    /// The account's name.
    pub account: String,
    /// Takes no mail.
    pub disabled: bool,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DomainInfo {
    /// A-labels.
    pub name: String,
    /// Takes no mail.
    pub disabled: bool,
    /// How many addresses it has.
    pub addresses: u32,
}

impl Message for SmtpdToAuthd {}
impl Message for AuthdToSmtpd {}
impl Message for ImapdToAuthd {}
impl Message for AuthdToImapd {}
impl Message for SubmitdToAuthd {}
impl Message for AuthdToSubmitd {}
impl Message for Client {}
impl Message for ClientReply {}
impl Message for QueuedToAuthd {}
impl Message for AuthdToQueued {}
impl Message for AdminToAuthd {}
impl Message for AuthdToAdmin {}

channel! {
    /// Clients and recipients of port 25.
    SmtpdAuthd: SmtpdToAuthd => AuthdToSmtpd, max_body: 4096, deadline: 5
}
channel! {
    /// Clients and logins of IMAP.
    ImapdAuthd: ImapdToAuthd => AuthdToImapd, max_body: 4096, deadline: 10
}
channel! {
    /// Clients and logins of submission.
    SubmitdAuthd: SubmitdToAuthd => AuthdToSubmitd, max_body: 4096, deadline: 10
}
channel! {
    /// Clients of the web front.
    WebdAuthd: Client => ClientReply, max_body: 4096, deadline: 5
}
channel! {
    /// Whose an address is, and who may use it. The bound fits [`MAX_OWNERS`] addresses and the members of as many aliases.
    QueuedAuthd: QueuedToAuthd => AuthdToQueued, max_body: 512 * 1024, deadline: 10
}
channel! {
    /// The admin's own channel, one per `moxctl`. The bound fits the members of an alias.
    AdminAuthd: AdminToAuthd => AuthdToAdmin, max_body: 512 * 1024, deadline: 30
}
