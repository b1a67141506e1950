//! A message's way in from somebody who logged in: submitd to queued.
//!
//! submitd names a connection, never an account. Whose it is queued knows from authd ([`crate::grant`]).

use bincode::{Decode, Encode};
use mail_lib::address::Address;

use crate::{
    authd::{Recipient, RecipientQuery},
    channel::{Message, channel},
    delivery::{Deliver, Outcome, SpoolNumber},
    types::{ConnectionId, Timestamp},
};

/// The longest time that a message may be held back, seconds: 60 days (RFC 4865 §3 has the server announce it).
pub const MAX_HOLD: u32 = 60 * 24 * 3600;

/// What submitd may ask queued.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SubmitdToQueued {
    /// MAIL FROM: may it be the sender of whoever logged in on that connection? Answered by `Sender`.
    Sender(ConnectionId, Option<Address>),
    /// RCPT TO, at most [`crate::delivery::MAX_RECIPIENTS`]. Answered by `Recipients`.
    Recipients(ConnectionId, Vec<RecipientQuery>),
    /// A place for a message too large for memory. Answered by `Spool` with a write-only fd.
    Spool,
    /// Take what the attached fd holds, or the spool file of the number in the request; both as in
    /// [`crate::delivery::SmtpdToQueued::Deliver`]. Answered by `Submitted`. Asked again under the same id, it happens
    /// once.
    Submit(Submit),
    /// The spool file of this number is no longer needed. Answered by `Forgotten`.
    Forget(SpoolNumber),
}

/// One message of somebody who logged in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Submit {
    /// The message and who is to get it. Its connection is the one that the grant is for.
    pub deliver: Deliver,
    /// Not before (RFC 4865); at most [`MAX_HOLD`] ahead.
    pub hold: Option<Timestamp>,
}

/// What queued answers submitd.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueuedToSubmitd {
    /// About MAIL FROM.
    Sender(Sender),
    /// One per recipient asked about, in order; or why none is said.
    Recipients(Result<Vec<Recipient>, Ungranted>),
    /// A spool file: its number, and its write-only fd attached.
    Spool(SpoolNumber),
    /// No place now: disk full or too many open. 452 4.3.1.
    NoSpool,
    /// What became of the message.
    Submitted(Submitted),
    /// Nothing was looked at: the fd, the size or a bound is wrong. 451 4.3.0, and a violation in the log.
    Refused,
    /// The answer to `Forget`.
    Forgotten,
}

/// Why a connection may not submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Ungranted {
    /// Nobody is logged in there, or not any more. 530 5.7.0.
    NotLoggedIn,
    /// Not known now. 451 4.3.0.
    TryLater,
}

/// What queued says of MAIL FROM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Sender {
    /// It is the account's.
    Ok,
    /// It is not. 550 5.7.1.
    NotYours,
    /// The connection may not submit.
    Ungranted(Ungranted),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Submitted {
    /// One outcome per recipient, in their order.
    Delivered(Vec<Outcome>),
    /// Nothing of it was kept.
    Refused(SubmissionRefusal),
}

/// Why a message is not taken from somebody who logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SubmissionRefusal {
    /// The connection may not submit.
    Ungranted(Ungranted),
    /// MAIL FROM is not the account's. 550 5.7.1.
    SenderNotYours,
    /// The header has no From field, several, or one that does not name exactly one address (RFC 5322 §3.6.2). 550 5.6.0.
    From,
    /// The address in the From field is not the account's. 550 5.7.1.
    FromNotYours,
    /// The header does not end within the bounds. 550 5.6.0.
    Header,
    /// A recipient is not local, and mail leaves this host not yet. 550 5.7.1.
    NotLocal,
    /// To be held back longer than [`MAX_HOLD`]. 501 5.5.4.
    Hold,
    /// As many messages in 24 hours as the account may send. 451 4.7.1, naming the setting.
    TooManyMessages {
        /// `limits.submission_messages`.
        limit: u32,
    },
    /// As many recipients that it never wrote to before in 24 hours as the account may have. 451 4.7.1, likewise.
    TooManyNewRecipients {
        /// `limits.submission_new_recipients`.
        limit: u32,
    },
}

impl Message for SubmitdToQueued {
    fn fd_count(&self) -> usize {
        match self {
            Self::Sender(..) | Self::Recipients(..) | Self::Spool | Self::Forget(_) => 0,
            Self::Submit(submit) => usize::from(submit.deliver.spool.is_none()),
        }
    }
}

impl Message for QueuedToSubmitd {
    fn fd_count(&self) -> usize {
        match self {
            Self::Spool(_) => 1,
            Self::Sender(_)
            | Self::Recipients(_)
            | Self::NoSpool
            | Self::Submitted(_)
            | Self::Refused
            | Self::Forgotten => 0,
        }
    }
}

channel! {
    /// submitd hands over messages. The body bound fits 1000 recipients of 320 octets.
    SubmitdQueued: SubmitdToQueued => QueuedToSubmitd, max_body: 512 * 1024, deadline: 300
}
