//! Other accounts, as this process knows them: by what authd says, and by streams that the supervisor brings.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use imapd_session::{Owner, Unavailable};
use ipc_proto::{
    AccountId, CallError, Channel,
    blocking::Link,
    neighbours::{AccountdAuthd, AccountdToAuthd, AuthdToAccountd},
};
use store_lib::{Budget, Grantee, Store};

use crate::account::Supervisor;

/// How long a session waits for the other account's process, which may have to be started.
const PATIENCE: Duration = Duration::from_secs(6);

/// One for the process.
#[derive(Debug)]
pub(crate) struct Neighbours {
    store: Store,
    supervisor: Arc<dyn Supervisor>,
    authd: Link<AccountdAuthd>,
    coming: Mutex<HashMap<AccountId, Coming>>,
    came: Condvar,
}

/// Streams to one account.
#[derive(Debug, Default)]
struct Coming {
    /// Sessions that wait for one.
    waiting: usize,
    streams: VecDeque<UnixStream>,
    refused: usize,
}

impl Neighbours {
    pub(crate) fn new(store: Store, supervisor: Arc<dyn Supervisor>) -> Self {
        let (authd, coming, came) = (Link::default(), Mutex::default(), Condvar::new());
        Self { store, supervisor, authd, coming, came }
    }

    /// A new channel to authd. `true`: there is something to tell it.
    pub(crate) fn connected(&self, stream: UnixStream) -> bool {
        if let Err(error) = self.authd.set(stream) {
            tracing::error!("cannot use the channel to authd: {error}");
            return false;
        }
        let shared = self.store.read(&Budget::default(), |reader| reader.grantees());
        shared.is_ok_and(|grantees| !grantees.is_empty())
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<AccountId, Coming>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor brings a stream to this account's mailboxes, or says that there is none. One that nobody waits for
    /// any more is closed.
    pub(crate) fn arrived(&self, owner: AccountId, stream: Option<UnixStream>) {
        let mut coming = self.coming();
        if let Some(found) = coming.get_mut(&owner) {
            match stream {
                Some(stream) if found.streams.len() < found.waiting => found.streams.push_back(stream),
                Some(_) => {}
                None => found.refused = (found.refused + 1).min(found.waiting),
            }
        }
        drop(coming);
        self.came.notify_all();
    }

    fn ask(&self, request: &AccountdToAuthd) -> Result<AuthdToAccountd, Unavailable> {
        match self.authd.call(request, Vec::new()) {
            Ok((reply, _)) => Ok(reply),
            Err(error) => {
                tracing::warn!("authd does not say who other accounts are: {error}");
                if let CallError::Violation(violation) = error {
                    self.supervisor.violation(AccountdAuthd::ID, violation);
                }
                Err(Unavailable)
            }
        }
    }

    /// Waits for what [`Self::arrived`] brings.
    fn wait_for(&self, owner: AccountId) -> Option<UnixStream> {
        let has_come = |coming: &mut HashMap<AccountId, Coming>| {
            coming.get(&owner).is_none_or(|found| !found.streams.is_empty() || found.refused > 0)
        };
        let waiting = self.came.wait_timeout_while(self.coming(), PATIENCE, |coming| !has_come(coming));
        let (mut coming, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        let found = coming.get_mut(&owner)?;
        let stream = found.streams.pop_front();
        if stream.is_none() {
            found.refused = found.refused.saturating_sub(1);
        }
        stream
    }

    fn stop_waiting(&self, owner: AccountId) {
        let mut coming = self.coming();
        if let Some(found) = coming.get_mut(&owner) {
            found.waiting = found.waiting.saturating_sub(1);
            if found.waiting == 0 {
                coming.remove(&owner);
            }
        }
    }
}

impl imapd_session::Neighbours for Neighbours {
    fn number_of(&self, name: &str) -> Result<Option<NonZeroU32>, Unavailable> {
        match self.ask(&AccountdToAuthd::Who(name.to_owned()))? {
            AuthdToAccountd::Number(number) => Ok(number.map(|number| number.0)),
            _ => Err(Unavailable),
        }
    }

    fn names_of(&self, numbers: &[NonZeroU32]) -> Result<Vec<Option<String>>, Unavailable> {
        let asked = numbers.iter().copied().map(AccountId).collect();
        match self.ask(&AccountdToAuthd::Names(asked))? {
            AuthdToAccountd::Names(names) if names.len() == numbers.len() => Ok(names),
            _ => Err(Unavailable),
        }
    }

    fn owners(&self) -> Result<Vec<Owner>, Unavailable> {
        match self.ask(&AccountdToAuthd::Owners)? {
            AuthdToAccountd::Owners(owners) => {
                Ok(owners.into_iter().map(|(number, name)| Owner { number: number.0, name }).collect())
            }
            _ => Err(Unavailable),
        }
    }

    fn shares_changed(&self) -> Result<(), Unavailable> {
        let grantees =
            self.store.read(&Budget::default(), |reader| reader.grantees()).map_err(|_| Unavailable)?;
        let anyone = grantees.contains(&Grantee::Anyone);
        let with = grantees.into_iter().filter_map(|grantee| match grantee {
            Grantee::Anyone => None,
            Grantee::Account(number) => Some(AccountId(number)),
        });
        match self.ask(&AccountdToAuthd::Shares { with: with.collect(), anyone })? {
            AuthdToAccountd::Noted => Ok(()),
            _ => Err(Unavailable),
        }
    }

    fn open(&self, owner: NonZeroU32) -> Result<UnixStream, Unavailable> {
        let owner = AccountId(owner);
        self.coming().entry(owner).or_default().waiting += 1;
        let stream = match self.ask(&AccountdToAuthd::Open(owner)) {
            Ok(AuthdToAccountd::Opening) => self.wait_for(owner),
            Ok(_) | Err(Unavailable) => None,
        };
        self.stop_waiting(owner);
        stream.ok_or(Unavailable)
    }
}
