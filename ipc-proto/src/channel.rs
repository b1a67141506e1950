//! What a channel is: two message types, a bound, a deadline.

use std::time::Duration;

use bincode::{Decode, Encode};

/// Every edge there is. The supervisor's switchboard says which process has which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[repr(u8)]
pub enum ChannelId {
    /// smtpd asks keyd for TLS signatures.
    SmtpdKeyd = 1,
    /// imapd asks keyd for TLS signatures.
    ImapdKeyd = 2,
    /// webd asks keyd for TLS signatures.
    WebdKeyd = 3,
    /// smtpd asks authd about recipients and clients.
    SmtpdAuthd = 4,
    /// imapd asks authd about clients and logins.
    ImapdAuthd = 5,
    /// webd asks authd about clients.
    WebdAuthd = 6,
    /// smtpd hands messages to queued.
    SmtpdQueued = 7,
    /// queued asks authd whose an address is.
    QueuedAuthd = 8,
    /// queued delivers to one account.
    QueuedAccountd = 9,
    /// moxctl, through the supervisor, to authd.
    AdminAuthd = 10,
    /// moxctl, through the supervisor, to one account.
    AdminAccountd = 11,
    /// moxctl to the supervisor.
    AdminSupervisor = 12,
    /// submitd asks keyd for TLS signatures.
    SubmitdKeyd = 13,
    /// submitd asks authd about clients and logins.
    SubmitdAuthd = 14,
    /// submitd hands messages to queued.
    SubmitdQueued = 15,
    /// authd tells queued who may submit, and that the directory changed.
    AuthdQueued = 16,
    /// moxctl, through the supervisor, to queued.
    AdminQueued = 17,
    /// An account's process asks authd about other accounts.
    AccountdAuthd = 18,
}

/// One edge: who asks, who answers, what may be asked.
pub trait Channel: Send + Sync + 'static {
    /// What the asking side may send.
    type Request: Message;
    /// What the answering side sends back.
    type Reply: Message;
    /// Which edge this is.
    const ID: ChannelId;
    /// The largest body of a frame, octets, either way.
    const MAX_BODY: usize;
    /// How long an asker waits for an answer.
    const DEADLINE: Duration;
}

/// Something that crosses a channel.
pub trait Message: Encode + Decode<()> + Send + 'static {
    /// How many file descriptors come with this very message: a frame with more or fewer is a violation.
    fn fd_count(&self) -> usize {
        0
    }
}

/// The largest number of fds that any message carries.
pub const MAX_FDS: usize = 4;

/// A peer that broke the rules of its channel. The channel is closed, counted and logged; nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A body longer than the channel allows.
    #[error("a frame over {limit} octets")]
    TooLarge {
        /// The channel's bound.
        limit: usize,
    },
    /// Not one of this channel's messages, or not all of it is.
    #[error("a message that does not decode")]
    Malformed,
    /// More or fewer fds than the message carries.
    #[error("the wrong number of fds")]
    FdCount,
    /// The peer was built from other sources.
    #[error("the peer is of another build")]
    Build,
    /// A kind of frame that this side never gets, or an answer to nothing.
    #[error("a frame that nobody asked for")]
    Unexpected,
    /// The peer leaves its side unread or floods ours.
    #[error("too many requests in flight")]
    Flood,
}

/// How a request ended without its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The other process is gone or came back anew; whether it acted is unknown.
    #[error("the other process restarted")]
    PeerRestarted,
    /// The other side let the request go without an answer.
    #[error("the request was dropped")]
    Dropped,
    /// No answer in time.
    #[error("no answer in time")]
    Deadline,
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    Busy,
    /// The peer broke the rules.
    #[error("the other process broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The message is larger than its channel allows: a bound was not checked where it was made.
    #[error("a message too large to send")]
    TooLarge,
}

/// Declares an edge: `channel! { SmtpdQueued: Request => Reply, max_body, seconds }`.
macro_rules! channel {
    ($(#[$doc:meta])* $name:ident: $request:ty => $reply:ty, max_body: $max:expr, deadline: $seconds:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl $crate::channel::Channel for $name {
            type Request = $request;
            type Reply = $reply;
            const ID: $crate::channel::ChannelId = $crate::channel::ChannelId::$name;
            const MAX_BODY: usize = $max;
            const DEADLINE: std::time::Duration = std::time::Duration::from_secs($seconds);
        }
    };
}
pub(crate) use channel;
