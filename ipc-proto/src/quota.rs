//! What an account may hold, as the admin sets it and as its process is told.

use bincode::{Decode, Encode};

use crate::authd::DomainText;

/// The most an account may hold, worked out by authd from what the admin has set; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Quota {
    /// Octets of all messages.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// Whose quota is set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum QuotaSubject {
    /// Of every account for which nothing else is set.
    All,
    /// Of every account with an address in this domain for which nothing else is set.
    Domain(DomainText),
    /// Of one account, by its name.
    Account(String),
}

/// One limit, where one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum QuotaLimit {
    /// None, whatever is set elsewhere.
    Unlimited,
    /// So many at most.
    Most(u64),
}

/// What is set for one subject; `None`: what is set elsewhere counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct QuotaLimits {
    /// Octets of all messages.
    pub octets: Option<QuotaLimit>,
    /// Messages.
    pub messages: Option<QuotaLimit>,
}

/// What moxctl may ask authd about quotas. Lists are paged: at most [`crate::authd::PAGE`] entries that sort after `after`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QuotaRequest {
    /// Changes what is given. Answered by `Done`.
    Set {
        /// Whose.
        subject: QuotaSubject,
        /// At least one; the other stays.
        limits: QuotaLimits,
    },
    /// What is set elsewhere counts again. Answered by `Done`.
    Remove(QuotaSubject),
    /// All that is set. Answered by `Quotas`.
    List {
        /// The last one of the page before.
        after: Option<QuotaSubject>,
    },
    /// What counts for one account, by its name. Answered by `Quota`.
    Of(String),
}

impl QuotaRequest {
    /// It changes nothing.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        match self {
            Self::List { .. } | Self::Of(_) => true,
            Self::Set { .. } | Self::Remove(_) => false,
        }
    }
}

/// What is set for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QuotaInfo {
    /// Whose.
    pub subject: QuotaSubject,
    /// How much.
    pub limits: QuotaLimits,
}
