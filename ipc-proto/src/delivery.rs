//! A message's way in: smtpd to queued, queued to an account.

use bincode::{Decode, Encode};
use mail_lib::address::Address;

use crate::{
    channel::{Message, channel},
    types::{ConnectionId, DeliveryId, Timestamp},
};

/// The largest number of recipients of one transaction (RFC 9422 RCPTMAX).
pub const MAX_RECIPIENTS: usize = 1000;

/// What smtpd may ask queued.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SmtpdToQueued {
    /// A place for a message too large for memory. Answered by `Spool` with a write-only fd.
    Spool,
    /// Deliver what the attached fd holds, a memfd with all four seals; or the spool file of the number in the request,
    /// every fd of which is closed by now. Answered by `Delivered`. Asked again under the same id, by whom the answer
    /// did not reach, it happens once.
    Deliver(Deliver),
    /// The spool file of this number is no longer needed: its message was answered, or never became whole. Answered by
    /// `Forgotten`.
    Forget(SpoolNumber),
}

/// One message and who is to get it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Deliver {
    /// Chosen at random by smtpd; also the id in the `Received` field and in every log.
    pub id: DeliveryId,
    /// The connection it came on, for the log.
    pub connection: ConnectionId,
    /// MAIL FROM; `None` is the null reverse-path.
    pub reverse_path: Option<Address>,
    /// RCPT TO, as the client gave them, 1 to [`MAX_RECIPIENTS`].
    pub recipients: Vec<Address>,
    /// Trace fields of smtpd: `Received:` and later `Authentication-Results:`, each ending in CRLF. At most 8 KiB.
    pub trace: Vec<u8>,
    /// When the last octet arrived.
    pub received: Timestamp,
    /// Octets in the file.
    pub size: u64,
    /// The spool file's number, where the body is one.
    pub spool: Option<SpoolNumber>,
}

/// Names a spool file between smtpd and queued, also one that comes after the queued that made it. Random: an smtpd
/// that was not told it does not find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SpoolNumber(pub u64);

/// What queued answers smtpd.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueuedToSmtpd {
    /// A spool file: its number, and its write-only fd attached.
    Spool(SpoolNumber),
    /// No place now: disk full or too many open. 452 4.3.1.
    NoSpool,
    /// One outcome per recipient, in their order.
    Delivered(Vec<Outcome>),
    /// Nothing was looked at: the fd, the size or a bound is wrong. 451 4.3.0, and a violation in the log.
    Refused,
    /// The answer to `Forget`.
    Forgotten,
}

/// What became of a message for one recipient. `Filed` and `Stored` mean: on disk, fsynced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// In the account's mailbox.
    Filed,
    /// In the queue; it will be filed later.
    Stored,
    /// There is no such recipient. 550 5.1.1.
    NoSuchRecipient,
    /// The recipient's domain or account takes no mail now. 450 4.2.1.
    Disabled,
    /// Over quota. 452 4.2.2.
    MailboxFull,
    /// No space, or a fault of ours; nothing was kept. 451 4.3.0 or 452 4.3.1.
    TryLater {
        /// True: the disk is full.
        no_space: bool,
    },
}

impl Message for SmtpdToQueued {
    fn fd_count(&self) -> usize {
        match self {
            Self::Spool | Self::Forget(_) => 0,
            Self::Deliver(deliver) => usize::from(deliver.spool.is_none()),
        }
    }
}

impl Message for QueuedToSmtpd {
    fn fd_count(&self) -> usize {
        match self {
            Self::Spool(_) => 1,
            Self::NoSpool | Self::Delivered(_) | Self::Refused | Self::Forgotten => 0,
        }
    }
}

channel! {
    /// smtpd hands over messages. The body bound fits 1000 recipients of 320 octets.
    SmtpdQueued: SmtpdToQueued => QueuedToSmtpd, max_body: 512 * 1024, deadline: 300
}

/// What queued may ask an account. There is no verb that reads mail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueuedToAccountd {
    /// File the message in the attached fd, which is read with pread from offset 0. Answered by `Filed` after the
    /// commit is on disk, or by `Refused`. A known id gets its first answer again.
    Deliver(AccountDelivery),
    /// Was this delivery filed? Answered by `Known`.
    Have(DeliveryId),
}

/// One message for one account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AccountDelivery {
    /// Makes it happen once.
    pub id: DeliveryId,
    /// The connection it came on, for the log.
    pub connection: ConnectionId,
    /// Header fields that moxd puts before the message (Return-Path, Delivered-To, trace), each ending in CRLF.
    pub prefix: Vec<u8>,
    /// INTERNALDATE.
    pub received: Timestamp,
    /// Octets in the file.
    pub size: u64,
}

/// What an account answers queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum AccountdToQueued {
    /// On disk.
    Filed,
    /// Not kept.
    Refused(AccountRefusal),
    /// The answer to `Have`.
    Known(bool),
}

/// Why an account does not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum AccountRefusal {
    /// Over its quota.
    MailboxFull,
    /// The disk is full.
    NoSpace,
    /// The database or the disk failed; the log says more.
    Fault,
}

impl Message for QueuedToAccountd {
    fn fd_count(&self) -> usize {
        match self {
            Self::Deliver(_) => 1,
            Self::Have(_) => 0,
        }
    }
}

impl Message for AccountdToQueued {}

channel! {
    /// queued delivers to the one account that the supervisor made this channel for.
    QueuedAccountd: QueuedToAccountd => AccountdToQueued, max_body: 65_536, deadline: 120
}
