//! accountd: one account's database and files, deliveries from queued, sessions over stream pairs. It never holds a
//! network socket.

use libc as c;

use super::{Profile, groups};
use crate::rule::{Check::Is, any, when};

/// One account.
pub const ACCOUNTD: Profile = Profile {
    name: "mox-accountd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS, groups::FILES, groups::SEALED_MESSAGES],
    own: &[
        when(
            c::SYS_flock,
            &[
                &[Is(1, (c::LOCK_EX | c::LOCK_NB).unsigned_abs() as u64)],
                &[Is(1, c::LOCK_UN.unsigned_abs() as u64)],
            ],
            "one process at a time opens an account",
        ),
        any(c::SYS_pipe2, "waking a session when its mailbox changes"),
        when(
            c::SYS_shutdown,
            &[&[Is(1, c::SHUT_RD.unsigned_abs() as u64)]],
            "waking a session when the process is to stop; its stream pair is no network socket",
        ),
    ],
    keeps_directory: true,
};
