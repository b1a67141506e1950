//! From who has proved to be somebody to the session.

use ipc_proto::{
    ConnectionId,
    authd::Login,
    control::{Event, Role, SessionFacts},
    logins::LoginResult,
    types::{Protocol, Timestamp},
};
use tokio::sync::oneshot;

use super::{
    PATIENCE, Shared, State,
    connection::{Access, Admission, Front, Stage},
    grant::Granted,
    login::Candidate,
};
use crate::{limits::Network, verifier::Credential};

/// What a login opens.
pub(super) enum Opened {
    Session(Session),
    Submission(Granted),
}

/// A session that the supervisor is to make.
pub(super) struct Session {
    front: Front,
    admission: Admission,
    facts: SessionFacts,
    joined: oneshot::Receiver<bool>,
}

/// For a stranger's connection whose login was proved. `Err`: it is answered.
pub(super) fn open(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    candidate: &Candidate,
    credential: &Credential,
) -> Result<Opened, Login> {
    let now = shared.now();
    // The account may have changed since it was looked up.
    let Some((account, _)) = candidate.account.filter(|_| candidate.may(shared)) else {
        return Err(state.failed(front, connection, now));
    };
    let access = state.connections.access(front).ok_or(Login::TryLater)?;
    let found = state.connections.get(front, connection).ok_or(Login::TryLater)?;
    candidate.note(shared, found.address, LoginResult::Ok, Some(credential));
    let network = Network::of(found.address);
    shared.book.write().logged_in(account, network, Timestamp::now().seconds, credential);
    shared.clerk.logged_in(account);
    let admission = found.admission;
    match access {
        Access::Imap => {
            let (session, joined) = state.sessions.open(account).ok_or(Login::TryLater)?;
            found.stage = Stage::LoggedIn(account);
            let without = shared.book.read().account(account).map(|account| account.without);
            let without = without.unwrap_or_default();
            let facts = SessionFacts { session, connection, protocol: Protocol::Imap, account, without };
            Ok(Opened::Session(Session { front, admission, facts, joined }))
        }
        Access::Submission(run) => {
            let granted = Granted::new(front, admission, run, connection, account);
            found.stage = Stage::LoggedIn(account);
            found.granted = Some(granted.grant.until);
            Ok(Opened::Submission(granted))
        }
    }
}

impl Opened {
    /// Has it made.
    pub(super) async fn join(self, shared: &Shared) -> Login {
        match self {
            Self::Session(session) => session.join(shared).await,
            Self::Submission(granted) => granted.told(shared).await,
        }
    }
}

impl Session {
    async fn join(self, shared: &Shared) -> Login {
        let Self { front, admission, facts, joined } = self;
        let SessionFacts { session, connection, account, .. } = facts;
        (shared.up)(Event::Connect { front: Role::Imapd, facts });
        match tokio::time::timeout(PATIENCE, joined).await {
            Ok(Ok(true)) => {
                tracing::debug!(%connection, account = account.number(), %session, "logged in");
                return Login::Ok(session);
            }
            Ok(Ok(false) | Err(_)) => {}
            Err(_too_late) => {
                shared.state().sessions.remove(session);
                (shared.up)(Event::Disconnect(session));
            }
        }
        shared.state().stranger_again(front, connection, admission);
        Login::TryLater
    }
}

impl State {
    pub(super) fn stranger_again(&mut self, front: Front, connection: ConnectionId, admission: Admission) {
        if let Some(found) = self.connections.get(front, connection)
            && found.admission == admission
        {
            found.stage = Stage::Stranger;
            found.granted = None;
        }
    }
}
