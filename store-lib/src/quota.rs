//! What an account may hold, and what it holds (RFC 9208). The admin sets it; the store only keeps to it.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::{Counts, Reader, StoreError};

/// The most an account may hold; `None` for as much as there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Octets of all messages, as [`Counts::size`] counts them: a copy is counted like the first.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What an account holds, in all mailboxes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Octets of all messages.
    pub octets: u64,
    /// Messages.
    pub messages: u64,
}

impl Usage {
    /// Whether it is beyond the quota.
    #[must_use]
    pub fn exceeds(self, quota: Quota) -> bool {
        quota.octets.is_some_and(|most| self.octets > most)
            || quota.messages.is_some_and(|most| self.messages > most)
    }

    pub(crate) fn add(&mut self, counts: Counts) {
        self.octets += counts.size;
        self.messages += counts.total;
    }

    pub(crate) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let read = "SELECT octets, messages FROM usage";
        let (octets, messages) = connection
            .prepare_cached(read)?
            .query_row((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let count = |number| u64::try_from(number).map_err(|_| StoreError::damaged("usage below zero"));
        Ok(Self { octets: count(octets)?, messages: count(messages)? })
    }
}

/// The quota in force, shared between those who set it and the writer.
#[derive(Debug)]
pub(crate) struct InForce {
    octets: AtomicU64,
    messages: AtomicU64,
}

/// For no limit: nobody has as much.
const ENDLESS: u64 = u64::MAX;

impl Default for InForce {
    fn default() -> Self {
        Self { octets: AtomicU64::new(ENDLESS), messages: AtomicU64::new(ENDLESS) }
    }
}

impl InForce {
    pub(crate) fn set(&self, quota: Quota) {
        self.octets.store(quota.octets.unwrap_or(ENDLESS), Ordering::Relaxed);
        self.messages.store(quota.messages.unwrap_or(ENDLESS), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Quota {
        let limit = |number: &AtomicU64| Some(number.load(Ordering::Relaxed)).filter(|most| *most != ENDLESS);
        Quota { octets: limit(&self.octets), messages: limit(&self.messages) }
    }
}

impl Reader<'_> {
    /// What the account holds.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        Usage::read(self.connection)
    }
}
