//! queued: the queue's database and files, messages from smtpd, channels to accounts.

use libc as c;

use super::{Profile, groups};
use crate::rule::{Check::Is, when};

/// The queue.
pub const QUEUED: Profile = Profile {
    name: "mox-queued",
    groups: &[
        groups::RUNTIME,
        groups::CHECKS,
        groups::CHANNELS,
        groups::EVENT_LOOP,
        groups::FILES,
        groups::SEALED_MESSAGES,
    ],
    own: &[when(
        c::SYS_fcntl,
        &[&[Is(1, c::F_SETLEASE as u64)]],
        "proof that nobody can still write a spool file",
    )],
    keeps_directory: true,
};
