//! The thread that owns the database.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use ipc_proto::{AccountId, authd::AdminToAuthd};
use tokio::sync::oneshot;

use crate::{
    attempts::Attempts,
    directory::{Applied, Directory, Principal, Refusal},
};

/// What may wait for the clerk.
const MAX_WAITING: usize = 256;

/// How often it is written down who logged in; a crash forgets no more than that.
const LOGINS_EVERY: Duration = Duration::from_secs(30);

enum Task {
    Ask(AdminToAuthd, oneshot::Sender<Result<Applied, Refusal>>),
    Prepared(AccountId),
    LoggedIn(AccountId),
    Shares(AccountId, BTreeSet<Principal>, oneshot::Sender<bool>),
    Stop(oneshot::Sender<()>),
}

/// The way to the thread.
pub(super) struct Clerk(SyncSender<Task>);

impl Clerk {
    /// `attempts`: where login attempts are counted in between.
    pub(super) fn start(directory: Directory, attempts: Arc<Mutex<Attempts>>) -> io::Result<Self> {
        let (tasks, waiting) = sync_channel(MAX_WAITING);
        thread::Builder::new().name("clerk".into()).spawn(move || work(directory, &waiting, &attempts))?;
        Ok(Self(tasks))
    }

    /// Does what the admin asks, in its turn.
    pub(super) async fn ask(&self, request: AdminToAuthd) -> Result<Applied, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Task::Ask(request, answer)).map_err(|_| Refusal::Busy)?;
        answered.await.unwrap_or(Err(Refusal::Busy))
    }

    /// To be written down; if there is no room, the supervisor is asked again at the next start.
    pub(super) fn prepared(&self, account: AccountId) {
        let _ = self.0.try_send(Task::Prepared(account));
    }

    /// To be written down some time; if there is no room, the next login will be.
    pub(super) fn logged_in(&self, account: AccountId) {
        let _ = self.0.try_send(Task::LoggedIn(account));
    }

    /// Writes down with whom an account shares something. `false`: not now.
    pub(super) async fn shares(&self, owner: AccountId, with: BTreeSet<Principal>) -> bool {
        let (noted, waiting) = oneshot::channel();
        self.0.try_send(Task::Shares(owner, with, noted)).is_ok() && waiting.await.unwrap_or(false)
    }

    /// Waits for all that was asked before.
    pub(super) async fn stop(&self) {
        let (stopped, waiting) = oneshot::channel();
        let mut stop = Task::Stop(stopped);
        while let Err(std::sync::mpsc::TrySendError::Full(again)) = self.0.try_send(stop) {
            stop = again;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = waiting.await;
    }
}

/// Writes down what was counted since the last time.
fn save_attempts(directory: &mut Directory, attempts: &Mutex<Attempts>) {
    let (taken, dropped) = attempts.lock().unwrap_or_else(PoisonError::into_inner).take();
    if dropped > 0 {
        tracing::warn!("{dropped} login attempts found no room in the log of attempts");
    }
    if !taken.is_empty()
        && let Err(error) = directory.save_attempts(taken)
    {
        tracing::warn!("{error}");
    }
}

fn work(mut directory: Directory, tasks: &Receiver<Task>, attempts: &Mutex<Attempts>) {
    let mut logged_in = BTreeSet::new();
    let mut write_at = Instant::now() + LOGINS_EVERY;
    loop {
        let wait = write_at.saturating_duration_since(Instant::now());
        let stopped = match tasks.recv_timeout(wait) {
            Ok(Task::Ask(request, answer)) => {
                if let AdminToAuthd::LoginList { .. } = request {
                    save_attempts(&mut directory, attempts);
                }
                let _ = answer.send(directory.apply(request));
                None
            }
            Ok(Task::Prepared(account)) => {
                if let Err(error) = directory.prepared(account) {
                    tracing::warn!("{error}");
                }
                None
            }
            Ok(Task::LoggedIn(account)) => {
                logged_in.insert(account);
                None
            }
            Ok(Task::Shares(owner, with, noted)) => {
                let result = directory.set_shares(owner, with);
                if let Err(error) = &result {
                    tracing::warn!("{error}");
                }
                let _ = noted.send(result.is_ok());
                None
            }
            Ok(Task::Stop(stopped)) => Some(Some(stopped)),
            Err(RecvTimeoutError::Disconnected) => Some(None),
            Err(RecvTimeoutError::Timeout) => None,
        };
        if stopped.is_some() || write_at <= Instant::now() {
            write_at = Instant::now() + LOGINS_EVERY;
            save_attempts(&mut directory, attempts);
            if !logged_in.is_empty()
                && let Err(error) = directory.save_logins(std::mem::take(&mut logged_in))
            {
                tracing::warn!("{error}");
            }
        }
        if let Some(stopped) = stopped {
            // Closed before anybody is told: the log is in the database then.
            drop(directory);
            stopped.map(|stopped| stopped.send(()));
            return;
        }
    }
}
