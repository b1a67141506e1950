//! Logins that wait for their session: authd says yes, the supervisor brings the stream, in either order.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipc_proto::{ConnectionId, control::SessionFacts};
use tokio::sync::oneshot;

/// A session's facts and its stream; `None`: the account's process cannot be had now.
pub(crate) type Arrival = Option<(SessionFacts, UnixStream)>;

type Waiting = HashMap<ConnectionId, oneshot::Sender<Arrival>>;

/// Who waits.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    waiting: Arc<Mutex<Waiting>>,
}

/// One that waits; dropped, its stream will be closed when it comes.
#[derive(Debug)]
pub(crate) struct Expected {
    waiting: Arc<Mutex<Waiting>>,
    connection: ConnectionId,
    arrival: oneshot::Receiver<Arrival>,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// Call before asking authd: the stream may come before the answer.
    pub(crate) fn expect(&self, connection: ConnectionId) -> Expected {
        let (sender, arrival) = oneshot::channel();
        lock(&self.waiting).insert(connection, sender);
        Expected { waiting: Arc::clone(&self.waiting), connection, arrival }
    }

    /// The supervisor brings a stream. Where nobody waits for it any more it is closed, and the session ends.
    pub(crate) fn arrived(&self, facts: SessionFacts, stream: UnixStream) {
        self.settle(facts.connection, Some((facts, stream)));
    }

    /// The supervisor cannot have the account's process.
    pub(crate) fn refused(&self, connection: ConnectionId) {
        self.settle(connection, None);
    }

    fn settle(&self, connection: ConnectionId, arrival: Arrival) {
        let waiting = lock(&self.waiting).remove(&connection);
        if waiting.is_none_or(|waiting| waiting.send(arrival).is_err()) {
            tracing::debug!(%connection, "nobody waits for this session any more");
        }
    }
}

impl Expected {
    /// Waits for it.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        (&mut self.arrival).await.unwrap_or_default()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.connection);
    }
}
