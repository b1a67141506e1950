//! Accounts that share mailboxes: each account's channel to authd, and streams between two accounts' processes.
//!
//! authd says which two (`Event::Share`); who is at the other end follows from the order that brings the stream.

use std::os::unix::net::UnixStream;

use ipc_proto::{
    AccountId, ChannelId, ConnectionId, SessionId,
    control::{Order, Role, SessionFacts},
    types::{Protocol, Run},
};

use crate::{
    accounts::Request,
    instance::{Instance, Session, Who},
};

/// Streams that one account's process has to others at once.
const MOST_OF_PRINCIPAL: usize = 32;
/// Guests in one account's process at once.
const MOST_OF_OWNER: usize = 32;

impl Instance {
    /// An account's process that was just locked in can ask authd, and a new authd can be asked by all.
    pub(crate) fn connect_to_authd(&mut self, account: AccountId) {
        let authd_up = self.process(Who::Fixed(Role::Authd)).is_some_and(|process| process.layers.is_some());
        let account_up = self.process(Who::Account(account)).is_some_and(|process| process.layers.is_some());
        if !authd_up || !account_up {
            return;
        }
        match UnixStream::pair() {
            Ok((asks, answers)) => {
                let (channel, account_of) = (ChannelId::AccountdAuthd, Some(account));
                let order = Order::Channel { channel, account: account_of, run: Run(0) };
                self.tell(Role::Authd, &order, vec![answers.into()]);
                self.order_account(account, &order, vec![asks.into()]);
            }
            Err(error) => self.log.own("ERROR", &format!("no channel AccountdAuthd: {error}")),
        }
    }

    /// A new authd.
    pub(crate) fn connect_accounts_to_authd(&mut self) {
        let accounts: Vec<AccountId> = self.accounts.keys().copied().collect();
        accounts.into_iter().for_each(|account| self.connect_to_authd(account));
    }

    /// authd: `principal` may be a guest of `owner`.
    pub(crate) fn share(&mut self, session: SessionId, principal: AccountId, owner: AccountId) {
        let guests = self.sessions.values().filter(|session| session.guest.is_some());
        let (mut out, mut within) = (0, 0);
        for guest in guests {
            out += usize::from(guest.guest == Some(principal));
            within += usize::from(guest.facts.account == owner);
        }
        let request = Request::Guest { session, principal };
        if out >= MOST_OF_PRINCIPAL || within >= MOST_OF_OWNER || self.sessions.contains_key(&session) {
            return self.refuse(owner, request, "too many guests");
        }
        self.want(owner, request);
    }

    /// Both ends of a guest's session, each marked with the other's account.
    pub(crate) fn join(&mut self, owner: AccountId, session: SessionId, principal: AccountId) {
        let facts = SessionFacts {
            session,
            connection: ConnectionId(session.0),
            protocol: Protocol::Imap,
            account: owner,
            without: ipc_proto::capability::Capabilities::NONE,
        };
        let (Ok((ours, theirs)), true) = (UnixStream::pair(), self.is_there(principal)) else {
            return self.refuse(owner, Request::Guest { session, principal }, "out of file descriptors");
        };
        let Ok(end) = theirs.try_clone() else {
            return self.refuse(owner, Request::Guest { session, principal }, "out of file descriptors");
        };
        self.order_account(owner, &Order::Guest { facts, principal }, vec![theirs.into()]);
        self.sessions.insert(session, Session { facts, end, guest: Some(principal), sleep: None });
        self.order_account(principal, &Order::Shared { owner }, vec![ours.into()]);
    }

    fn is_there(&self, account: AccountId) -> bool {
        self.process(Who::Account(account)).is_some_and(|process| process.layers.is_some())
    }

    /// The guest waits for nothing any more.
    pub(crate) fn refuse_guest(&mut self, owner: AccountId, principal: AccountId) {
        self.order_account(principal, &Order::SharedRefused { owner }, Vec::new());
    }

    fn order_account(&mut self, account: AccountId, order: &Order, fds: Vec<std::os::fd::OwnedFd>) {
        if let Some(process) = self.process_mut(Who::Account(account)) {
            process.send(order, fds);
        }
    }
}
