//! Account processes: started when someone needs them, gone when nobody does, never more than the limit.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use ipc_proto::{
    AccountId, ChannelId,
    admin::SupervisorToAdmin,
    control::{Order, Role, SessionFacts},
};

use crate::{
    instance::{Instance, Session, Who},
    process::Process,
    sys::Ended,
};

/// How long a request waits for its account's process.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a crash, the next start waits this long for each crash in a row, at most ten times.
const CRASH_PAUSE: Duration = Duration::from_millis(100);

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
    again: Instant,
    waiting: Vec<(Request, Instant)>,
}

/// What somebody wants of an account's process.
#[derive(Debug)]
pub(crate) enum Request {
    Session(Role, SessionFacts),
    Delivery,
    Admin { connection: u64, id: u64 },
}

impl Instance {
    /// Somebody needs an account's process: now, when it is up, or not at all.
    pub(crate) fn want(&mut self, account: AccountId, request: Request) {
        if !self.layout.has_account(account) {
            return self.refuse(account, request, "no such account; see `moxctl account list`");
        }
        if let Some(entry) = self.accounts.get_mut(&account) {
            let up = entry.process.as_ref().is_some_and(|process| process.layers.is_some());
            if up && !entry.leaving {
                entry.used = Instant::now();
                return self.hand(account, request);
            }
            entry.waiting.push((request, Instant::now() + PATIENCE));
            return;
        }
        let delivery = matches!(request, Request::Delivery);
        if !self.may_spawn(delivery) {
            return self.refuse(
                account,
                request,
                "too many account processes; see `[limits] account_processes`",
            );
        }
        let now = Instant::now();
        self.accounts.insert(
            account,
            Account {
                process: None,
                leaving: false,
                for_delivery: delivery,
                restarts: 0,
                violations: 0,
                used: now,
                crashes: 0,
                again: now,
                waiting: vec![(request, now + PATIENCE)],
            },
        );
        self.accounts_due();
    }

    /// Caps: processes at once and starts in a second; deliveries get at most half of either. At the cap the longest
    /// quiet one is asked to leave, so that the next request finds room.
    fn may_spawn(&mut self, delivery: bool) -> bool {
        let limits = &self.config.limits;
        let rate = f64::from(limits.account_spawns);
        let now = Instant::now();
        let refill = now.duration_since(self.spawn_counted).as_secs_f64() * rate;
        self.spawn_tokens = (self.spawn_tokens + refill).min(rate);
        self.spawn_counted = now;
        let cap = usize::try_from(limits.account_processes).unwrap_or(usize::MAX);
        let floor = if delivery { rate / 2.0 } else { 1.0 };
        let for_deliveries = self.accounts.values().filter(|account| account.for_delivery).count();
        if self.accounts.len() >= cap || (delivery && for_deliveries >= cap / 2) {
            let busy: Vec<AccountId> = self.sessions.values().map(|session| session.facts.account).collect();
            let quiet = self
                .accounts
                .iter_mut()
                .filter(|(id, account)| !account.leaving && account.process.is_some() && !busy.contains(id))
                .min_by_key(|(_, account)| account.used);
            if let Some((_, Account { process: Some(process), leaving, .. })) = quiet {
                *leaving = true;
                process.send(&Order::Leave, Vec::new());
            }
            return false;
        }
        if self.spawn_tokens < floor {
            return false;
        }
        self.spawn_tokens -= 1.0;
        true
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
                    self.account_ended(account, Ended::Exited(1));
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
    }

    /// It is locked in, or stays after all: whoever waits is served.
    pub(crate) fn account_up(&mut self, account: AccountId) {
        let Some(entry) = self.accounts.get_mut(&account) else { return };
        entry.leaving = false;
        entry.used = Instant::now();
        for (request, _) in std::mem::take(&mut entry.waiting) {
            self.hand(account, request);
        }
    }

    /// Nobody needs it, it says.
    pub(crate) fn account_quiet(&mut self, account: AccountId) {
        let busy = self.sessions.values().any(|session| session.facts.account == account);
        if let Some(Account { process: Some(process), leaving, .. }) = self.accounts.get_mut(&account)
            && !busy
            && !*leaving
        {
            *leaving = true;
            process.send(&Order::Leave, Vec::new());
        }
    }

    pub(crate) fn account_ended(&mut self, account: AccountId, end: Ended) {
        let cut: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.facts.account == account)
            .map(|session| session.facts.session)
            .collect();
        for session in cut {
            self.session_over(session);
        }
        let Some(entry) = self.accounts.get_mut(&account) else { return };
        entry.process = None;
        entry.leaving = false;
        if end == Ended::Exited(0) && entry.waiting.is_empty() {
            self.accounts.remove(&account);
            return;
        }
        entry.crashes = if end == Ended::Exited(0) { 0 } else { (entry.crashes + 1).min(10) };
        entry.restarts += 1;
        // The entry stays for a while after a crash: it is what slows the next start down.
        entry.again = Instant::now() + CRASH_PAUSE * entry.crashes;
        if entry.waiting.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// Makes the channel or the stream and gives both ends away.
    fn hand(&mut self, account: AccountId, request: Request) {
        let pair = UnixStream::pair();
        let (Ok((ours, theirs)), true) = (pair, self.process(Who::Account(account)).is_some()) else {
            return self.refuse(account, request, "out of file descriptors; raise LimitNOFILE");
        };
        match request {
            Request::Delivery => {
                let order = Order::Channel { channel: ChannelId::QueuedAccountd, account: Some(account) };
                self.tell_account(account, &order, theirs.into());
                self.tell(Role::Queued, &order, vec![ours.into()]);
            }
            Request::Admin { connection, id } => {
                let order = Order::Channel { channel: ChannelId::AdminAccountd, account: Some(account) };
                self.tell_account(account, &order, theirs.into());
                self.reply_admin(connection, id, &SupervisorToAdmin::Opened, vec![ours.into()]);
            }
            Request::Session(front, facts) => {
                let Ok(end) = theirs.try_clone() else {
                    return self.refuse(account, Request::Session(front, facts), "out of file descriptors");
                };
                self.tell_account(account, &Order::Session(facts), theirs.into());
                self.sessions.insert(facts.session, Session { facts, end });
                if self.tell(front, &Order::Session(facts), vec![ours.into()]) {
                    self.tell(Role::Authd, &Order::Connected(facts.session), Vec::new());
                } else {
                    self.cut(facts.session);
                }
            }
        }
    }

    fn tell_account(&mut self, account: AccountId, order: &Order, fd: OwnedFd) {
        if let Some(process) = self.process_mut(Who::Account(account)) {
            process.send(order, vec![fd]);
        }
    }

    fn refuse(&mut self, account: AccountId, request: Request, why: &str) {
        match request {
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
        }
    }

    /// Cuts a session: both ends see the end at once, and neither has to help.
    pub(crate) fn cut(&mut self, session: ipc_proto::SessionId) {
        if let Some(found) = self.sessions.get(&session) {
            let _ = found.end.shutdown(std::net::Shutdown::Both);
        }
    }

    /// A session is over: forgotten here and in authd.
    pub(crate) fn session_over(&mut self, session: ipc_proto::SessionId) {
        if self.sessions.remove(&session).is_some() {
            self.tell(Role::Authd, &Order::SessionEnded(session), Vec::new());
        }
    }
}
