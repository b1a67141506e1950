//! How a command fails: one line, and an exit code that a script can tell apart.

use std::{fmt::Write, io};

/// Exit code of a wrong command line.
pub(crate) const USAGE: u8 = 2;

/// Every code that moxctl ends with, what it is called in JSON, and what it means. localserve ends with moxd's own code
/// where moxd was started.
pub(crate) const EXIT_CODES: [(u8, &str, &str); 5] = [
    (0, "done", "done"),
    (1, "refused", "moxd refused, `account verify` found something wrong, or not all of an import came"),
    (USAGE, "usage", "the command line, or what was typed, is wrong"),
    (69, "unavailable", "moxd does not run, cannot be reached, or went away"),
    (78, "configuration", "a configuration is wrong (nothing changed), or localserve cannot start"),
];

/// For `--help`.
pub(crate) fn exit_codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, _, meaning) in EXIT_CODES {
        let _ = writeln!(text, "  {code:>2}  {meaning}");
    }
    text.push_str("\nWith --json what went wrong is one line of JSON on stderr.");
    text
}

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

    /// What JSON calls it.
    pub(crate) fn kind(&self) -> &'static str {
        let code = self.exit_code();
        EXIT_CODES.iter().find(|(known, ..)| *known == code).map_or("moxd", |(_, kind, _)| kind)
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
