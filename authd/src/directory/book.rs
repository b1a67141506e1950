//! The directory in memory.

mod aliases;
mod quotas;
mod shares;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use ipc_proto::{
    AccountId,
    authd::{
        AccountInfo, AddressInfo, AuthdToQueued, DomainInfo, Owner, PAGE, Pattern, QueuedToAuthd, Recipient,
        RecipientQuery,
    },
    capability::Capabilities,
    logins::{Fingerprint, Protocols},
    types::{Protocol, Timestamp},
};
use mail_lib::address::{Address, Domain, Localpart};

use self::{aliases::Aliases, quotas::Quotas, shares::Shares};
pub(crate) use self::{
    aliases::{Alias, MembersOf},
    quotas::QuotaOf,
    shares::Principal,
};

use super::key::LoginKey;
use crate::{
    limits::Network,
    name::{AccountName, LoginName, address_key},
    verifier::{Credential, Keyring, Verifier},
};

/// Networks of an account's owner that are remembered.
pub(crate) const NETWORKS: usize = 8;

/// How long a network counts as the owner's after the last login from it, seconds.
pub(crate) const NETWORK_LIFETIME: i64 = 30 * 24 * 3600;

/// Addresses that are looked through for one with a localpart.
const NAMESAKES: usize = 16;

/// Changes with every change of an account that a login depends on; no two states of any accounts share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// One account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// Takes no mail and no login.
    pub disabled: bool,
    /// The supervisor has made its directory.
    pub prepared: bool,
    /// Its password's.
    pub verifier: Option<Arc<Verifier>>,
    /// Passwords for one program each, by name. Their verifiers share salt and rounds with its own.
    pub apps: BTreeMap<Arc<str>, AppPassword>,
    /// Keys whose holders are let in, by name.
    pub keys: BTreeMap<Arc<str>, LoginKey>,
    /// What is switched off in its sessions.
    pub without: Capabilities,
    /// Of what a login depends on.
    pub version: Version,
    /// Seconds since 1970.
    pub last_login: Option<i64>,
    /// Where its owner logged in from lately, and when, the latest first.
    pub networks: Vec<(Network, i64)>,
    addresses: u32,
}

impl Account {
    pub(crate) fn new(id: AccountId, name: AccountName) -> Self {
        Self {
            id,
            name,
            disabled: false,
            prepared: false,
            verifier: None,
            apps: BTreeMap::new(),
            keys: BTreeMap::new(),
            without: Capabilities::NONE,
            version: Version(0),
            last_login: None,
            networks: Vec::new(),
            addresses: 0,
        }
    }

    /// Did the owner log in from there lately?
    #[must_use]
    pub fn knows(&self, network: Network, now: i64) -> bool {
        self.networks
            .iter()
            .any(|(known, last)| *known == network && now.saturating_sub(*last) < NETWORK_LIFETIME)
    }

    /// Where the salt of all its passwords stands.
    #[must_use]
    pub fn salted(&self) -> Option<&Arc<Verifier>> {
        self.verifier.as_ref().or_else(|| self.apps.values().next().map(|app| &app.verifier))
    }

    /// The passwords that count for this protocol, at this time. `None`: it has no password at all.
    #[must_use]
    pub fn keyring(&self, protocol: Protocol, now: i64) -> Option<Keyring> {
        let shown = Arc::clone(self.salted()?);
        let own = self.verifier.iter().map(|verifier| (Credential::Password, Arc::clone(verifier)));
        let apps = self
            .apps
            .iter()
            .filter(|(_, app)| app.counts(protocol, now))
            .map(|(name, app)| (Credential::App(Arc::clone(name)), Arc::clone(&app.verifier)));
        Some(Keyring::new(shown, own.chain(apps).collect()))
    }

    fn info(&self) -> AccountInfo {
        AccountInfo {
            id: self.id,
            name: self.name.as_str().to_owned(),
            disabled: self.disabled,
            password: self.salted().is_some(),
            addresses: self.addresses,
            last_login: self.last_login.map(|seconds| Timestamp { seconds, nanoseconds: 0 }),
            without: self.without,
        }
    }
}

/// A password for one program.
#[derive(Debug, Clone)]
pub struct AppPassword {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) protocols: Protocols,
    /// Seconds since 1970, as the others.
    pub(crate) created: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) last_use: Option<i64>,
}

impl AppPassword {
    fn counts(&self, protocol: Protocol, now: i64) -> bool {
        self.protocols.contains(protocol) && self.expires.is_none_or(|expires| now < expires)
    }
}

/// One of our domains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalDomain {
    pub(crate) disabled: bool,
    pub(crate) addresses: u32,
}

#[derive(Debug)]
struct Held {
    pattern: Pattern,
    account: AccountId,
    disabled: bool,
}

/// All of it. Look-ups take a microsecond.
#[derive(Debug)]
pub struct Book {
    hostname: Domain,
    accounts: BTreeMap<AccountId, Account>,
    names: BTreeMap<AccountName, AccountId>,
    domains: BTreeMap<String, LocalDomain>,
    /// By [`pattern_key`].
    addresses: BTreeMap<String, Held>,
    /// Whose each is, and what it is called there.
    pub(super) login_keys: HashMap<Fingerprint, (AccountId, Arc<str>)>,
    aliases: Aliases,
    quotas: Quotas,
    shares: Shares,
    /// Where owners logged in from, and when last.
    homes: HashMap<Network, i64>,
    next_account: u32,
    next_version: u64,
}

/// What an address's mail comes to.
enum Found {
    Account(AccountId),
    Alias(MembersOf),
    Disabled,
    Nobody,
    NotLocal,
}

/// The key of what an account gets: an address's own, `@domain`, or `@*`. The last two have nothing before the `@`, so
/// they are nobody's address.
pub(crate) fn pattern_key(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Address(address) => address_key(address),
        Pattern::Domain(text) => match Domain::parse(text) {
            Ok(domain) => format!("@{domain}"),
            Err(_) => format!("@{text}"),
        },
        Pattern::Everything => EVERYTHING.to_owned(),
    }
}

const EVERYTHING: &str = "@*";

impl Book {
    pub(crate) fn new(hostname: Domain, next_account: u32) -> Self {
        Self {
            hostname,
            accounts: BTreeMap::new(),
            names: BTreeMap::new(),
            domains: BTreeMap::new(),
            addresses: BTreeMap::new(),
            login_keys: HashMap::new(),
            aliases: Aliases::default(),
            quotas: Quotas::new(),
            shares: Shares::default(),
            homes: HashMap::new(),
            next_account,
            next_version: 1,
        }
    }

    /// May mail for it come in, from that sender?
    #[must_use]
    pub fn recipient(&self, query: RecipientQuery, from: Option<&Address>) -> Recipient {
        self.recipient_of(query, from.and_then(|from| self.account_of_sender(from)))
    }

    /// The same, where the sender is known by the account.
    #[must_use]
    pub fn recipient_of(&self, query: RecipientQuery, sender: Option<AccountId>) -> Recipient {
        let address = match query {
            RecipientQuery::Address(address) => address,
            // RFC 5321 §4.5.1: without a domain it is this host's.
            RecipientQuery::Postmaster => match Localpart::parse("postmaster") {
                Ok(localpart) => Address { localpart, domain: self.hostname.clone() },
                Err(_) => return Recipient::Unknown,
            },
        };
        match self.find(&address, sender) {
            Found::Account(_) | Found::Alias(MembersOf { may_post: true, .. }) => Recipient::Local(address),
            Found::Alias(MembersOf { may_post: false, .. }) => Recipient::MembersOnly,
            Found::Disabled => Recipient::Disabled,
            Found::Nobody => Recipient::Unknown,
            Found::NotLocal => Recipient::NotLocal,
        }
    }

    /// Who gets its mail?
    #[must_use]
    pub fn owner(&self, address: &Address, from: Option<&Address>) -> Owner {
        match self.find(address, from.and_then(|from| self.account_of_sender(from))) {
            Found::Account(account) => Owner::Account(account),
            // Who may post was judged when the message came: what was accepted is delivered.
            Found::Alias(MembersOf { accounts, .. }) => Owner::Members(accounts),
            Found::Disabled => Owner::Disabled,
            Found::Nobody | Found::NotLocal => Owner::Nobody,
        }
    }

    /// What queued asks.
    #[must_use]
    pub fn answer(&self, request: QueuedToAuthd) -> AuthdToQueued {
        match request {
            QueuedToAuthd::Owners(addresses, from) => AuthdToQueued::Owners(
                addresses.iter().map(|address| self.owner(address, from.as_ref())).collect(),
            ),
            QueuedToAuthd::MaySend(account, addresses) => AuthdToQueued::MaySend(
                addresses.iter().map(|address| self.may_send_as(account, address)).collect(),
            ),
            QueuedToAuthd::Recipients(account, queries) => AuthdToQueued::Recipients(
                queries.into_iter().map(|query| self.recipient_of(query, Some(account))).collect(),
            ),
        }
    }

    /// The address itself goes before its domain's catch-all, and that before the one for everything.
    fn find(&self, address: &Address, sender: Option<AccountId>) -> Found {
        let domain = self.domains.get(address.domain.as_str());
        if domain.is_some_and(|domain| domain.disabled) {
            return Found::Disabled;
        }
        let key = address_key(address);
        let postmaster = key.rsplit_once('@').is_some_and(|(localpart, _)| localpart == "postmaster")
            && (domain.is_some() || address.domain == self.hostname);
        if domain.is_some()
            && let Some(alias) = self.aliases.get(&key)
        {
            match self.members_of(alias, sender) {
                // One that cannot be delivered to does not keep mail from the postmaster.
                None | Some(MembersOf { may_post: false, .. }) if postmaster => {}
                None => return Found::Disabled,
                Some(found) => return Found::Alias(found),
            }
        }
        // An address that is disabled is held all the same: no catch-all gets its mail.
        let holder = |key: &str| {
            let held = self.addresses.get(key)?;
            let account = self.accounts.get(&held.account)?;
            Some((account, account.disabled || held.disabled))
        };
        let holders = [
            domain.and_then(|_| holder(&key)),
            domain.and_then(|_| holder(&format!("@{}", address.domain))),
            holder(EVERYTHING),
        ];
        let mut holders = holders.into_iter().flatten();
        if postmaster {
            // It must always reach somebody (RFC 5321 §4.5.1): disabled accounts are passed over.
            let anybody = self.accounts.values().map(|account| (account, account.disabled));
            let somebody = holders.chain(anybody).find(|(_, disabled)| !disabled);
            return match somebody {
                Some((account, _)) => Found::Account(account.id),
                None if self.accounts.is_empty() => Found::Nobody,
                None => Found::Disabled,
            };
        }
        match holders.next() {
            Some((_, true)) => Found::Disabled,
            Some((account, false)) => Found::Account(account.id),
            None if domain.is_some() => Found::Nobody,
            None => Found::NotLocal,
        }
    }

    /// Who logs in under that name: an account's own, or an address that is the account's and not a catch-all's.
    #[must_use]
    pub fn login(&self, name: &LoginName) -> Option<&Account> {
        match name {
            LoginName::Account(name) => self.account_named(name),
            LoginName::Address(key) if self.addresses.get(key).is_some_and(|held| held.disabled) => None,
            LoginName::Address(key) => self.holder(key),
            LoginName::Nobody(_) => None,
        }
    }

    /// Whom a name that is nobody's has to look like: whose salt is shown for it. A stranger who compares the salts of
    /// `mox`, `mox@example.org` and `mox@nowhere.example` shall find them equal, whether there is a mox or not.
    #[must_use]
    pub fn namesake(&self, name: &LoginName) -> Option<&Verifier> {
        let localpart = name.localpart();
        let named = AccountName::parse(localpart).ok().and_then(|name| self.account_named(&name));
        let account = named.or_else(|| {
            let from = format!("{localpart}@");
            let begins = self.addresses.range::<str, _>((Included(from.as_str()), Unbounded));
            // A quoted localpart may have an `@` of its own; few share a beginning with another.
            begins
                .take_while(|(key, _)| key.starts_with(&from))
                .take(NAMESAKES)
                .find(|(key, _)| key.rsplit_once('@').is_some_and(|(found, _)| found == localpart))
                .and_then(|(_, held)| self.accounts.get(&held.account))
        });
        account?.salted().map(Arc::as_ref)
    }

    /// Has the owner of any account logged in from there lately?
    #[must_use]
    pub fn is_home(&self, network: Network, now: i64) -> bool {
        self.homes.get(&network).is_some_and(|last| now.saturating_sub(*last) < NETWORK_LIFETIME)
    }

    /// By its number.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// By its name.
    #[must_use]
    pub fn account_named(&self, name: &AccountName) -> Option<&Account> {
        self.accounts.get(self.names.get(name)?)
    }

    /// Accounts whose directories the supervisor has not confirmed.
    #[must_use]
    pub fn unprepared(&self) -> Vec<AccountId> {
        self.accounts.values().filter(|account| !account.prepared).map(|account| account.id).collect()
    }

    /// The owner logged in from there, seconds since 1970.
    pub(crate) fn logged_in(&mut self, id: AccountId, network: Network, now: i64, with: &Credential) {
        let homes = self.accounts.len().saturating_add(1).saturating_mul(2 * NETWORKS);
        let Some(account) = self.accounts.get_mut(&id) else { return };
        if self.homes.len() >= homes {
            self.homes.retain(|_, last| now.saturating_sub(*last) < NETWORK_LIFETIME);
        }
        if self.homes.len() < homes {
            self.homes.insert(network, now);
        }
        account.last_login = Some(now);
        let last_use = match with {
            Credential::Password => None,
            Credential::App(name) => account.apps.get_mut(name).map(|app| &mut app.last_use),
            Credential::Key(name) => account.keys.get_mut(name).map(|key| &mut key.last_use),
        };
        if let Some(last_use) = last_use {
            *last_use = Some(now);
        }
        account.networks.retain(|(known, _)| *known != network);
        account.networks.insert(0, (network, now));
        account.networks.truncate(NETWORKS);
    }

    pub(crate) fn next_account(&self) -> Option<AccountId> {
        AccountId::new(self.next_account)
    }

    pub(crate) fn holder(&self, key: &str) -> Option<&Account> {
        self.accounts.get(&self.addresses.get(key)?.account)
    }

    pub(crate) fn has_address(&self, key: &str) -> bool {
        self.addresses.contains_key(key)
    }

    pub(crate) fn keys_of(&self, id: AccountId) -> Vec<String> {
        let held = self.addresses.iter().filter(|(_, held)| held.account == id);
        held.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn domain(&self, name: &str) -> Option<LocalDomain> {
        self.domains.get(name).copied()
    }

    pub(crate) fn accounts_after(&self, after: Option<&AccountName>) -> Vec<AccountInfo> {
        let from = after.map_or(Unbounded, Excluded);
        let ids = self.names.range::<AccountName, _>((from, Unbounded)).map(|(_, id)| id);
        ids.filter_map(|id| self.accounts.get(id)).take(PAGE).map(Account::info).collect()
    }

    pub(crate) fn addresses_after(&self, after: Option<String>) -> Vec<AddressInfo> {
        let from = after.map_or(Unbounded, Excluded);
        let held = self.addresses.range((from, Unbounded)).take(PAGE);
        held.filter_map(|(_, held)| {
            let account = self.accounts.get(&held.account)?.name.as_str().to_owned();
            Some(AddressInfo { pattern: held.pattern.clone(), account, disabled: held.disabled })
        })
        .collect()
    }

    pub(crate) fn domains_after(&self, after: Option<&str>) -> Vec<DomainInfo> {
        let from = after.map_or(Unbounded, Excluded);
        let domains = self.domains.range::<str, _>((from, Unbounded)).take(PAGE);
        domains
            .map(|(name, domain)| DomainInfo {
                name: name.clone(),
                disabled: domain.disabled,
                addresses: domain.addresses,
            })
            .collect()
    }

    pub(crate) fn insert_account(&mut self, mut account: Account) {
        account.version = self.new_version();
        self.next_account = self.next_account.max(account.id.number().saturating_add(1));
        self.names.insert(account.name.clone(), account.id);
        self.accounts.insert(account.id, account);
    }

    pub(crate) fn remove_account(&mut self, id: AccountId) {
        if let Some(account) = self.accounts.remove(&id) {
            self.names.remove(&account.name);
            self.quotas.remove(&QuotaOf::Account(id));
            self.set_shares(id, std::collections::BTreeSet::new());
            account.keys.values().for_each(|key| drop(self.login_keys.remove(&key.fingerprint)));
        }
    }

    /// A change on which logins depend: whatever was proved before counts no more.
    pub(crate) fn change_account(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) {
        let version = self.new_version();
        if let Some(account) = self.accounts.get_mut(&id) {
            change(account);
            account.version = version;
        }
    }

    pub(crate) fn prepare_account(&mut self, id: AccountId) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.prepared = true;
        }
    }

    pub(crate) fn insert_domain(&mut self, name: &str, disabled: bool) {
        self.domains.insert(name.to_owned(), LocalDomain { disabled, addresses: 0 });
    }

    pub(crate) fn remove_domain(&mut self, name: &str) {
        self.domains.remove(name);
        self.quotas.remove(&QuotaOf::Domain(name.to_owned()));
    }

    pub(crate) fn disable_domain(&mut self, name: &str, disabled: bool) {
        if let Some(domain) = self.domains.get_mut(name) {
            domain.disabled = disabled;
        }
    }

    pub(crate) fn insert_address(&mut self, pattern: Pattern, account: AccountId) {
        let key = pattern_key(&pattern);
        self.addresses.insert(key.clone(), Held { pattern, account, disabled: false });
        self.count(&key, account, 1);
    }

    pub(crate) fn disable_address(&mut self, key: &str, disabled: bool) {
        if let Some(held) = self.addresses.get_mut(key) {
            held.disabled = disabled;
        }
    }

    pub(crate) fn remove_address(&mut self, key: &str) {
        if let Some(held) = self.addresses.remove(key) {
            self.aliases.forget_member(key);
            self.count(key, held.account, -1);
        }
    }

    fn count(&mut self, key: &str, account: AccountId, change: i32) {
        if let Some(account) = self.accounts.get_mut(&account) {
            account.addresses = account.addresses.saturating_add_signed(change);
        }
        self.count_in_domain(key, change);
    }

    fn count_in_domain(&mut self, key: &str, change: i32) {
        if let Some((_, domain)) = key.rsplit_once('@')
            && let Some(domain) = self.domains.get_mut(domain)
        {
            domain.addresses = domain.addresses.saturating_add_signed(change);
        }
    }

    fn new_version(&mut self) -> Version {
        let version = Version(self.next_version);
        self.next_version += 1;
        version
    }
}
