//! A fork that does one thing.
#![allow(unsafe_code)]

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};

/// Runs `what` in a fork and gives what it returned, 255 for nothing. If `what` becomes another program, its exit code.
pub(crate) fn in_a_fork(what: impl FnOnce() -> Option<i32>) -> i32 {
    // SAFETY: the child takes no lock that another thread of this test could hold: glibc's allocator is usable after a
    // fork, nothing is printed, and it leaves by `_exit`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let result = what().unwrap_or(255);
            // SAFETY: a number only; ends the child without running what the test left to be run at its exit.
            unsafe { libc::_exit(result) }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        },
    }
}

/// Nothing that this test holds is in the child.
pub(crate) fn close_all_but_the_first_three() {
    // SAFETY: only called in a fork, whose owners of fds are never dropped: it ends by `_exit`.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// All of them: whoever makes a user namespace has them in it.
pub(crate) fn give_up_capabilities() -> Option<()> {
    // Version 3 of the interface, this thread; effective, permitted and inheritable, two words each.
    let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: the kernel reads the two words of the header and the six of the sets.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    (result == 0).then_some(())
}
