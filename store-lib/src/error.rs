//! What can go wrong in the store, and what a person does about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation of the store failed. After an `Err` nothing of it is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk, the quota of the file system or the file size limit is used up.
    #[error("no space left for the account's store; free some on the disk that holds it")]
    NoSpace,
    /// The system refused to read or write.
    #[error("the account's store cannot be read or written: {0}; look for disk errors in the kernel's log")]
    Fault(String),
    /// The database is not one, or not whole. It was not changed.
    #[error("{path} is damaged ({detail}); stop moxd and put back that account's directory from a backup", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, in SQLite's words.
        detail: String,
    },
    /// Other files of the account are there, its database is not.
    #[error("{path} is missing though other files of the account are there; put it back from a backup", path = path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("{path} has schema {found}, this moxd knows up to {known}; start the newer moxd that wrote it", path = path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// A process has this account open already.
    #[error("{path} is in use by another process; one process at a time opens an account", path = path.display())]
    InUse {
        /// The account's directory.
        path: PathBuf,
    },
    /// The directory or a file in it cannot be opened as what it has to be.
    #[error("cannot open {path}: {detail}; it must belong to the account's user, mode 0700, and not be a link", path = path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// The message is larger than the caller allows.
    #[error("the message is over the limit of {limit} octets")]
    TooLarge {
        /// The limit in octets.
        limit: u64,
    },
    /// The source of a message ended early or could not be read.
    #[error("the message could not be read from its sender: {0}")]
    Source(String),
    /// No mailbox has this name or id (any more).
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// The message that was to be replaced is gone.
    #[error("no such message")]
    NoSuchMessage,
    /// A mailbox has this name already.
    #[error("that mailbox exists already")]
    MailboxExists,
    /// There are mailboxes below it.
    #[error("that mailbox has others below it; delete those first")]
    HasChildren,
    /// Another mailbox is there for the same.
    #[error("another mailbox has that use already")]
    UseTaken,
    /// INBOX cannot be deleted, and no mailbox can be renamed to be below itself.
    #[error("that cannot be done with this mailbox")]
    NotAllowed,
    /// A limit on keywords, on mailboxes or on numbers that only rise.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// It would hold more than its [`crate::Quota`] then.
    #[error("the account is over its quota")]
    OverQuota,
    /// The read took longer than its budget, or was cancelled.
    #[error("the request took too long and was stopped")]
    OutOfBudget,
    /// The store was closed, or its writer ended.
    #[error("the account's store is closed")]
    Closed,
}

impl StoreError {
    /// The database holds what was never written into it.
    pub(crate) fn damaged(detail: impl Into<String>) -> Self {
        Self::Damaged { path: PathBuf::from(crate::schema::FILE_NAME), detail: detail.into() }
    }

    /// With the account's directory in the path, which running statements do not know.
    pub(crate) fn within(self, dir: &Path) -> Self {
        match self {
            Self::Damaged { path, detail } => Self::Damaged { path: dir.join(path), detail },
            other => other,
        }
    }

    /// A failure of the system while doing something to the account's own files.
    pub(crate) fn file(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace
            }
            _ => Self::Fault(error.to_string()),
        }
    }
}

impl From<nix::Error> for StoreError {
    fn from(error: nix::Error) -> Self {
        Self::file(&error.into())
    }
}

/// Errors of running statements. Those of opening are sorted by `schema::open`, which knows the path.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            Some(ErrorCode::OperationInterrupted) => Self::OutOfBudget,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::damaged(error.to_string()),
            _ => Self::Fault(error.to_string()),
        }
    }
}
