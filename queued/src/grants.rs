//! Who may submit on which connection: as authd says, never as submitd does.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipc_proto::{
    AccountId, ConnectionId,
    grant::{GRANT_SECONDS, Grant, Notice},
    stream::End,
    submission::Ungranted,
    types::Run,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::queue::Millis;

/// Grants at most: as many as authd has connections of one submitd (16,384), and once more while another one starts.
const MAX_GRANTS: usize = 32_768;

/// How long a connection that is not known waits until authd has told all that there are.
const PATIENCE: Duration = Duration::from_secs(5);

/// All grants that there are.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    state: Mutex<State>,
    /// Whether authd has told all of them; changes with every notice.
    complete: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the channels on which authd told.
    notices: u64,
    held: HashMap<(Run, ConnectionId), Held>,
    /// Channels of submitd that are open.
    channels: HashMap<Run, usize>,
    /// The latest submitd that had one.
    latest: Option<Run>,
}

#[derive(Debug)]
struct Held {
    account: AccountId,
    /// Of the clock that does not jump.
    until: Instant,
    /// Which authd granted it.
    authd: Run,
    /// How many of authd's channels had begun.
    notices: u64,
}

/// One channel on which authd tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notices {
    pub(crate) authd: Run,
    pub(crate) number: u64,
}

/// The directory is not what it was, or everything that counts was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// A notice about grants alone.
    Grants,
    /// There was no room for it.
    NoRoom,
    /// [`Notice::Complete`].
    Complete,
    /// [`Notice::DirectoryChanged`].
    Directory,
}

impl Grants {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel of authd begins.
    pub(crate) fn notices(&self, authd: Run) -> Notices {
        let mut state = self.state();
        state.notices += 1;
        Notices { authd, number: state.notices }
    }

    /// A notice counts from the return on.
    pub(crate) fn note(&self, notices: Notices, notice: Notice, now: Millis) -> News {
        let news = match notice {
            Notice::Granted(grant) => self.state().grant(notices.authd, grant, now),
            Notice::Ended(run, connection) => {
                self.state().held.remove(&(run, connection));
                News::Grants
            }
            Notice::AccountEnded(account) => {
                self.state().held.retain(|_, held| held.account != account);
                News::Grants
            }
            Notice::Complete => {
                // What an earlier authd granted goes on: this one does not know of it.
                let again = |held: &Held| held.authd != notices.authd || held.notices >= notices.number;
                self.state().held.retain(|_, held| again(held));
                News::Complete
            }
            Notice::DirectoryChanged => News::Directory,
        };
        self.complete.send_modify(|complete| *complete |= news == News::Complete);
        news
    }

    /// A channel of submitd begins: an earlier submitd is gone, and its grants with it.
    pub(crate) fn channel(&self, run: Run) {
        let mut state = self.state();
        state.latest = state.latest.max(Some(run));
        *state.channels.entry(run).or_default() += 1;
        let latest = state.latest;
        state.held.retain(|(of, _), _| Some(*of) >= latest);
    }

    /// A channel of submitd is over. One that broke its rules lives on, and gets another.
    pub(crate) fn channel_ended(&self, run: Run, end: End) {
        let mut state = self.state();
        let left = state.channels.get(&run).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            state.channels.insert(run, left);
            return;
        }
        state.channels.remove(&run);
        match end {
            End::Closed => state.held.retain(|(of, _), _| *of != run),
            End::Violation(_) => {}
        }
    }

    /// Whose the connection of that submitd is.
    pub(crate) async fn account(&self, run: Run, connection: ConnectionId) -> Result<AccountId, Ungranted> {
        let deadline = Instant::now() + PATIENCE;
        let mut complete = self.complete.subscribe();
        loop {
            let is_complete = *complete.borrow_and_update();
            if let Some(account) = self.state().account(run, connection) {
                return Ok(account);
            }
            if is_complete {
                return Err(Ungranted::NotLoggedIn);
            }
            match timeout_at(deadline, complete.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Ungranted::TryLater),
            }
        }
    }
}

#[cfg(test)]
impl Grants {
    pub(crate) fn count(&self) -> usize {
        self.state().held.len()
    }
}

impl State {
    fn grant(&mut self, authd: Run, grant: Grant, now: Millis) -> News {
        let key = (grant.run, grant.connection);
        // One of an earlier submitd comes too late.
        if self.latest.is_some_and(|latest| grant.run < latest) {
            return News::Grants;
        }
        if self.held.len() >= MAX_GRANTS && !self.held.contains_key(&key) {
            let now = Instant::now();
            self.held.retain(|_, held| held.until > now);
            if self.held.len() >= MAX_GRANTS {
                return News::NoRoom;
            }
        }
        let left =
            grant.until.seconds.saturating_sub(now.div_euclid(1000)).clamp(0, i64::from(GRANT_SECONDS));
        let until = Instant::now() + Duration::from_secs(left.unsigned_abs());
        self.held.insert(key, Held { account: grant.account, until, authd, notices: self.notices });
        News::Grants
    }

    fn account(&self, run: Run, connection: ConnectionId) -> Option<AccountId> {
        let held = self.held.get(&(run, connection))?;
        (held.until > Instant::now()).then_some(held.account)
    }
}
