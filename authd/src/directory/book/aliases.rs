//! Aliases in memory: whom their mail goes to, who may post, who may send as whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
};

use ipc_proto::{
    AccountId,
    alias::{AliasInfo, AliasOptions, MemberInfo, Post},
    authd::{PAGE, Pattern},
};
use mail_lib::address::Address;

use super::{Account, Book, EVERYTHING};
use crate::name::address_key;

/// One alias. Its members are keys of addresses that accounts have: one that is taken away from its account is no member
/// any more.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) address: Address,
    pub(crate) options: AliasOptions,
    pub(crate) disabled: bool,
    pub(crate) members: BTreeSet<String>,
}

/// All of them, by [`address_key`].
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<String, Alias>);

impl Aliases {
    pub(super) fn get(&self, key: &str) -> Option<&Alias> {
        self.0.get(key)
    }

    pub(super) fn forget_member(&mut self, key: &str) {
        for alias in self.0.values_mut() {
            alias.members.remove(key);
        }
    }
}

/// What mail to an alias comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MembersOf {
    /// At least one, each of them once.
    pub(crate) accounts: Vec<AccountId>,
    /// Whether the sender may post.
    pub(crate) may_post: bool,
}

impl Book {
    pub(crate) fn alias(&self, key: &str) -> Option<&Alias> {
        self.aliases.get(key)
    }

    pub(crate) fn insert_alias(&mut self, alias: Alias) {
        let key = address_key(&alias.address);
        self.count_in_domain(&key, 1);
        self.aliases.0.insert(key, alias);
    }

    pub(crate) fn remove_alias(&mut self, key: &str) {
        if self.aliases.0.remove(key).is_some() {
            self.count_in_domain(key, -1);
        }
    }

    pub(crate) fn change_alias(&mut self, key: &str, change: impl FnOnce(&mut Alias)) {
        if let Some(alias) = self.aliases.0.get_mut(key) {
            change(alias);
        }
    }

    pub(crate) fn aliases_after(&self, after: Option<String>) -> Vec<AliasInfo> {
        let from = after.map_or(Unbounded, Excluded);
        let aliases = self.aliases.0.range((from, Unbounded)).take(PAGE);
        aliases
            .map(|(_, alias)| AliasInfo {
                alias: alias.address.clone(),
                options: alias.options,
                disabled: alias.disabled,
                members: u32::try_from(alias.members.len()).unwrap_or(u32::MAX),
            })
            .collect()
    }

    pub(crate) fn members_after(&self, alias: &Alias, after: Option<String>) -> Vec<MemberInfo> {
        let from = after.map_or(Unbounded, Excluded);
        let members = alias.members.range((from, Unbounded));
        members
            .filter_map(|key| {
                let Pattern::Address(address) = self.addresses.get(key)?.pattern.clone() else { return None };
                let account = self.holder(key)?.name.as_str().to_owned();
                Some(MemberInfo { address, account, disabled: self.takes_mail(key).is_none() })
            })
            .take(PAGE)
            .collect()
    }

    /// Whom mail from this sender goes to. Members that take no mail now are left out, and so is the sender, unless nobody
    /// else is there. `None`: nobody, or the alias is disabled.
    pub(super) fn members_of(&self, alias: &Alias, sender: Option<AccountId>) -> Option<MembersOf> {
        if alias.disabled {
            return None;
        }
        let members: BTreeSet<_> = alias.members.iter().filter_map(|key| self.takes_mail(key)).collect();
        let is_member = sender.is_some_and(|sender| members.contains(&sender));
        let may_post = match alias.options.post {
            Post::Anyone => true,
            Post::Members => is_member,
        };
        let others = members.len() > 1;
        let accounts: Vec<_> =
            members.into_iter().filter(|account| !(others && Some(*account) == sender)).collect();
        if accounts.is_empty() { None } else { Some(MembersOf { accounts, may_post }) }
    }

    /// The account of an address that takes mail.
    fn takes_mail(&self, key: &str) -> Option<AccountId> {
        let (_, domain) = key.rsplit_once('@')?;
        let held = self.addresses.get(key).filter(|held| !held.disabled)?;
        let account = self.accounts.get(&held.account).filter(|account| !account.disabled)?;
        self.domains.get(domain).filter(|domain| !domain.disabled)?;
        Some(account.id)
    }

    /// Whose a reverse-path is. An account that gets everything is nobody's sender: it would be that of all strangers.
    pub(super) fn account_of_sender(&self, from: &Address) -> Option<AccountId> {
        let key = address_key(from);
        if self.addresses.contains_key(&key) || self.aliases.0.contains_key(&key) {
            return self.takes_mail(&key);
        }
        self.takes_mail(&format!("@{}", from.domain))
    }

    /// May this account send with that address as the sender? If it is its own (also by a catch-all), or an alias whose
    /// members may send as it and of which it is one.
    #[must_use]
    pub fn may_send_as(&self, account: AccountId, address: &Address) -> bool {
        let enabled = |account: &Account| !account.disabled;
        if !self.accounts.get(&account).is_some_and(enabled) {
            return false;
        }
        let domain = self.domains.get(address.domain.as_str());
        if domain.is_some_and(|domain| domain.disabled) {
            return false;
        }
        let key = address_key(address);
        if domain.is_some() {
            if let Some(alias) = self.aliases.get(&key) {
                let is_member = || alias.members.iter().any(|key| self.takes_mail(key) == Some(account));
                return alias.options.from && !alias.disabled && is_member();
            }
            // One that is held goes before any catch-all, also when it is disabled.
            for key in [key, format!("@{}", address.domain)] {
                if let Some(held) = self.addresses.get(&key) {
                    return held.account == account && !held.disabled;
                }
            }
        }
        self.addresses.get(EVERYTHING).is_some_and(|held| held.account == account && !held.disabled)
    }
}
