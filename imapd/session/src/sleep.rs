//! A session in IDLE that nobody needs: its state as a value, and a session made of it.
//!
//! ```text
//!   IDLE, nothing for a while ─▶ Bed::lie_down(state) ─▶ waits on ─▶ something happens ─▶ Bed::get_up ─▶ goes on
//!                                                                          └─ the process leaves: Err(End::Asleep)
//!   later, in another process: resume(stream, state) ─▶ tells what changed ─▶ IDLE
//! ```
//!
//! Always true: a session that has lain down takes no octet of its client before it got up again, so whoever has the
//! stream next finds all of them.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imapd::NameForm;
use imapd::state::{Enabled, MAX_STATE, State};
use store_lib::{MailboxId, Store};

use crate::connection::Ready;
use crate::selected::Selected;
use crate::session::{Expunges, Receiving, Session};
use crate::{End, Facts, SessionLimits, finish};

const _: () = assert!(MAX_STATE <= store_lib::MAX_SLEEPING_STATE);

/// Where the state of a session lies while it could be put to sleep.
pub trait Bed: fmt::Debug + Send + Sync {
    /// So long in IDLE without anything.
    fn after(&self) -> Duration;
    /// This is all that it takes to go on later.
    fn lie_down(&self, asleep: Asleep);
    /// Something happened. `false`: too late, the state has been put away; this session is over without a word. Waits
    /// while that is being decided.
    fn get_up(&self) -> bool;
}

/// A session's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asleep {
    /// The mailbox that is selected.
    pub mailbox: Option<MailboxId>,
    /// The rest: at most [`store_lib::MAX_SLEEPING_STATE`] octets.
    pub state: Vec<u8>,
}

/// Goes on with a session where it was, on this thread until it ends. The client hears what happened meanwhile, and
/// nothing else.
pub fn resume(store: Store, stream: UnixStream, facts: Facts, limits: SessionLimits, asleep: Asleep) -> End {
    finish(store, stream, facts, limits, |session| session.take_up(asleep))
}

/// For a session whose state is not there: its client is told BYE.
pub fn lost(store: Store, stream: UnixStream, facts: Facts, limits: SessionLimits) -> End {
    finish(store, stream, facts, limits, |_| Err(End::Lost))
}

impl Session {
    /// Waits as [`Session::wait`] does, and lies down meanwhile where that is possible.
    pub(crate) fn wait_or_sleep(&mut self, timeout: Duration, between_commands: bool) -> Result<Ready, End> {
        let idles = between_commands && matches!(self.receiving, Receiving::Idle(_));
        let Some(bed) = self.facts.bed.clone().filter(|bed| idles && bed.after() < timeout) else {
            return self.wait(timeout, between_commands);
        };
        let after = bed.after();
        match self.wait(after, between_commands)? {
            Ready::Timeout => {}
            ready @ (Ready::Input | Ready::Other) => return Ok(ready),
        }
        let timeout = timeout.saturating_sub(after);
        let Some(asleep) = self.pack() else { return self.wait(timeout, between_commands) };
        bed.lie_down(asleep);
        let ready = self.wait(timeout, between_commands);
        if bed.get_up() { ready } else { Err(End::Asleep) }
    }

    /// `None`: there is more to this session than its state would hold.
    fn pack(&mut self) -> Option<Asleep> {
        if let Some(selected) = self.selected.as_mut().filter(|selected| selected.claimed) {
            selected.claimed = false;
            self.store.keep_recent(selected.mailbox);
        }
        let Self {
            store: _,
            connection,
            facts: _,
            limits: _,
            origin: _,
            selected,
            progress: _,
            cut: _,
            remotes,
            guest,
            names,
            enabled_metadata,
            aware,
            rev2,
            utf8,
            telling,
            notifying,
            receiving,
            heard,
            bad_commands: _,
        } = &*self;
        let Receiving::Idle(tag) = receiving else { return None };
        if connection.is_compressed()
            || !connection.out.is_empty()
            || !remotes.is_empty()
            || guest.is_some()
            || notifying.is_some()
            || !telling.is_everything()
        {
            return None;
        }
        let mailbox = selected.as_ref().map(|selected| selected.mailbox);
        let view = match selected {
            None => None,
            Some(selected) => {
                let found = self.read(|reader| reader.mailbox(selected.mailbox)).ok()??;
                Some(selected.to_view(found.uidvalidity.value())?)
            }
        };
        let enabled = Enabled {
            utf8_names: *names == NameForm::Utf8,
            metadata: *enabled_metadata,
            condstore: aware.condstore,
            qresync: aware.qresync,
            uid_only: aware.uid_only,
            rev2: *rev2,
            utf8: *utf8,
        };
        let state = State { tag: tag.clone(), heard: *heard, enabled, view };
        Some(Asleep { mailbox, state: state.encode()? })
    }

    /// Becomes the session that fell asleep, and tells what it has slept through.
    fn take_up(&mut self, asleep: Asleep) -> Result<(), End> {
        let State { tag, heard, enabled, view } = State::decode(&asleep.state).ok_or(End::Lost)?;
        if now().saturating_sub(heard) >= u64::try_from(self.limits.asleep.as_millis()).unwrap_or(u64::MAX) {
            return Err(End::Idle);
        }
        self.names = if enabled.utf8_names { NameForm::Utf8 } else { NameForm::default() };
        self.enabled_metadata = enabled.metadata;
        self.aware.condstore = enabled.condstore;
        self.aware.qresync = enabled.qresync;
        self.aware.uid_only = enabled.uid_only;
        (self.rev2, self.utf8) = (enabled.rev2, enabled.utf8);
        (self.receiving, self.heard) = (Receiving::Idle(tag), heard);
        match (asleep.mailbox, view) {
            (None, None) => return Ok(()),
            (Some(mailbox), Some(view)) => {
                let changes = self.store.watch(mailbox)?;
                let found = self.read(|reader| reader.mailbox(mailbox))?.ok_or(End::MailboxDeleted)?;
                if found.uidvalidity.value() != view.uidvalidity {
                    return Err(End::MailboxDeleted);
                }
                self.selected = Some(Selected::from_view(mailbox, changes, view).ok_or(End::Lost)?);
            }
            (None, Some(_)) | (Some(_), None) => return Err(End::Lost),
        }
        self.look_anew()?;
        self.tell_changes(Expunges::Tell)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
