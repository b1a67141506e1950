//! The stream to the front: waits, reads, and writes with a deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::End;
use crate::deflate::Deflate;

/// Output is written when there is this much; one item may come on top.
pub(crate) const OUTPUT_FULL: usize = 64 << 10;

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The client sent something or is gone.
    Input,
    /// The other descriptor is readable.
    Other,
    /// The time is up.
    Timeout,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    write_timeout: Duration,
    /// Between this and the stream, once the client asked for it.
    deflate: Option<Box<Deflate>>,
    /// What the client is to get; sent by [`Connection::flush`].
    pub(crate) out: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream, write_timeout: Duration) -> Result<Self, End> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, write_timeout, deflate: None, out: Vec::new() })
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    /// From now on, both ways. `input`: what has been read already and is behind the command.
    pub(crate) fn compress(&mut self, input: &[u8]) {
        self.deflate = Some(Box::new(Deflate::new(input)));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= OUTPUT_FULL
    }

    pub(crate) fn flush_if_full(&mut self) -> Result<(), End> {
        if self.is_full() { self.flush() } else { Ok(()) }
    }

    /// Writes all output. A client that takes it too slowly loses the session: its thread is not kept.
    pub(crate) fn flush(&mut self) -> Result<(), End> {
        let Self { stream, write_timeout, deflate, out } = self;
        match deflate {
            None => write(stream, out, *write_timeout)?,
            Some(_) if out.is_empty() => (),
            Some(deflate) => write(stream, &deflate.compress(out), *write_timeout)?,
        }
        out.clear();
        Ok(())
    }

    /// Gives back the memory of a large answer: the next wait may last half an hour.
    pub(crate) fn shrink(&mut self) {
        self.out.shrink_to(4096);
        if let Some(deflate) = &mut self.deflate {
            deflate.shrink();
        }
    }

    /// Waits for the client, and for `others` if there are any.
    pub(crate) fn wait<'a>(
        &'a self,
        others: impl IntoIterator<Item = BorrowedFd<'a>>,
        timeout: Duration,
    ) -> Result<Ready, End> {
        if self.deflate.as_ref().is_some_and(|deflate| deflate.has_input()) {
            return Ok(Ready::Input);
        }
        let fds = std::iter::once(self.stream.as_fd()).chain(others);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if wait_for(&mut fds, timeout)? == 0 {
            return Ok(Ready::Timeout);
        }
        // The client goes first: what changed is told with its answer.
        let from_client = fds.first().is_some_and(|stream| stream.any() == Some(true));
        Ok(if from_client { Ready::Input } else { Ready::Other })
    }

    /// `None`: nothing has come after all.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, End> {
        let Self { stream, deflate, .. } = self;
        let Some(deflate) = deflate else { return read(stream, buffer) };
        if !deflate.has_input() {
            let Some(octets) = read(stream, deflate.room())? else {
                deflate.received(0);
                return Ok(None);
            };
            deflate.received(octets);
        }
        let inflated = deflate.inflate(buffer).map_err(|_| End::Compression)?;
        Ok(Some(inflated).filter(|octets| *octets > 0))
    }

    /// Whether the other end is closed: nobody waits for the answer that is being worked on.
    pub(crate) fn is_abandoned(&self) -> Result<bool, End> {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        wait_for(&mut fds, Duration::ZERO)?;
        let [stream] = fds;
        Ok(stream.any() == Some(true))
    }
}

/// `None`: nothing has come after all.
pub(crate) fn read(stream: &mut UnixStream, buffer: &mut [u8]) -> Result<Option<usize>, End> {
    match stream.read(buffer) {
        Ok(0) => Err(End::Disconnected),
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) if is_gone(error.kind()) => Err(End::Disconnected),
        Err(error) => Err(End::Stream(error)),
    }
}

/// Writes all of `octets`. The client's time runs from when it first did not take any.
pub(crate) fn write(stream: &mut UnixStream, octets: &[u8], timeout: Duration) -> Result<(), End> {
    let mut deadline = None;
    let mut rest = octets;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
                let left = deadline.saturating_duration_since(Instant::now());
                let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                if left.is_zero() || wait_for(&mut fds, left)? == 0 {
                    return Err(End::NotReading);
                }
            }
            Err(error) if is_gone(error.kind()) => return Err(End::Disconnected),
            Err(error) => return Err(End::Stream(error)),
        }
    }
    Ok(())
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// How many are ready; a signal only means to wait again.
pub(crate) fn wait_for(fds: &mut [PollFd<'_>], timeout: Duration) -> Result<i32, End> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that a wait never ends early and spins.
        let left = left.saturating_add(Duration::from_micros(999));
        match poll(fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(ready) => return Ok(ready),
            Err(nix::Error::EINTR) => (),
            Err(error) => return Err(End::Stream(error.into())),
        }
    }
}
