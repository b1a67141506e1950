//! Why there is no figure.

use std::io;

/// One line.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// Something that the server or a client did.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// What was being done, and the system's answer.
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self(format!("{}: {error}", what.into()))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self(format!("SQLite: {error}"))
    }
}
