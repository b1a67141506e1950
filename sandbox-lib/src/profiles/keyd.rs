//! keyd: signs. Its keys were read, and their pages locked, before; behind the lock it opens no file at all.

use super::{Profile, groups};

/// Private keys.
pub const KEYD: Profile = Profile {
    name: "mox-keyd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS],
    own: &[],
    keeps_directory: false,
};
