//! EXTERNAL, from the proof to the account: behind the same limits as a password, and as silent about who exists.

use std::{net::IpAddr, sync::Arc};

use ipc_proto::{
    ConnectionId, Secret,
    authd::Login,
    key_proof::KeyProof,
    logins::{Fingerprint, LoginResult},
    types::Timestamp,
};

use super::{
    Shared, State,
    connection::Front,
    login::{Candidate, Way},
    sasl::Next,
};
use crate::{
    attempts::Kind,
    name::LoginName,
    sasl::{Unfit, external},
    verifier::Credential,
};

/// What a key opens.
struct Found {
    candidate: Candidate,
    /// `None`: nothing, here and now.
    credential: Option<Credential>,
    /// The client acts for nobody else.
    itself: bool,
}

/// Is it a key of somebody's, was it proved, and is it good for this?
pub(super) fn judge(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    way: Way,
    proof: &KeyProof,
    message: &Secret,
) -> Next {
    let now = shared.now();
    let Some(address) = state.connections.get(front, connection).map(|found| found.address) else {
        return Next::Ended(Login::TryLater);
    };
    let acting_for = match external::acting_for(message) {
        Ok(name) => name.map(|name| LoginName::typed(&name)),
        Err(unfit) => return Next::Unfit(unfit),
    };
    let Found { candidate, credential, itself } =
        look_up(shared, external::fingerprint(&proof.key), acting_for.as_ref(), address, way);
    let Ok(attempt) = state.limits.attempt(address, candidate.target, now) else {
        tracing::debug!(%connection, "login not judged: too many failures");
        candidate.note(shared, address, LoginResult::Limited, None);
        return Next::Ended(Login::TryLater);
    };
    // Checked for unknown keys as well: the time tells nobody which are known.
    let holds = external::holds(proof);
    match credential.filter(|_| holds && candidate.may(shared)) {
        Some(credential) => {
            state.limits.succeeded(attempt);
            if itself { Next::In(candidate, credential) } else { Next::Unfit(Unfit::Proxy) }
        }
        None => {
            candidate.note(shared, address, LoginResult::Denied, None);
            tracing::debug!(%connection, account = candidate.number(), "login denied");
            Next::Ended(state.failed(front, connection, now))
        }
    }
}

fn look_up(
    shared: &Shared,
    fingerprint: Fingerprint,
    acting_for: Option<&LoginName>,
    address: IpAddr,
    way: Way,
) -> Found {
    let book = shared.book.read();
    let user = acting_for.and_then(Kind::user_of);
    let Some((account, name, key)) = book.login_key(fingerprint) else {
        let candidate = Candidate::nobody(shared.hash(&fingerprint.to_string()), user, way);
        return Found { candidate, credential: None, itself: true };
    };
    let counts = key.counts(way.protocol, Timestamp::now().seconds);
    Found {
        candidate: Candidate::of(account, !account.disabled, address, user, way),
        credential: counts.then(|| Credential::Key(Arc::clone(name))),
        itself: acting_for.is_none_or(|name| book.login(name).is_some_and(|other| other.id == account.id)),
    }
}
