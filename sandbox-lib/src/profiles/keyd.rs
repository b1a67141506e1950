//! keyd: signs. Its keys were read before; behind the lock it opens no file at all.

use libc as c;

use super::{Profile, groups};
use crate::rule::any;

/// Private keys.
pub const KEYD: Profile = Profile {
    name: "mox-keyd",
    groups: &[groups::RUNTIME, groups::CHANNELS, groups::SIGNING],
    own: &[any(c::SYS_mlock, "keys stay out of swap"), any(c::SYS_munlock, "keys stay out of swap")],
    keeps_directory: false,
};
