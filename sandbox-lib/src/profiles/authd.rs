//! authd: the directory's database, and channels.

use super::{Profile, groups};

/// The directory and logins.
pub const AUTHD: Profile = Profile {
    name: "mox-authd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS, groups::EVENT_LOOP, groups::FILES],
    own: &[],
    keeps_directory: true,
};
