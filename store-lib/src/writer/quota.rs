//! The account's usage, changed with the mailboxes' counts, and its quota.

use super::Transaction;
use super::transaction::Delta;
use crate::quota::Usage;
use crate::{Counts, StoreError};

impl Transaction<'_> {
    /// The account holds so much more, or less.
    pub(super) fn change_usage(&mut self, delta: Delta) -> Result<(), StoreError> {
        let (octets, messages) = delta.of_account();
        if (octets, messages) != (0, 0) {
            self.execute(
                "UPDATE usage SET octets = octets + ?1, messages = messages + ?2",
                (octets, messages),
            )?;
        }
        Ok(())
    }

    /// A mailbox goes with all that was in it.
    pub(super) fn drop_usage(&mut self, counts: Counts) -> Result<(), StoreError> {
        let mut delta = Delta::default();
        delta.remove(counts)?;
        self.change_usage(delta)
    }

    /// For a job that added something, after it: what it did is undone where the account has too much now.
    pub(super) fn check_quota(&self) -> Result<(), StoreError> {
        let quota = self.quota();
        if quota.octets.is_none() && quota.messages.is_none() {
            return Ok(());
        }
        if Usage::read(self.connection)?.exceeds(quota) { Err(StoreError::OverQuota) } else { Ok(()) }
    }
}
