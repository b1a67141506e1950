//! Account processes: started when someone needs them, gone when nobody does, never more than the limit.

use std::{
    collections::BTreeSet,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, ChannelId, SessionId,
    admin::SupervisorToAdmin,
    control::{Order, PreviousEnd, Role, SessionFacts},
};

use crate::{
    ends,
    instance::{ADMIN, Instance, Session, Who},
    process::Process,
    sys::Ended,
};

/// How long a request waits for its account's process.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request waits for a place, where all are taken: a quiet process leaves within milliseconds.
const PATIENCE_FOR_A_PLACE: Duration = Duration::from_secs(2);
/// Requests that wait for a place; beyond, they are refused at once.
const MAX_WAITING: usize = 1000;
/// How often it is looked whether there is a place.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// After a crash, the next start waits this long for each crash in a row, at most ten times.
const CRASH_PAUSE: Duration = Duration::from_millis(100);
/// Crashes that the next process of an account is told of; of more accounts the oldest number is forgotten.
const MAX_REMEMBERED: usize = 10_000;
const NO_PLACE: &str = "too many account processes, all of them busy; see `[limits] account_processes`";

/// One account's process and who waits for it.
#[derive(Debug)]
pub struct Account {
    /// `None`: between two lives, somebody waits.
    pub(crate) process: Option<Process>,
    /// It was told that it may leave: what comes now waits for its answer.
    pub(crate) leaving: bool,
    /// Asked for by a delivery, so counted against the deliveries' share.
    pub(crate) for_delivery: bool,
    pub(crate) restarts: u32,
    pub(crate) violations: u32,
    /// Last handed something.
    pub(crate) used: Instant,
    crashes: u32,
    pub(crate) again: Instant,
    waiting: Vec<(Request, Instant)>,
}

/// What somebody wants of an account's process.
#[derive(Debug)]
pub(crate) enum Request {
    Session(Role, SessionFacts),
    Delivery,
    /// Of another account.
    Guest {
        session: ipc_proto::SessionId,
        principal: AccountId,
    },
    Admin {
        connection: u64,
        id: u64,
    },
    /// A session that sleeps.
    Resume(SessionId),
}

impl Request {
    fn is_delivery(&self) -> bool {
        matches!(self, Self::Delivery)
    }
}

/// A request whose account has no process, where the cap or the rate allows no more.
#[derive(Debug)]
pub(crate) struct Waiting {
    account: AccountId,
    request: Request,
    until: Instant,
}

impl Account {
    fn is_up(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.layers.is_some() && !process.has_ended())
    }
}

impl Instance {
    /// Somebody needs an account's process: now, when it is up, when there is a place for it, or not at all.
    pub(crate) fn want(&mut self, account: AccountId, request: Request) {
        if !self.layout.has_account(account) {
            return self.refuse(account, request, "no such account; see `moxctl account list`");
        }
        if let Some(entry) = self.accounts.get_mut(&account) {
            if entry.is_up() && !entry.leaving {
                entry.used = Instant::now();
                return self.hand(account, request);
            }
            entry.waiting.push((request, Instant::now() + PATIENCE));
            return;
        }
        if self.room.is_empty() && self.may_spawn(request.is_delivery()) {
            return self.begin(account, request);
        }
        if self.room.len() >= MAX_WAITING {
            return self.refuse(account, request, NO_PLACE);
        }
        self.room.push(Waiting { account, request, until: Instant::now() + PATIENCE_FOR_A_PLACE });
        self.places_due();
    }

    fn begin(&mut self, account: AccountId, request: Request) {
        let now = Instant::now();
        let entry = Account {
            process: None,
            leaving: false,
            for_delivery: request.is_delivery(),
            restarts: 0,
            violations: 0,
            used: now,
            crashes: 0,
            again: now,
            waiting: vec![(request, now + PATIENCE)],
        };
        self.accounts.insert(account, entry);
        self.accounts_due();
    }

    /// Gives places to who waits for one: people first, then deliveries, which queued keeps if they get none.
    pub(crate) fn places_due(&mut self) {
        if self.room.is_empty() {
            return;
        }
        let (deliveries, people): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.room).into_iter().partition(|waiting| waiting.request.is_delivery());
        let now = Instant::now();
        for Waiting { account, request, until } in people.into_iter().chain(deliveries) {
            if self.accounts.contains_key(&account) {
                self.want(account, request);
            } else if self.may_spawn(request.is_delivery()) {
                self.begin(account, request);
            } else if until <= now {
                self.refuse(account, request, NO_PLACE);
            } else {
                self.room.push(Waiting { account, request, until });
            }
        }
        self.make_room();
    }

    fn is_full(&self, delivery: bool) -> bool {
        let cap = usize::try_from(self.config.limits.account_processes).unwrap_or(usize::MAX);
        let for_deliveries = || self.accounts.values().filter(|account| account.for_delivery).count();
        self.accounts.len() >= cap || (delivery && for_deliveries() >= cap / 2)
    }

    /// Caps: processes at once and starts in a second; deliveries get at most half of either. True: a start is taken.
    fn may_spawn(&mut self, delivery: bool) -> bool {
        let rate = f64::from(self.config.limits.account_spawns);
        let now = Instant::now();
        let refill = now.duration_since(self.spawn_counted).as_secs_f64() * rate;
        self.spawn_tokens = (self.spawn_tokens + refill).min(rate);
        self.spawn_counted = now;
        let floor = if delivery { rate / 2.0 } else { 1.0 };
        if self.is_full(delivery) || self.spawn_tokens < floor {
            return false;
        }
        self.spawn_tokens -= 1.0;
        true
    }

    /// Asks as many quiet processes to leave as requests wait for a place, those that were used longest ago. One that
    /// has something under way stays, and counts as used just now.
    fn make_room(&mut self) {
        let deliveries = self.room.iter().filter(|waiting| waiting.request.is_delivery()).count();
        let people = self.room.len() - deliveries;
        let mut needed = if self.is_full(false) { people + deliveries } else { 0 };
        let only_deliveries = needed == 0 && self.is_full(true);
        if only_deliveries {
            needed = deliveries;
        }
        let leaving = self.accounts.values().filter(|account| account.leaving).count();
        needed = needed.saturating_sub(leaving);
        if needed == 0 {
            return;
        }
        let busy: BTreeSet<AccountId> = self.sessions.values().map(|session| session.facts.account).collect();
        let mut quiet: Vec<_> = self
            .accounts
            .iter_mut()
            .filter(|(id, account)| !account.leaving && !busy.contains(id) && account.is_up())
            .filter(|(_, account)| account.for_delivery || !only_deliveries)
            .map(|(_, account)| account)
            .collect();
        quiet.sort_by_key(|account| account.used);
        for account in quiet.into_iter().take(needed) {
            account.leaving = true;
            if let Some(process) = &mut account.process {
                process.send(&Order::Leave { asked: false }, Vec::new());
            }
        }
    }

    /// Starts what is due, and lets go of requests that waited too long.
    pub(crate) fn accounts_due(&mut self) {
        let now = Instant::now();
        let due: Vec<AccountId> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.process.is_none() && account.again <= now)
            .map(|(id, _)| *id)
            .collect();
        for account in due {
            match self.spawn(Role::Accountd, Some(account)) {
                Ok(process) => {
                    if let Some(entry) = self.accounts.get_mut(&account) {
                        entry.process = Some(process);
                    }
                }
                Err(error) => {
                    self.log.own("ERROR", &format!("cannot start the process of account {account}: {error}"));
                    self.account_ended(account, Ended::Exited(1), None);
                }
            }
        }
        let late: Vec<(AccountId, Request)> = self
            .accounts
            .iter_mut()
            .flat_map(|(id, account)| {
                account.waiting.extract_if(.., |(_, until)| *until < now).map(|(request, _)| (*id, request))
            })
            .collect();
        for (account, request) in late {
            self.refuse(account, request, "the account's process does not start; see the log");
        }
        // One for whom nobody waits any more is not started.
        self.accounts.retain(|_, account| account.process.is_some() || !account.waiting.is_empty());
    }

    /// It is locked in, or stays after all: whoever waits is served.
    pub(crate) fn account_up(&mut self, account: AccountId) {
        let Some(entry) = self.accounts.get_mut(&account) else { return };
        entry.leaving = false;
        entry.used = Instant::now();
        for (request, _) in std::mem::take(&mut entry.waiting) {
            self.hand(account, request);
        }
        self.wake_account(account);
    }

    /// Nobody needs it, it says: it has no session, or all could sleep. What it is handed before it reads the permission
    /// makes that void.
    pub(crate) fn account_quiet(&mut self, account: AccountId) {
        if let Some(Account { process: Some(process), leaving, .. }) = self.accounts.get_mut(&account)
            && !*leaving
        {
            *leaving = true;
            process.send(&Order::Leave { asked: true }, Vec::new());
        }
    }

    /// Its store is open: what its last process left was looked at.
    pub(crate) fn account_ready(&mut self, account: AccountId) {
        self.crashed.remove(&account);
        self.account_up(account);
    }

    /// Its process is gone: `process`, if there was one.
    pub(crate) fn account_ended(&mut self, account: AccountId, end: Ended, process: Option<Process>) {
        let cut: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.facts.account == account && session.sleep.is_none())
            .map(|session| session.facts.session)
            .collect();
        let killed = process.as_ref().and_then(|process| process.killed);
        let previous = ends::previous(end, killed, !cut.is_empty());
        if previous != PreviousEnd::Harmless {
            self.crashed.insert(account, previous);
            if self.crashed.len() > MAX_REMEMBERED {
                self.crashed.pop_first();
            }
        }
        for session in cut {
            self.session_over(session);
        }
        // What it was a guest of sees the end of its stream, which went with the process.
        let Some(entry) = self.accounts.get_mut(&account) else { return };
        entry.leaving = false;
        entry.crashes = if end == Ended::Exited(0) { 0 } else { (entry.crashes + 1).min(10) };
        entry.restarts += 1;
        entry.again = Instant::now() + CRASH_PAUSE * entry.crashes;
        // It said what is wrong, and will say so again: nobody is kept waiting for that.
        if let (ends::FAULT, Some(fault)) = (end, process.and_then(|process| process.fault)) {
            for (request, _) in std::mem::take(&mut entry.waiting) {
                self.refuse(account, request, &fault);
            }
        }
        self.accounts.retain(|_, account| account.process.is_some() || !account.waiting.is_empty());
    }

    /// What the next process of an account is told of the one before it.
    pub(crate) fn previous_end(&self, account: Option<AccountId>) -> PreviousEnd {
        let crashed = account.and_then(|account| self.crashed.get(&account));
        crashed.copied().unwrap_or(PreviousEnd::Harmless)
    }

    /// Makes the channel or the stream and gives both ends away.
    fn hand(&mut self, account: AccountId, request: Request) {
        if let (false, Some(entry)) = (request.is_delivery(), self.accounts.get_mut(&account)) {
            // From now on it is not one of those that only deliveries need.
            entry.for_delivery = false;
        }
        if let Request::Resume(session) = request {
            if let Some((order, end)) = self.rouse(session) {
                self.tell_account(account, &order, end);
            }
            return;
        }
        let pair = UnixStream::pair();
        let (Ok((ours, theirs)), true) = (pair, self.process(Who::Account(account)).is_some()) else {
            return self.refuse(account, request, "out of file descriptors; raise LimitNOFILE");
        };
        match request {
            Request::Guest { session, principal } => self.join(account, session, principal),
            Request::Delivery => {
                let order = Order::Channel {
                    channel: ChannelId::QueuedAccountd,
                    account: Some(account),
                    run: self.run_of(Role::Queued),
                };
                self.tell_account(account, &order, theirs.into());
                self.tell(Role::Queued, &order, vec![ours.into()]);
            }
            Request::Admin { connection, id } => {
                let order =
                    Order::Channel { channel: ChannelId::AdminAccountd, account: Some(account), run: ADMIN };
                self.tell_account(account, &order, theirs.into());
                self.reply_admin(connection, id, &SupervisorToAdmin::Opened, vec![ours.into()]);
            }
            Request::Session(front, facts) => {
                let Ok(end) = theirs.try_clone() else {
                    return self.refuse(account, Request::Session(front, facts), "out of file descriptors");
                };
                self.tell_account(account, &Order::Session(facts), theirs.into());
                self.sessions.insert(facts.session, Session { facts, end, guest: None, sleep: None });
                if self.tell(front, &Order::Session(facts), vec![ours.into()]) {
                    self.tell(Role::Authd, &Order::Connected(facts.session), Vec::new());
                } else {
                    self.cut(facts.session);
                }
            }
            Request::Resume(_) => {}
        }
    }

    fn tell_account(&mut self, account: AccountId, order: &Order, fd: OwnedFd) {
        if let Some(process) = self.process_mut(Who::Account(account)) {
            process.send(order, vec![fd]);
        }
    }

    pub(crate) fn refuse(&mut self, account: AccountId, request: Request, why: &str) {
        match request {
            Request::Guest { principal, .. } => self.refuse_guest(account, principal),
            Request::Delivery => {
                self.tell(Role::Queued, &Order::ChannelRefused(account), Vec::new());
            }
            Request::Admin { connection, id } => {
                let reply = SupervisorToAdmin::Refused(why.to_owned());
                self.reply_admin(connection, id, &reply, Vec::new());
            }
            Request::Session(front, facts) => {
                self.tell(front, &Order::SessionRefused(facts.connection), Vec::new());
                self.tell(Role::Authd, &Order::ConnectRefused(facts.session), Vec::new());
            }
            Request::Resume(session) => self.cut(session),
        }
    }

    /// Cuts a session: both ends see the end at once, and neither has to help. One that sleeps is over with it.
    pub(crate) fn cut(&mut self, session: SessionId) {
        if let Some(found) = self.sessions.get(&session) {
            let _ = found.end.shutdown(std::net::Shutdown::Both);
            if found.sleep.is_some() {
                self.session_over(session);
            }
        }
    }

    /// A session is over: forgotten here and in authd.
    pub(crate) fn session_over(&mut self, session: SessionId) {
        if let Some(over) = self.sessions.remove(&session) {
            self.sleepers.forget(over.facts.account, session, &over.end);
            self.tell(Role::Authd, &Order::SessionEnded(session), Vec::new());
        }
    }
}
