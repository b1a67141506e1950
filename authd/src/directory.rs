//! Domains, accounts and addresses: in memory for look-ups, in one database for good.
//!
//! [`Directory`] owns the database and belongs to one thread; every change is on disk (WAL, synchronous=FULL) before
//! the [`Book`] in memory shows it and before the admin is answered. `Err`: nothing changed, neither there nor here.

mod alias;
mod app;
mod attempts;
mod book;
mod database;
mod key;
mod quota;
mod refusal;
mod share;

use std::{
    num::NonZeroU32,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ipc_proto::{
    AccountId, Secret,
    authd::{AdminToAuthd, AuthdToAdmin, Pattern},
    capability::Capabilities,
};
use mail_lib::address::Domain;
use rusqlite::{TransactionBehavior, params};

pub(crate) use self::book::Principal;
pub use self::{
    book::{Account, Book, Version},
    database::OpenError,
    key::LoginKey,
    refusal::Refusal,
};
use crate::{name::AccountName, password::Password, verifier::Verifier};

/// The highest number that an account is given: users of the system are numbered with 32 bits, and accounts' users start
/// far up.
pub const MAX_ACCOUNT: u32 = 1_000_000_000;

/// The book, shared between the look-ups and the one thread that changes it. Nobody holds it for longer than a page of
/// a list takes.
#[derive(Debug, Clone)]
pub struct SharedBook(Arc<RwLock<Book>>);

impl SharedBook {
    /// To look something up.
    pub fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner of the database.
#[derive(Debug)]
pub struct Directory {
    database: rusqlite::Connection,
    book: SharedBook,
    rounds: NonZeroU32,
    secret: zeroize::Zeroizing<Vec<u8>>,
}

/// What a change was answered, and what has to happen before the answer is sent.
#[derive(Debug)]
pub struct Applied {
    /// For the admin.
    pub reply: AuthdToAdmin,
    /// Sessions of this account have to end.
    pub cut: Option<AccountId>,
    /// This account needs a directory of its own.
    pub create: Option<AccountId>,
}

impl From<AuthdToAdmin> for Applied {
    fn from(reply: AuthdToAdmin) -> Self {
        Self { reply, cut: None, create: None }
    }
}

impl Directory {
    /// Opens the database in `directory`, or makes it. One that is damaged is left as it is.
    pub fn open(directory: &Path, hostname: &str, rounds: u32) -> Result<Self, OpenError> {
        let hostname = Domain::parse(hostname).map_err(|_| OpenError::Hostname(hostname.to_owned()))?;
        let database = database::open(directory)?;
        let (book, secret) = database::load(&database, directory, hostname)?;
        let rounds = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
        Ok(Self { database, book: SharedBook(Arc::new(RwLock::new(book))), rounds, secret })
    }

    /// For look-ups.
    #[must_use]
    pub fn book(&self) -> SharedBook {
        self.book.clone()
    }

    /// Makes the verifiers of users who do not exist.
    #[must_use]
    pub fn pretender(&self) -> crate::verifier::Pretender {
        crate::verifier::Pretender::new(&self.secret, self.rounds)
    }

    /// Does what the admin asks. `Ok`: it is on disk.
    pub fn apply(&mut self, request: AdminToAuthd) -> Result<Applied, Refusal> {
        match request {
            AdminToAuthd::AccountAdd { name, address } => self.add_account(&name, address),
            AdminToAuthd::AccountRemove(name) => self.remove_account(&name),
            AdminToAuthd::AccountDisable(name, disabled) => self.disable_account(&name, disabled),
            AdminToAuthd::AccountWithout(name, without) => self.switch_off(&name, without),
            AdminToAuthd::AccountList { after } => {
                let after = after.as_deref().map(AccountName::parse).transpose();
                Ok(AuthdToAdmin::Accounts(self.book.read().accounts_after(after?.as_ref())).into())
            }
            AdminToAuthd::AddressAdd { account, pattern } => self.add_address(&account, pattern),
            AdminToAuthd::AddressRemove(pattern) => self.remove_address(&pattern),
            AdminToAuthd::AddressDisable(pattern, disabled) => self.disable_address(&pattern, disabled),
            AdminToAuthd::AddressList { after } => {
                let after = after.map(|after| match Pattern::parse(&after) {
                    Ok(pattern) => Ok(book::pattern_key(&pattern)),
                    Err(_) => Err(Refusal::not_an_address(&after)),
                });
                Ok(AuthdToAdmin::Addresses(self.book.read().addresses_after(after.transpose()?)).into())
            }
            AdminToAuthd::DomainAdd(name) => self.add_domain(&name),
            AdminToAuthd::DomainRemove(name) => self.remove_domain(&name),
            AdminToAuthd::DomainDisable(name, disabled) => self.disable_domain(&name, disabled),
            AdminToAuthd::DomainList { after } => {
                Ok(AuthdToAdmin::Domains(self.book.read().domains_after(after.as_deref())).into())
            }
            AdminToAuthd::PasswordSet { account, password } => self.set_password(&account, &password),
            AdminToAuthd::AppPasswordAdd { account, name, protocols, expires } => {
                self.add_app_password(&account, &name, protocols, expires)
            }
            AdminToAuthd::AppPasswordRemove { account, name } => self.remove_app_password(&account, &name),
            AdminToAuthd::AppPasswordList(account) => self.app_passwords(&account),
            AdminToAuthd::LoginKeyAdd { account, name, fingerprint, protocols, expires } => {
                self.add_login_key(&account, &name, fingerprint, protocols, expires)
            }
            AdminToAuthd::LoginKeyRemove { account, name } => self.remove_login_key(&account, &name),
            AdminToAuthd::LoginKeyList(account) => self.login_keys(&account),
            AdminToAuthd::LoginList { account, before } => self.attempts(account.as_deref(), before),
            AdminToAuthd::Alias(request) => self.apply_to_aliases(request),
            AdminToAuthd::Quota(request) => self.apply_to_quotas(request),
            // Answered from memory, not from here.
            AdminToAuthd::AbuseList { .. } | AdminToAuthd::AbuseClear(_) => Err(Refusal::Busy),
        }
    }

    fn add_account(&mut self, name: &str, address: Option<Pattern>) -> Result<Applied, Refusal> {
        let name = AccountName::parse(name)?;
        let id = {
            let book = self.book.read();
            if book.account_named(&name).is_some() {
                return Err(Refusal::AccountExists(name));
            }
            if let Some(pattern) = &address {
                Self::check_free(&book, pattern)?;
            }
            book.next_account().filter(|id| id.number() <= MAX_ACCOUNT).ok_or(Refusal::NumbersUsedUp)?
        };
        let address = address.map(|pattern| (pattern_domain(&pattern), pattern));
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE meta SET next_account = ?1", [id.number() + 1])?;
        transaction.execute(
            "INSERT INTO account (id, name, created) VALUES (?1, ?2, unixepoch())",
            params![id.number(), name.as_str()],
        )?;
        if let Some((domain, pattern)) = &address {
            database::insert_address(&transaction, id, pattern, domain.as_deref())?;
        }
        transaction.commit()?;
        let mut book = self.book.write();
        book.insert_account(Account::new(id, name));
        if let Some((_, pattern)) = address {
            book.insert_address(pattern, id);
        }
        Ok(Applied { reply: AuthdToAdmin::Added(id), cut: None, create: Some(id) })
    }

    fn remove_account(&mut self, name: &str) -> Result<Applied, Refusal> {
        let id = self.account(name)?;
        let keys = self.book.read().keys_of(id);
        self.database.execute("DELETE FROM account WHERE id = ?1", [id.number()])?;
        let mut book = self.book.write();
        keys.iter().for_each(|key| book.remove_address(key));
        book.remove_account(id);
        Ok(Applied { cut: Some(id), ..AuthdToAdmin::Done.into() })
    }

    fn disable_account(&mut self, name: &str, disabled: bool) -> Result<Applied, Refusal> {
        let id = self.account(name)?;
        self.database
            .execute("UPDATE account SET disabled = ?2 WHERE id = ?1", params![id.number(), disabled])?;
        self.book.write().change_account(id, |account| account.disabled = disabled);
        Ok(Applied { cut: disabled.then_some(id), ..AuthdToAdmin::Done.into() })
    }

    fn switch_off(&mut self, name: &str, without: Capabilities) -> Result<Applied, Refusal> {
        let id = self.account(name)?;
        let words: Vec<_> = without.words().collect();
        self.database.execute(
            "UPDATE account SET without = ?2 WHERE id = ?1",
            params![id.number(), words.join(" ")],
        )?;
        self.book.write().change_account(id, |account| account.without = without);
        Ok(Applied { cut: Some(id), ..AuthdToAdmin::Done.into() })
    }

    fn set_password(&mut self, name: &str, password: &Secret) -> Result<Applied, Refusal> {
        let id = self.account(name)?;
        let password = Password::choose(password)?;
        // Where there are app passwords the salt stays: all of an account's share it.
        let beside = self
            .book
            .read()
            .account(id)
            .and_then(|account| account.apps.values().next().map(|app| Arc::clone(&app.verifier)));
        let verifier = match beside {
            Some(app) => app.beside(&password),
            None => Verifier::new(&password, self.rounds)?,
        };
        self.database.execute(
            "INSERT OR REPLACE INTO verifier (account, salt, rounds, stored_key, server_key)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id.number(), verifier.salt, verifier.rounds, verifier.stored_key, verifier.server_key],
        )?;
        self.book.write().change_account(id, |account| account.verifier = Some(Arc::new(verifier)));
        Ok(Applied { cut: Some(id), ..AuthdToAdmin::Done.into() })
    }

    fn add_address(&mut self, account: &str, pattern: Pattern) -> Result<Applied, Refusal> {
        let id = self.account(account)?;
        Self::check_free(&self.book.read(), &pattern)?;
        let domain = pattern_domain(&pattern);
        database::insert_address(&self.database, id, &pattern, domain.as_deref())?;
        self.book.write().insert_address(pattern, id);
        Ok(AuthdToAdmin::Done.into())
    }

    fn remove_address(&mut self, pattern: &Pattern) -> Result<Applied, Refusal> {
        let key = book::pattern_key(pattern);
        if !self.book.read().has_address(&key) {
            return Err(Refusal::NoAddress(pattern.to_string()));
        }
        self.database.execute("DELETE FROM address WHERE key = ?1", [&key])?;
        self.book.write().remove_address(&key);
        Ok(AuthdToAdmin::Done.into())
    }

    fn disable_address(&mut self, pattern: &Pattern, disabled: bool) -> Result<Applied, Refusal> {
        let key = book::pattern_key(pattern);
        if !self.book.read().has_address(&key) {
            return Err(Refusal::NoAddress(pattern.to_string()));
        }
        self.database.execute("UPDATE address SET disabled = ?2 WHERE key = ?1", params![key, disabled])?;
        self.book.write().disable_address(&key, disabled);
        Ok(AuthdToAdmin::Done.into())
    }

    fn add_domain(&mut self, name: &str) -> Result<Applied, Refusal> {
        let domain = Domain::parse(name).map_err(|_| Refusal::not_a_domain(name))?;
        if domain.literal().is_some() {
            return Err(Refusal::not_a_domain(name));
        }
        if self.book.read().domain(domain.as_str()).is_some() {
            return Err(Refusal::DomainExists(domain));
        }
        self.database.execute("INSERT INTO domain (name) VALUES (?1)", [domain.as_str()])?;
        self.book.write().insert_domain(domain.as_str(), false);
        Ok(AuthdToAdmin::Done.into())
    }

    fn remove_domain(&mut self, name: &str) -> Result<Applied, Refusal> {
        let (domain, addresses) = self.local_domain(name)?;
        if addresses > 0 {
            return Err(Refusal::DomainInUse { domain, addresses });
        }
        self.database.execute("DELETE FROM domain WHERE name = ?1", [domain.as_str()])?;
        self.book.write().remove_domain(domain.as_str());
        Ok(AuthdToAdmin::Done.into())
    }

    fn disable_domain(&mut self, name: &str, disabled: bool) -> Result<Applied, Refusal> {
        let (domain, _) = self.local_domain(name)?;
        self.database
            .execute("UPDATE domain SET disabled = ?2 WHERE name = ?1", params![domain.as_str(), disabled])?;
        self.book.write().disable_domain(domain.as_str(), disabled);
        Ok(AuthdToAdmin::Done.into())
    }

    /// The supervisor has made the account's directory.
    pub fn prepared(&mut self, id: AccountId) -> Result<(), Refusal> {
        self.database.execute("UPDATE account SET prepared = 1 WHERE id = ?1", [id.number()])?;
        self.book.write().prepare_account(id);
        Ok(())
    }

    /// Keeps when and from where these accounts logged in, as the book has it.
    pub fn save_logins(&mut self, accounts: impl IntoIterator<Item = AccountId>) -> Result<(), Refusal> {
        let transaction = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in accounts {
            let Some((last_login, networks)) =
                self.book.read().account(id).map(|account| (account.last_login, account.networks.clone()))
            else {
                continue;
            };
            transaction.execute(
                "UPDATE account SET last_login = ?2 WHERE id = ?1",
                params![id.number(), last_login],
            )?;
            transaction.execute("DELETE FROM network WHERE account = ?1", [id.number()])?;
            for (network, last) in networks {
                transaction.execute(
                    "INSERT INTO network (account, network, last_login) VALUES (?1, ?2, ?3)",
                    params![id.number(), network.to_octets(), last],
                )?;
            }
            app::save_use(&transaction, &self.book.read(), id)?;
            key::save_use(&transaction, &self.book.read(), id)?;
        }
        Ok(transaction.commit()?)
    }

    fn account(&self, name: &str) -> Result<AccountId, Refusal> {
        let name = AccountName::parse(name)?;
        let id = self.book.read().account_named(&name).map(|account| account.id);
        id.ok_or(Refusal::NoAccount(name))
    }

    fn local_domain(&self, name: &str) -> Result<(Domain, u32), Refusal> {
        let domain = Domain::parse(name).map_err(|_| Refusal::not_a_domain(name))?;
        match self.book.read().domain(domain.as_str()) {
            Some(found) => Ok((domain, found.addresses)),
            None => Err(Refusal::NoDomain(domain)),
        }
    }

    /// The domain is ours, and nobody has the address yet.
    fn check_free(book: &Book, pattern: &Pattern) -> Result<(), Refusal> {
        if let Some(name) = pattern_domain(pattern) {
            let domain = Domain::parse(&name).map_err(|_| Refusal::not_a_domain(&name))?;
            if book.domain(domain.as_str()).is_none() {
                return Err(Refusal::NoDomain(domain));
            }
        }
        let key = book::pattern_key(pattern);
        if book.alias(&key).is_some() {
            return Err(Refusal::AddressIsAlias(pattern.to_string()));
        }
        match book.holder(&key) {
            Some(account) => {
                Err(Refusal::AddressTaken { pattern: pattern.to_string(), account: account.name.clone() })
            }
            None => Ok(()),
        }
    }
}

/// The domain that a pattern is about, as the directory spells it.
fn pattern_domain(pattern: &Pattern) -> Option<String> {
    match pattern {
        Pattern::Address(address) => Some(address.domain.as_str().to_owned()),
        Pattern::Domain(text) => Some(match Domain::parse(text) {
            Ok(domain) => domain.as_str().to_owned(),
            Err(_) => text.clone(),
        }),
        Pattern::Everything => None,
    }
}

#[cfg(test)]
mod tests;
