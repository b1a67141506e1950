//! Why moxd does not start: one line that says what to do.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::config::{ConfigError, Layer};

/// A start error. Nothing was damaged; nothing runs.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address}: {error}; {advice}")]
    Listen { address: SocketAddr, error: io::Error, advice: &'static str },
    #[error("{0}: {1}")]
    Directory(PathBuf, String),
    #[error("{0} is not a directory; move it away, moxd makes its own")]
    NotADirectory(PathBuf),
    #[error(
        "{path} belongs to user {found}, not {owner}; if it is moxd's, run `chown -R {owner}:{owner} {path}`"
    )]
    ForeignOwner { path: PathBuf, found: u32, owner: u32 },
    #[error("{path} is open to others (mode {found:04o}); run `chmod {mode:04o} {path}`")]
    TooOpen { path: PathBuf, found: u32, mode: u32 },
    #[error("{path} is closed to who needs it (mode {found:04o}); run `chmod {mode:04o} {path}`")]
    Closed { path: PathBuf, found: u32, mode: u32 },
    #[error(
        "{0} does not let moxd's processes through; run `chmod o+x {0}` or choose another data directory"
    )]
    Impassable(PathBuf),
    #[error("another moxd runs on this directory (it holds {0}); stop it with `moxctl stop`")]
    Running(PathBuf),
    #[error("{path}: {error}; moxd's programs must lie together, install them again")]
    Binary { path: PathBuf, error: String },
    #[error("cannot make the control socket {0}: {1}")]
    Control(PathBuf, String),
    #[error(
        "no {what} for {process}: {advice}; to run without it, add \"{}\" to `[sandbox] accept_missing`", layer.name()
    )]
    Layer { layer: Layer, what: &'static str, process: &'static str, advice: &'static str },
    #[error(
        "{0} holds mail of an account that the directory does not know; restore directory/ from a backup"
    )]
    Occupied(PathBuf),
    #[error("{process}: {cause}")]
    Worker { process: &'static str, cause: String },
    #[error("{0}")]
    Other(String),
}

impl StartError {
    pub(crate) fn directory(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run as root, or give this user the directory",
            io::ErrorKind::NotFound => "; its parent directory does not exist",
            io::ErrorKind::StorageFull => "; make room",
            _ => "",
        };
        Self::Directory(path.to_owned(), format!("{error}{advice}"))
    }

    pub(crate) fn listen(address: SocketAddr, error: io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "is another mail server running? try `ss -ltnp`",
            io::ErrorKind::PermissionDenied => "ports below 1024 need root",
            io::ErrorKind::AddrNotAvailable => "this host does not have that address; see `ip addr`",
            _ => "see `[listeners]` in moxd.toml",
        };
        Self::Listen { address, error, advice }
    }
}
