//! Orders and events after the lock.

use std::{
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use ipc_proto::{
    AccountId, ChannelId, Violation,
    blocking::Orders,
    control::{Event, Order},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{Fault, log, sys};

/// Tells the supervisor things; cloned freely.
#[derive(Debug, Clone)]
pub struct Events {
    stream: Arc<Mutex<UnixStream>>,
}

impl Events {
    /// Over the worker's end of its control channel.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)) }
    }

    /// Sends one event. The supervisor reads its workers always; where it is gone, the order stream ends too, and that
    /// is where the worker learns of it.
    pub fn send(&self, event: Event) {
        let octets = event.to_bytes();
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest: &[u8] = &octets;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                    if poll(&mut fds, PollTimeout::NONE).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// A peer broke the rules of its channel, which is closed by now.
    pub fn violation(&self, channel: ChannelId, account: Option<AccountId>, violation: Violation) {
        tracing::warn!(?channel, account = account.map(AccountId::number), "channel closed: {violation}");
        self.send(Event::Violation { channel, account, kind: violation.into() });
    }

    /// What every worker does alike with an order; what is left is the role's own.
    fn handle(&self, order: (Order, Vec<OwnedFd>)) -> Option<(Order, Vec<OwnedFd>)> {
        match order {
            (Order::Ping(number), _) => {
                let dropped = log::take_dropped();
                if dropped > 0 {
                    self.send(Event::LogDropped(dropped));
                }
                self.send(Event::Pong(number));
                // The first comes seconds after the start.
                static STARTED: Once = Once::new();
                STARTED.call_once(sys::let_go_of_start);
                None
            }
            (Order::Settings(settings), fds) => {
                log::change(&settings.log);
                Some((Order::Settings(settings), fds))
            }
            #[cfg(captured)]
            (Order::Attack(script), fds) => {
                crate::captured::run(&script, fds, self);
                None
            }
            #[cfg(captured)]
            (order @ Order::Channel { .. }, fds) => crate::captured::channel(order, fds),
            other => Some(other),
        }
    }
}

/// Orders of the supervisor, blocking.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    orders: Orders,
    events: Events,
}

impl Control {
    pub(crate) fn new(stream: UnixStream, orders: Orders, events: Events) -> Self {
        Self { stream, orders, events }
    }

    /// The way up.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Waits for the next order that is the role's own business. `None`: the supervisor is gone, leave at once.
    pub fn next_order(&mut self) -> Result<Option<(Order, Vec<OwnedFd>)>, Fault> {
        loop {
            match self.orders.next_order()? {
                Some(order) => {
                    if let Some(order) = self.events.handle(order) {
                        return Ok(Some(order));
                    }
                }
                None => match self.orders.fill(&self.stream) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// The same with a limit. `Ok(Err(()))`: nothing came in time.
    #[allow(clippy::type_complexity)]
    pub fn next_order_within(
        &mut self,
        limit: Duration,
    ) -> Result<Result<Option<(Order, Vec<OwnedFd>)>, ()>, Fault> {
        let until = std::time::Instant::now() + limit;
        loop {
            if let Some(order) = self.orders.next_order()? {
                match self.events.handle(order) {
                    Some(order) => return Ok(Ok(Some(order))),
                    None => continue,
                }
            }
            let left = until.saturating_duration_since(std::time::Instant::now());
            let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Ok(Err(())),
                Ok(_) => {
                    if !self.orders.fill(&self.stream)? {
                        return Ok(Ok(None));
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// For workers with a tokio runtime; call inside it.
    pub fn into_async(self) -> io::Result<AsyncControl> {
        self.stream.set_nonblocking(true)?;
        Ok(AsyncControl { fd: sys::register(self.stream)?, orders: self.orders, events: self.events })
    }
}

/// Orders of the supervisor on tokio.
#[derive(Debug)]
pub struct AsyncControl {
    fd: AsyncFd<UnixStream>,
    orders: Orders,
    events: Events,
}

impl AsyncControl {
    /// The way up.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// As [`Control::next_order`]. Safe to drop and call again: what was read is kept.
    pub async fn next_order(&mut self) -> Result<Option<(Order, Vec<OwnedFd>)>, Fault> {
        loop {
            match self.orders.next_order()? {
                Some(order) => {
                    if let Some(order) = self.events.handle(order) {
                        return Ok(Some(order));
                    }
                }
                None => {
                    let mut ready = self.fd.ready(Interest::READABLE).await?;
                    match ready.try_io(|fd| self.orders.fill(fd.get_ref())) {
                        Ok(Ok(true)) | Err(_) => {}
                        Ok(Ok(false)) => return Ok(None),
                        Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                        Ok(Err(error)) => return Err(error.into()),
                    }
                }
            }
        }
    }
}
