//! What STATUS tells of a mailbox (RFC 3501 §6.3.10, RFC 9051 §6.3.11), on its own or behind LIST (RFC 5819).

use crate::cursor::{Cursor, SyntaxError};

/// Items in one STATUS; every attribute there is fits twice.
const ITEM_LIMIT: usize = 20;

/// One thing of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusItem {
    /// APPENDLIMIT (RFC 7889 §4)
    AppendLimit,
    /// DELETED
    Deleted,
    /// DELETED-STORAGE (RFC 9208 §4.1.4)
    DeletedStorage,
    /// HIGHESTMODSEQ (RFC 7162 §3.1.7)
    HighestModSeq,
    /// MAILBOXID (RFC 8474 §4.3)
    MailboxId,
    /// MESSAGES
    Messages,
    /// RECENT, which IMAP4rev2 does not have any more.
    Recent,
    /// SIZE: octets of all messages (RFC 8438).
    Size,
    /// UIDNEXT
    UidNext,
    /// UIDVALIDITY
    UidValidity,
    /// UNSEEN
    Unseen,
}

impl StatusItem {
    const ALL: [Self; 11] = [
        Self::AppendLimit,
        Self::Deleted,
        Self::DeletedStorage,
        Self::HighestModSeq,
        Self::MailboxId,
        Self::Messages,
        Self::Recent,
        Self::Size,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
    ];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppendLimit => "APPENDLIMIT",
            Self::Deleted => "DELETED",
            Self::DeletedStorage => "DELETED-STORAGE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::MailboxId => "MAILBOXID",
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::Size => "SIZE",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
        }
    }

    /// `(` items `)`
    pub(crate) fn parse_list(cursor: &mut Cursor<'_>) -> Result<Vec<Self>, SyntaxError> {
        cursor.list(ITEM_LIMIT, "STATUS items", Self::parse)
    }

    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let word = cursor.atom()?;
        Self::ALL
            .into_iter()
            .find(|item| word.eq_ignore_ascii_case(item.as_str().as_bytes()))
            .ok_or(SyntaxError::Expected("a STATUS item"))
    }
}
