//! The one place with `unsafe`: what a child does between fork and exec.
#![allow(unsafe_code)]

use std::{io, os::unix::process::CommandExt, process::Command};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd,
};

/// Makes the child stop when this process is gone, however it went, and start with no signal held back. Spawn it from
/// the main thread: the kernel's parent is a thread.
pub(crate) fn bound_to_us(command: &mut Command) -> &mut Command {
    let us = unistd::getpid();
    let before_exec = move || {
        SigSet::all().thread_unblock()?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        // The parent may have gone before the line above.
        if unistd::getppid() == us { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    };
    // SAFETY: the closure makes system calls only (pthread_sigmask, prctl, getppid): it allocates nothing and takes no
    // lock, so it may run between fork and exec.
    unsafe { command.pre_exec(before_exec) }
}
