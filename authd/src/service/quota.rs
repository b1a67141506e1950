//! What accounts may hold, told to the supervisor, and which were full a moment ago.

use std::{collections::HashMap, time::Duration};

use ipc_proto::{
    AccountId,
    authd::{AdminToAuthd, AuthdToQueued, Owner, QueuedToAuthd, Recipient},
    control::Event,
    quota::Quota,
};
use tokio::time::Instant;

use super::Shared;

/// How long nothing comes in for an account that has refused a message for its quota. Then the next message asks it
/// again, so nobody has to say that there is room.
const FULL_FOR: Duration = Duration::from_secs(60);

/// Accounts that are known to be full; others are asked for each message.
const MAX_FULL: usize = 10_000;

/// Of all accounts.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// As the supervisor knows them.
    told: HashMap<AccountId, Quota>,
    /// And until when that counts.
    full: HashMap<AccountId, Instant>,
}

/// Whether it can change what an account may hold.
pub(super) fn changes_quotas(request: &AdminToAuthd) -> bool {
    matches!(
        request,
        AdminToAuthd::Quota(_)
            | AdminToAuthd::AccountAdd { .. }
            | AdminToAuthd::AccountRemove(_)
            | AdminToAuthd::AddressAdd { .. }
            | AdminToAuthd::AddressRemove(_)
            | AdminToAuthd::DomainRemove(_)
    ) && !request.only_looks()
}

impl Quotas {
    /// An account refused a message.
    pub(super) fn note_full(&mut self, account: AccountId) {
        let now = Instant::now();
        if self.full.len() >= MAX_FULL {
            self.full.retain(|_, until| *until > now);
        }
        if self.full.len() < MAX_FULL {
            self.full.insert(account, now + FULL_FOR);
        }
    }

    fn is_full(&self, account: AccountId) -> bool {
        self.full.get(&account).is_some_and(|until| *until > Instant::now())
    }

    /// What is other than the supervisor knows.
    fn update(&mut self, now: HashMap<AccountId, Quota>) -> Vec<(AccountId, Quota)> {
        let gone = self.told.keys().filter(|account| !now.contains_key(account));
        let mut changed: Vec<_> = gone.map(|account| (*account, Quota::default())).collect();
        let others = now.iter().filter(|(account, quota)| self.told.get(account) != Some(quota));
        changed.extend(others.map(|(account, quota)| (*account, *quota)));
        for (account, _) in &changed {
            self.full.remove(account);
        }
        self.told = now;
        changed
    }
}

impl Shared {
    /// Tells the supervisor what has changed since the last time.
    pub(super) fn tell_quotas(&self) {
        let now = self.book.read().all_quotas();
        let changed = self.state().quotas.update(now);
        for (account, quota) in changed {
            (self.up)(Event::Quota { account, quota });
        }
    }

    /// The supervisor takes no quota of an account that has no directory: it may have been told before it was made.
    pub(super) fn tell_quota_again(&self, account: AccountId) {
        let told = self.state().quotas.told.get(&account).copied();
        if let Some(quota) = told {
            (self.up)(Event::Quota { account, quota });
        }
    }

    /// What RCPT is told: whether mail for it can come in, and whether there is room for it, as far as is known.
    pub(super) fn with_room(&self, recipient: Recipient) -> Recipient {
        let Recipient::Local(address) = recipient else { return recipient };
        if self.state().quotas.full.is_empty() {
            return Recipient::Local(address);
        }
        // Of an alias some members may have room.
        let owner = self.book.read().owner(&address, None);
        match owner {
            Owner::Account(account) if self.state().quotas.is_full(account) => Recipient::Full,
            Owner::Account(_) | Owner::Members(_) | Owner::Nobody | Owner::Disabled => {
                Recipient::Local(address)
            }
        }
    }

    /// What queued asks.
    pub(super) fn answer_queued(&self, request: QueuedToAuthd) -> AuthdToQueued {
        let answer = self.book.read().answer(request);
        match answer {
            AuthdToQueued::Recipients(recipients) => AuthdToQueued::Recipients(
                recipients.into_iter().map(|recipient| self.with_room(recipient)).collect(),
            ),
            AuthdToQueued::Owners(_) | AuthdToQueued::MaySend(_) => answer,
        }
    }
}
