//! Who shares mailboxes with whom: a hint where to look, said by the owners' processes.

use std::collections::{BTreeMap, BTreeSet};

use ipc_proto::{AccountId, neighbours::MAX_OWNERS};

use super::Book;

/// With whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Principal {
    /// Every account there is.
    Anyone,
    Account(AccountId),
}

/// All pairs, from either side.
#[derive(Debug, Default)]
pub(super) struct Shares {
    of: BTreeMap<AccountId, BTreeSet<Principal>>,
    to: BTreeMap<Principal, BTreeSet<AccountId>>,
}

impl Shares {
    fn set(&mut self, owner: AccountId, with: BTreeSet<Principal>) {
        for gone in self.of.remove(&owner).unwrap_or_default() {
            if let Some(owners) = self.to.get_mut(&gone) {
                owners.remove(&owner);
                if owners.is_empty() {
                    self.to.remove(&gone);
                }
            }
        }
        for principal in &with {
            self.to.entry(*principal).or_default().insert(owner);
        }
        if !with.is_empty() {
            self.of.insert(owner, with);
        }
    }
}

impl Book {
    /// With whom an account shares something.
    pub(crate) fn shares_of(&self, owner: AccountId) -> BTreeSet<Principal> {
        self.shares.of.get(&owner).cloned().unwrap_or_default()
    }

    pub(crate) fn set_shares(&mut self, owner: AccountId, with: BTreeSet<Principal>) {
        self.shares.set(owner, with);
    }

    fn is_enabled(&self, account: AccountId) -> bool {
        self.account(account).is_some_and(|account| !account.disabled)
    }

    /// Whether an account may be a guest of another.
    #[must_use]
    pub fn is_shared(&self, owner: AccountId, principal: AccountId) -> bool {
        let with = self.shares.of.get(&owner);
        let shares = with.is_some_and(|with| {
            with.contains(&Principal::Anyone) || with.contains(&Principal::Account(principal))
        });
        shares && owner != principal && self.is_enabled(owner) && self.is_enabled(principal)
    }

    /// Who shares something with an account, by name.
    #[must_use]
    pub fn sharers(&self, principal: AccountId) -> Vec<(AccountId, String)> {
        let of = |principal| self.shares.to.get(&principal).into_iter().flatten().copied();
        let all: BTreeSet<AccountId> =
            of(Principal::Anyone).chain(of(Principal::Account(principal))).collect();
        let mut named: Vec<_> = all
            .into_iter()
            .filter(|owner| self.is_shared(*owner, principal))
            .filter_map(|owner| Some((owner, self.account(owner)?.name.as_str().to_owned())))
            .collect();
        named.sort_by(|(_, one), (_, other)| one.cmp(other));
        named.truncate(MAX_OWNERS);
        named
    }
}
