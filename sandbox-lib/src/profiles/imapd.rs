//! imapd: clients before login, then bytes copied between them and their sessions. It opens no file.

use super::{Profile, groups};

/// The IMAP front.
pub const IMAPD: Profile = Profile {
    name: "mox-imapd",
    groups: &[groups::RUNTIME, groups::CHECKS, groups::CHANNELS, groups::EVENT_LOOP, groups::CLIENTS],
    own: &[],
    keeps_directory: false,
};
