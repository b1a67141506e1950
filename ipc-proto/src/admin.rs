//! The control socket: moxctl and the supervisor, and what moxctl may ask of an account's process.

use bincode::{Decode, Encode};

use crate::{
    care::{DeletedInfo, RetentionInfo, RetentionRule, Undeleted, Which},
    channel::{Message, channel},
    control::{Layers, Role},
    transfer::{ExportReply, ExportRequest, ImportReply, ImportRequest},
    types::AccountId,
};

/// What moxctl may ask the supervisor, once the kernel has named it as root or the supervisor's own user.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AdminToSupervisor {
    /// Answered by `Status`.
    Status,
    /// Stop everything in order. Answered by `Done`; then the socket closes when all is down.
    Stop,
    /// A channel to authd, marked as the admin's. Answered by `Opened`.
    OpenDirectory,
    /// A channel to one account's process, marked as the admin's. Answered by `Opened`.
    OpenAccount(AccountId),
    /// A channel to the queue, marked as the admin's. Answered by `Opened`.
    OpenQueue,
    /// Read the configuration again. Answered by `Reloaded`, or `Refused` when it is wrong: then nothing changes.
    Reload,
    /// Only done by the build that plays captured processes in tests, refused by every other: run this script inside
    /// a worker that is locked in. Answered by `Attacked`.
    Attack {
        /// In which process.
        role: Role,
        /// Whose, for an account's.
        account: Option<AccountId>,
        /// What to try.
        script: String,
    },
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SupervisorToAdmin {
    /// All there is to know.
    Status(Status),
    /// Understood.
    Done,
    /// The channel's fd is attached.
    Opened,
    /// What the new configuration changed.
    Reloaded(Reloaded),
    /// How each step of the script ended: its number, and 0 or the errno.
    Attacked(Vec<(u32, i32)>),
    /// One line that says what is wrong and what to do.
    Refused(String),
}

/// What became of a configuration that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reloaded {
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys whose new values count after the next start only.
    pub restart: Vec<String>,
}

/// The state of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The release.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Its user id: 0, or an ordinary user's.
    pub uid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Every role's process is sandboxed and has its listeners.
    pub ready: bool,
    /// Where the mail is.
    pub directory: String,
    /// Protection that the kernel or the user does not allow here, one line each.
    pub notes: Vec<String>,
    /// Addresses that are served.
    pub listeners: Vec<ListenerStatus>,
    /// The processes, roles first, then accounts.
    pub processes: Vec<ProcessStatus>,
    /// Accounts whose processes are not listed for want of room.
    pub more_accounts: u32,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// `smtp`, `imap`, `imaps`, `http` or `https`.
    pub protocol: String,
    /// Who serves it.
    pub role: Role,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProcessStatus {
    /// What it is.
    pub role: Role,
    /// Whose, for an account's process.
    pub account: Option<AccountId>,
    /// `None`: it is down and will be started again.
    pub pid: Option<u32>,
    /// The user it runs as.
    pub uid: u32,
    /// What it reported after it locked itself in; `None`: not yet.
    pub layers: Option<Layers>,
    /// Seconds since it started.
    pub uptime: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Channels it lost for breaking the rules.
    pub violations: u32,
}

/// Most account processes that a status lists.
pub const MAX_LISTED_ACCOUNTS: usize = 200;

/// What moxctl may ask an account's process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AdminToAccountd {
    /// Read every message and count everything again. Answered by `Verified`.
    Verify,
    /// At most [`crate::care::DELETED_PAGE`] expunged messages that can come back, in the order in which they went. Answered by
    /// `Deleted`.
    DeletedList {
        /// Which of them.
        which: Which,
        /// The id of the last one of the page before; 0 for the first page.
        after: u64,
    },
    /// Bring expunged messages back. Answered by `Undeleted`.
    Undelete {
        /// Which of those that can.
        which: Which,
        /// Into this mailbox; `None`: where they were.
        into: Option<String>,
    },
    /// All retention rules, of at most 100 mailboxes. Answered by `Retentions`.
    RetentionList,
    /// Set or remove the retention rule of a mailbox. Answered by `Done`.
    RetentionSet {
        /// Which.
        mailbox: String,
        /// `None`: messages stay.
        rule: Option<RetentionRule>,
    },
    /// Bring mail in. Answered by `Import`.
    Import(ImportRequest),
    /// Take mail out. Answered by `Export`.
    Export(ExportRequest),
}

/// What an account's process answers moxctl.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AccountdToAdmin {
    /// What was found.
    Verified(Verified),
    /// A page.
    Deleted(Vec<DeletedInfo>),
    /// They are back.
    Undeleted(Undeleted),
    /// All of them.
    Retentions(Vec<RetentionInfo>),
    /// It is done.
    Done,
    /// One line that says what is wrong and what to do.
    Refused(String),
    /// What became of what was brought.
    Import(ImportReply),
    /// What was asked for.
    Export(ExportReply),
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Verified {
    /// Mailboxes looked at.
    pub mailboxes: u32,
    /// Messages whose bytes were hashed and compared.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// What is wrong, at most 100 lines; empty: all is well.
    pub problems: Vec<String>,
}

impl Message for AdminToSupervisor {}
impl Message for SupervisorToAdmin {
    fn fd_count(&self) -> usize {
        match self {
            Self::Opened => 1,
            Self::Status(_) | Self::Done | Self::Reloaded(_) | Self::Attacked(_) | Self::Refused(_) => 0,
        }
    }
}
impl Message for AdminToAccountd {
    fn fd_count(&self) -> usize {
        match self {
            Self::Verify
            | Self::DeletedList { .. }
            | Self::Undelete { .. }
            | Self::RetentionList
            | Self::RetentionSet { .. } => 0,
            Self::Import(request) => request.fds(),
            Self::Export(request) => request.fds(),
        }
    }
}
impl Message for AccountdToAdmin {}

channel! {
    /// The control socket.
    AdminSupervisor: AdminToSupervisor => SupervisorToAdmin, max_body: 128 * 1024, deadline: 60
}
channel! {
    /// The admin's channel to one account; a verification reads all mail.
    AdminAccountd: AdminToAccountd => AccountdToAdmin, max_body: 65_536, deadline: 3600
}
