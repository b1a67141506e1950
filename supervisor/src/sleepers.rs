//! Sessions that sleep: their account's process has left, their front holds its end of the stream and knows nothing, and
//! the supervisor holds the other end.
//!
//! ```text
//!   accountd: Asleep ─▶ waited on here ── the client's octets, or the account's process is up again, or expiry
//!        Resume + stream ◀── process ◀── authd: Awaken ◀── Waking ◀──┘
//!                            over    ◀── authd: Disconnect
//! ```
//!
//! Always true: (1) nothing is read from a stream here, only whether there is something; (2) no session wakes without
//! authd's word; (3) one that cannot wake is cut, as any session can be at any time.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, SessionId,
    control::{MAX_ASLEEP, Order, Role, Sleeper},
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{
    accounts::Request,
    instance::Instance,
    sys::{self, above_worker_fds},
};

/// Of those that have something, so many at once.
const AT_ONCE: usize = 64;
/// How often it is looked who has slept for too long.
const LOOK: Duration = Duration::from_secs(1);

/// How a session sleeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sleep {
    /// As its process numbered it.
    count: u32,
    since: Instant,
    waking: Waking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waking {
    /// It sleeps.
    No,
    /// Somebody needs it: authd was asked, or will be.
    Asked,
    /// It waits for its account's process.
    Allowed,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sleepers {
    epoll: Epoll,
    accounts: BTreeMap<AccountId, BTreeSet<SessionId>>,
    looked: Instant,
}

impl Sleepers {
    pub(crate) fn new() -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let epoll = Epoll(above_worker_fds(epoll.0)?);
        Ok(Self { epoll, accounts: BTreeMap::new(), looked: Instant::now() })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// An account's.
    pub(crate) fn of(&self, account: AccountId) -> Vec<SessionId> {
        self.accounts.get(&account).into_iter().flatten().copied().collect()
    }

    fn insert(&mut self, account: AccountId, session: SessionId) {
        self.accounts.entry(account).or_default().insert(session);
    }

    /// It is over, or awake.
    pub(crate) fn forget(&mut self, account: AccountId, session: SessionId, end: impl AsFd) {
        // Before its last handle goes: another process may still have one.
        let _ = self.epoll.delete(end);
        if let Some(sessions) = self.accounts.get_mut(&account) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.accounts.remove(&account);
            }
        }
    }
}

impl Instance {
    /// Its process says that this session sleeps.
    pub(crate) fn fell_asleep(&mut self, account: AccountId, session: SessionId, count: u32) {
        let room = self.sleepers.accounts.get(&account).is_none_or(|asleep| asleep.len() < MAX_ASLEEP);
        let Some(found) = self.sessions.get_mut(&session) else { return };
        if found.facts.account != account || found.sleep.is_some() || !room {
            return;
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, session.0);
        // One that cannot be waited for ends with its process.
        if self.sleepers.epoll.add(&found.end, event).is_ok() {
            found.sleep = Some(Sleep { count, since: Instant::now(), waking: Waking::No });
            self.sleepers.insert(account, session);
        }
    }

    /// Some have something.
    pub(crate) fn stir(&mut self) {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = self.sleepers.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in events.iter().take(count) {
            let session = SessionId(event.data());
            let gone = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
            let waiting = self.sessions.get(&session).is_some_and(|found| sys::has_input(found.end.as_fd()));
            // The client is gone and has said nothing more: nobody has to be woken for that.
            if gone && !waiting { self.cut(session) } else { self.wake(session) }
        }
    }

    /// Somebody needs it.
    fn wake(&mut self, session: SessionId) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        let Some(sleep) = found.sleep.as_mut().filter(|sleep| sleep.waking == Waking::No) else { return };
        sleep.waking = Waking::Asked;
        // Not told again until it is served.
        let _ = self.sleepers.epoll.delete(&found.end);
        self.tell(Role::Authd, &Order::Waking(session), Vec::new());
    }

    /// Its process is there: for whatever reason, its sessions are to hear of it.
    pub(crate) fn wake_account(&mut self, account: AccountId) {
        for session in self.sleepers.of(account) {
            self.wake(session);
        }
    }

    /// authd is there, and another one than was asked.
    pub(crate) fn ask_again(&mut self) {
        let asked: Vec<_> = self
            .sleepers
            .accounts
            .values()
            .flatten()
            .filter(|session| self.is_waking(**session, Waking::Asked))
            .copied()
            .collect();
        for session in asked {
            self.tell(Role::Authd, &Order::Waking(session), Vec::new());
        }
    }

    fn is_waking(&self, session: SessionId, waking: Waking) -> bool {
        let sleep = self.sessions.get(&session).and_then(|found| found.sleep);
        sleep.is_some_and(|sleep| sleep.waking == waking)
    }

    /// authd says that it is still a session. What it was not asked, or what is over meanwhile, is passed over.
    pub(crate) fn awaken(&mut self, session: SessionId) {
        if !self.is_waking(session, Waking::Asked) {
            return;
        }
        let Some(found) = self.sessions.get_mut(&session) else { return };
        if let Some(sleep) = &mut found.sleep {
            sleep.waking = Waking::Allowed;
        }
        let account = found.facts.account;
        self.want(account, Request::Resume(session));
    }

    /// Its account's process takes it over: what that is told, and the stream. `None`: it is over.
    pub(crate) fn rouse(&mut self, session: SessionId) -> Option<(Order, OwnedFd)> {
        let found = self.sessions.get_mut(&session)?;
        let end = found.end.try_clone().ok()?;
        let sleep = found.sleep.take()?;
        self.sleepers.forget(found.facts.account, session, &found.end);
        Some((Order::Resume(Sleeper { facts: found.facts, count: sleep.count }), end.into()))
    }

    /// Those whose clients have said nothing for too long wake up to be told so.
    pub(crate) fn sleepers_due(&mut self) {
        let now = Instant::now();
        if now < self.sleepers.looked + LOOK {
            return;
        }
        self.sleepers.looked = now;
        let expiry = self.config.limits.hibernate_expiry.0;
        let late: Vec<_> = self
            .sleepers
            .accounts
            .values()
            .flatten()
            .filter(|session| {
                let sleep = self.sessions.get(session).and_then(|found| found.sleep);
                sleep.is_some_and(|sleep| now.saturating_duration_since(sleep.since) >= expiry)
            })
            .copied()
            .collect();
        for session in late {
            self.wake(session);
        }
    }
}
