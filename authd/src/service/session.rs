//! Sessions that were joined through the supervisor.

use std::collections::HashMap;

use ipc_proto::{AccountId, SessionId};
use tokio::sync::oneshot;

use crate::verifier::random;

/// Sessions at once, at most.
const MAX_SESSIONS: usize = 32_768;

#[derive(Debug)]
struct Session {
    account: AccountId,
    /// The account's sessions were cut since.
    cut: bool,
    /// Told whether the supervisor joined it, while its login waits for that.
    waiting: Option<oneshot::Sender<bool>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<SessionId, Session>);

impl Sessions {
    /// A new one, and the supervisor's verdict to wait for. `None`: no room, or no random number.
    pub(super) fn open(&mut self, account: AccountId) -> Option<(SessionId, oneshot::Receiver<bool>)> {
        if self.0.len() >= MAX_SESSIONS {
            return None;
        }
        let session = SessionId(u64::from_be_bytes(random::<8>().ok()?));
        if self.0.contains_key(&session) {
            return None;
        }
        let (waiting, joined) = oneshot::channel();
        self.0.insert(session, Session { account, cut: false, waiting: Some(waiting) });
        Some((session, joined))
    }

    /// The supervisor joined it, or could not. `false`: nobody waits for that.
    pub(super) fn connected(&mut self, session: SessionId, joined: bool) -> bool {
        let told = self
            .0
            .get_mut(&session)
            .and_then(|session| session.waiting.take())
            .is_some_and(|waiting| waiting.send(joined).is_ok());
        if !joined || !told {
            self.0.remove(&session);
        }
        told
    }

    /// Whether one that sleeps may go on: only what this authd opened itself and has not cut since. What an authd before
    /// it opened may have been cut in its last moment.
    pub(super) fn stands(&self, session: SessionId) -> bool {
        self.0.get(&session).is_some_and(|session| session.waiting.is_none() && !session.cut)
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// An account's sessions are being cut: logins that wait for theirs are refused. They stay in the table until the
    /// supervisor says that they ended.
    pub(super) fn refuse(&mut self, account: AccountId) {
        for session in self.0.values_mut().filter(|session| session.account == account) {
            session.cut = true;
            if let Some(waiting) = session.waiting.take() {
                let _ = waiting.send(false);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
