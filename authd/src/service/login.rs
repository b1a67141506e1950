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
    connection::{Admission, Front, Stage},
};
use crate::{
    directory::Version,
    limits::{Attempt, Network, Target, blocks},
    name::LoginName,
    password::Password,
    pool::{Job, Lane},
    refused::{Tried, Who},
    verifier::Verifier,
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
        Ok(judging) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                let login = judging.finish(&shared).await;
                responder.reply(&AuthdToImapd::Login(login), Vec::new());
            });
        }
        Err(login) => responder.reply(&AuthdToImapd::Login(login), Vec::new()),
    }
}

/// A login whose password is being checked.
pub(super) struct Judging {
    front: Front,
    connection: ConnectionId,
    admission: Admission,
    address: IpAddr,
    attempt: Attempt,
    who: Who,
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
    // A name that is too long is nobody's, and is hashed like anybody's.
    let name = LoginName::parse(if user.len() <= MAX_USER { user } else { "" });
    let password = Password::prepare(typed).ok();
    let (target, who, verifier) = look_up(shared, &name, address);
    if let Some(password) = &password
        && state.refused.knows(Tried { who, network: Network::of(address) }, password)
    {
        found.failures = found.failures.saturating_add(1);
        return Err(denied(state.limits.wait(address, found.failures, now)));
    }
    let attempt = state.limits.attempt(address, target, now).map_err(|_too_many_failures| {
        tracing::debug!(%connection, "login not judged: too many failures");
        Login::TryLater
    })?;
    let (account, job) = match (who, verifier, password) {
        (Who::Account(id, version), Some(verifier), Some(password)) => {
            (Some((id, version)), Job { verifier, password })
        }
        // Nobody, nobody who may, or nothing that can be a password: it takes the same work.
        (_, _, password) => {
            let password = password.unwrap_or_else(|| Password::impossible(typed));
            (None, Job { verifier: Arc::new(shared.pretender.verifier(&name)), password })
        }
    };
    let proof = match account {
        Some((id, version)) if state.proven.knows(id, version, &job.password, now) => Proof::Known,
        Some(_) | None => {
            let lane = match target {
                Target::Account { known: Some(_), .. } => Lane::Known,
                Target::Account { known: None, .. } | Target::Nobody(_) => Lane::Strange,
            };
            let [source, _, _] = blocks(address);
            match shared.pool.check(lane, source, job) {
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
    Ok(Judging { front, connection, admission, address, attempt, who, account, proof })
}

/// Whom the name stands for: what failures count against, whose wrong passwords are known, and the verifier of an
/// account that may log in.
fn look_up(shared: &Shared, name: &LoginName, address: IpAddr) -> (Target, Who, Option<Arc<Verifier>>) {
    let book = shared.book.read();
    let Some(account) = book.login(name) else {
        let hash = shared.hash(name.folded());
        return (Target::Nobody(hash), Who::Nobody(hash), None);
    };
    let network = Network::of(address);
    let known = account.knows(network, Timestamp::now().seconds).then_some(network);
    (
        Target::Account { account: account.id, known },
        Who::Account(account.id, account.version),
        account.verifier.clone().filter(|_| !account.disabled),
    )
}

fn denied(wait: std::time::Duration) -> Login {
    Login::Denied { wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX) }
}

impl Judging {
    pub(super) async fn finish(self, shared: &Shared) -> Login {
        let Self { front, connection, admission, address, attempt, who, account, proof } = self;
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
                if let Some(password) = password.filter(|_| !right) {
                    state.refused.remember(Tried { who, network: Network::of(address) }, &password);
                }
                found.failures = found.failures.saturating_add(1);
                tracing::debug!(%connection, account = account.map(|(id, _)| id.number()), "login denied");
                return denied(state.limits.wait(address, found.failures, now));
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
