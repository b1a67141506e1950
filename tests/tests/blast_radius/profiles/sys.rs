//! Another process's syscall filters: it is stopped for a moment, and root asks the kernel.
#![allow(unsafe_code)]

use std::ptr;

use nix::sys::wait::{WaitPidFlag, waitpid};

use nix::unistd::Pid;

/// `PTRACE_SECCOMP_GET_FILTER` of ptrace(2).
const GET_FILTER: libc::c_uint = 0x420c;

/// Oldest first, each instruction as it lies in memory. `None`: the kernel does not say.
pub(crate) fn filters(pid: i32) -> Option<Vec<Vec<u64>>> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: takes no pointers; the process goes on when it is let go below.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
    assert_eq!(seized, 0, "{pid}: {}", std::io::Error::last_os_error());
    // SAFETY: takes no pointers.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none) };
    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::__WALL)).unwrap();
    let mut filters = Vec::new();
    let complete = loop {
        let number = ptr::without_provenance_mut::<libc::c_void>(filters.len());
        // SAFETY: with null it only counts the instructions.
        let count = unsafe { libc::ptrace(GET_FILTER, pid, number, none) };
        let Ok(count) = usize::try_from(count) else {
            break std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
        };
        let mut filter = vec![0_u64; count];
        // SAFETY: the kernel writes `count` instructions of eight octets each; the process stands still, so they are as
        // many as it said.
        let got = unsafe { libc::ptrace(GET_FILTER, pid, number, filter.as_mut_ptr()) };
        assert_eq!(usize::try_from(got), Ok(count));
        filters.push(filter);
    };
    // SAFETY: takes no pointers.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, none, none) };
    complete.then_some(filters)
}
