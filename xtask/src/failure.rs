//! How a task fails.

use std::fmt;

/// Each holds its one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A build, a test or a command failed; its own output says why.
    Failed(String),
    /// Something that is needed is not there, or the command line is wrong.
    Missing(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Missing(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(line) | Self::Missing(line) => f.write_str(line),
        }
    }
}
