//! One login, from the password to the session.

use std::{net::IpAddr, sync::Arc};

use ipc_proto::{AccountId, ConnectionId, Secret, authd::Login, types::Timestamp};
use tokio::sync::oneshot;

use super::{
    Shared, State,
    connection::{Admission, Front, Stage},
    open,
};
use crate::{
    directory::Version,
    limits::{Attempt, Moment, Network, Target, blocks},
    name::LoginName,
    password::Password,
    pool::{Job, Lane},
    refused::{Tried, Who},
    verifier::Verifier,
};

/// Judges a login and answers it, at once or from a task of its own.
pub(super) fn login(
    shared: &Arc<Shared>,
    front: Front,
    connection: ConnectionId,
    user: &str,
    password: &Secret,
    answer: impl FnOnce(Login) + Send + 'static,
) {
    match begin(shared, front, connection, user, password) {
        Ok(judging) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move { answer(judging.finish(&shared).await) });
        }
        Err(login) => answer(login),
    }
}

/// Who a login is for, as it was when it began.
#[derive(Debug)]
pub(super) struct Candidate {
    /// What failures count against.
    pub(super) target: Target,
    /// Whose wrong passwords are known.
    pub(super) who: Who,
    /// Who logs in; `None`: nobody who could.
    pub(super) account: Option<(AccountId, Version)>,
    /// The account's, or one that looks like it and that nothing passes.
    pub(super) verifier: Arc<Verifier>,
}

impl Candidate {
    /// Somebody, and nothing has changed since.
    pub(super) fn may(&self, shared: &Shared) -> bool {
        let book = shared.book.read();
        self.account
            .is_some_and(|(id, version)| book.account(id).is_some_and(|account| account.version == version))
    }

    /// For the log.
    pub(super) fn number(&self) -> Option<u32> {
        self.account.map(|(id, _)| id.number())
    }
}

/// A login whose password is being checked.
pub(super) struct Judging {
    front: Front,
    connection: ConnectionId,
    admission: Admission,
    address: IpAddr,
    attempt: Attempt,
    candidate: Candidate,
    proof: Proof,
}

enum Proof {
    /// Proved lately.
    Known,
    /// In the hands of the hashing threads.
    Asked(oneshot::Receiver<(bool, Password)>),
}

/// Everything that comes before the hashing. `Err`: it is answered already.
pub(super) fn begin(
    shared: &Shared,
    front: Front,
    connection: ConnectionId,
    user: &str,
    typed: &Secret,
) -> Result<Judging, Login> {
    let now = shared.now();
    let mut state = shared.state();
    let state = &mut *state;
    let Some(found) = state.connections.get(front, connection).filter(|found| found.stage == Stage::Stranger)
    else {
        return Err(Login::TryLater);
    };
    let (address, admission) = (found.address, found.admission);
    let prepared = Password::prepare(typed).ok();
    let mut candidate = look_up(shared, &LoginName::typed(user), address);
    if let Some(password) = &prepared
        && state.refused.knows(Tried { who: candidate.who, network: Network::of(address) }, password)
    {
        found.failures = found.failures.saturating_add(1);
        return Err(denied(state.limits.wait(address, found.failures, now)));
    }
    let attempt = state.limits.attempt(address, candidate.target, now).map_err(|_too_many_failures| {
        tracing::debug!(%connection, "login not judged: too many failures");
        Login::TryLater
    })?;
    // What cannot be a password is nobody's, and takes the same work.
    let password = prepared.unwrap_or_else(|| {
        candidate.account = None;
        Password::impossible(typed)
    });
    let proof = match candidate.account {
        Some((id, version)) if state.proven.knows(id, version, &password, now) => Proof::Known,
        Some(_) | None => {
            let lane = match candidate.target {
                Target::Account { known: Some(_), .. } => Lane::Known,
                Target::Account { known: None, .. } | Target::Nobody(_) => Lane::Strange,
            };
            let [source, _, _] = blocks(address);
            match shared.pool.check(lane, source, Job { verifier: Arc::clone(&candidate.verifier), password })
            {
                Ok(asked) => Proof::Asked(asked),
                Err(_full) => {
                    state.limits.succeeded(attempt);
                    tracing::debug!(%connection, "login not judged: too many wait");
                    return Err(Login::TryLater);
                }
            }
        }
    };
    found.stage = Stage::Judging;
    Ok(Judging { front, connection, admission, address, attempt, candidate, proof })
}

/// Whom the name stands for.
pub(super) fn look_up(shared: &Shared, name: &LoginName, address: IpAddr) -> Candidate {
    let book = shared.book.read();
    let Some(account) = book.login(name) else {
        let hash = shared.hash(name.folded());
        let verifier = Arc::new(shared.pretender.verifier(name, book.namesake(name)));
        return Candidate { target: Target::Nobody(hash), who: Who::Nobody(hash), account: None, verifier };
    };
    let network = Network::of(address);
    let known = account.knows(network, Timestamp::now().seconds).then_some(network);
    let (may, verifier) = match &account.verifier {
        Some(verifier) if !account.disabled => (true, Arc::clone(verifier)),
        like => (false, Arc::new(shared.pretender.verifier(name, like.as_deref()))),
    };
    Candidate {
        target: Target::Account { account: account.id, known },
        who: Who::Account(account.id, account.version),
        account: may.then_some((account.id, account.version)),
        verifier,
    }
}

fn denied(wait: std::time::Duration) -> Login {
    Login::Denied { wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX) }
}

impl State {
    /// One more failure of this connection's.
    pub(super) fn failed(&mut self, front: Front, connection: ConnectionId, now: Moment) -> Login {
        let Some(found) = self.connections.get(front, connection) else { return Login::TryLater };
        found.failures = found.failures.saturating_add(1);
        denied(self.limits.wait(found.address, found.failures, now))
    }
}

impl Judging {
    pub(super) async fn finish(self, shared: &Shared) -> Login {
        let Self { front, connection, admission, address, attempt, candidate, proof } = self;
        let verdict = match proof {
            Proof::Known => Some((true, None)),
            Proof::Asked(asked) => asked.await.ok().map(|(right, password)| (right, Some(password))),
        };
        let now = shared.now();
        let opened = {
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
            let Some((id, version)) = candidate.account.filter(|_| right && candidate.may(shared)) else {
                if let Some(password) = password.filter(|_| !right) {
                    let tried = Tried { who: candidate.who, network: Network::of(address) };
                    state.refused.remember(tried, &password);
                }
                tracing::debug!(%connection, account = candidate.number(), "login denied");
                return state.failed(front, connection, now);
            };
            state.limits.succeeded(attempt);
            if let Some(password) = password {
                state.proven.remember(id, version, &password, now);
            }
            match open::open(shared, state, front, connection, candidate) {
                Ok(opened) => opened,
                Err(login) => return login,
            }
        };
        opened.join(shared).await
    }
}
