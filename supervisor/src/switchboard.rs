//! What happens when a worker says something, and who is connected to whom.

use std::{os::unix::net::UnixStream, time::Instant};

use ipc_proto::{
    control::{Event, Order, Role},
    types::Protocol,
};

use crate::{
    accounts::Request,
    config::MAX_ACCOUNTS,
    ends::Killed,
    instance::{Instance, Session, Who},
    start::StartError,
    topology::EDGES,
};

impl Instance {
    /// One event, from a worker that may send it or is killed.
    pub(crate) fn event(&mut self, who: Who, event: Event) -> Result<(), StartError> {
        match (who, event) {
            (_, Event::Sandboxed(layers)) => {
                if self.process(who).is_some_and(|process| process.layers.is_some()) {
                    self.out_of_role(who, &event);
                } else {
                    self.sandboxed(who, layers)?;
                }
            }
            (Who::Account(account), Event::Ready) => self.account_ready(account),
            (Who::Fixed(role), Event::Ready) => {
                if role == Role::Authd {
                    self.quotas_complete();
                }
                if let Some(process) = self.process_mut(who) {
                    process.ready = true;
                }
                self.check_ready();
            }
            (_, Event::Pong(_)) => {
                if let Some(process) = self.process_mut(who) {
                    process.asked = None;
                }
            }
            (_, Event::Violation { channel, account, kind }) => self.violation(who, channel, account, kind),
            (_, Event::LogDropped(count)) => {
                let name = self.process(who).map_or("", |process| process.role.binary());
                self.log.own("WARN", &format!("{name}: {count} log lines found no room"));
            }
            (Who::Fixed(Role::Authd), Event::Connect { front: Role::Imapd, facts })
                if facts.account.number() <= MAX_ACCOUNTS && facts.protocol == Protocol::Imap =>
            {
                self.want(facts.account, Request::Session(Role::Imapd, facts));
            }
            (Who::Fixed(Role::Authd), Event::Share { session, principal, owner })
                if principal != owner && principal.number().max(owner.number()) <= MAX_ACCOUNTS =>
            {
                self.share(session, principal, owner);
            }
            (Who::Fixed(Role::Authd), Event::Disconnect(session)) => self.cut(session),
            (Who::Fixed(Role::Authd), Event::Awaken(session)) => self.awaken(session),
            (Who::Fixed(Role::Authd), Event::DisconnectAccount(account)) => {
                let is_of =
                    |session: &&Session| session.facts.account == account || session.guest == Some(account);
                let sessions: Vec<_> =
                    self.sessions.values().filter(is_of).map(|one| one.facts.session).collect();
                for session in sessions {
                    self.cut(session);
                }
            }
            (Who::Fixed(Role::Authd), Event::CreateAccount(account)) if account.number() <= MAX_ACCOUNTS => {
                let made = self.made.contains(&account);
                match if made { Ok(()) } else { self.layout.make_account(account) } {
                    Ok(()) => {
                        // authd may ask once more when it was started again before it noted the answer.
                        self.made.insert(account);
                        self.tell(Role::Authd, &Order::AccountReady(account), Vec::new());
                    }
                    Err(error) => {
                        self.log.own("ERROR", &format!("account {account}: {error}"));
                        if let StartError::Occupied(_) = error {
                            self.tell(Role::Authd, &Order::AccountRefused(account), Vec::new());
                        }
                    }
                }
            }
            (Who::Fixed(Role::Authd), Event::Quota { account, quota }) => self.quota_said(account, quota),
            (Who::Fixed(Role::Queued), Event::OpenDelivery(account)) if account.number() <= MAX_ACCOUNTS => {
                self.want(account, Request::Delivery);
            }
            (Who::Account(account), Event::Quiet) => self.account_quiet(account),
            (Who::Account(account), Event::Full) => self.account_full(account),
            (Who::Account(account), Event::Asleep { session, count }) => {
                self.fell_asleep(account, session, count);
            }
            (Who::Account(account), Event::SessionEnded(session)) => {
                if self.sessions.get(&session).is_some_and(|found| found.facts.account == account) {
                    self.session_over(session);
                }
            }
            (_, Event::Attacked { step, errno }) if cfg!(captured) => self.attacked(who, step, errno),
            (
                _,
                Event::Connect { .. }
                | Event::Share { .. }
                | Event::Disconnect(_)
                | Event::DisconnectAccount(_)
                | Event::CreateAccount(_)
                | Event::Quota { .. }
                | Event::OpenDelivery(_)
                | Event::Quiet
                | Event::Full
                | Event::SessionEnded(_)
                | Event::Asleep { .. }
                | Event::Awaken(_)
                | Event::Attacked { .. },
            ) => self.out_of_role(who, &event),
        }
        Ok(())
    }

    /// A worker that was just locked in gets its channels and listeners.
    pub(crate) fn connect(&mut self, who: Who) {
        let role = match who {
            Who::Fixed(role) => role,
            Who::Account(account) => {
                self.connect_to_authd(account);
                return self.account_up(account);
            }
        };
        if role == Role::Authd {
            self.connect_accounts_to_authd();
        }
        for edge in EDGES.iter().filter(|edge| edge.asks == role || edge.answers == role) {
            let other = if edge.asks == role { edge.answers } else { edge.asks };
            let up = self.process(Who::Fixed(other)).is_some_and(|process| process.layers.is_some());
            if !up {
                continue;
            }
            match UnixStream::pair() {
                Ok((asks, answers)) => {
                    let run = self.run_of(edge.asks);
                    let order = Order::Channel { channel: edge.channel, account: None, run };
                    self.tell(edge.answers, &order, vec![answers.into()]);
                    self.tell(edge.asks, &order, vec![asks.into()]);
                }
                Err(error) => self.log.own("ERROR", &format!("no channel {:?}: {error}", edge.channel)),
            }
        }
        if role == Role::Authd {
            self.ask_again();
        }
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .filter(|listener| listener.role() == role)
            .filter_map(|listener| listener.hand_out().ok())
            .collect();
        for (listener, fd) in listeners {
            self.tell(role, &Order::Listener(listener), vec![fd]);
        }
    }

    /// A fixed worker is gone. What others held of it they notice themselves; account processes that only it could
    /// reach get a new channel when they are asked for.
    pub(crate) fn fixed_gone(&mut self, role: Role) {
        if role == Role::Authd {
            // Sessions go on; the new authd does not know them, and cuts them by account where it must.
            self.log.own("WARN", "authd restarts; running sessions go on");
        }
    }

    /// A channel was closed because its peer broke the rules: counted at the peer, logged. Nobody is killed on one other's
    /// word.
    fn violation(
        &mut self,
        reporter: Who,
        channel: ipc_proto::ChannelId,
        account: Option<ipc_proto::AccountId>,
        kind: ipc_proto::control::ViolationKind,
    ) {
        let Some(by) = self.process(reporter).map(|process| process.role) else { return };
        let edge = EDGES.iter().find(|edge| edge.channel == channel);
        match (edge, account) {
            (Some(edge), _) if edge.asks == by || edge.answers == by => {
                let peer = if edge.asks == by { edge.answers } else { edge.asks };
                if let Some(fixed) = self.fixed_mut(peer) {
                    fixed.violations += 1;
                }
                self.renewals.ask((channel, None));
                let line = format!("{} reports {} on {channel:?}: {kind:?}", by.binary(), peer.binary());
                self.log.own("WARN", &line);
                self.accuse(peer, by);
            }
            (None, Some(account)) => {
                // Between queued or authd and one account: whoever did not report it did it.
                if by == Role::Queued || by == Role::Authd {
                    if let Some(entry) = self.accounts.get_mut(&account) {
                        entry.violations += 1;
                    }
                } else if channel == ipc_proto::ChannelId::QueuedAccountd
                    && let Some(queued) = self.fixed_mut(Role::Queued)
                {
                    queued.violations += 1;
                } else if channel == ipc_proto::ChannelId::AccountdAuthd
                    && let Some(authd) = self.fixed_mut(Role::Authd)
                {
                    authd.violations += 1;
                }
                if channel == ipc_proto::ChannelId::AccountdAuthd {
                    self.renewals.ask((channel, Some(account)));
                }
                let line = format!(
                    "{} reports a violation on {channel:?}, account {account}: {kind:?}",
                    by.binary()
                );
                self.log.own("WARN", &line);
            }
            (Some(_), _) | (None, None) => {
                self.log
                    .own("WARN", &format!("{} reports a violation on {channel:?}: {kind:?}", by.binary()));
            }
        }
    }

    /// A front of which both who guard secrets say so is not itself any more.
    fn accuse(&mut self, front: Role, by: Role) {
        let now = Instant::now();
        if let Some(process) = self.process_mut(Who::Fixed(front)).filter(|process| process.role.is_front())
            && process.accusations.add(by, now)
            && process.killed.is_none()
        {
            process.kill(Killed::Accused);
            let line = format!("{} broke the rules of keyd's and of authd's channel; killed", front.binary());
            self.log.own("ERROR", &line);
        }
    }
}
