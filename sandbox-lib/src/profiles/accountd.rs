//! accountd: one account's database and files, deliveries from queued, sessions over stream pairs. It never holds a
//! network socket.

use libc as c;

use super::{Profile, groups};
use crate::rule::{Check::Is, any, when};

/// One account.
pub const ACCOUNTD: Profile = Profile {
    name: "mox-accountd",
    groups: &[groups::RUNTIME, groups::CHANNELS, groups::FILES, groups::SEALED_MESSAGES],
    own: &[
        any(c::SYS_flock, "one process at a time opens an account"),
        any(c::SYS_pipe2, "waking a session when its mailbox changes"),
        any(c::SYS_eventfd2, "waking a session when its mailbox changes"),
        when(
            c::SYS_shutdown,
            &[&[Is(1, c::SHUT_RD.unsigned_abs() as u64)]],
            "waking a session when the process is to stop; its stream pair is no network socket",
        ),
    ],
    keeps_directory: true,
};
