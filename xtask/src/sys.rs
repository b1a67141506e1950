//! The one place with `unsafe`: signals that wait until the system is as it was.
#![allow(unsafe_code)]

use std::{mem::MaybeUninit, os::unix::process::CommandExt, process::Command, ptr};

/// Ctrl-C and its like wait while this lives; then they do what they do.
pub(crate) struct SignalsHeld(());

fn mask(how: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set that the other calls then change and read; the old mask is not asked for.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut());
    }
}

impl SignalsHeld {
    pub(crate) fn now() -> Self {
        mask(libc::SIG_BLOCK);
        Self(())
    }

    /// The child itself can be interrupted.
    pub(crate) fn not_in<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let before_exec = || {
            mask(libc::SIG_UNBLOCK);
            Ok(())
        };
        // SAFETY: the closure only changes the child's signal mask: no allocation, no lock, so it may run between fork
        // and exec.
        unsafe { command.pre_exec(before_exec) }
    }
}

impl Drop for SignalsHeld {
    fn drop(&mut self) {
        mask(libc::SIG_UNBLOCK);
    }
}
