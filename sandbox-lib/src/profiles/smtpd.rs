//! smtpd: clients on port 25, message data in memory or in a spool file that queued opened. It opens no file.

use libc as c;

use super::{Profile, groups};
use crate::rule::{Check::Is, any, when};

/// The SMTP server.
pub const SMTPD: Profile = Profile {
    name: "mox-smtpd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS, groups::EVENT_LOOP, groups::CLIENTS],
    own: &[
        any(c::SYS_memfd_create, "message data in memory"),
        any(c::SYS_pread64, "message data that outgrows memory moves to a spool file"),
        when(
            c::SYS_fcntl,
            &[&[Is(1, c::F_ADD_SEALS as u64)]],
            "message data is sealed before it is handed over",
        ),
    ],
    keeps_directory: false,
};
