//! One login, from the password to the session.

use std::{net::IpAddr, sync::Arc};

use ipc_proto::{
    AccountId, ConnectionId, Secret,
    authd::{AuthdToImapd, ImapdAuthd, Login},
    control::{Event, Role, SessionFacts},
    stream::Responder,
    types::{Protocol, Timestamp},
};
use tokio::sync::oneshot;

use super::{
    PATIENCE, Shared,
    connection::{Admission, Connection, Front, Stage},
};
use crate::{
    directory::Version,
    limits::{Attempt, Network, Target, blocks},
    name::LoginName,
    password::Password,
    pool::{Job, Lane},
};

/// The longest user name, octets.
const MAX_USER: usize = 320;

/// Judges a login and answers it, at once or from a task of its own.
pub(super) fn login(
    shared: &Arc<Shared>,
    front: Front,
    connection: ConnectionId,
    user: &str,
    password: &Secret,
    responder: Responder<ImapdAuthd>,
) {
    match begin(shared, front, connection, user, password) {
        Some(judging) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                let login = judging.finish(&shared).await;
                responder.reply(&AuthdToImapd::Login(login), Vec::new());
            });
        }
        None => responder.reply(&AuthdToImapd::Login(Login::TryLater), Vec::new()),
    }
}

/// A login whose password is being checked.
pub(super) struct Judging {
    front: Front,
    connection: ConnectionId,
    admission: Admission,
    address: IpAddr,
    attempt: Attempt,
    /// Who logs in, as it was when the check began; `None`: nobody who could.
    account: Option<(AccountId, Version)>,
    proof: Proof,
}

enum Proof {
    /// Proved lately.
    Known,
    /// In the hands of the hashing threads.
    Asked(oneshot::Receiver<(bool, Password)>),
}

/// Everything that comes before the hashing. `None`: not judged, try later.
pub(super) fn begin(
    shared: &Shared,
    front: Front,
    connection: ConnectionId,
    user: &str,
    typed: &Secret,
) -> Option<Judging> {
    let now = shared.now();
    let mut state = shared.state();
    let &mut Connection { address, admission, stage: Stage::Stranger, .. } =
        state.connections.get(front, connection)?
    else {
        return None;
    };
    // A name that is too long is nobody's, and is hashed like anybody's.
    let name = LoginName::parse(if user.len() <= MAX_USER { user } else { "" });
    let network = Network::of(address);
    let (target, found) = {
        let book = shared.book.read();
        match book.login(&name) {
            Some(account) => {
                let known = account.knows(network, Timestamp::now().seconds).then_some(network);
                let verifier = account.verifier.clone().filter(|_| !account.disabled);
                (
                    Target::Account { account: account.id, known },
                    verifier.map(|verifier| ((account.id, account.version), verifier)),
                )
            }
            None => (Target::Nobody(shared.hash(name.folded())), None),
        }
    };
    let attempt = match state.limits.attempt(address, target, now) {
        Ok(attempt) => attempt,
        Err(_too_many_failures) => {
            tracing::debug!(%connection, "login not judged: too many failures");
            return None;
        }
    };
    let (password, possible) = match Password::prepare(typed) {
        Ok(password) => (password, true),
        Err(_) => (Password::impossible(typed), false),
    };
    let found = found.filter(|_| possible);
    let (account, verifier) = match found {
        Some((account, verifier)) => (Some(account), verifier),
        None => (None, Arc::new(shared.pretender.verifier(&name))),
    };
    let proof = match account {
        Some((id, version)) if state.proven.knows(id, version, &password, now) => Proof::Known,
        Some(_) | None => {
            let lane = match target {
                Target::Account { known: Some(_), .. } => Lane::Known,
                Target::Account { known: None, .. } | Target::Nobody(_) => Lane::Strange,
            };
            let [source, _, _] = blocks(address);
            match shared.pool.check(lane, source, Job { verifier, password }) {
                Ok(asked) => Proof::Asked(asked),
                Err(_full) => {
                    state.limits.succeeded(attempt);
                    tracing::debug!(%connection, "login not judged: too many wait");
                    return None;
                }
            }
        }
    };
    if let Some(found) = state.connections.get(front, connection) {
        found.stage = Stage::Judging;
    }
    Some(Judging { front, connection, admission, address, attempt, account, proof })
}

impl Judging {
    pub(super) async fn finish(self, shared: &Shared) -> Login {
        let Self { front, connection, admission, address, attempt, account, proof } = self;
        let verdict = match proof {
            Proof::Known => Some((true, None)),
            Proof::Asked(asked) => asked.await.ok().map(|(right, password)| (right, Some(password))),
        };
        let now = shared.now();
        let (session, id, joined) = {
            let mut state = shared.state();
            let state = &mut *state;
            let found = state.connections.get(front, connection);
            let Some(found) = found.filter(|found| found.admission == admission) else {
                // It left. A wrong password counts all the same.
                if !matches!(verdict, Some((false, _))) {
                    state.limits.succeeded(attempt);
                }
                return Login::TryLater;
            };
            found.stage = Stage::Stranger;
            let Some((right, password)) = verdict else {
                state.limits.succeeded(attempt);
                return Login::TryLater;
            };
            // The account may have changed while the password was hashed.
            let proved = account.filter(|(id, version)| {
                right && shared.book.read().account(*id).is_some_and(|account| account.version == *version)
            });
            let Some((id, version)) = proved else {
                found.failures = found.failures.saturating_add(1);
                let wait = state.limits.wait(address, found.failures, now);
                tracing::debug!(%connection, account = account.map(|(id, _)| id.number()), "login denied");
                return Login::Denied { wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX) };
            };
            state.limits.succeeded(attempt);
            if let Some(password) = password {
                state.proven.remember(id, version, &password, now);
            }
            shared.book.write().logged_in(id, Network::of(address), Timestamp::now().seconds);
            shared.clerk.logged_in(id);
            let Some((session, joined)) = state.sessions.open(id) else {
                return Login::TryLater;
            };
            found.stage = Stage::LoggedIn(id);
            (session, id, joined)
        };
        let facts = SessionFacts { session, connection, protocol: Protocol::Imap, account: id };
        (shared.up)(Event::Connect { front: Role::Imapd, facts });
        match tokio::time::timeout(PATIENCE, joined).await {
            Ok(Ok(true)) => {
                tracing::debug!(%connection, account = id.number(), %session, "logged in");
                return Login::Ok(session);
            }
            Ok(Ok(false) | Err(_)) => {}
            Err(_too_late) => {
                shared.state().sessions.remove(session);
                (shared.up)(Event::Disconnect(session));
            }
        }
        let mut state = shared.state();
        if let Some(found) = state.connections.get(front, connection)
            && found.admission == admission
        {
            found.stage = Stage::Stranger;
        }
        Login::TryLater
    }
}
