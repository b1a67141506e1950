//! Quotas in memory: what is set, and what follows for each account.

use std::collections::{BTreeMap, HashMap};

use ipc_proto::{
    AccountId,
    authd::PAGE,
    quota::{Quota, QuotaInfo, QuotaLimit, QuotaLimits, QuotaSubject},
};

use super::Book;
use crate::directory::quota;

/// Whose a quota is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QuotaOf {
    All,
    Domain(String),
    Account(AccountId),
}

/// All that is set.
pub(super) type Quotas = BTreeMap<QuotaOf, QuotaLimits>;

impl Book {
    pub(crate) fn quota_limits(&self, of: &QuotaOf) -> Option<QuotaLimits> {
        self.quotas.get(of).copied()
    }

    pub(crate) fn set_quota(&mut self, of: QuotaOf, limits: Option<QuotaLimits>) {
        match limits {
            Some(limits) => self.quotas.insert(of, limits),
            None => self.quotas.remove(&of),
        };
    }

    pub(crate) fn quotas_after(&self, after: Option<&QuotaSubject>) -> Vec<QuotaInfo> {
        let name = |account| self.account(account).map(|account| account.name.clone());
        let mut all: Vec<_> = self
            .quotas
            .iter()
            .filter_map(|(of, limits)| {
                Some(QuotaInfo { subject: quota::subject(of, name)?, limits: *limits })
            })
            .filter(|info| after.is_none_or(|after| info.subject > *after))
            .collect();
        all.sort_by(|one, other| one.subject.cmp(&other.subject));
        all.truncate(PAGE);
        all
    }

    /// What counts for an account: what is set for it, else the most that is set for a domain in which it has an
    /// address, else what is set for all; octets and messages each for themselves.
    #[must_use]
    pub fn quota(&self, account: AccountId) -> Quota {
        let domains = self.addresses.iter().filter(|(_, held)| held.account == account);
        let domains = domains.filter_map(|(key, _)| self.domain_limits(key));
        self.work_out(account, domains.fold(QuotaLimits::default(), larger))
    }

    /// The same of every account that has a limit.
    #[must_use]
    pub fn all_quotas(&self) -> HashMap<AccountId, Quota> {
        if self.quotas.is_empty() {
            return HashMap::new();
        }
        let mut by_domain: HashMap<AccountId, QuotaLimits> = HashMap::new();
        for (key, held) in &self.addresses {
            if let Some(limits) = self.domain_limits(key) {
                let most = by_domain.entry(held.account).or_default();
                *most = larger(*most, limits);
            }
        }
        let of = |account: &AccountId| {
            self.work_out(*account, by_domain.get(account).copied().unwrap_or_default())
        };
        let all = self.accounts.keys().map(|account| (*account, of(account)));
        all.filter(|(_, quota)| *quota != Quota::default()).collect()
    }

    /// What is set for the domain of an address.
    fn domain_limits(&self, key: &str) -> Option<QuotaLimits> {
        let (_, domain) = key.rsplit_once('@')?;
        self.quota_limits(&QuotaOf::Domain(domain.to_owned()))
    }

    fn work_out(&self, account: AccountId, by_domain: QuotaLimits) -> Quota {
        let own = self.quota_limits(&QuotaOf::Account(account)).unwrap_or_default();
        let of_all = self.quota_limits(&QuotaOf::All).unwrap_or_default();
        let limit = |which: fn(&QuotaLimits) -> Option<QuotaLimit>| match which(&own)
            .or(which(&by_domain))
            .or(which(&of_all))
        {
            Some(QuotaLimit::Most(most)) => Some(most),
            Some(QuotaLimit::Unlimited) | None => None,
        };
        Quota { octets: limit(|limits| limits.octets), messages: limit(|limits| limits.messages) }
    }
}

fn larger(one: QuotaLimits, other: QuotaLimits) -> QuotaLimits {
    let more = |one, other| match (one, other) {
        (None, limit) | (limit, None) => limit,
        (Some(QuotaLimit::Unlimited), Some(_)) | (Some(_), Some(QuotaLimit::Unlimited)) => {
            Some(QuotaLimit::Unlimited)
        }
        (Some(QuotaLimit::Most(one)), Some(QuotaLimit::Most(other))) => {
            Some(QuotaLimit::Most(one.max(other)))
        }
    };
    QuotaLimits { octets: more(one.octets, other.octets), messages: more(one.messages, other.messages) }
}
