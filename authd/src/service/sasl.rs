//! AUTHENTICATE: the mechanisms' steps ([`crate::sasl`]) on the connections of a front.
//!
//! An exchange belongs to its connection and ends with it. It is bounded in time, in number for each connection, and in
//! number in all; none of that tells a user who exists from one who does not.

use std::{sync::Arc, time::Duration};

use ipc_proto::{
    ConnectionId, Secret,
    authd::Login,
    logins::LoginResult,
    sasl::{MAX_MESSAGE, Mechanism, SaslReply, SaslStep, Transport},
};

use super::{
    Shared, State,
    connection::{self, Front},
    external,
    login::{self, Candidate, Way},
    open,
};
use crate::{
    limits::Moment,
    name::LoginName,
    sasl::{Unfit, plain, scram},
    verifier::{Credential, Keyring},
};

/// How long a client may take for all of an exchange.
const LIFETIME: Duration = Duration::from_secs(60);

/// What a connection may begin: fronts close after three failures, and a client that gives up gives up less often.
const MAX_STARTS: u32 = 32;

/// What LOGIN asks (draft-murchison-sasl-login).
const ASK_USER: &[u8] = b"Username:";
const ASK_PASSWORD: &[u8] = b"Password:";

/// An exchange whose client has the word.
#[derive(Debug)]
pub(super) struct Exchange {
    until: Moment,
    stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The mechanism's first message.
    First(Mechanism, Transport),
    /// LOGIN's password; whose.
    Password(String),
    /// SCRAM's proof.
    Proof(scram::Second, Candidate, Arc<Keyring>),
    /// SCRAM has proved both ends to one another; the client agrees, or gives up.
    Proved(Candidate, Credential),
}

impl Exchange {
    /// Nobody waits for it any more.
    pub(super) fn over(&self, now: Moment) -> bool {
        now >= self.until
    }
}

/// What comes of a step.
pub(super) enum Next {
    /// The client has to say more.
    Challenge(Vec<u8>, Stage),
    /// A password, to be hashed.
    Password(plain::Credentials, Mechanism),
    /// Logged in, if the session can be made.
    In(Candidate, Credential),
    /// Not this way.
    Unfit(Unfit),
    /// Answered.
    Ended(Login),
}

/// Takes a step and answers it, at once or from a task of its own.
pub(super) fn step(
    shared: &Arc<Shared>,
    front: Front,
    connection: ConnectionId,
    step: SaslStep,
    answer: impl FnOnce(SaslReply) + Send + 'static,
) {
    let end = |answer: Box<dyn FnOnce(SaslReply) + Send>| move |login| answer(SaslReply::Ended(login));
    let mut state = shared.state();
    let exchange = state.connections.take_exchange(front, connection);
    let now = shared.now();
    let state_ref = &mut *state;
    let Some(found) = state_ref.connections.get(front, connection) else {
        return answer(SaslReply::Ended(Login::TryLater));
    };
    if found.stage != connection::Stage::Stranger {
        return answer(SaslReply::Ended(Login::TryLater));
    }
    let (until, next) = match (step, exchange) {
        (SaslStep::Cancel, _) => return answer(SaslReply::Cancelled),
        (SaslStep::Start { mechanism, transport, initial }, _) => {
            found.exchanges = found.exchanges.saturating_add(1);
            let next = if found.exchanges > MAX_STARTS {
                Next::Ended(Login::TryLater)
            } else if !mechanism.offered(&transport) {
                Next::Unfit(Unfit::Form)
            } else {
                start(shared, state_ref, front, connection, mechanism, transport, initial)
            };
            (now.after(LIFETIME), next)
        }
        (SaslStep::Answer(message), Some(exchange)) if !exchange.over(now) => {
            (exchange.until, go_on(shared, state_ref, front, connection, exchange.stage, &message))
        }
        // Nothing was begun, or it was too long ago: a replayed message has nothing to belong to.
        (SaslStep::Answer(_), Some(_) | None) => (now, Next::Ended(Login::TryLater)),
    };
    match next {
        Next::Challenge(challenge, stage) => {
            let held = state_ref.connections.hold_exchange(front, connection, Exchange { until, stage }, now);
            drop(state);
            answer(if held { SaslReply::Challenge(challenge) } else { SaslReply::Ended(Login::TryLater) });
        }
        Next::Password(plain::Credentials { user, password }, mechanism) => {
            drop(state);
            login::login(shared, front, connection, &user, &password, Some(mechanism), end(Box::new(answer)));
        }
        Next::In(candidate, credential) => {
            let opened = open::open(shared, state_ref, front, connection, &candidate, &credential);
            drop(state);
            match opened {
                Ok(opened) => {
                    let shared = Arc::clone(shared);
                    tokio::spawn(async move { answer(SaslReply::Ended(opened.join(&shared).await)) });
                }
                Err(login) => answer(SaslReply::Ended(login)),
            }
        }
        Next::Unfit(unfit) => {
            tracing::debug!(%connection, "login denied: {unfit}");
            let login = match unfit {
                Unfit::Proxy => Login::OnlyAsYourself,
                Unfit::Form | Unfit::Downgrade | Unfit::Binding | Unfit::Nonce => {
                    state_ref.failed(front, connection, now)
                }
            };
            drop(state);
            answer(SaslReply::Ended(login));
        }
        Next::Ended(login) => {
            drop(state);
            answer(SaslReply::Ended(login));
        }
    }
}

fn start(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    mechanism: Mechanism,
    transport: Transport,
    initial: Option<Secret>,
) -> Next {
    match (initial, mechanism) {
        (Some(message), _) => first(shared, state, front, connection, mechanism, transport, &message),
        (None, Mechanism::Login) => Next::Challenge(ASK_USER.to_vec(), Stage::First(mechanism, transport)),
        // RFC 4422 §5: all of these begin with the client; an empty challenge asks it to.
        (
            None,
            Mechanism::External | Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha256Plus,
        ) => Next::Challenge(Vec::new(), Stage::First(mechanism, transport)),
    }
}

fn first(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    mechanism: Mechanism,
    transport: Transport,
    message: &Secret,
) -> Next {
    if message.0.len() > MAX_MESSAGE {
        return Next::Unfit(Unfit::Form);
    }
    let access = state.connections.access(front);
    let (Some(access), Some(found)) = (access, state.connections.get(front, connection)) else {
        return Next::Ended(Login::TryLater);
    };
    let way = Way { protocol: access.protocol(), mechanism: Some(mechanism) };
    match mechanism {
        Mechanism::External => match transport {
            Transport::Keyed(_, proof) => {
                external::judge(shared, state, front, connection, way, &proof, message)
            }
            Transport::Loopback | Transport::Tls | Transport::Bound(_) => Next::Unfit(Unfit::Form),
        },
        Mechanism::Plain => match plain::parse(message) {
            Ok(credentials) => Next::Password(credentials, mechanism),
            Err(unfit) => Next::Unfit(unfit),
        },
        Mechanism::Login => match plain::user_name(&message.0) {
            Ok(user) => Next::Challenge(ASK_PASSWORD.to_vec(), Stage::Password(user)),
            Err(unfit) => Next::Unfit(unfit),
        },
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
            let first = scram::First::parse(&message.0, mechanism == Mechanism::ScramSha256Plus, &transport);
            let first = match first {
                Ok(first) => first,
                Err(unfit) => return Next::Unfit(unfit),
            };
            let Ok(nonce) = scram::nonce() else { return Next::Ended(Login::TryLater) };
            let (candidate, keyring) =
                login::look_up(shared, &LoginName::typed(first.user()), found.address, way);
            let (challenge, second) = first.challenge(&keyring, &nonce);
            Next::Challenge(challenge, Stage::Proof(second, candidate, keyring))
        }
    }
}

fn go_on(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    stage: Stage,
    message: &Secret,
) -> Next {
    match stage {
        Stage::First(mechanism, transport) => {
            first(shared, state, front, connection, mechanism, transport, message)
        }
        Stage::Password(user) => {
            Next::Password(plain::Credentials { user, password: message.clone() }, Mechanism::Login)
        }
        Stage::Proof(second, candidate, keyring) => match second.answer(&message.0) {
            Ok(proof) => prove(shared, state, front, connection, &proof, candidate, &keyring),
            Err(unfit) => Next::Unfit(unfit),
        },
        Stage::Proved(candidate, credential) if message.0.is_empty() => Next::In(candidate, credential),
        Stage::Proved(..) => Next::Unfit(Unfit::Form),
    }
}

/// Is it the password? Behind the same limits as a password that is typed.
fn prove(
    shared: &Shared,
    state: &mut State,
    front: Front,
    connection: ConnectionId,
    proof: &scram::Proof,
    candidate: Candidate,
    keyring: &Keyring,
) -> Next {
    let now = shared.now();
    let Some(found) = state.connections.get(front, connection) else {
        return Next::Ended(Login::TryLater);
    };
    let Ok(attempt) = state.limits.attempt(found.address, candidate.target, now) else {
        tracing::debug!(%connection, "login not judged: too many failures");
        candidate.note(shared, found.address, LoginResult::Limited, None);
        return Next::Ended(Login::TryLater);
    };
    match proof.check(keyring) {
        Some((credential, last)) if candidate.may(shared) => {
            state.limits.succeeded(attempt);
            Next::Challenge(last, Stage::Proved(candidate, credential))
        }
        Some(_) | None => {
            candidate.note(shared, found.address, LoginResult::Denied, None);
            tracing::debug!(%connection, account = candidate.number(), "login denied");
            Next::Ended(state.failed(front, connection, now))
        }
    }
}
