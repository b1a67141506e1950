//! How a command ends, and what a failure of the store means in IMAP.

use std::borrow::Cow;

use imapd::response::Status;
use store_lib::StoreError;

use crate::End;

/// The tagged answer: a response code, if any, and a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    pub(crate) text: Cow<'static, str>,
    /// Messages were expunged: a client of QRESYNC is told the mod-sequence in this answer (RFC 7162 §3.2.7).
    pub(crate) expunged: bool,
}

impl Reply {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, text: text.into(), expunged: false }
    }

    pub(crate) fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::No, text: text.into(), expunged: false }
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, text: text.into(), expunged: false }
    }

    /// The same, behind messages that were expunged, if any were.
    pub(crate) fn behind_expunged(self, expunged: bool) -> Self {
        Self { expunged, ..self }
    }
}

/// Why a command stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is told, the session goes on.
    Reply(Reply),
    /// The session ends.
    End(End),
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Reply(reply_for(&error))
    }
}

/// Exhaustive on purpose: a new failure must choose its reply. Codes: RFC 9051 §7.1. Paths and causes are for the log.
pub(crate) fn reply_for(error: &StoreError) -> Reply {
    match error {
        StoreError::NoSuchMailbox => Reply::no("[NONEXISTENT] no such mailbox"),
        StoreError::NoSuchMessage => Reply::no("[EXPUNGEISSUED] that message is expunged"),
        StoreError::MailboxExists => Reply::no("[ALREADYEXISTS] that mailbox exists already"),
        StoreError::HasChildren => {
            Reply::no("[HASCHILDREN] that mailbox has others below it; delete those first")
        }
        StoreError::UseTaken => Reply::no("[USEATTR] another mailbox has that use already"),
        StoreError::NotAllowed => Reply::no("[CANNOT] that cannot be done with this mailbox"),
        StoreError::TooMany(what) => Reply::no(format!("[LIMIT] too many {what}")),
        StoreError::TooLarge { limit } => Reply::no(format!("[TOOBIG] at most {limit} octets")),
        StoreError::OverQuota => Reply::no("[OVERQUOTA] there is no room for it in this account"),
        StoreError::OutOfBudget => Reply::no("[LIMIT] that took too long and was stopped"),
        StoreError::NoSpace => {
            tracing::warn!(%error, "command refused");
            Reply::no("[UNAVAILABLE] no space left, try later")
        }
        StoreError::Damaged { .. } | StoreError::Missing { .. } => {
            failed(error, "[CORRUPTION] the account is damaged")
        }
        StoreError::Fault(_) | StoreError::Closed => failed(error, "[UNAVAILABLE] local error, try later"),
        // Of a store that is open none of these can come.
        StoreError::NewerSchema { .. }
        | StoreError::InUse { .. }
        | StoreError::Open { .. }
        | StoreError::Source(_) => failed(error, "[SERVERBUG] local error"),
    }
}

fn failed(error: &StoreError, text: &'static str) -> Reply {
    tracing::error!(%error, "command failed");
    Reply::no(text)
}
