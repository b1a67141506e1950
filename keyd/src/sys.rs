//! What only the kernel can say and do: locked memory, the own user. The only unsafe code of keyd.
#![allow(unsafe_code)]

use std::{fmt, io};

/// From this limit on, all memory is locked: keyd with its threads' stacks and heaps stays far below.
const ENOUGH: u64 = 64 << 20;

/// What is kept from being swapped out.
#[derive(Debug)]
pub enum Locked {
    /// All memory, now and later.
    All,
    /// All memory of now; the limit does not allow more. Lock again when the keys are there.
    Now,
    /// Nothing.
    Nothing(io::Error),
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("locked"),
            Self::Now => f.write_str("locked in part: raise RLIMIT_MEMLOCK to 64 MiB to lock all"),
            Self::Nothing(error) => {
                write!(f, "not locked ({error}): keys may be swapped out; raise RLIMIT_MEMLOCK to 64 MiB")
            }
        }
    }
}

/// Locks as much as the limit allows.
#[must_use]
pub fn lock_memory() -> Locked {
    // Only pages that are touched are locked: the stacks of threads are mostly not.
    let flags = libc::MCL_CURRENT | libc::MCL_ONFAULT;
    if limit() >= ENOUGH && lock_all(flags | libc::MCL_FUTURE).is_ok() {
        return Locked::All;
    }
    match lock_all(flags) {
        Ok(()) => Locked::Now,
        Err(error) => Locked::Nothing(error),
    }
}

/// The user that keyd runs as.
pub(crate) fn own_user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

fn lock_all(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointers; failure is reported through errno.
    match unsafe { libc::mlockall(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How much this process may lock, octets; zero if that cannot be known.
fn limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the kernel to write one `rlimit` to.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } {
        0 => limit.rlim_cur,
        _ => 0,
    }
}
