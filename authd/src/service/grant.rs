//! What queued is told: who may submit on which connection, and that the directory changed.
//!
//! A grant is part of its connection ([`super::connection::Connection`]) and ends with it. queued keeps its own table;
//! a new queued is told all of it again.

use std::{io, os::unix::net::UnixStream, sync::Arc, time::Duration};

use ipc_proto::{
    AccountId, CallError, Channel, ConnectionId,
    authd::Login,
    control::Event,
    grant::{AuthdQueued, GRANT_SECONDS, Grant, Notice},
    types::{Run, Timestamp},
};

use super::{Shared, connection::Admission, connection::Front};
use crate::verifier::random;

/// Before a notice that found no room is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Takes a new channel to queued, and tells it all grants that there are.
pub(super) fn channel(shared: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    let up = Arc::clone(shared);
    shared.queued.set(stream, move |violation| {
        if let Some(violation) = violation {
            tracing::warn!(channel = ?AuthdQueued::ID, "channel closed: {violation}");
            (up.up)(Event::Violation { channel: AuthdQueued::ID, account: None, kind: violation.into() });
        }
    })?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let known: Vec<_> = shared.state().connections.grants().collect();
        for grant in known {
            // One that ended meanwhile was told so before, and must not come back.
            if shared.state().connections.grants_hold(&grant)
                && shared.queued.call(&Notice::Granted(grant), Vec::new()).await.is_err()
            {
                // The next queued has a channel of its own, and is told everything.
                return;
            }
        }
        let _ = shared.queued.call(&Notice::Complete, Vec::new()).await;
    });
    Ok(())
}

impl Shared {
    /// Tells queued in its own time. What ends has to arrive: it is tried again until queued took it. Without a channel
    /// there is nothing to tell: the next one begins with all that holds.
    pub(super) fn tell_queued(self: &Arc<Self>, notice: Notice) {
        if !self.queued.is_alive() {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match shared.queued.call(&notice, Vec::new()).await {
                    Ok(_) | Err(CallError::PeerRestarted | CallError::Violation(_) | CallError::TooLarge) => {
                        return;
                    }
                    Err(CallError::Busy | CallError::Deadline | CallError::Dropped) => {
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        });
    }

    /// The directory changed: queued forgets what it was told of it. One that is being started knows nothing yet; one that
    /// does not answer in time is told again until it does.
    pub(super) async fn tell_of_change(self: &Arc<Self>) {
        if !self.queued.is_alive() {
            return;
        }
        match self.queued.call(&Notice::DirectoryChanged, Vec::new()).await {
            Ok(_) | Err(CallError::PeerRestarted) => {}
            Err(error) => {
                tracing::warn!(%error, "queued was not told yet that the directory changed");
                self.tell_queued(Notice::DirectoryChanged);
            }
        }
    }
}

/// The right to submit that a login opens.
pub(super) struct Granted {
    pub(super) front: Front,
    pub(super) admission: Admission,
    pub(super) grant: Grant,
}

impl Granted {
    /// For a connection that proved who it is.
    pub(super) fn new(
        front: Front,
        admission: Admission,
        run: Run,
        connection: ConnectionId,
        account: AccountId,
    ) -> Self {
        let now = Timestamp::now();
        let until = Timestamp { seconds: now.seconds.saturating_add(i64::from(GRANT_SECONDS)), ..now };
        Self { front, admission, grant: Grant { run, connection, account, until } }
    }

    /// Tells queued, then submitd may hear of it.
    pub(super) async fn told(self, shared: &Shared) -> Login {
        let Self { front, admission, grant } = self;
        let session = random::<8>().map(|octets| ipc_proto::SessionId(u64::from_be_bytes(octets)));
        let told = shared.queued.call(&Notice::Granted(grant), Vec::new()).await;
        match (told, session) {
            (Ok(_), Ok(session)) => {
                let (connection, account) = (grant.connection, grant.account.number());
                tracing::debug!(%connection, account, %session, "logged in to submit");
                return Login::Ok(session);
            }
            (Err(error), _) => {
                tracing::warn!(connection = %grant.connection, %error, "queued was not told of a login")
            }
            (Ok(_), Err(error)) => tracing::error!(%error, "no random numbers"),
        }
        shared.state().stranger_again(front, grant.connection, admission);
        Login::TryLater
    }
}
