//! Signals as something to wait for, beside file descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// Held back from doing what they do until this is dropped. Only for the main thread, before any other.
#[derive(Debug)]
pub(crate) struct Signals {
    set: SigSet,
    fd: SignalFd,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// One of the signals that are held.
    Signal(Signal),
    /// The file descriptor can be read.
    Readable,
}

impl Signals {
    pub(crate) fn hold(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { set, fd })
    }

    /// Waits for a signal, or until `readable` can be read. A signal comes first.
    pub(crate) fn wait(&self, readable: Option<BorrowedFd<'_>>) -> io::Result<Woken> {
        loop {
            if let Some(signal) = self.next()? {
                return Ok(Woken::Signal(signal));
            }
            let watched = [Some(self.fd.as_fd()), readable];
            let mut fds: Vec<_> =
                watched.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match nix::poll::poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
            if !ready(fds.first()) && ready(fds.get(1)) {
                return Ok(Woken::Readable);
            }
        }
    }

    fn next(&self) -> io::Result<Option<Signal>> {
        match self.fd.read_signal() {
            Ok(Some(info)) => {
                let number = i32::try_from(info.ssi_signo).map_err(|_| io::ErrorKind::InvalidData)?;
                Ok(Some(Signal::try_from(number)?))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.set.thread_unblock();
    }
}
