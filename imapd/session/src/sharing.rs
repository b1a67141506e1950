//! What a session knows of other accounts (RFC 4314, RFC 2342 §5): who they are, who shares mailboxes with this one, and
//! how to get to them.
//!
//! ```text
//!   alice's session ── the client's command, as it came ──▶ a session of alice as a guest, in bob's process
//!   (`remote`)      ◀── answers, each looked at ────────── (`guest`): every command needs a right
//! ```

use std::fmt;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Above the mailboxes of others, each account having a level of its own.
pub(crate) const OTHER_USERS: &str = "Other Users";

/// Other accounts, as the process sees them.
pub trait Neighbours: fmt::Debug + Send + Sync {
    /// The account of this name.
    fn number_of(&self, name: &str) -> Result<Option<NonZeroU32>, Unavailable>;
    /// The names of these, as many and in their order; `None` for one that is no more.
    fn names_of(&self, numbers: &[NonZeroU32]) -> Result<Vec<Option<String>>, Unavailable>;
    /// Who shares anything with this account.
    fn owners(&self) -> Result<Vec<Owner>, Unavailable>;
    /// This account shares with others now.
    fn shares_changed(&self) -> Result<(), Unavailable>;
    /// A stream to a session as a guest of this account.
    fn open(&self, owner: NonZeroU32) -> Result<UnixStream, Unavailable>;
}

/// An account that shares something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub number: NonZeroU32,
    /// Its name.
    pub name: String,
}

/// The other process does not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("other accounts cannot be reached now")]
pub struct Unavailable;

/// Whose session it is, and whom it knows.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    /// `None`: nobody.
    pub neighbours: Option<Arc<dyn Neighbours>>,
    /// This account's number; `None` where it shares nothing.
    pub own: Option<NonZeroU32>,
    /// The session is another account's, which may do only what this one's rights let it.
    pub guest: Option<NonZeroU32>,
}
