//! Whose an address is, remembered for as long as authd would tell of a change.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipc_proto::{AccountId, authd::Owner};
use mail_lib::address::Address;
use tokio::time::Instant;

use crate::{grants::Notices, group, service::Shared};

/// Addresses at most.
const MAX_KNOWN: usize = 4096;

/// How long an answer counts, should authd not be heard.
const FRESH: Duration = Duration::from_secs(30);

/// What authd said of addresses.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Counts what makes earlier answers worthless.
    epoch: u64,
    notices: Option<Notices>,
    /// The channel of notices is open, and all is told.
    told: bool,
    known: HashMap<Address, (AccountId, Instant)>,
}

impl State {
    fn forget(&mut self) {
        self.epoch += 1;
        self.known.clear();
    }
}

impl Owners {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory changed, or the channel that answers is another one or ended.
    pub(crate) fn forget(&self) {
        self.state().forget();
    }

    /// A channel of notices begins.
    pub(crate) fn notices(&self, notices: Notices) {
        let mut state = self.state();
        state.forget();
        state.told = false;
        state.notices = Some(notices);
    }

    /// Everything was told on it: from now on changes are.
    pub(crate) fn told(&self, notices: Notices) {
        let mut state = self.state();
        state.told |= state.notices == Some(notices);
    }

    /// It is over.
    pub(crate) fn notices_ended(&self, notices: Notices) {
        let mut state = self.state();
        state.forget();
        state.told &= state.notices != Some(notices);
    }

    /// Of all of them, or nothing; and what [`Self::learn`] is to be told.
    fn recall(&self, addresses: &[&Address]) -> Result<Vec<Owner>, u64> {
        let state = self.state();
        let now = Instant::now();
        let known = |address: &&Address| {
            let (account, until) = state.known.get(*address)?;
            (*until > now).then_some(Owner::Account(*account))
        };
        addresses.iter().map(known).collect::<Option<_>>().ok_or(state.epoch)
    }

    /// What was asked in that epoch. Only whose own an address is counts for every reverse-path.
    fn learn(&self, epoch: u64, addresses: &[&Address], owners: &[Owner]) {
        let mut state = self.state();
        if !state.told || state.epoch != epoch {
            return;
        }
        let until = Instant::now() + FRESH;
        for (address, owner) in addresses.iter().zip(owners) {
            if let Owner::Account(account) = owner {
                if state.known.len() >= MAX_KNOWN {
                    state.known.clear();
                }
                state.known.insert((*address).clone(), (*account, until));
            }
        }
    }
}

impl Shared {
    /// Whose the recipients are, for a message from there; `None`: authd cannot say now.
    pub(crate) async fn owners_of(
        &self,
        recipients: &[&Address],
        from: Option<&Address>,
    ) -> Option<Vec<Owner>> {
        match self.owners.recall(recipients) {
            Ok(owners) => Some(owners),
            Err(epoch) => {
                let owners = group::owners(&self.authd, recipients, from).await?;
                self.owners.learn(epoch, recipients, &owners);
                Some(owners)
            }
        }
    }
}

#[cfg(test)]
impl Owners {
    pub(crate) fn count(&self) -> usize {
        self.state().known.len()
    }
}

#[cfg(test)]
mod tests {
    use ipc_proto::types::Run;

    use super::*;

    fn address(number: usize) -> Address {
        Address::parse(&format!("{number}@x.org")).unwrap()
    }

    fn owner() -> Owner {
        Owner::Account(AccountId::new(1).unwrap())
    }

    fn begin(owners: &Owners, number: u64) -> Notices {
        let notices = Notices { authd: Run(1), number };
        owners.notices(notices);
        notices
    }

    /// Asks, with what happens before the answer.
    fn ask(owners: &Owners, number: usize, answer: Owner, before: impl FnOnce()) {
        let epoch = owners.recall(&[&address(number)]).unwrap_err();
        before();
        owners.learn(epoch, &[&address(number)], &[answer]);
    }

    fn knows(owners: &Owners, number: usize) -> bool {
        owners.recall(&[&address(number)]) == Ok(vec![owner()])
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_only_while_a_change_would_be_told() {
        let owners = Owners::default();
        ask(&owners, 1, owner(), || {});
        assert!(!knows(&owners, 1), "no channel of notices");
        let notices = begin(&owners, 1);
        ask(&owners, 1, owner(), || {});
        assert!(!knows(&owners, 1), "not everything is told");
        owners.told(notices);
        let members = Owner::Members(vec![AccountId::new(1).unwrap()]);
        for (number, answer) in [(2, Owner::Nobody), (3, Owner::Disabled), (4, members)] {
            ask(&owners, number, answer.clone(), || {});
            assert!(!knows(&owners, number), "{answer:?} may change any time");
        }
        for reason in ["the directory changed", "another channel of notices", "it ended", "its time is over"]
        {
            let notices = begin(&owners, 2);
            owners.told(notices);
            ask(&owners, 1, owner(), || {});
            assert!(knows(&owners, 1));
            match reason {
                "the directory changed" => owners.forget(),
                "another channel of notices" => drop(begin(&owners, 3)),
                "it ended" => owners.notices_ended(notices),
                _ => tokio::time::advance(FRESH).await,
            }
            assert!(!knows(&owners, 1), "{reason}");
        }
        let late = begin(&owners, 4);
        let current = begin(&owners, 5);
        owners.told(late);
        ask(&owners, 1, owner(), || {});
        assert!(!knows(&owners, 1), "an earlier channel says nothing of this one");
        owners.told(current);
        owners.notices_ended(late);
        ask(&owners, 1, owner(), || owners.forget());
        assert!(!knows(&owners, 1), "asked before the change");
        ask(&owners, 1, owner(), || {});
        assert!(knows(&owners, 1));
    }

    /// Attack class 27: what is remembered is bounded.
    #[tokio::test]
    async fn no_more_is_remembered_than_there_is_room_for() {
        let owners = Owners::default();
        owners.told(begin(&owners, 1));
        for number in 0..=MAX_KNOWN {
            ask(&owners, number, owner(), || {});
        }
        assert!(owners.count() <= MAX_KNOWN && knows(&owners, MAX_KNOWN));
    }
}
