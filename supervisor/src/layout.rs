//! Directories and the instance's lock: what exists, whose it is, and what to do when it is not.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use ipc_proto::{AccountId, control::Role};
use nix::fcntl::{Flock, FlockArg};

use crate::start::StartError;

/// The data directory and who owns what in it.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// `[users] base` where we are root.
    base: Option<u32>,
}

impl Layout {
    /// Below `root`; `base` as root only.
    #[must_use]
    pub fn new(root: PathBuf, base: Option<u32>) -> Self {
        Self { root, base }
    }

    /// The user of a role or account; `None`: ours.
    #[must_use]
    pub fn user(&self, role: Role, account: Option<AccountId>) -> Option<u32> {
        let number = account.map_or(0, AccountId::number);
        self.base.map(|base| base + role.user_offset() + number)
    }

    /// The directory of a role or account.
    #[must_use]
    pub fn directory(&self, role: Role, account: Option<AccountId>) -> Option<PathBuf> {
        let own = self.root.join(role.directory()?);
        Some(account.map_or(own.clone(), |account| own.join(account.to_string())))
    }

    /// Makes what is missing and checks what is there, and holds the lock of this instance until the process ends.
    pub fn prepare(&self) -> Result<Lock, StartError> {
        if !self.root.is_dir() {
            make(&self.root, 0o755, None)?;
        }
        let lock = Lock::take(&self.root.join("moxd.lock"))?;
        for role in Role::FIXED {
            if let Some(directory) = self.directory(role, None) {
                make(&directory, 0o700, self.user(role, None))?;
            }
        }
        // Passable, not listable: each account's own directory below it is closed to all others.
        make(&self.root.join("accounts"), 0o711, self.base.map(|_| 0))?;
        if self.base.is_some() {
            self.check_parents()?;
        }
        Ok(lock)
    }

    /// Workers open their own directories by path, so every parent must let them through.
    fn check_parents(&self) -> Result<(), StartError> {
        for parent in self.root.ancestors() {
            let meta = fs::metadata(parent).map_err(|error| StartError::directory(parent, &error))?;
            if meta.mode() & 0o001 == 0 {
                return Err(StartError::Impassable(parent.to_owned()));
            }
        }
        Ok(())
    }

    /// Makes an account's directory; an empty one is fine. One with mail in it is another account's: a directory database
    /// that was lost gives its numbers again.
    pub fn make_account(&self, account: AccountId) -> Result<(), StartError> {
        let Some(directory) = self.directory(Role::Accountd, Some(account)) else { return Ok(()) };
        // Where it cannot be read, it is for `make` to say why.
        if fs::read_dir(&directory).is_ok_and(|mut files| files.next().is_some()) {
            return Err(StartError::Occupied(directory));
        }
        make(&directory, 0o700, self.user(Role::Accountd, Some(account)))
    }

    /// Whether an account has a directory: authd alone has them made.
    #[must_use]
    pub fn has_account(&self, account: AccountId) -> bool {
        self.directory(Role::Accountd, Some(account)).is_some_and(|directory| directory.is_dir())
    }
}

/// Makes a directory with its owner, or checks the one that is there.
fn make(path: &Path, mode: u32, owner: Option<u32>) -> Result<(), StartError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => own_and_sync(path, mode, owner).map_err(|error| StartError::directory(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path, mode, owner),
        Err(error) => Err(StartError::directory(path, &error)),
    }
}

/// Gives a new directory its owner and makes it durable, itself and its name: what a worker syncs inside must not go
/// with it when the power does.
fn own_and_sync(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    // Opened while it is still ours: afterwards we could not, without the capability to read everything.
    let made = File::open(path)?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(path, Some(owner), Some(owner))?;
    }
    // The umask may have taken bits away.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    made.sync_all()?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn check(path: &Path, mode: u32, owner: Option<u32>) -> Result<(), StartError> {
    let meta = fs::symlink_metadata(path).map_err(|error| StartError::directory(path, &error))?;
    if !meta.is_dir() {
        return Err(StartError::NotADirectory(path.to_owned()));
    }
    let owner = owner.unwrap_or_else(|| nix::unistd::Uid::effective().as_raw());
    if meta.uid() != owner {
        return Err(StartError::ForeignOwner { path: path.to_owned(), found: meta.uid(), owner });
    }
    let found = meta.mode() & 0o7777;
    if found & 0o777 & !mode != 0 {
        return Err(StartError::TooOpen { path: path.to_owned(), found, mode });
    }
    // Found here, it is an error with advice; found by the process that opens it, a worker that does not start.
    if found & mode != mode {
        return Err(StartError::Closed { path: path.to_owned(), found, mode });
    }
    Ok(())
}

/// One instance per data directory.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    fn take(path: &Path) -> Result<Self, StartError> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| StartError::directory(path, &error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { _held: held }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StartError::Running(path.to_owned())),
            Err((_, error)) => Err(StartError::directory(path, &error.into())),
        }
    }
}

/// The workers' binaries, opened once: all that this process can ever run.
#[derive(Debug)]
pub struct Binaries {
    directory: PathBuf,
    open: Vec<(Role, OwnedFd)>,
}

impl Binaries {
    /// From the directory of our own executable.
    pub fn open() -> Result<Self, StartError> {
        let own =
            std::env::current_exe().map_err(|error| StartError::Other(format!("/proc/self/exe: {error}")))?;
        let directory = own.parent().map(Path::to_owned).unwrap_or_default();
        let mut open = Vec::new();
        for role in Role::FIXED.into_iter().chain([Role::Accountd]) {
            let path = directory.join(role.binary());
            let file = File::open(&path)
                .map_err(|error| StartError::Binary { path: path.clone(), error: error.to_string() })?;
            let fd = crate::sys::above_worker_fds(file.into())
                .map_err(|error| StartError::Binary { path, error: error.to_string() })?;
            open.push((role, fd));
        }
        Ok(Self { directory, open })
    }

    /// One role's.
    #[must_use]
    pub fn of(&self, role: Role) -> Option<&OwnedFd> {
        self.open.iter().find(|(name, _)| *name == role).map(|(_, fd)| fd)
    }

    /// Where they were found.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}
