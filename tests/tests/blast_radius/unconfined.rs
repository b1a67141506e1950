//! The positive control: the same line, by the same code, in a fork of this test. It has what the sandbox takes away.

mod sys;

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::attempt::Attempt;

/// 0, or the errno, or 255 for what could not be tried.
pub(crate) fn run(line: &str) -> i32 {
    let line = format!("0 {line}");
    sys::in_a_fork(|| {
        sys::close_all_but_the_first_three();
        // As a worker: fd 2 is a datagram socket, and there are a listener and a connection that it accepted.
        let (log, _reader) = UnixDatagram::pair().ok()?;
        nix::unistd::dup2_stderr(&log).ok()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let _client = TcpStream::connect(listener.local_addr().ok()?).ok()?;
        let _accepted = listener.accept().ok()?;
        // What is mounted here stays here.
        unshare(CloneFlags::CLONE_NEWNS).ok()?;
        mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None).ok()?;
        let (_, attempt) = Attempt::parse(&line, &[])?;
        Some(attempt.run())
    })
}
