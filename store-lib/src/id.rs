//! The numbers of the store. All are opaque or checked; none is a row id that means anything elsewhere.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

/// One mailbox for its whole life, across renames. Never given to a second mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId(pub(crate) i64);

/// The stored octets of one message. Copies of a message share it. Never given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub(crate) i64);

impl fmt::Display for MailboxId {
    /// MAILBOXID (RFC 8474 §4).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F{}", self.0)
    }
}

impl fmt::Display for MessageId {
    /// EMAILID (RFC 8474 §5.1). Not a digest of the octets: messages that have one in common have to be of one thread, and
    /// the same octets that came twice may answer nothing that says so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "M{}", self.0)
    }
}

/// IMAP UID: never zero, never reused within a UIDVALIDITY (RFC 9051 §2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(NonZeroU32);

impl Uid {
    /// The lowest there is.
    pub const MIN: Self = Self(NonZeroU32::MIN);
    /// The highest there is.
    pub const MAX: Self = Self(NonZeroU32::MAX);

    /// `None` for zero.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

/// With a mailbox's name it makes UIDs lasting (RFC 9051 §2.3.1.1). Rises over the whole account, so that a
/// mailbox made again under an old name never gets an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UidValidity(NonZeroU32);

impl UidValidity {
    pub(crate) fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

/// The order of changes in the account: each change gets one above every earlier one (RFC 7162 §3.1).
/// 63 bits, as RFC 7162 §8 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModSeq(pub(crate) i64);

impl ModSeq {
    /// Before any change.
    pub const ZERO: Self = Self(0);
    /// Never reached.
    pub const MAX: Self = Self(i64::MAX);

    /// `None` above 63 bits.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        i64::try_from(value).ok().map(Self)
    }

    /// The one behind it.
    #[must_use]
    pub fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1).max(0))
    }

    /// As a number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// Names one delivery for all time: a repeat gets the first answer, not a second copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId(pub [u8; 16]);

/// Who made a change, so that a session can tell its own among the events it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(pub(crate) u64);

impl Origin {
    /// No session: a delivery, or housekeeping.
    pub const NONE: Self = Self(0);
}

/// Seconds since 1970 UTC. Negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The machine's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |secs| -secs),
        })
    }
}
