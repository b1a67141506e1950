//! The supervisor and its workers: orders down, events up.
//!
//! Orders may carry text: workers trust the supervisor. Events are [`EVENT_SIZE`] octets each and carry numbers only:
//! the supervisor is root and parses nothing of variable length that a worker wrote.

use std::net::SocketAddr;

use bincode::{Decode, Encode};

use crate::{
    capability::Capabilities,
    channel::{ChannelId, Message, Violation},
    codec,
    quota::Quota,
    types::{AccountId, ConnectionId, Protocol, Run, SessionId},
};

/// The fd on which every worker finds its control channel.
pub const CONTROL_FD: i32 = 3;

/// The fd on which every worker finds its log: a datagram socket to the supervisor, one line each.
pub const LOG_FD: i32 = 2;

/// The longest log line that the supervisor takes, octets.
pub const MAX_LOG_LINE: usize = 4096;

/// Between the parts of a log line: level and message, then each `key=value` (the unit separator of ASCII).
pub const LOG_SEPARATOR: char = '\u{1f}';

/// How the last line of a worker that cannot go on begins; the rest is the cause, which says what to do. The supervisor
/// makes it part of its own line about that end.
pub const FAULT_MARK: &str = "FAULT ";

/// The largest order, octets.
pub const MAX_ORDER: usize = 64 * 1024;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[repr(u8)]
pub enum Role {
    /// The SMTP server, port 25.
    Smtpd = 1,
    /// The IMAP front.
    Imapd = 2,
    /// The web front.
    Webd = 3,
    /// The queue.
    Queued = 4,
    /// The directory and logins.
    Authd = 5,
    /// Private keys.
    Keyd = 6,
    /// One account.
    Accountd = 7,
    /// The SMTP server for those who log in, ports 465 and 587.
    Submitd = 8,
}

impl Role {
    /// Every role but the accounts', in the order of starting.
    pub const FIXED: [Self; 7] =
        [Self::Keyd, Self::Authd, Self::Queued, Self::Smtpd, Self::Submitd, Self::Imapd, Self::Webd];

    /// The name of its process and binary.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Smtpd => "mox-smtpd",
            Self::Submitd => "mox-submitd",
            Self::Imapd => "mox-imapd",
            Self::Webd => "mox-webd",
            Self::Queued => "mox-queued",
            Self::Authd => "mox-authd",
            Self::Keyd => "mox-keyd",
            Self::Accountd => "mox-accountd",
        }
    }

    /// Its user's offset from `[users] base`; accounts start at 16.
    #[must_use]
    pub const fn user_offset(self) -> u32 {
        match self {
            Self::Smtpd => 1,
            Self::Submitd => 2,
            Self::Imapd => 3,
            Self::Webd => 4,
            Self::Queued => 6,
            Self::Authd => 9,
            Self::Keyd => 10,
            Self::Accountd => 16,
        }
    }

    /// Whether strangers connect to it. A front starts with a page ([`crate::recorder`]).
    #[must_use]
    pub const fn is_front(self) -> bool {
        match self {
            Self::Smtpd | Self::Submitd | Self::Imapd | Self::Webd => true,
            Self::Queued | Self::Authd | Self::Keyd | Self::Accountd => false,
        }
    }

    /// Its directory below the data directory; an account's has its number below that.
    #[must_use]
    pub const fn directory(self) -> Option<&'static str> {
        match self {
            Self::Queued => Some("queue"),
            Self::Authd => Some("directory"),
            Self::Keyd => Some("keys"),
            Self::Accountd => Some("accounts"),
            Self::Smtpd | Self::Submitd | Self::Imapd | Self::Webd => None,
        }
    }
}

/// What the supervisor tells a worker. The first order is always `Start`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Order {
    /// Settings, before anything else; after them the worker locks itself in and says [`Event::Sandboxed`]. A front's
    /// page is attached.
    Start(Box<Settings>),
    /// One end of a channel is attached. Comes again when the other end's process restarted.
    Channel {
        /// Which edge; which side this is follows from the role.
        channel: ChannelId,
        /// For queued: whose process is at the other end.
        account: Option<AccountId>,
        /// Which start of the asking process.
        run: Run,
    },
    /// queued asked for an account's channel: not now.
    ChannelRefused(AccountId),
    /// A listening socket is attached. Only after `Sandboxed`.
    Listener(Listener),
    /// One end of a session's stream is attached.
    Session(SessionFacts),
    /// For an account: a guest's session, of another account that has rights to mailboxes of this one; one end of its stream
    /// is attached.
    Guest {
        /// Of this account; no front is at the other end.
        facts: SessionFacts,
        /// Whose session it is.
        principal: AccountId,
    },
    /// For an account: it is a guest of this one; the other end of the stream is attached.
    Shared {
        /// Whose mailboxes.
        owner: AccountId,
    },
    /// For an account: it asked to be a guest of this one, and cannot be now.
    SharedRefused {
        /// Whose mailboxes.
        owner: AccountId,
    },
    /// A login succeeded but the account's process cannot be had now.
    SessionRefused(ConnectionId),
    /// For authd: the session runs.
    Connected(SessionId),
    /// For authd: the session could not be made.
    ConnectRefused(SessionId),
    /// For authd: the session ended.
    SessionEnded(SessionId),
    /// For authd: the account's directory exists.
    AccountReady(AccountId),
    /// For authd: another account's mail is where this account's is to be; nothing was made or changed.
    AccountRefused(AccountId),
    /// For authd: the process of this front died of a signal with these connections in hand, as it noted itself; at most
    /// [`crate::recorder::SLOTS`].
    Crashed {
        /// Which front.
        front: Role,
        /// Its own numbers for them.
        connections: Vec<ConnectionId>,
    },
    /// For an account: what it may hold from now on.
    Quota(Quota),
    /// For authd: this account has just refused a message for its quota.
    Full(AccountId),
    /// For an account: leave, unless something is under way, or came in since it asked.
    Leave {
        /// It said [`Event::Quiet`]; otherwise others need its place.
        asked: bool,
    },
    /// For a front: accept no more at this address; connections that are open go on.
    ListenerGone(SocketAddr),
    /// The configuration was read again: what can change while running is as in these now.
    Settings(Box<Settings>),
    /// Finish what is being acknowledged, then exit; killed after the grace.
    Stop {
        /// Milliseconds until the kill.
        grace_ms: u32,
    },
    /// Answer with `Pong`.
    Ping(u64),
    /// Only understood by the build that plays a captured process in tests: run this attack and report.
    Attack(String),
    /// For authd: somebody needs this session, which sleeps; is it still one?
    Waking(SessionId),
    /// For an account: the stream of a session that sleeps is attached; go on where it was.
    Resume(Sleeper),
}

impl Message for Order {
    fn fd_count(&self) -> usize {
        match self {
            Self::Channel { .. }
            | Self::Listener(_)
            | Self::Session(_)
            | Self::Resume(_)
            | Self::Guest { .. }
            | Self::Shared { .. } => 1,
            Self::Start(settings) => usize::from(settings.role.is_front()),
            Self::ChannelRefused(_)
            | Self::SharedRefused { .. }
            | Self::SessionRefused(_)
            | Self::Connected(_)
            | Self::ConnectRefused(_)
            | Self::SessionEnded(_)
            | Self::AccountReady(_)
            | Self::AccountRefused(_)
            | Self::Crashed { .. }
            | Self::Quota(_)
            | Self::Full(_)
            | Self::Leave { .. }
            | Self::ListenerGone(_)
            | Self::Settings(_)
            | Self::Stop { .. }
            | Self::Ping(_)
            | Self::Attack(_)
            | Self::Waking(_) => 0,
        }
    }
}

/// A session that sleeps: its state is a row of the account's own database, its stream the supervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Sleeper {
    /// As it was opened.
    pub facts: SessionFacts,
    /// How often it has fallen asleep: the row has the same number, or is not the one.
    pub count: u32,
}

/// A listening socket and what to speak on it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Listener {
    /// Its name in the configuration, for the log.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What to speak.
    pub service: Service,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Service {
    /// SMTP with STARTTLS, port 25.
    Smtp,
    /// IMAP with STARTTLS, port 143.
    Imap,
    /// IMAP over TLS, port 993.
    Imaps,
    /// HTTP, port 80.
    Http,
    /// HTTPS, port 443.
    Https,
    /// Submission with STARTTLS, port 587.
    Submission,
    /// Submission over TLS, port 465.
    Submissions,
}

/// A session as authd made it, told to both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SessionFacts {
    /// authd's number.
    pub session: SessionId,
    /// The front's own number for the connection.
    pub connection: ConnectionId,
    /// What is spoken.
    pub protocol: Protocol,
    /// The account. The front gets it for its log.
    pub account: AccountId,
    /// What neither end offers in it.
    pub without: Capabilities,
}

/// A worker's settings: what all have, and what its role has.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Settings {
    /// What it is.
    pub role: Role,
    /// The host's name, for greetings and trace fields. A-labels.
    pub hostname: String,
    /// The role's own directory, absolute; created and owned.
    pub directory: Option<String>,
    /// Log settings.
    pub log: LogSettings,
    /// The largest message, octets.
    pub message_size: u64,
    /// What only this role has.
    pub own: RoleSettings,
}

/// How a worker logs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogSettings {
    /// A tracing-subscriber filter, such as `info` or `info,mox_smtpd=debug`.
    pub filter: String,
}

/// Settings of one role. Each figure's default and meaning: `docs/config.md`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum RoleSettings {
    /// smtpd.
    Smtpd(SmtpdSettings),
    /// imapd.
    Imapd(ImapdSettings),
    /// webd.
    Webd(WebdSettings),
    /// queued.
    Queued(QueuedSettings),
    /// authd.
    Authd(AuthdSettings),
    /// keyd.
    Keyd(KeydSettings),
    /// accountd.
    Accountd(AccountdSettings),
    /// submitd.
    Submitd(SubmitdSettings),
}

/// Settings of smtpd.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SmtpdSettings {
    /// Connections at once.
    pub connections: u32,
    /// Message data held in memory at once, octets, in all.
    pub memory_budget: u64,
    /// Time-outs, milliseconds: one read or write; a TLS handshake; all of DATA.
    pub command_timeout_ms: u32,
    /// See `command_timeout_ms`.
    pub tls_timeout_ms: u32,
    /// See `command_timeout_ms`.
    pub data_timeout_ms: u32,
    /// Slow down clients that misbehave.
    pub tarpit: bool,
    /// Never slow down or turn away clients from loopback.
    pub loopback_exempt: bool,
    /// Fail for recipients and senders whose localparts ask for it (test instances).
    pub simulate_failures: bool,
}

/// Settings of submitd: smtpd's, and its own.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SubmitdSettings {
    /// As in smtpd.
    pub smtp: SmtpdSettings,
    /// Connections at once before login.
    pub pre_login_connections: u32,
    /// Allow logins without TLS from loopback (test instances).
    pub plain_login_on_loopback: bool,
}

/// Settings of imapd.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ImapdSettings {
    /// Connections at once.
    pub connections: u32,
    /// Connections at once before login.
    pub pre_login_connections: u32,
    /// Before login, one read or write, milliseconds.
    pub login_timeout_ms: u32,
    /// A TLS handshake, milliseconds.
    pub tls_timeout_ms: u32,
    /// Allow logins without TLS from loopback (test instances).
    pub plain_login_on_loopback: bool,
}

/// Settings of webd.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct WebdSettings {
    /// Connections at once.
    pub connections: u32,
    /// Reading a request's header, milliseconds.
    pub header_timeout_ms: u32,
    /// Between requests, milliseconds.
    pub idle_timeout_ms: u32,
    /// A TLS handshake, milliseconds.
    pub tls_timeout_ms: u32,
}

/// Settings of queued.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct QueuedSettings {
    /// Recipients of one message that are delivered while the client waits; beyond them the message is stored.
    pub direct_recipients: u32,
    /// Spool files at once.
    pub spool_files: u32,
    /// First pause before a stored message is tried again, milliseconds; doubles up to an hour.
    pub retry_ms: u32,
    /// Messages that an account may submit in 24 hours.
    pub submission_messages: u32,
    /// Recipients that it never wrote to before, likewise.
    pub submission_new_recipients: u32,
}

/// Settings of authd.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct AuthdSettings {
    /// Never limit clients from loopback.
    pub loopback_exempt: bool,
    /// New connections in a minute from one address, its small block and its large block.
    pub connection_rate: [u32; 3],
    /// Connections at once from the same.
    pub connections: [u32; 3],
    /// Failed logins in a minute from the same.
    pub failure_rate: [u32; 3],
    /// Failed logins in a day from the same.
    pub failure_day: [u32; 3],
    /// Accept unhashed work in this many threads.
    pub hash_threads: u32,
    /// PBKDF2 rounds of new passwords.
    pub rounds: u32,
}

/// Settings of keyd.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct KeydSettings {
    /// Names and addresses of self-signed certificates.
    pub names: Vec<String>,
    /// Signatures in a second that one front may ask for.
    pub signatures_per_second: u32,
}

/// Settings of an account's process.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct AccountdSettings {
    /// Whose.
    pub account: AccountId,
    /// Without session and delivery for so long, it asks to leave, milliseconds.
    pub quiet_ms: u32,
    /// Sessions at once.
    pub sessions: u32,
    /// Without a command for so long, a session ends, milliseconds (RFC 9051 §5.4: at least 30 minutes).
    pub idle_timeout_ms: u32,
    /// A client that does not read for so long loses its session, milliseconds.
    pub write_timeout_ms: u32,
    /// When all sessions have been in IDLE for so long without a word, they may sleep, milliseconds; 0: never.
    pub hibernate_after_ms: u32,
    /// A client that says nothing for so long ends, whether its session sleeps or not, milliseconds.
    pub hibernate_expiry_ms: u32,
    /// Its sessions that sleep, at most [`MAX_ASLEEP`]: whatever else it has of others is void.
    pub asleep: Vec<SessionId>,
    /// Expunged messages can come back for so many days; 0: not at all.
    pub undelete_days: u32,
    /// So many octets of them at most.
    pub undelete_size: u64,
    /// How its process before this one ended.
    pub previous: PreviousEnd,
    /// What it may hold.
    pub quota: Quota,
}

/// How an account's process ended, as the supervisor saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PreviousEnd {
    /// In order, by somebody's kill, or nobody knows: no fault of what it had in hand.
    Harmless,
    /// By its own fault: a panic, a fault of memory, a limit, or it did not answer any more.
    Crash {
        /// Sessions were open.
        sessions: bool,
    },
}

/// What locks a worker in, as it found it in force on itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Layers {
    /// A user of its own: neither root nor another role's.
    pub own_user: bool,
    /// No capability in any set.
    pub no_capabilities: bool,
    /// A network namespace without interfaces that are up.
    pub empty_network: bool,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Not dumpable.
    pub not_dumpable: bool,
    /// Resource limits.
    pub limits: bool,
    /// seccomp's filter.
    pub seccomp: bool,
    /// Landlock's file rules.
    pub landlock_files: bool,
    /// Landlock's TCP rules (ABI 4).
    pub landlock_network: bool,
    /// Landlock's scopes for signals and abstract sockets (ABI 6).
    pub landlock_scopes: bool,
    /// Landlock's ABI of this kernel, 0 for none.
    pub landlock_abi: u8,
    /// A digest of the syscall filter as it was installed.
    pub filter: u64,
    /// A digest of what Landlock was told to leave.
    pub rules: u64,
}

/// Sessions of one account that sleep at once; with more, none does.
pub const MAX_ASLEEP: usize = 4000;

/// Octets of every event.
pub const EVENT_SIZE: usize = 64;

/// What a worker tells the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// Locked in. Only now listeners are handed out.
    Sandboxed(Layers),
    /// All that came before is taken and in use: listeners accept, channels answer.
    Ready,
    /// The answer to `Ping`.
    Pong(u64),
    /// A channel was closed because its peer broke the rules.
    Violation {
        /// Which.
        channel: ChannelId,
        /// For queued: whose process did it.
        account: Option<AccountId>,
        /// How.
        kind: ViolationKind,
    },
    /// Log lines that found no room.
    LogDropped(u32),
    /// authd: make this session.
    Connect {
        /// Which front.
        front: Role,
        /// What both ends are told.
        facts: SessionFacts,
    },
    /// authd: make a session of one account as a guest of another.
    Share {
        /// Its number.
        session: SessionId,
        /// Whose session.
        principal: AccountId,
        /// Whose mailboxes.
        owner: AccountId,
    },
    /// authd: cut this session.
    Disconnect(SessionId),
    /// authd: cut all sessions of this account, those from before a restart of authd too.
    DisconnectAccount(AccountId),
    /// authd: make this account's directory.
    CreateAccount(AccountId),
    /// authd: what this account may hold from now on. All that have a limit come before `Ready`; what is not said then,
    /// has none.
    Quota {
        /// Whose.
        account: AccountId,
        /// How much.
        quota: Quota,
    },
    /// queued: a channel to this account's process.
    OpenDelivery(AccountId),
    /// accountd: nothing to do for a while; may I leave?
    Quiet,
    /// accountd: a message was refused because the account is over its quota.
    Full,
    /// accountd: a session ended.
    SessionEnded(SessionId),
    /// Only from the build that plays a captured process: a step of an attack ended so (0, or an errno). Step
    /// `u32::MAX` ends the script.
    Attacked {
        /// Which step.
        step: u32,
        /// 0, or the errno.
        errno: i32,
    },
    /// accountd: the state of this session is on disk, and its stream is left to the supervisor.
    Asleep {
        /// Which.
        session: SessionId,
        /// How often it has fallen asleep, this time counted.
        count: u32,
    },
    /// authd: this session, which sleeps, is still one.
    Awaken(SessionId),
}

/// [`Violation`] without its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ViolationKind {
    /// Too large.
    TooLarge,
    /// Does not decode.
    Malformed,
    /// Wrong number or kind of fds.
    Fds,
    /// Another build.
    Build,
    /// Not expected.
    Unexpected,
    /// Too many.
    Flood,
}

impl From<Violation> for ViolationKind {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::TooLarge { .. } => Self::TooLarge,
            Violation::Malformed => Self::Malformed,
            Violation::FdCount => Self::Fds,
            Violation::Build => Self::Build,
            Violation::Unexpected => Self::Unexpected,
            Violation::Flood => Self::Flood,
        }
    }
}

impl Event {
    /// As it crosses: the encoding, filled up with zeros.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EVENT_SIZE] {
        let mut octets = [0; EVENT_SIZE];
        codec::encode_into(self, &mut octets);
        octets
    }

    /// `None`: not an event, or something behind it.
    #[must_use]
    pub fn from_bytes(octets: &[u8; EVENT_SIZE]) -> Option<Self> {
        let (event, used) = codec::decode_prefix::<Self>(octets)?;
        let rest = octets.get(used..)?;
        rest.iter().all(|octet| *octet == 0).then_some(event)
    }
}
