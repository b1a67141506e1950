//! webd: HTTP clients. It opens no file.

use super::{Profile, groups};

/// The web front.
pub const WEBD: Profile = Profile {
    name: "mox-webd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS, groups::EVENT_LOOP, groups::CLIENTS],
    own: &[],
    keeps_directory: false,
};
