//! Several accounts that know each other: what authd and the supervisor do between their processes, in one.

use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use imapd_session::{Facts, Neighbours, Owner, SessionLimits, Sharing, Unavailable, run};
use store_lib::{Grantee, Store};

use crate::harness::{Account, Client};

/// Accounts 1, 2, … by name.
pub(crate) struct Street {
    pub(crate) accounts: Vec<(String, Account)>,
}

#[derive(Debug, Clone)]
struct Neighbour {
    own: NonZeroU32,
    all: Arc<Vec<(NonZeroU32, String, Store)>>,
}

pub(crate) fn number(place: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(place).unwrap() + 1).unwrap()
}

impl Street {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self { accounts: names.iter().map(|name| ((*name).to_owned(), Account::new())).collect() }
    }

    pub(crate) fn place(&self, name: &str) -> usize {
        self.accounts.iter().position(|(known, _)| known == name).unwrap()
    }

    pub(crate) fn account(&self, name: &str) -> &Account {
        &self.accounts[self.place(name)].1
    }

    fn sharing(&self, name: &str) -> Sharing {
        let all = self.accounts.iter().enumerate();
        let all = all.map(|(place, (name, account))| (number(place), name.clone(), account.store.clone()));
        let own = number(self.place(name));
        let neighbours: Arc<dyn Neighbours> = Arc::new(Neighbour { own, all: Arc::new(all.collect()) });
        Sharing { neighbours: Some(neighbours), own: Some(own), guest: None }
    }

    pub(crate) fn log_in(&self, name: &str) -> Client {
        self.log_in_with(name, SessionLimits::default())
    }

    pub(crate) fn log_in_with(&self, name: &str, limits: SessionLimits) -> Client {
        self.account(name).log_in_sharing(limits, false, self.sharing(name))
    }

    /// The guest's end of a session in the owner's process, as a captured process would have it.
    pub(crate) fn guest(&self, name: &str, owner: &str) -> Client {
        let sharing = Sharing { guest: Some(number(self.place(name))), ..self.sharing(owner) };
        self.account(owner).log_in_sharing(SessionLimits::default(), false, sharing)
    }
}

impl Neighbours for Neighbour {
    fn number_of(&self, name: &str) -> Result<Option<NonZeroU32>, Unavailable> {
        Ok(self.all.iter().find(|(_, known, _)| known == name).map(|(number, ..)| *number))
    }

    fn names_of(&self, numbers: &[NonZeroU32]) -> Result<Vec<Option<String>>, Unavailable> {
        let name = |number: &NonZeroU32| {
            self.all.iter().find(|(known, ..)| known == number).map(|(_, name, _)| name.clone())
        };
        Ok(numbers.iter().map(name).collect())
    }

    fn owners(&self) -> Result<Vec<Owner>, Unavailable> {
        let shares = |store: &Store| {
            let grantees = store.read(&Default::default(), |reader| reader.grantees()).unwrap();
            grantees.contains(&Grantee::Anyone) || grantees.contains(&Grantee::Account(self.own))
        };
        let owners = self.all.iter().filter(|(number, _, store)| *number != self.own && shares(store));
        Ok(owners.map(|(number, name, _)| Owner { number: *number, name: name.clone() }).collect())
    }

    fn shares_changed(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn open(&self, owner: NonZeroU32) -> Result<UnixStream, Unavailable> {
        let (_, _, store) = self.all.iter().find(|(number, ..)| *number == owner).ok_or(Unavailable)?;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let neighbours: Arc<dyn Neighbours> = Arc::new(Self { own: owner, all: Arc::clone(&self.all) });
        let sharing = Sharing { neighbours: Some(neighbours), own: Some(owner), guest: Some(self.own) };
        let stopping = Arc::new(AtomicBool::new(false));
        let facts = Facts {
            connection: "guest".to_owned(),
            read_only: false,
            stopping,
            sharing,
            bed: None,
            without: imapd::Capabilities::NONE,
        };
        let store = store.clone();
        std::thread::spawn(move || run(store, theirs, facts, SessionLimits::default()));
        Ok(ours)
    }
}
