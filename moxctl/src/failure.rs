//! How a command fails: one line, and an exit code that a script can tell apart.

use std::io;

/// Exit code of a wrong command line.
pub(crate) const USAGE: u8 = 2;

/// Each holds its one line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// moxd understood and refused, or a verification found something.
    #[error("{0}")]
    Refused(String),
    /// What was typed is wrong.
    #[error("{0}")]
    Usage(String),
    /// moxd does not run, cannot be reached, or went away.
    #[error("{0}")]
    Unavailable(String),
    /// A configuration is wrong, or localserve cannot start.
    #[error("{0}")]
    Config(String),
    /// localserve's moxd has ended with this code, and has said why itself.
    #[error("moxd ended with code {0}")]
    Moxd(u8),
}

impl Failure {
    /// What is still to be said.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Refused(line) | Self::Usage(line) | Self::Unavailable(line) | Self::Config(line) => {
                Some(line.clone())
            }
            Self::Moxd(_) => None,
        }
    }

    /// sysexits.h where it has a code that fits: 69 EX_UNAVAILABLE, 78 EX_CONFIG.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => USAGE,
            Self::Unavailable(_) => 69,
            Self::Config(_) => 78,
            Self::Moxd(code) => *code,
        }
    }
}

/// An error of the system without Rust's "(os error 2)".
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
