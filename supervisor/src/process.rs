//! One running worker, as the supervisor sees it: a pidfd, a control stream, a log socket.

use std::{
    collections::VecDeque,
    ffi::CString,
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    time::Instant,
};

use ipc_proto::{
    AccountId, blocking,
    control::{EVENT_SIZE, Event, FAULT_MARK, Layers, MAX_LOG_LINE, Order, Role},
    types::Run,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    accusations::Accusations,
    ends::Killed,
    log::one_line,
    recorder::Recorder,
    sys::{self, Child, Network},
};

/// Orders that may wait for a worker to read them; one that leaves more unread is taken for dead.
const MAX_WAITING: usize = 10_000;

/// A worker that runs.
#[derive(Debug)]
pub struct Process {
    /// What it is.
    pub role: Role,
    /// Whose, for an account's.
    pub account: Option<AccountId>,
    /// Which start this is.
    pub run: Run,
    /// Its process.
    pub child: Child,
    /// The stream of orders and events.
    pub control: UnixStream,
    /// Where its log lines come in.
    pub log: UnixDatagram,
    /// When it was started.
    pub started: Instant,
    /// What it reported; `Some`: it is locked in and may be handed things.
    pub layers: Option<Layers>,
    /// It said that it is in use.
    pub ready: bool,
    /// When it was asked whether it lives, and has not answered.
    pub asked: Option<Instant>,
    /// Why it ends, as it said itself: one line, escaped.
    pub fault: Option<String>,
    /// Why we killed it.
    pub killed: Option<Killed>,
    /// What is said of it.
    pub accusations: Accusations,
    /// Where a front notes whom it works for.
    pub recorder: Option<Recorder>,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    events: Vec<u8>,
}

/// What the supervisor needs to start one.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// What it is.
    pub role: Role,
    /// Whose, for an account's.
    pub account: Option<AccountId>,
    /// Which start this is.
    pub run: Run,
    /// Its binary.
    pub binary: &'a OwnedFd,
    /// /dev/null.
    pub null: &'a OwnedFd,
    /// Where its sockets would live.
    pub network: Network<'a>,
    /// Its own user.
    pub user: Option<u32>,
    /// Its limits.
    pub limits: &'a [(libc::__rlimit_resource_t, u64)],
}

impl Process {
    /// Starts one; its first order is still to be sent.
    pub fn start(recipe: &Recipe<'_>) -> io::Result<Self> {
        let (control, its_control) = UnixStream::pair()?;
        let (log, its_log) = UnixDatagram::pair()?;
        control.set_nonblocking(true)?;
        log.set_nonblocking(true)?;
        its_log.set_nonblocking(true)?;
        let its_control = sys::above_worker_fds(its_control.into())?;
        let its_log = sys::above_worker_fds(its_log.into())?;
        let control = UnixStream::from(sys::above_worker_fds(control.into())?);
        let log = UnixDatagram::from(sys::above_worker_fds(log.into())?);
        let name = CString::new(recipe.role.binary()).unwrap_or_default();
        let child = sys::spawn(&sys::Plan {
            binary: recipe.binary.as_fd(),
            name: &name,
            control: its_control.as_fd(),
            log: its_log.as_fd(),
            null: recipe.null.as_fd(),
            network: recipe.network,
            user: recipe.user,
            limits: recipe.limits,
        })?;
        Ok(Self {
            role: recipe.role,
            account: recipe.account,
            run: recipe.run,
            child,
            control,
            log,
            started: Instant::now(),
            layers: None,
            ready: false,
            asked: None,
            fault: None,
            killed: None,
            accusations: Accusations::default(),
            recorder: None,
            waiting: VecDeque::new(),
            events: Vec::new(),
        })
    }

    /// Sends an order, now or when there is room.
    pub fn send(&mut self, order: &Order, fds: Vec<OwnedFd>) {
        let Ok(octets) = blocking::encode_order(order) else { return };
        if self.waiting.len() >= MAX_WAITING {
            self.kill(Killed::Hung);
            return;
        }
        self.waiting.push_back((octets, fds));
        self.flush();
    }

    /// Sends what waits, until there is no room. A worker that is gone is noticed by its pidfd.
    pub fn flush(&mut self) {
        while let Some((octets, fds)) = self.waiting.front_mut() {
            match blocking::send_some(&self.control, octets, fds) {
                Ok(sent) if sent < octets.len() => {
                    fds.clear();
                    octets.drain(..sent);
                }
                Ok(_) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.waiting.clear(),
            }
        }
    }

    /// Something waits for room.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The events that came. `Err`: not an event; the worker is to be killed, on our own evidence.
    pub fn read_events(&mut self) -> Result<Vec<Event>, NotAnEvent> {
        let mut space = [0; EVENT_SIZE * 64];
        // One read at a time: a worker that floods us waits its turn.
        match self.control.read(&mut space) {
            Ok(octets) => self.events.extend_from_slice(space.get(..octets).unwrap_or_default()),
            Err(_) => return Ok(Vec::new()),
        }
        let mut events = Vec::new();
        let mut rest = self.events.as_slice();
        while let Some((event, behind)) = rest.split_first_chunk::<EVENT_SIZE>() {
            events.push(Event::from_bytes(event).ok_or(NotAnEvent)?);
            rest = behind;
        }
        let taken = self.events.len() - rest.len();
        self.events.drain(..taken);
        Ok(events)
    }

    /// One log line. Its last one, if it says what ends it, is kept for the line about that end.
    pub fn read_log(&mut self) -> Option<String> {
        let mut line = [0; MAX_LOG_LINE];
        loop {
            let length = self.log.recv(&mut line).ok()?;
            let text = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
            match text.strip_prefix(FAULT_MARK) {
                Some(cause) if self.fault.is_none() => self.fault = Some(one_line(cause)),
                // There is one last line. Who says more of them does not keep us here.
                Some(another) => return Some(format!("ERROR {another}")),
                None => return Some(text.into_owned()),
            }
        }
    }

    /// Its end may not have been taken notice of yet.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.child.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
    }

    /// Ends it, whatever it does.
    pub fn kill(&mut self, why: Killed) {
        self.killed.get_or_insert(why);
        sys::signal(self.child.pidfd.as_fd(), libc::SIGKILL);
    }
}

/// What a worker wrote is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnEvent;
