//! moxctl's confined reader: the source and moxctl, each by a descriptor that was handed over. It opens nothing, and
//! starts no thread but those that libraries never start.

use libc as c;

use super::{Profile, groups};
use crate::rule::any;

/// What takes the mail of other programs apart.
pub const READER: Profile = Profile {
    name: "moxctl-reader",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS],
    own: &[any(c::SYS_pread64, "reading an mbox at a place")],
    keeps_directory: false,
};
