//! What accounts' processes ask about each other: names, who shares mailboxes with whom, and a stream to a guest's session.
//!
//! Which account asks follows from the channel. A captured process learns who has which name and who shares something
//! with it, and can be a guest where it was shared with; nothing else.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ipc_proto::{
    AccountId, Channel, SessionId,
    control::Event,
    neighbours::{AccountdAuthd, AccountdToAuthd, AuthdToAccountd, MAX_NUMBERS},
    stream::{End, Responder, serve},
};
use tokio::time::Instant;

use super::Shared;
use crate::{directory::Principal, name::LoginName, verifier::random};

/// Streams that one account may ask for in [`WINDOW`].
const OPENINGS: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// What is kept of one channel.
#[derive(Debug)]
struct Asking {
    account: AccountId,
    /// Something is being written down for it.
    writing: Arc<AtomicBool>,
    opened: u32,
    since: Instant,
}

/// Takes one end of an account's channel.
pub(super) fn channel(shared: &Arc<Shared>, account: AccountId, stream: UnixStream) -> io::Result<()> {
    let mut asking = Asking { account, writing: Arc::default(), opened: 0, since: Instant::now() };
    let answering = Arc::clone(shared);
    let served = serve::<AccountdAuthd>(stream, move |request, _fds, responder| {
        asking.answer(&answering, request, responder);
    })?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let End::Violation(violation) = served.await {
            tracing::warn!(channel = ?AccountdAuthd::ID, %account, "channel closed: {violation}");
            let (channel, account) = (AccountdAuthd::ID, Some(account));
            (shared.up)(Event::Violation { channel, account, kind: violation.into() });
        }
    });
    Ok(())
}

impl Asking {
    fn answer(
        &mut self,
        shared: &Arc<Shared>,
        request: AccountdToAuthd,
        responder: Responder<AccountdAuthd>,
    ) {
        let reply = match request {
            AccountdToAuthd::Who(name) => {
                let found = shared.book.read().login(&LoginName::typed(&name)).map(|account| account.id);
                AuthdToAccountd::Number(found)
            }
            AccountdToAuthd::Names(numbers) if numbers.len() <= MAX_NUMBERS => {
                let book = shared.book.read();
                let name = |number: &AccountId| Some(book.account(*number)?.name.as_str().to_owned());
                AuthdToAccountd::Names(numbers.iter().map(name).collect())
            }
            AccountdToAuthd::Shares { with, anyone } if with.len() <= MAX_NUMBERS => {
                return self.note_shares(shared, with, anyone, responder);
            }
            // More than it says is allowed.
            AccountdToAuthd::Names(_) | AccountdToAuthd::Shares { .. } => AuthdToAccountd::Busy,
            AccountdToAuthd::Owners => AuthdToAccountd::Owners(shared.book.read().sharers(self.account)),
            AccountdToAuthd::Open(owner) => self.open(shared, owner),
        };
        responder.reply(&reply, Vec::new());
    }

    fn open(&mut self, shared: &Arc<Shared>, owner: AccountId) -> AuthdToAccountd {
        if !shared.book.read().is_shared(owner, self.account) {
            return AuthdToAccountd::NotShared;
        }
        if self.since.elapsed() >= WINDOW {
            (self.since, self.opened) = (Instant::now(), 0);
        }
        self.opened += 1;
        let Ok(octets) = random::<8>() else { return AuthdToAccountd::Busy };
        if self.opened > OPENINGS {
            return AuthdToAccountd::Busy;
        }
        let session = SessionId(u64::from_be_bytes(octets));
        (shared.up)(Event::Share { session, principal: self.account, owner });
        AuthdToAccountd::Opening
    }

    /// One at a time is written down, so that no account fills the clerk's queue.
    fn note_shares(
        &self,
        shared: &Arc<Shared>,
        with: Vec<AccountId>,
        anyone: bool,
        responder: Responder<AccountdAuthd>,
    ) {
        if self.writing.swap(true, Ordering::AcqRel) {
            return responder.reply(&AuthdToAccountd::Busy, Vec::new());
        }
        let mut principals: std::collections::BTreeSet<_> =
            with.into_iter().map(Principal::Account).collect();
        if anyone {
            principals.insert(Principal::Anyone);
        }
        let (shared, writing, owner) = (Arc::clone(shared), Arc::clone(&self.writing), self.account);
        tokio::spawn(async move {
            let noted = shared.clerk.shares(owner, principals).await;
            writing.store(false, Ordering::Release);
            let reply = if noted { AuthdToAccountd::Noted } else { AuthdToAccountd::Busy };
            responder.reply(&reply, Vec::new());
        });
    }
}
