//! Whom a front had in hand when its process died of a signal.
//!
//! The supervisor says so with numbers that the front noted itself, so they are believed only of connections that were
//! admitted on the last channel of that front: a captured front can name those that it holds, which it could charge
//! anyway, and nobody else's. Its channel may end before the supervisor's word comes: who was admitted on it is kept for a
//! moment longer.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipc_proto::{AccountId, ConnectionId, authd::Offence, control::Role};

use super::{
    Shared, State,
    connection::{Connection, Front},
};
use crate::limits::Moment;

/// How long the supervisor's word may take, which reaps its children within milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The last channel of every front, and who was admitted on those that have ended: at most what one channel has for each
/// front.
#[derive(Debug, Default)]
pub(super) struct Lately {
    last: HashMap<Role, Front>,
    gone: HashMap<Role, Gone>,
}

#[derive(Debug)]
struct Gone {
    front: Front,
    clients: HashMap<ConnectionId, (IpAddr, Option<AccountId>)>,
}

impl Lately {
    /// What was on a channel before is nobody's any more.
    pub(super) fn begun(&mut self, role: Role, front: Front) {
        self.last.insert(role, front);
        self.gone.remove(&role);
    }

    /// Its channel has ended.
    pub(super) fn ended(
        &mut self,
        role: Role,
        front: Front,
        connections: &HashMap<ConnectionId, Connection>,
    ) {
        if self.last.get(&role) == Some(&front) {
            let client = |(id, found): (&ConnectionId, &Connection)| (*id, (found.address, found.account()));
            let clients = connections.iter().map(client).collect();
            self.gone.insert(role, Gone { front, clients });
        }
    }

    /// Nobody spoke of it in time.
    pub(super) fn forget(&mut self, front: Front) {
        self.gone.retain(|_, gone| gone.front != front);
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.gone.values().map(|gone| gone.clients.len()).sum()
    }
}

impl Shared {
    /// The supervisor's word on it. Each channel's connections are charged for one crash at most.
    pub(super) fn crashed(&self, role: Role, named: &[ConnectionId]) {
        let charged = self.state().crashed(role, named, self.now());
        let (front, named) = (role.binary(), named.len());
        tracing::info!(front, named, charged, "a front died with connections in hand");
    }
}

impl State {
    /// How many were charged: each for its part, as nobody knows which it was.
    fn crashed(&mut self, role: Role, named: &[ConnectionId], now: Moment) -> usize {
        let last = self.lately.last.remove(&role);
        let gone = self.lately.gone.remove(&role).map(|gone| gone.clients).unwrap_or_default();
        let among = u32::try_from(named.len()).unwrap_or(u32::MAX);
        let mut charged = 0;
        for connection in named {
            // The end of the channel may not have been noticed yet.
            let held = last.and_then(|front| self.connections.get(front, *connection));
            let client = held.map(|found| (found.address, found.account()));
            let Some((address, account)) = client.or_else(|| gone.get(connection).copied()) else { continue };
            tracing::debug!(%connection, "charged for a crash");
            self.limits.charge_share(address, account, Offence::Crash, among, now);
            charged += 1;
        }
        charged
    }
}
