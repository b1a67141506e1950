//! Connections that the fronts hold.

use std::{
    collections::{HashMap, hash_map},
    net::IpAddr,
};

use ipc_proto::{AccountId, ConnectionId};

use super::sasl::Exchange;
use crate::limits::Moment;

/// Connections of one front, at most: more than any front accepts.
const MAX_CONNECTIONS: usize = 16_384;

/// SASL exchanges under way, at most: each holds two messages of a client at worst.
pub(super) const MAX_EXCHANGES: usize = 4096;

/// One life of one front's channel. Connections belong to it, and end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Front(u64);

/// Who connects to a front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody.
    Strangers,
    /// Those who have an account.
    Owners,
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
    /// It has a session.
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
    kinds: HashMap<Front, Kind>,
    counted: u64,
    /// Connections with an exchange under way.
    exchanging: usize,
}

impl Connections {
    fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    pub(super) fn new_front(&mut self, kind: Kind) -> Front {
        let front = Front(self.count());
        self.kinds.insert(front, kind);
        self.fronts.insert(front, HashMap::new());
        front
    }

    pub(super) fn kind(&self, front: Front) -> Option<Kind> {
        self.kinds.get(&front).copied()
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

    pub(super) fn remove_front(&mut self, front: Front) -> Vec<Connection> {
        self.kinds.remove(&front);
        let gone: Vec<_> = self.fronts.remove(&front).unwrap_or_default().into_values().collect();
        let exchanging = gone.iter().filter(|connection| connection.exchange.is_some()).count();
        self.exchanging = self.exchanging.saturating_sub(exchanging);
        gone
    }

    #[cfg(test)]
    pub(super) fn fronts(&self) -> usize {
        self.fronts.len()
    }
}
