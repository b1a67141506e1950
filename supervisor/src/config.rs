//! `moxd.toml`: read whole, checked whole, before anything starts. `docs/config.md` describes every key.

mod error;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipc_proto::control::{Role, Service};
use serde::Deserialize;

pub use error::ConfigError;
pub use values::{HostName, LogFilter, Pause, Size};

/// Everything the machine's administrator decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[host]`
    pub host: Host,
    /// `[listeners.NAME]`
    #[serde(default)]
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// `[limits]`
    #[serde(default)]
    pub limits: Limits,
    /// `[users]`
    #[serde(default)]
    pub users: Users,
    /// `[sandbox]`
    #[serde(default)]
    pub sandbox: Sandbox,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
}

/// Who and where this host is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name in greetings, trace fields and certificates.
    pub name: HostName,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// The control socket, absolute, at most 107 octets.
    pub control: PathBuf,
    /// Connections from loopback are never limited, logins from it need no TLS. For test instances.
    #[serde(default)]
    pub trust_loopback: bool,
    /// Fail for localparts that ask for it. For test instances.
    #[serde(default)]
    pub simulate_failures: bool,
    /// Further names and addresses for self-signed certificates.
    #[serde(default)]
    pub certificate_names: Vec<String>,
}

/// One service and where it listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// What is spoken.
    pub protocol: Protocol,
    /// `ADDRESS:PORT`, IPv6 in brackets.
    pub addresses: Vec<SocketAddr>,
}

/// The protocols of listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Port 25, with STARTTLS.
    Smtp,
    /// Port 143, with STARTTLS.
    Imap,
    /// Port 993.
    Imaps,
    /// Port 80.
    Http,
    /// Port 443.
    Https,
    /// Port 587, with STARTTLS.
    Submission,
    /// Port 465.
    Submissions,
}

impl Protocol {
    /// Who serves it.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Smtp => Role::Smtpd,
            Self::Imap | Self::Imaps => Role::Imapd,
            Self::Http | Self::Https => Role::Webd,
            Self::Submission | Self::Submissions => Role::Submitd,
        }
    }

    /// What its worker is told.
    #[must_use]
    pub fn service(self) -> Service {
        match self {
            Self::Smtp => Service::Smtp,
            Self::Imap => Service::Imap,
            Self::Imaps => Service::Imaps,
            Self::Http => Service::Http,
            Self::Https => Service::Https,
            Self::Submission => Service::Submission,
            Self::Submissions => Service::Submissions,
        }
    }

    /// As in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Http => "http",
            Self::Https => "https",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// Bounds. Every figure has a default that suits a host with 1 GB of memory and up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest message.
    pub message_size: Size,
    /// Account processes at once.
    pub account_processes: u32,
    /// Account processes started in a second.
    pub account_spawns: u32,
    /// An account process without session and delivery leaves after this.
    pub account_quiet: Pause,
    /// Sessions of one account at once.
    pub account_sessions: u32,
    /// SMTP connections at once.
    pub smtp_connections: u32,
    /// Submission connections at once.
    pub submission_connections: u32,
    /// Submission connections at once before login.
    pub submission_logins: u32,
    /// Messages that an account may submit in 24 hours.
    pub submission_messages: u32,
    /// Recipients that it never wrote to before, likewise.
    pub submission_new_recipients: u32,
    /// Message data of smtpd, and of submitd, in memory; beyond it goes to spool files.
    pub smtp_memory: Size,
    /// IMAP connections at once.
    pub imap_connections: u32,
    /// IMAP connections at once before login.
    pub imap_logins: u32,
    /// HTTP connections at once.
    pub http_connections: u32,
    /// Recipients of one message, and accounts, that are delivered to while the client waits.
    pub direct_recipients: u32,
    /// Spool files at once.
    pub spool_files: u32,
    /// First pause before a stored message is tried again.
    pub queue_retry: Pause,
    /// Expunged messages can come back for so many days; 0: not at all.
    pub undelete_days: u32,
    /// So much of them for each account at most.
    pub undelete_size: Size,
    /// An IMAP session without a command ends after this.
    pub imap_idle: Pause,
    /// When all sessions of an account have been in IDLE for so long without a word, they sleep and its process leaves; 0:
    /// never.
    pub hibernate_after: Pause,
    /// A session that sleeps ends when its client has said nothing for so long.
    pub hibernate_expiry: Pause,
    /// A client that reads nothing for this long is let go.
    pub write: Pause,
    /// One SMTP command or reply.
    pub smtp_command: Pause,
    /// All of a message's data.
    pub smtp_data: Pause,
    /// One IMAP command before login.
    pub imap_login: Pause,
    /// A TLS handshake.
    pub tls_handshake: Pause,
    /// What is being acknowledged is finished within this when moxd stops.
    pub stop: Pause,
    /// New connections in a minute from one address, its small block and its large block (IPv4 /32, /26, /21; IPv6
    /// /64, /48, /32).
    pub connection_rate: [u32; 3],
    /// Connections at once from the same.
    pub connections: [u32; 3],
    /// Failed logins in a minute from the same.
    pub login_failures_minute: [u32; 3],
    /// Failed logins in a day from the same.
    pub login_failures_day: [u32; 3],
    /// PBKDF2 rounds of new passwords (RFC 7677 asks for at least 4096). Clients that use Cyrus SASL (mbsync, mutt) refuse
    /// SCRAM with more than 65,536, and mbsync then does not log in at all.
    pub password_rounds: u32,
    /// Signatures in a second for one front.
    pub signatures: u32,
    /// Private memory of each process, by its name without `mox-`.
    pub memory: Memory,
}

impl Default for Limits {
    fn default() -> Self {
        let pause = |seconds| Pause(std::time::Duration::from_secs(seconds));
        Self {
            message_size: Size(100 << 20),
            account_processes: 500,
            account_spawns: 50,
            account_quiet: pause(60),
            account_sessions: 100,
            smtp_connections: 10_000,
            submission_connections: 5000,
            submission_logins: 2500,
            submission_messages: 1000,
            submission_new_recipients: 200,
            smtp_memory: Size(64 << 20),
            imap_connections: 20_000,
            imap_logins: 10_000,
            http_connections: 2000,
            direct_recipients: 20,
            spool_files: 200,
            queue_retry: pause(5),
            undelete_days: 7,
            undelete_size: Size(4 << 30),
            imap_idle: pause(30 * 60),
            hibernate_after: pause(60),
            hibernate_expiry: pause(24 * 3600),
            write: pause(5 * 60),
            smtp_command: pause(30),
            smtp_data: pause(30 * 60),
            imap_login: pause(30),
            tls_handshake: pause(60),
            stop: pause(10),
            connection_rate: [300, 900, 2700],
            connections: [30, 90, 270],
            login_failures_minute: [10, 30, 90],
            login_failures_day: [50, 150, 450],
            password_rounds: 65_536,
            signatures: 2000,
            memory: Memory::default(),
        }
    }
}

/// `[limits.memory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Memory {
    pub smtpd: Size,
    pub submitd: Size,
    pub imapd: Size,
    pub webd: Size,
    pub queued: Size,
    pub authd: Size,
    pub keyd: Size,
    pub accountd: Size,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            smtpd: Size(512 << 20),
            submitd: Size(512 << 20),
            imapd: Size(1024 << 20),
            webd: Size(256 << 20),
            queued: Size(256 << 20),
            authd: Size(512 << 20),
            keyd: Size(64 << 20),
            accountd: Size(256 << 20),
        }
    }
}

impl Memory {
    /// Of one role.
    #[must_use]
    pub fn of(&self, role: Role) -> u64 {
        match role {
            Role::Smtpd => self.smtpd.0,
            Role::Submitd => self.submitd.0,
            Role::Imapd => self.imapd.0,
            Role::Webd => self.webd.0,
            Role::Queued => self.queued.0,
            Role::Authd => self.authd.0,
            Role::Keyd => self.keyd.0,
            Role::Accountd => self.accountd.0,
        }
    }
}

/// `[users]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// Roles run as base+0 to base+15, account N as base+16+N. Only where moxd runs as root.
    pub base: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self { base: 1_900_000_000 }
    }
}

/// `[sandbox]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Required layers that may be missing.
    pub accept_missing: Vec<Layer>,
}

/// The required layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Users of their own (root only).
    OwnUser,
    /// No capabilities (root only).
    NoCapabilities,
    /// An empty network namespace (root only).
    EmptyNetwork,
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// Resource limits.
    Limits,
    /// The syscall filter.
    Seccomp,
    /// Landlock's file rules.
    LandlockFiles,
}

impl Layer {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnUser => "own_user",
            Self::NoCapabilities => "no_capabilities",
            Self::EmptyNetwork => "empty_network",
            Self::NoNewPrivs => "no_new_privs",
            Self::Limits => "limits",
            Self::Seccomp => "seccomp",
            Self::LandlockFiles => "landlock_files",
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,mox_smtpd=debug`.
    pub level: LogFilter,
    /// `text` or `json`; left out, text on a terminal and JSON elsewhere.
    pub format: Option<LogFormat>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogFilter("info".to_owned()), format: None }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The longest path of a Unix socket (sockaddr_un, with its NUL).
const SOCKET_PATH: usize = 107;

/// The highest account number whose user id still fits above the base.
pub const MAX_ACCOUNTS: u32 = 1 << 24;

impl Config {
    /// Reads and checks `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::read(path, &error))?;
        Self::parse(path, &text)
    }

    /// Checks the text of `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::syntax(path, text, &error))?;
        config.check(path, text)?;
        Ok(config)
    }

    fn check(&self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |key: &[&str], what: String| Err(ConfigError::value(path, text, key, what));
        for (key, value) in [("data", &self.host.data), ("control", &self.host.control)] {
            if !value.is_absolute() {
                return wrong(
                    &["host", key],
                    format!("{} is not absolute; start it with /", value.display()),
                );
            }
        }
        let length = self.host.control.as_os_str().len();
        if length > SOCKET_PATH {
            let what = format!(
                "a socket path has at most {SOCKET_PATH} octets, this has {length}; choose a shorter directory"
            );
            return wrong(&["host", "control"], what);
        }
        if self.listeners.is_empty() {
            return wrong(&["listeners"], "no listener; add for example `[listeners.smtp]`".to_owned());
        }
        let mut seen = BTreeSet::new();
        for (name, listener) in &self.listeners {
            let key = ["listeners", name.as_str(), "addresses"];
            if listener.addresses.is_empty() {
                return wrong(&key, "no address; for example [\"0.0.0.0:25\", \"[::]:25\"]".to_owned());
            }
            for address in &listener.addresses {
                if !seen.insert(address) {
                    return wrong(&key, format!("{address} is listened on twice; remove one"));
                }
            }
        }
        let top = u32::MAX - MAX_ACCOUNTS - 16;
        if !(65_536..top).contains(&self.users.base) {
            let what = format!(
                "{} is not between 65536 and {top}; 1900000000 is free on most hosts",
                self.users.base
            );
            return wrong(&["users", "base"], what);
        }
        for (key, value, least) in [
            ("account_processes", self.limits.account_processes, 2),
            ("account_spawns", self.limits.account_spawns, 2),
            ("account_sessions", self.limits.account_sessions, 1),
            ("smtp_connections", self.limits.smtp_connections, 1),
            ("submission_connections", self.limits.submission_connections, 1),
            ("submission_logins", self.limits.submission_logins, 1),
            ("imap_connections", self.limits.imap_connections, 1),
            ("imap_logins", self.limits.imap_logins, 1),
            ("http_connections", self.limits.http_connections, 1),
            ("spool_files", self.limits.spool_files, 1),
            ("password_rounds", self.limits.password_rounds, 4096),
            ("signatures", self.limits.signatures, 10),
        ] {
            if value < least {
                return wrong(&["limits", key], format!("{value} is too small; at least {least}"));
            }
        }
        if self.limits.message_size.0 < 64 * 1024 {
            return wrong(&["limits", "message_size"], "too small; at least \"64 KiB\"".to_owned());
        }
        for role in Role::FIXED.into_iter().chain([Role::Accountd]) {
            if self.limits.memory.of(role) < 16 << 20 {
                let name = role.binary().trim_start_matches("mox-");
                return wrong(&["limits", "memory", name], "too small; at least \"16 MiB\"".to_owned());
            }
        }
        Ok(())
    }
}

impl ConfigError {
    fn read(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "; give the right file with --config",
            io::ErrorKind::PermissionDenied => "; is it readable by this user?",
            _ => "",
        };
        Self(format!("{}: {error}{advice}", path.display()))
    }
}
