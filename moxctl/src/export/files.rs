//! Directories and files of an export: on disk, or in an archive.

use std::{
    fs::{self, DirBuilder, File, FileTimes},
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use import_lib::tar::Tar;

use super::{spool::Spool, unwritten};
use crate::failure::{Failure, reason};

/// Where files go.
pub(super) trait Place {
    /// A directory: levels are separated by `/`.
    fn directory(&mut self, path: &str) -> io::Result<()>;
    /// A file with a message.
    fn message(&mut self, path: &str, modified: i64, message: &Spool) -> io::Result<()>;
    /// A file with a text.
    fn text(&mut self, path: &str, text: &str) -> io::Result<()>;
    /// All is there, and on disk.
    fn finish(self) -> io::Result<()>;
}

/// A directory that nobody else writes to.
#[derive(Debug)]
pub(super) struct Tree(pub(super) PathBuf);

impl Tree {
    pub(super) fn make(path: &Path) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::Usage(format!("{}: {why}", path.display()));
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(path).map_err(|error| refused(&reason(&error)))?;
                let own = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
                let empty = own && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
                if !empty {
                    return Err(refused(
                        "name a directory that is not there yet, or an empty one of your own",
                    ));
                }
            }
            Err(error) => return Err(refused(&reason(&error))),
        }
        path.canonicalize().map(Self).map_err(|error| refused(&reason(&error)))
    }

    /// A new file in it.
    pub(super) fn create(&self, path: &str) -> io::Result<File> {
        File::options().write(true).create_new(true).mode(0o600).open(self.0.join(path))
    }

    /// Waits for the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::syncfs(File::open(&self.0)?)?)
    }
}

impl Place for Tree {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(self.0.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn message(&mut self, path: &str, modified: i64, message: &Spool) -> io::Result<()> {
        let mut file = self.create(path)?;
        message.read(|octets| file.write_all(octets))?;
        let since = Duration::from_secs(modified.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if modified < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
        file.set_times(FileTimes::new().set_modified(time.unwrap_or(epoch)))
    }

    fn text(&mut self, path: &str, text: &str) -> io::Result<()> {
        self.create(path)?.write_all(text.as_bytes())
    }

    fn finish(self) -> io::Result<()> {
        self.sync()
    }
}

/// An archive.
#[derive(Debug)]
pub(super) struct Archive(Tar<BufWriter<File>>);

impl Archive {
    pub(super) fn make(path: &Path) -> Result<Self, Failure> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::Usage(format!("{}: it is there already; name a new file", path.display()))
            }
            _ => Failure::Usage(format!("{}: {}", path.display(), reason(&error))),
        })?;
        Ok(Self(Tar::new(BufWriter::with_capacity(256 * 1024, file))))
    }
}

impl Place for Archive {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        self.0.directory(path)
    }

    fn message(&mut self, path: &str, modified: i64, message: &Spool) -> io::Result<()> {
        self.0.file(path, message.octets(), modified)?;
        message.read(|octets| self.0.push(octets))?;
        self.0.end()
    }

    fn text(&mut self, path: &str, text: &str) -> io::Result<()> {
        self.0.file(path, text.len() as u64, 0)?;
        self.0.push(text.as_bytes())?;
        self.0.end()
    }

    fn finish(self) -> io::Result<()> {
        let file = self.0.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// A failure of either.
pub(super) fn written<T>(result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| unwritten(&error))
}
