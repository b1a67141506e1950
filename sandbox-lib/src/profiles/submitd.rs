//! submitd: those who log in on ports 465 and 587; otherwise as smtpd. It opens no file.

use super::{Profile, smtpd::SMTPD};

/// The SMTP server for submission.
pub const SUBMITD: Profile = Profile { name: "mox-submitd", ..SMTPD };
