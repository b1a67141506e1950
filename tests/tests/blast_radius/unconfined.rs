//! The positive control: the same line, by the same code, in a fork of this test. It has what the sandbox takes away.

mod sys;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid},
};

use crate::attempt::Attempt;

/// Somebody without a sandbox: nothing but users, modes and capabilities stand in the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Somebody {
    pub(crate) user: u32,
    /// A process of moxd: if it has namespaces of its own, as an ordinary user's have, somebody makes such, too.
    pub(crate) like: u32,
}

/// 0, or the errno, or 255 for what could not be tried; as root, or as somebody.
pub(crate) fn run(line: &str, somebody: Option<Somebody>) -> i32 {
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
        if let Some(somebody) = somebody {
            become_somebody(somebody)?;
        }
        let (_, attempt) = Attempt::parse(&line, &[])?;
        Some(attempt.run())
    })
}

fn become_somebody(somebody: Somebody) -> Option<()> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/user")).ok();
    let own_namespace = namespace(&somebody.like.to_string())? != namespace("self")?;
    let (user, group) = (Uid::from_raw(somebody.user), Gid::from_raw(somebody.user));
    setgroups(&[]).ok()?;
    setresgid(group, group, group).ok()?;
    setresuid(user, user, user).ok()?;
    if own_namespace {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).ok()?;
    }
    sys::give_up_capabilities()?;
    // So that nothing is owed to the session of the test.
    setsid().ok()?;
    Some(())
}
