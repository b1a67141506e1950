//! Leases: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::AsRawFd,
};

use nix::libc;

/// Whether nobody can write to `file`, which is opened read-only and has no name left: the kernel grants a read lease
/// only while no descriptor of any process is open for writing. The lease is given back at once: without a name and
/// without a writer no new writer can come.
pub(crate) fn has_no_writer(file: &File) -> io::Result<bool> {
    // SAFETY: takes no pointers, and `file` owns its descriptor for the length of the call.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) }) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    // SAFETY: as above.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) }).map(|()| true)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
