//! A message's descriptor from queued, checked before it is read.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use store_lib::BodySource;

/// Why a descriptor is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// None came.
    #[error("no fd came with the message")]
    Missing,
    /// A pipe, a socket, a directory, a device.
    #[error("the fd is not a regular file")]
    NotAFile,
    /// Neither a memfd with all its seals nor opened for reading only.
    #[error("the fd can be written to")]
    Writable,
    /// Another size than the request says.
    #[error("the file holds {found} octets, {stated} were stated")]
    Size {
        /// In the request.
        stated: u64,
        /// Of the file.
        found: u64,
    },
    /// The system refused to say.
    #[error("the fd cannot be examined: {0}")]
    Io(#[from] io::Error),
}

impl From<nix::Error> for BodyError {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

/// What makes a memfd final.
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// The octets of one delivery. Read with pread, because whoever made the descriptor shares its position; never mapped,
/// because a map of a file that shrinks kills.
#[derive(Debug)]
pub(crate) struct Body {
    file: File,
    size: u64,
}

impl Body {
    /// A memfd that is sealed, or a file of queued's that was opened read-only: queued has made sure that nobody can
    /// write to that one.
    pub(crate) fn check(fd: OwnedFd, stated: u64) -> Result<Self, BodyError> {
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(BodyError::NotAFile);
        }
        let mode = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
        if mode != OFlag::O_RDONLY {
            // Files elsewhere than in memory have no seals and say EINVAL.
            let seals = match fcntl(file.as_fd(), FcntlArg::F_GET_SEALS) {
                Ok(seals) => SealFlag::from_bits_truncate(seals),
                Err(nix::Error::EINVAL) => SealFlag::empty(),
                Err(error) => return Err(error.into()),
            };
            if mode != OFlag::O_RDWR || !seals.contains(SEALS) {
                return Err(BodyError::Writable);
            }
        }
        if metadata.len() != stated {
            return Err(BodyError::Size { stated, found: metadata.len() });
        }
        Ok(Self { file, size: stated })
    }

    /// Octets.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl BodySource for Body {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let end = left.min(buffer.len());
        self.file.read_at(buffer.get_mut(..end).unwrap_or_default(), offset)
    }
}
