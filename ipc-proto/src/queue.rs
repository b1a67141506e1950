//! What moxctl may ask queued: what waits, for whom and why. There is no verb that reads a message's body.

use bincode::{Decode, Encode};
use mail_lib::address::Address;

use crate::{
    channel::{Message, channel},
    types::{ConnectionId, DeliveryId, Timestamp},
};

/// Most messages of a page.
pub const QUEUE_PAGE: usize = 100;

/// Octets of a message's header that are shown, at most.
pub const MAX_HEADER: usize = 64 * 1024;

/// What moxctl may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AdminToQueued {
    /// At most [`QUEUE_PAGE`] messages, the oldest first. Answered by `Messages`.
    List {
        /// When the last message of the page before was stored, and which it is.
        after: Option<(Timestamp, DeliveryId)>,
    },
    /// All of one message but its body. Answered by `Message`, or by `NoMessage`.
    Show(DeliveryId),
}

/// What queued answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueuedToAdmin {
    /// A page.
    Messages(Vec<QueuedMessage>),
    /// One message.
    Message(Box<QueuedDetail>),
    /// It is not in the queue, perhaps no more.
    NoMessage,
    /// One line that says what is wrong and what to do.
    Refused(String),
}

/// One message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueuedMessage {
    /// As in the log and in the message's `Received` field.
    pub id: DeliveryId,
    /// The reverse-path; `None` is the null one.
    pub from: Option<Address>,
    /// How many recipients have not got it.
    pub recipients: u32,
    /// The first of them.
    pub first: Option<Address>,
    /// Octets.
    pub size: u64,
    /// When it came into the queue.
    pub stored: Timestamp,
    /// Attempts since it last got anywhere.
    pub attempts: u32,
    /// When it is tried next.
    pub next: Timestamp,
    /// Why the first of those recipients for whom there is a reason has not got it.
    pub reason: Option<WaitReason>,
}

/// One message whole, but for its body.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueuedDetail {
    /// As in the list.
    pub message: QueuedMessage,
    /// The connection it came on.
    pub connection: ConnectionId,
    /// Who has not got it, at most [`crate::delivery::MAX_RECIPIENTS`].
    pub recipients: Vec<QueuedRecipient>,
    /// Its header fields, those that moxd adds first, at most [`MAX_HEADER`] octets of them.
    pub header: Vec<u8>,
    /// The header is longer than that.
    pub cut: bool,
}

/// Somebody who has not got it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueuedRecipient {
    /// As the client gave it.
    pub address: Address,
    /// Of an alias that some members have got it by: how many have not.
    pub members: Option<u32>,
    /// Of the last attempt; `None`: there was none yet.
    pub reason: Option<WaitReason>,
}

/// Why a recipient has not got a message yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum WaitReason {
    /// It takes no mail now.
    #[error("the address, its domain or its account is disabled")]
    Disabled,
    /// authd knows nobody of this address any more.
    #[error("the address is gone; add it again to have the message delivered")]
    Gone,
    /// authd did not answer.
    #[error("the directory process did not say whose the address is")]
    NoAnswer,
    /// The account's process cannot be had.
    #[error("the account's process cannot be reached; its log says more")]
    Unreachable,
    /// Over its quota.
    #[error("the mailbox is full")]
    MailboxFull,
    /// The disk is full.
    #[error("the disk is full")]
    NoSpace,
    /// The account's database or disk failed.
    #[error("the account could not file it; its log says more")]
    Fault,
    /// The queue's own copy cannot be read.
    #[error("the message cannot be read from the queue; the log of mox-queued says more")]
    Damaged,
}

impl Message for AdminToQueued {}
impl Message for QueuedToAdmin {}

channel! {
    /// The admin's channel to the queue. The bound fits all recipients of a message and its header.
    AdminQueued: AdminToQueued => QueuedToAdmin, max_body: 512 * 1024, deadline: 30
}
