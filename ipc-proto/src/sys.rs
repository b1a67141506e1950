//! Sending and receiving fds: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use sendfd::{RecvWithFd, SendWithFd};
use tokio::io::{Interest, unix::AsyncFd};

use crate::channel::MAX_FDS;

/// Reads once. The fds that came are owned and close-on-exec before anything else happens. (A process that execs is
/// single-threaded, so nobody can fork in between.)
pub(crate) fn receive(stream: &UnixStream, space: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut raw: [RawFd; MAX_FDS] = [-1; MAX_FDS];
    let (octets, count) = stream.recv_with_fd(space, &mut raw)?;
    let fds: Vec<OwnedFd> = raw
        .iter()
        .take(count)
        // SAFETY: the kernel has just put these into our table and told them to nobody else.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) })
        .collect();
    for fd in &fds {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok((octets, fds))
}

/// Writes once, with the fds on the first octet.
pub(crate) fn send(stream: &UnixStream, octets: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    stream.send_with_fd(octets, &raw)
}

/// A stream for tokio's event loop. Whoever asks only for what it waits for is not woken whenever the peer reads.
pub(crate) fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` owns its fd and keeps the same one until it is dropped.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}
