//! Listening sockets: bound here, handed to fronts, kept open here while fronts come and go.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
};

use ipc_proto::control::{Listener, Role};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, getsockopt, listen,
    setsockopt, socket, sockopt,
};

use crate::{config::ListenerConfig, fd_store, start::StartError, sys};

/// One socket.
#[derive(Debug)]
pub struct Listening {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What is spoken on it.
    pub config: ListenerConfig,
    socket: OwnedFd,
}

impl Listening {
    /// Binds one address.
    pub fn bind(name: &str, config: &ListenerConfig, address: SocketAddr) -> Result<Self, StartError> {
        let socket = open(address).map_err(|error| StartError::listen(address, error.into()))?;
        let socket = sys::above_worker_fds(socket).map_err(|error| StartError::listen(address, error))?;
        Ok(Self { name: name.to_owned(), address, config: config.clone(), socket })
    }

    /// One that was kept while moxd was started again.
    pub(crate) fn kept(name: &str, config: &ListenerConfig, address: SocketAddr, socket: OwnedFd) -> Self {
        Self { name: name.to_owned(), address, config: config.clone(), socket }
    }

    /// Gives systemd a handle, so that it outlives us.
    pub(crate) fn keep(&self) {
        fd_store::keep(self.address, self.socket.as_fd());
    }

    /// Who serves it.
    #[must_use]
    pub fn role(&self) -> Role {
        self.config.protocol.role()
    }

    /// For the worker: a handle of the same socket.
    pub fn hand_out(&self) -> std::io::Result<(Listener, OwnedFd)> {
        let listener = Listener {
            name: self.name.clone(),
            address: self.address,
            service: self.config.protocol.service(),
        };
        Ok((listener, self.socket.try_clone()?))
    }

    /// Binds it again if a worker has shut it down: a handed listener can be ended by whoever holds it.
    pub fn revive(&mut self) -> Result<bool, StartError> {
        if getsockopt(&self.socket, sockopt::AcceptConn).unwrap_or(false) {
            return Ok(false);
        }
        *self = Self::bind(&self.name.clone(), &self.config.clone(), self.address)?;
        fd_store::forget(self.address);
        self.keep();
        Ok(true)
    }
}

fn open(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
    match address {
        SocketAddr::V4(address) => bind(raw, &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => bind(raw, &SockaddrIn6::from(address))?,
    }
    listen(&socket.as_fd(), Backlog::new(4096).unwrap_or(Backlog::MAXCONN))?;
    Ok(TcpListener::from(socket).into())
}
