//! Directories of somebody else's, walked as root perhaps: no link is followed, nothing but ordinary files is opened, and
//! none that is the same file as somebody's elsewhere.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::MetadataExt,
        },
    },
    path::Path,
};

use nix::{
    dir::Dir,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// One directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// Whose it is.
    owner: u32,
}

impl Directory {
    /// The one that the admin names; there a link may stand.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(openat(nix::fcntl::AT_FDCWD, path, DIRECTORY, Mode::empty())?)
    }

    fn of(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let owner = file.metadata()?.uid();
        Ok(Self { fd: file.into(), owner })
    }

    /// A directory in it; `None`: there is none of that name.
    pub(super) fn directory(&self, name: &OsStr) -> io::Result<Option<Self>> {
        use nix::errno::Errno;
        match openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Self::of(fd).map(Some),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An ordinary file in it; `None`: there is none of that name, or one that may be somebody else's.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<Option<(File, Metadata)>> {
        use nix::errno::Errno;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        // A hard link could be to a file that its maker cannot read.
        let own = metadata.nlink() == 1 || metadata.uid() == self.owner;
        Ok((metadata.is_file() && own).then_some((file, metadata)))
    }

    /// The beginning of a small file as text.
    pub(super) fn text(&self, name: &str, most: u64) -> io::Result<String> {
        let mut octets = Vec::new();
        if let Some((file, _)) = self.file(OsStr::new(name))? {
            io::Read::read_to_end(&mut io::Read::take(file, most), &mut octets)?;
        }
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    /// The names of all that is in it, sorted.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // Another opening: the position of this one is its own.
        let again = openat(self.fd.as_fd(), ".", DIRECTORY, Mode::empty())?;
        for entry in Dir::from_fd(again)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Whether a name is one of a hidden file.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Attack class 25: a user puts links where the admin imports from.
    #[test]
    fn links_are_not_followed_and_what_is_no_file_is_not_opened() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/mail"), "x").unwrap();
        symlink(root.join("real"), root.join("linked")).unwrap();
        symlink("mail", root.join("real/link")).unwrap();
        nix::unistd::mkfifo(&root.join("real/pipe"), Mode::S_IRUSR).unwrap();
        let directory = Directory::open(root).unwrap();
        assert!(directory.directory(OsStr::new("linked")).unwrap().is_none());
        assert!(directory.directory(OsStr::new("none")).unwrap().is_none());
        let real = directory.directory(OsStr::new("real")).unwrap().unwrap();
        assert_eq!(real.names().unwrap(), ["link", "mail", "pipe"]);
        assert!(real.file(OsStr::new("mail")).unwrap().is_some());
        for name in ["link", "pipe", "none"] {
            assert!(real.file(OsStr::new(name)).unwrap().is_none(), "{name}");
        }
        assert_eq!(real.text("mail", 10).unwrap(), "x");
        // The admin may name a link.
        assert!(Directory::open(&root.join("linked")).is_ok());
    }
}
