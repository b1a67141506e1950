//! Listeners that outlive moxd: systemd keeps them while it is started again, so that nobody is refused meanwhile.
//!
//!   bound ── FDSTORE=1, FDNAME ──▶ systemd ── LISTEN_FDS ──▶ the next moxd: checked, and used where it says the same
//!
//! Needs `FileDescriptorStoreMax=` in the unit. Without systemd nothing is sent and nothing comes.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{SockType, SockaddrStorage, getsockname, getsockopt, sockopt},
};
use sd_notify::NotifyState;

use crate::sys;

/// Behind stdin, stdout and stderr.
const FIRST_INHERITED: RawFd = 3;

/// What systemd handed back, as far as it is listeners.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    listeners: Vec<(SocketAddr, OwnedFd)>,
    /// Fds that are no listeners, or more than can be.
    strange: usize,
}

impl Inherited {
    /// Takes what `LISTEN_FDS` says, and closes what else whoever started us left open. Call once, before anything else is
    /// opened.
    pub(crate) fn take() -> Self {
        let mut inherited = Self::default();
        let given = sd_notify::listen_fds().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        sys::close_from(given.last().map_or(FIRST_INHERITED, |last| last + 1));
        for fd in given {
            match sys::inherited(fd).and_then(|fd| sys::above_worker_fds(fd).ok()).and_then(listener) {
                Some(listener) => inherited.listeners.push(listener),
                None => inherited.strange += 1,
            }
        }
        inherited
    }

    /// The listener of this address, if it is among them.
    pub(crate) fn of(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        let at = self.listeners.iter().position(|(found, _)| *found == address)?;
        Some(self.listeners.swap_remove(at).1)
    }

    /// Lets go of those that nobody took; what there is to say of them.
    pub(crate) fn finish(self) -> Vec<String> {
        let mut lines = Vec::new();
        for (address, _) in &self.listeners {
            forget(*address);
            lines.push(format!("systemd kept a listener on {address}, which the configuration has no more"));
        }
        if self.strange > 0 {
            lines.push(format!("systemd handed over {} fds that are no listeners", self.strange));
        }
        lines
    }
}

/// A TCP socket that listens, and where.
fn listener(fd: OwnedFd) -> Option<(SocketAddr, OwnedFd)> {
    let name: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd)).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = name.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port())));
    let address = v4.or(v6)?;
    let stream = getsockopt(&fd, sockopt::SockType).ok()? == SockType::Stream;
    let accepts = getsockopt(&fd, sockopt::AcceptConn).ok()?;
    // An IPv6 one that takes IPv4 too is not what would be bound here.
    let alone = address.is_ipv4() || getsockopt(&fd, sockopt::Ipv6V6Only).ok()?;
    if !(stream && accepts && alone) {
        return None;
    }
    let flags = fcntl(&fd, FcntlArg::F_GETFL).ok()?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK)).ok()?;
    Some((address, fd))
}

/// Gives systemd a handle.
pub(crate) fn keep(address: SocketAddr, socket: BorrowedFd<'_>) {
    let name = name(address);
    let _ =
        sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(&name)], &[socket.as_fd()]);
}

/// Has systemd close its handle.
pub(crate) fn forget(address: SocketAddr) {
    let name = name(address);
    let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// A name may have no colon.
fn name(address: SocketAddr) -> String {
    format!("moxd-{address}").replace(':', "_")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn only_a_socket_that_listens_is_a_listener() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (found, _fd) = listener(bound.into()).unwrap();
        assert_eq!(found, address);
        assert!(listener(client.into()).is_none(), "a connection");
        assert!(listener(UdpSocket::bind("127.0.0.1:0").unwrap().into()).is_none(), "a datagram socket");
        assert!(listener(std::fs::File::open("/dev/null").unwrap().into()).is_none(), "no socket");
    }

    #[test]
    fn names_are_what_systemd_takes() {
        for (address, expected) in [("127.0.0.1:25", "moxd-127.0.0.1_25"), ("[::1]:993", "moxd-[__1]_993")] {
            assert_eq!(name(address.parse().unwrap()), expected);
        }
    }
}
