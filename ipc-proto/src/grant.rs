//! What authd tells queued unasked: who may submit on which connection, and that the directory changed.
//!
//! queued takes the account of a submitted message from here, never from submitd.

use bincode::{Decode, Encode};

use crate::{
    channel::{Message, channel},
    types::{AccountId, ConnectionId, Run, Timestamp},
};

/// How long a grant is good for, seconds. A connection that lasts longer has to log in again.
pub const GRANT_SECONDS: u32 = 3600;

/// The right of one connection of one submitd to submit as an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Which start of submitd.
    pub run: Run,
    /// submitd's number for the connection.
    pub connection: ConnectionId,
    /// As whom.
    pub account: AccountId,
    /// From then on it is good for nothing.
    pub until: Timestamp,
}

/// What authd tells queued. All are answered by [`Noted`], when they count.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Notice {
    /// From now on. submitd hears of its login only after this was answered.
    Granted(Grant),
    /// The connection is gone, or no longer logged in.
    Ended(Run, ConnectionId),
    /// All grants of the account end: its password, its state or its rights changed.
    AccountEnded(AccountId),
    /// All grants were told that there are: on a new channel those that hold follow each other, then this. What else the
    /// same authd granted before has ended. Until then queued knows of no connection that it may not submit.
    Complete,
    /// The directory changed: what was said of addresses before does not count any more.
    DirectoryChanged,
}

/// The answer to every [`Notice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Noted;

impl Message for Notice {}
impl Message for Noted {}

channel! {
    /// authd tells queued.
    AuthdQueued: Notice => Noted, max_body: 4096, deadline: 5
}
