//! What accounts may hold, as authd says: kept for the next start of an account's process, passed on to one that runs.

use std::collections::HashMap;

use ipc_proto::{
    AccountId,
    control::{Order, Role},
    quota::Quota,
};

use crate::instance::{Instance, Who};

/// Of the accounts that have one.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    known: HashMap<AccountId, Quota>,
    /// What an authd has said that is not ready yet. What it has not said then, is no more: the one before may have died
    /// between a change and its word of it.
    coming: Option<HashMap<AccountId, Quota>>,
}

impl Quotas {
    pub(crate) fn of(&self, account: AccountId) -> Quota {
        self.known.get(&account).copied().unwrap_or_default()
    }

    /// A new authd starts.
    pub(crate) fn begin(&mut self) {
        self.coming = Some(HashMap::new());
    }

    fn set(&mut self, account: AccountId, quota: Quota) {
        let note = |quotas: &mut HashMap<AccountId, Quota>| match quota == Quota::default() {
            true => quotas.remove(&account),
            false => quotas.insert(account, quota),
        };
        note(&mut self.known);
        self.coming.as_mut().map(note);
    }

    /// It has said all: accounts that have none any more.
    fn complete(&mut self) -> Vec<AccountId> {
        let Some(coming) = self.coming.take() else { return Vec::new() };
        let gone = self.known.keys().filter(|account| !coming.contains_key(account)).copied().collect();
        self.known = coming;
        gone
    }
}

impl Instance {
    /// authd says what an account may hold. Only of one that is there: so there are not more than directories.
    pub(crate) fn quota_said(&mut self, account: AccountId, quota: Quota) {
        if self.layout.has_account(account) {
            self.quotas.set(account, quota);
            self.tell_quota(account);
        }
    }

    /// authd is ready.
    pub(crate) fn quotas_complete(&mut self) {
        for account in self.quotas.complete() {
            self.tell_quota(account);
        }
    }

    /// An account refused a message.
    pub(crate) fn account_full(&mut self, account: AccountId) {
        self.tell(Role::Authd, &Order::Full(account), Vec::new());
    }

    fn tell_quota(&mut self, account: AccountId) {
        let quota = self.quotas.of(account);
        if let Some(process) = self.process_mut(Who::Account(account)) {
            process.send(&Order::Quota(quota), Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u32) -> AccountId {
        AccountId::new(number).unwrap()
    }

    #[test]
    fn what_a_new_authd_does_not_say_is_no_more() {
        let (one, two) = (account(1), account(2));
        let quota = |octets| Quota { octets: Some(octets), messages: None };
        let mut quotas = Quotas::default();
        quotas.begin();
        quotas.set(one, quota(1));
        quotas.set(two, quota(2));
        assert_eq!(quotas.complete(), []);
        assert_eq!(quotas.complete(), [], "once only");
        // Another start: until it is complete, what is known counts.
        quotas.begin();
        quotas.set(two, quota(3));
        assert_eq!((quotas.of(one), quotas.of(two)), (quota(1), quota(3)));
        assert_eq!(quotas.complete(), [one]);
        assert_eq!((quotas.of(one), quotas.of(two)), (Quota::default(), quota(3)));
        quotas.set(two, Quota::default());
        assert_eq!(quotas.of(two), Quota::default());
    }
}
