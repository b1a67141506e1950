//! One login, from the password to the session.

use std::{net::IpAddr, sync::Arc};

use ipc_proto::{
    AccountId, ConnectionId, Secret,
    authd::Login,
    logins::LoginResult,
    sasl::Mechanism,
    types::{Protocol, Timestamp},
};
use tokio::sync::oneshot;

use super::{
    Shared, State,
    connection::{Admission, Front, Stage},
    open,
};
use crate::{
    attempts::Kind,
    directory::{Account, Version},
    limits::{Attempt, Moment, Network, Target, blocks},
    name::LoginName,
    password::Password,
    pool::{Job, Lane, Verdict},
    refused::{Tried, Who},
    verifier::{Credential, Keyring},
};

/// Judges a login and answers it, at once or from a task of its own.
pub(super) fn login(
    shared: &Arc<Shared>,
    front: Front,
    connection: ConnectionId,
    user: &str,
    password: &Secret,
    mechanism: Option<Mechanism>,
    answer: impl FnOnce(Login) + Send + 'static,
) {
    match begin(shared, front, connection, user, password, mechanism) {
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
    /// For the log of attempts: the name as it was typed.
    user: Option<String>,
    way: Way,
}

/// For what somebody logs in, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) protocol: Protocol,
    /// `None`: IMAP's LOGIN command.
    pub(super) mechanism: Option<Mechanism>,
}

impl Candidate {
    /// An account that a login is for, from there; `may`: it could log in.
    pub(super) fn of(account: &Account, may: bool, address: IpAddr, user: Option<String>, way: Way) -> Self {
        let network = Network::of(address);
        let known = account.knows(network, Timestamp::now().seconds).then_some(network);
        Self {
            target: Target::Account { account: account.id, known },
            who: Who::Account(account.id, account.version),
            account: may.then_some((account.id, account.version)),
            user,
            way,
        }
    }

    /// A name or a key that is nobody's; its hash.
    pub(super) const fn nobody(hash: u64, user: Option<String>, way: Way) -> Self {
        Self { target: Target::Nobody(hash), who: Who::Nobody(hash), account: None, user, way }
    }

    /// Somebody, and nothing has changed since.
    pub(super) fn may(&self, shared: &Shared) -> bool {
        let book = shared.book.read();
        self.account
            .is_some_and(|(id, version)| book.account(id).is_some_and(|account| account.version == version))
    }

    /// Which account the name is, whether it may log in or not.
    fn named(&self) -> Option<AccountId> {
        match self.who {
            Who::Account(account, _) => Some(account),
            Who::Nobody(_) => None,
        }
    }

    /// Writes the attempt down.
    pub(super) fn note(
        &self,
        shared: &Shared,
        address: IpAddr,
        result: LoginResult,
        credential: Option<&Credential>,
    ) {
        let now = Timestamp::now().seconds;
        let account = self.named();
        let result = match result {
            LoginResult::Denied if account.is_some() && self.account.is_none() => LoginResult::Disabled,
            result => result,
        };
        let app_password = credential.and_then(Credential::name).map(Arc::clone);
        let kind = Kind {
            account,
            user: self.user.clone(),
            network: Network::of(address),
            protocol: self.way.protocol,
            mechanism: self.way.mechanism,
            app_password,
            result,
            hour: Kind::hour_of(now),
        };
        shared.attempts().note(kind, address, now);
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
    Known(Credential),
    /// In the hands of the hashing threads.
    Asked(oneshot::Receiver<Verdict>),
}

/// Everything that comes before the hashing. `Err`: it is answered already.
pub(super) fn begin(
    shared: &Shared,
    front: Front,
    connection: ConnectionId,
    user: &str,
    typed: &Secret,
    mechanism: Option<Mechanism>,
) -> Result<Judging, Login> {
    let now = shared.now();
    let mut state = shared.state();
    let state = &mut *state;
    let access = state.connections.access(front).ok_or(Login::TryLater)?;
    let Some(found) = state.connections.get(front, connection).filter(|found| found.stage == Stage::Stranger)
    else {
        return Err(Login::TryLater);
    };
    let way = Way { protocol: access.protocol(), mechanism };
    let (address, admission) = (found.address, found.admission);
    let prepared = Password::prepare(typed).ok();
    let (mut candidate, keyring) = look_up(shared, &LoginName::typed(user), address, way);
    if let Some(password) = &prepared
        && state.refused.knows(Tried { who: candidate.who, network: Network::of(address) }, password)
    {
        found.failures = found.failures.saturating_add(1);
        candidate.note(shared, address, LoginResult::Denied, None);
        return Err(denied(state.limits.wait(address, found.failures, now)));
    }
    let attempt = state.limits.attempt(address, candidate.target, now).map_err(|_too_many_failures| {
        tracing::debug!(%connection, "login not judged: too many failures");
        candidate.note(shared, address, LoginResult::Limited, None);
        Login::TryLater
    })?;
    // What cannot be a password is nobody's, and takes the same work.
    let password = prepared.unwrap_or_else(|| {
        candidate.account = None;
        Password::impossible(typed)
    });
    let known = candidate.account.and_then(|(id, version)| state.proven.knows(id, version, &password, now));
    let proof = match known.filter(|credential| keyring.has(credential)) {
        Some(credential) => Proof::Known(credential),
        None => {
            let lane = match candidate.target {
                Target::Account { known: Some(_), .. } => Lane::Known,
                Target::Account { known: None, .. } | Target::Nobody(_) => Lane::Strange,
            };
            let [source, _, _] = blocks(address);
            match shared.pool.check(lane, source, Job { keyring, password }) {
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

/// Whom the name stands for, and the account's passwords, or what looks like them and nothing passes.
pub(super) fn look_up(
    shared: &Shared,
    name: &LoginName,
    address: IpAddr,
    way: Way,
) -> (Candidate, Arc<Keyring>) {
    let book = shared.book.read();
    let user = Kind::user_of(name);
    let pretended = |like| Arc::new(Keyring::of(Arc::new(shared.pretender.verifier(name, like))));
    let Some(account) = book.login(name) else {
        let candidate = Candidate::nobody(shared.hash(name.folded()), user, way);
        return (candidate, pretended(book.namesake(name)));
    };
    let (may, keyring) = match account.keyring(way.protocol, Timestamp::now().seconds) {
        Some(keyring) if !account.disabled => (true, Arc::new(keyring)),
        Some(_) | None => (false, pretended(account.salted().map(Arc::as_ref))),
    };
    (Candidate::of(account, may, address, user, way), keyring)
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
            Proof::Known(credential) => Some((Some(credential), None)),
            Proof::Asked(asked) => asked.await.ok().map(|(found, password)| (found, Some(password))),
        };
        let now = shared.now();
        let opened = {
            let mut state = shared.state();
            let state = &mut *state;
            let found = state.connections.get(front, connection);
            let Some(found) = found.filter(|found| found.admission == admission) else {
                // It left. A wrong password counts all the same.
                if !matches!(verdict, Some((None, _))) {
                    state.limits.succeeded(attempt);
                }
                return Login::TryLater;
            };
            found.stage = Stage::Stranger;
            let Some((credential, password)) = verdict else {
                state.limits.succeeded(attempt);
                return Login::TryLater;
            };
            // The account may have changed while the password was hashed.
            let account = candidate.account.filter(|_| candidate.may(shared));
            let (Some((id, version)), Some(credential)) = (account, credential.clone()) else {
                candidate.note(shared, address, LoginResult::Denied, None);
                if let Some(password) = password.filter(|_| credential.is_none()) {
                    let tried = Tried { who: candidate.who, network: Network::of(address) };
                    state.refused.remember(tried, &password);
                }
                tracing::debug!(%connection, account = candidate.number(), "login denied");
                return state.failed(front, connection, now);
            };
            state.limits.succeeded(attempt);
            if let Some(password) = password {
                state.proven.remember(id, version, credential.clone(), &password, now);
            }
            match open::open(shared, state, front, connection, &candidate, &credential) {
                Ok(opened) => opened,
                Err(login) => return login,
            }
        };
        opened.join(shared).await
    }
}
