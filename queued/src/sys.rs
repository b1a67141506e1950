//! Leases and random numbers: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::AsRawFd,
};

use nix::libc;

/// Whether nobody can write to `file`, which is opened read-only: the kernel grants a read lease only while no
/// descriptor of any process is open for writing. The lease is given back at once: only queued can open what lies in
/// its directory, and it opens a spool file for writing when it makes it, never again.
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

/// A number that nobody can guess.
pub(crate) fn random() -> io::Result<u64> {
    let mut octets = [0u8; 8];
    // SAFETY: the pointer and the length are those of `octets`, which lives through the call.
    let filled = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
    // Up to 256 octets come whole or not at all.
    if filled == -1 { Err(io::Error::last_os_error()) } else { Ok(u64::from_ne_bytes(octets)) }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
