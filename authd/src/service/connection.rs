//! Connections that the fronts hold.

use std::{
    collections::{HashMap, hash_map},
    net::IpAddr,
};

use ipc_proto::{
    AccountId, ConnectionId,
    control::Role,
    grant::Grant,
    types::{Protocol, Run, Timestamp},
};

use super::sasl::Exchange;
use crate::limits::Moment;

/// Connections of one front, at most: more than any front accepts.
const MAX_CONNECTIONS: usize = 16_384;

/// SASL exchanges under way, at most: each holds two messages of a client at worst.
pub(super) const MAX_EXCHANGES: usize = 4096;

/// One life of one front's channel. Connections belong to it, and end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Front(u64);

/// What a login on a front opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// A session with the account's process, by way of the supervisor.
    Imap,
    /// The right to submit, by way of queued; on connections of this start of submitd.
    Submission(Run),
}

impl Access {
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Imap => Protocol::Imap,
            Self::Submission(_) => Protocol::Submission,
        }
    }
}

/// Tells a connection from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission(u64);

/// How far a connection's login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may log in.
    Stranger,
    /// A login is being judged.
    Judging,
    /// It has a session, or may submit.
    LoggedIn(AccountId),
}

/// One admitted connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: IpAddr,
    pub(super) admission: Admission,
    pub(super) failures: u32,
    pub(super) stage: Stage,
    /// SASL exchanges begun.
    pub(super) exchanges: u32,
    /// May submit until then.
    pub(super) granted: Option<Timestamp>,
    exchange: Option<Box<Exchange>>,
}

impl Connection {
    pub(super) fn account(&self) -> Option<AccountId> {
        match self.stage {
            Stage::Stranger | Stage::Judging => None,
            Stage::LoggedIn(account) => Some(account),
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    fronts: HashMap<Front, HashMap<ConnectionId, Connection>>,
    /// Whose channels they are: a role's, and which start of it.
    roles: HashMap<Front, (Role, Run)>,
    counted: u64,
    /// Connections with an exchange under way.
    exchanging: usize,
}

impl Connections {
    fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    pub(super) fn new_front(&mut self, role: Role, run: Run) -> Front {
        let front = Front(self.count());
        self.roles.insert(front, (role, run));
        self.fronts.insert(front, HashMap::new());
        front
    }

    /// What logins on it open; `None`: nobody logs in there.
    pub(super) fn access(&self, front: Front) -> Option<Access> {
        let (role, run) = self.roles.get(&front)?;
        match role {
            Role::Imapd => Some(Access::Imap),
            Role::Submitd => Some(Access::Submission(*run)),
            Role::Smtpd | Role::Webd | Role::Queued | Role::Authd | Role::Keyd | Role::Accountd => None,
        }
    }

    /// The grant of one connection.
    pub(super) fn grant(&self, front: Front, connection: ConnectionId) -> Option<Grant> {
        let Access::Submission(run) = self.access(front)? else { return None };
        let found = self.fronts.get(&front)?.get(&connection)?;
        Some(Grant { run, connection, account: found.account()?, until: found.granted? })
    }

    /// Those of one channel of submitd.
    pub(super) fn grants_of(&self, front: Front) -> impl Iterator<Item = Grant> {
        let connections = self.fronts.get(&front).into_iter().flat_map(HashMap::keys);
        connections.filter_map(move |connection| self.grant(front, *connection))
    }

    /// All of them.
    pub(super) fn grants(&self) -> impl Iterator<Item = Grant> {
        self.roles.keys().flat_map(|front| self.grants_of(*front))
    }

    /// Is it still one?
    pub(super) fn grants_hold(&self, grant: &Grant) -> bool {
        let held = |front: &Front| self.grant(*front, grant.connection).as_ref() == Some(grant);
        self.roles.keys().any(held)
    }

    /// An account's grants end; its connections stay.
    pub(super) fn revoke(&mut self, account: AccountId) {
        for found in self.fronts.values_mut().flat_map(HashMap::values_mut) {
            if found.account() == Some(account) {
                found.granted = None;
            }
        }
    }

    pub(super) fn has_room(&self, front: Front) -> bool {
        self.fronts.get(&front).is_some_and(|connections| connections.len() < MAX_CONNECTIONS)
    }

    pub(super) fn insert(&mut self, front: Front, connection: ConnectionId, address: IpAddr) {
        let admission = Admission(self.count());
        if let hash_map::Entry::Occupied(mut connections) = self.fronts.entry(front) {
            let admitted = Connection {
                address,
                admission,
                failures: 0,
                stage: Stage::Stranger,
                exchanges: 0,
                granted: None,
                exchange: None,
            };
            connections.get_mut().insert(connection, admitted);
        }
    }

    pub(super) fn get(&mut self, front: Front, connection: ConnectionId) -> Option<&mut Connection> {
        self.fronts.get_mut(&front)?.get_mut(&connection)
    }

    pub(super) fn remove(&mut self, front: Front, connection: ConnectionId) -> Option<Connection> {
        self.take_exchange(front, connection);
        self.fronts.get_mut(&front)?.remove(&connection)
    }

    /// Ends the exchange that is under way.
    pub(super) fn take_exchange(&mut self, front: Front, connection: ConnectionId) -> Option<Exchange> {
        let exchange = self.get(front, connection)?.exchange.take()?;
        self.exchanging = self.exchanging.saturating_sub(1);
        Some(*exchange)
    }

    /// Waits for the client's next step. `false`: too many clients are waited for.
    pub(super) fn hold_exchange(
        &mut self,
        front: Front,
        connection: ConnectionId,
        exchange: Exchange,
        now: Moment,
    ) -> bool {
        self.take_exchange(front, connection);
        if self.exchanging >= MAX_EXCHANGES {
            let all = self.fronts.values_mut().flat_map(HashMap::values_mut);
            for held in all.map(|found| &mut found.exchange) {
                if held.take_if(|exchange| exchange.over(now)).is_some() {
                    self.exchanging = self.exchanging.saturating_sub(1);
                }
            }
        }
        if self.exchanging >= MAX_EXCHANGES {
            return false;
        }
        let Some(found) = self.get(front, connection) else { return false };
        found.exchange = Some(Box::new(exchange));
        self.exchanging += 1;
        true
    }

    /// Whose channel it was, and what was on it.
    pub(super) fn remove_front(&mut self, front: Front) -> Option<(Role, HashMap<ConnectionId, Connection>)> {
        let (role, _) = self.roles.remove(&front)?;
        let gone = self.fronts.remove(&front).unwrap_or_default();
        let exchanging = gone.values().filter(|connection| connection.exchange.is_some()).count();
        self.exchanging = self.exchanging.saturating_sub(exchanging);
        Some((role, gone))
    }

    #[cfg(test)]
    pub(super) fn fronts(&self) -> usize {
        self.fronts.len()
    }
}
