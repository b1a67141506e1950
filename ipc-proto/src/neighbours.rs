//! What an account's process may ask authd about other accounts: names, and who shares mailboxes with whom.
//!
//! authd keeps who shares something with whom as a hint where to look. What may be done with a mailbox its owner's process
//! decides, by rights in the owner's own database.

use bincode::{Decode, Encode};

use crate::{
    channel::{Message, channel},
    types::AccountId,
};

/// Most numbers in one request: as many rights as an account can give.
pub const MAX_NUMBERS: usize = 1_000;

/// Most accounts in one answer.
pub const MAX_OWNERS: usize = 500;

/// What an account's process may ask.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AccountdToAuthd {
    /// Whose name, or address, is that? At most 320 octets. Answered by `Number`.
    Who(String),
    /// The names of these, at most [`MAX_NUMBERS`]. Answered by `Names`.
    Names(Vec<AccountId>),
    /// With whom the account shares something now; the latest counts. Answered by `Noted`, or `Busy`.
    Shares {
        /// At most [`MAX_NUMBERS`].
        with: Vec<AccountId>,
        /// With every account there is.
        anyone: bool,
    },
    /// Who shares something with the account. Answered by `Owners`.
    Owners,
    /// A stream to a session as a guest of this account: it comes as an order of the supervisor. Answered by `Opening` or
    /// `NotShared`.
    Open(AccountId),
}

/// What authd answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AuthdToAccountd {
    /// Whose it is; `None`: nobody's.
    Number(Option<AccountId>),
    /// As many as were asked about, in their order; `None`: that account is no more.
    Names(Vec<Option<String>>),
    /// It is on disk.
    Noted,
    /// Not now: ask again.
    Busy,
    /// Numbers and names of accounts that are not disabled, by name; at most [`MAX_OWNERS`].
    Owners(Vec<(AccountId, String)>),
    /// The supervisor was asked for the stream.
    Opening,
    /// That account shares nothing with this one, or one of both is disabled.
    NotShared,
}

impl Message for AccountdToAuthd {}
impl Message for AuthdToAccountd {}

channel! {
    /// An account's process asks about others. The body bound fits a thousand names of 64 octets.
    AccountdAuthd: AccountdToAuthd => AuthdToAccountd, max_body: 128 * 1024, deadline: 5
}
