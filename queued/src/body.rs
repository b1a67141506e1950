//! The octets of a message on their way: a descriptor that nobody can write to any more, checked before it is believed.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    sync::Arc,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
};

use mail_lib::header::{MAX_SECTION, section_end};

use crate::{disk::Disk, queue::QueueError, spool::SpoolFile};

/// Octets read at first to find a header's end: nearly all end before.
const FIRST: usize = 8 * 1024;

/// Octets copied at once.
const PIECE: usize = 64 * 1024;

/// Why a descriptor from smtpd is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// A pipe, a socket, a directory, a device.
    #[error("the fd is not a regular file")]
    NotAFile,
    /// Opened for writing only.
    #[error("the fd cannot be read")]
    NotReadable,
    /// Not a memfd, or one that still changes.
    #[error("the fd does not have all four seals (it has {0:#x})")]
    NotSealed(i32),
    /// Another size than the request says.
    #[error("the file holds {found} octets, {stated} were stated")]
    Size {
        /// In the request.
        stated: u64,
        /// Of the file.
        found: u64,
    },
    /// No spool file of this number was handed out, or it is forgotten.
    #[error("there is no such spool file")]
    UnknownSpool,
    /// A descriptor that can write is still open somewhere.
    #[error("the spool file still has a writer")]
    WriterLeft,
    /// The system refused to say.
    #[error("the fd cannot be examined: {0}")]
    Io(#[from] io::Error),
}

impl From<nix::Error> for BodyError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

/// A message's octets. Cheap to clone. Read with pread only: the file position of a descriptor from below is shared
/// with whoever made it. Never mapped: a map of a file that shrinks kills.
#[derive(Debug, Clone)]
pub(crate) struct Body(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    size: u64,
    /// What keeps a spool file's name and its place in the budget.
    spooled: Option<Arc<SpoolFile>>,
}

impl Body {
    /// A memfd that smtpd has sealed: size and content are final, the kernel says so.
    pub(crate) fn sealed(fd: OwnedFd, stated: u64) -> Result<Self, BodyError> {
        const ALL: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        let file = File::from(fd);
        let flags = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
        if flags & OFlag::O_ACCMODE == OFlag::O_WRONLY {
            return Err(BodyError::NotReadable);
        }
        // Files elsewhere than in memory have no seals and say EINVAL.
        let seals = match fcntl(file.as_fd(), FcntlArg::F_GET_SEALS) {
            Ok(seals) => seals,
            Err(nix::Error::EINVAL) => 0,
            Err(error) => return Err(error.into()),
        };
        // More seals only take more away; kernels with vm.memfd_noexec set add F_SEAL_EXEC by themselves.
        if seals & ALL != ALL {
            return Err(BodyError::NotSealed(seals));
        }
        Self::complete(file, stated, None)
    }

    /// A file that is known to have no writer. Its size is looked at here, after that became true.
    pub(crate) fn complete(
        file: File,
        stated: u64,
        spooled: Option<Arc<SpoolFile>>,
    ) -> Result<Self, BodyError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(BodyError::NotAFile);
        }
        let found = metadata.size();
        if found == stated {
            Ok(Self(Arc::new(Inner { file, size: stated, spooled })))
        } else {
            Err(BodyError::Size { stated, found })
        }
    }

    /// Octets.
    pub(crate) fn size(&self) -> u64 {
        self.0.size
    }

    /// A descriptor to hand on. It can be read, not written: sealed, or opened read-only.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        self.0.file.as_fd().try_clone_to_owned()
    }

    /// The header section, without the blank line; `None`: it does not end within the bounds.
    pub(crate) async fn header_section(&self, disk: &Disk) -> Result<Option<Vec<u8>>, QueueError> {
        if self.0.spooled.is_none() {
            // In memory.
            return Ok(self.read_header_section()?);
        }
        let body = self.clone();
        disk.run(move |_| Ok(body.read_header_section()?)).await
    }

    fn read_header_section(&self) -> io::Result<Option<Vec<u8>>> {
        let mut octets = Vec::new();
        for bound in [FIRST, PIECE, MAX_SECTION + 2] {
            let start = octets.len();
            let all = usize::try_from(self.0.size).unwrap_or(usize::MAX);
            octets.resize(bound.min(all), 0);
            self.0.file.read_exact_at(octets.get_mut(start..).unwrap_or_default(), start as u64)?;
            let end = section_end(&octets).or((octets.len() == all).then_some(all));
            if let Some(end) = end {
                octets.truncate(end);
                return Ok(Some(octets));
            }
        }
        Ok(None)
    }

    /// Copies all octets and hashes the copy. Blocks: for the disk's thread.
    pub(crate) fn copy_to(&self, to: &mut impl Write) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE.min(usize::try_from(self.0.size).unwrap_or(PIECE)).max(1)];
        let mut at = 0;
        while at < self.0.size {
            let octets = match self.0.file.read_at(&mut piece, at) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(octets) => octets,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let octets = piece.get(..octets).unwrap_or_default();
            hasher.update(octets);
            to.write_all(octets)?;
            at += octets.len() as u64;
        }
        Ok(hasher.finalize())
    }
}
