//! A message's octets on their way to queued: a buffer, then a memfd, then a spool file.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{
    budget::{Budget, Held},
    buffers::{Buffers, ROOM},
    queued::{Spool, Spooled},
};

/// Written at once: a small message costs one write.
const PIECE: usize = ROOM;

/// The largest message in memory.
const MAX_MEMORY: u64 = 1024 * 1024;

/// A message that is coming in.
#[derive(Debug)]
pub(crate) struct Body {
    /// Not yet written.
    pub(crate) buffer: Vec<u8>,
    place: Place,
    written: u64,
}

/// Where the octets before those in the buffer are.
#[derive(Debug)]
enum Place {
    /// There are none.
    Nowhere,
    Memory(File, Held),
    Spool(File, Spooled),
    /// There was no room: the rest is read and forgotten.
    Lost,
}

/// A whole message, ready for queued.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) octets: Octets,
    pub(crate) size: u64,
}

/// What holds a whole message until queued is done with it.
#[derive(Debug)]
pub(crate) enum Octets {
    /// Sealed.
    Memory {
        fd: OwnedFd,
        /// Its part of the budget.
        _held: Held,
    },
    /// With no writer left: the descriptor is closed.
    Spool(Spooled),
}

/// There is no room for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

fn octets(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

impl Default for Body {
    fn default() -> Self {
        Self { buffer: Vec::new(), place: Place::Nowhere, written: 0 }
    }
}

impl Body {
    /// Octets are coming in.
    pub(crate) fn expect_much(&mut self, buffers: &Buffers) {
        if self.buffer.capacity() < ROOM {
            let mut buffer = buffers.take();
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
        }
    }

    /// What was taken is on its way, or not wanted: the buffer is for others.
    pub(crate) fn forget(self, buffers: &Buffers) {
        buffers.give(self.buffer);
    }

    /// Writes the buffer out if it is full. `announced`: what the client said of the whole message's size.
    pub(crate) async fn relieve(&mut self, announced: Option<u64>, budget: &Arc<Budget>, spool: &impl Spool) {
        if self.buffer.len() >= PIECE {
            let large = announced.is_some_and(|size| size > MAX_MEMORY);
            self.write_out(large, budget, spool).await;
        }
    }

    /// The message is whole. What is left is for [`Self::forget`].
    pub(crate) async fn finish(&mut self, budget: &Arc<Budget>, spool: &impl Spool) -> Result<Whole, NoRoom> {
        if !self.buffer.is_empty() || matches!(self.place, Place::Nowhere) {
            self.write_out(false, budget, spool).await;
        }
        let size = self.written;
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Memory(file, held) => match seal(&file) {
                Ok(()) => Ok(Whole { octets: Octets::Memory { fd: file.into(), _held: held }, size }),
                Err(error) => {
                    tracing::error!(%error, "cannot seal message data");
                    Err(NoRoom)
                }
            },
            Place::Spool(file, spooled) => {
                drop(file);
                Ok(Whole { octets: Octets::Spool(spooled), size })
            }
            Place::Nowhere | Place::Lost => Err(NoRoom),
        }
    }

    /// Moves the buffer to where it belongs; the buffer keeps its memory.
    async fn write_out(&mut self, large: bool, budget: &Arc<Budget>, spool: &impl Spool) {
        let more = octets(&self.buffer);
        let place = std::mem::replace(&mut self.place, Place::Lost);
        self.place = match place {
            Place::Nowhere if large => self.move_to_spool(None, spool).await,
            Place::Nowhere => {
                let mut held = Held::nothing(budget);
                match held.grow(more).then(memory) {
                    Some(Ok(file)) => self.write(Place::Memory(file, held)),
                    Some(Err(_)) | None => self.move_to_spool(None, spool).await,
                }
            }
            Place::Memory(file, mut held) => {
                if self.written + more <= MAX_MEMORY && held.grow(more) {
                    self.write(Place::Memory(file, held))
                } else {
                    self.move_to_spool(Some(&file), spool).await
                }
            }
            place @ (Place::Spool(..) | Place::Lost) => self.write(place),
        };
        self.buffer.clear();
    }

    /// Writes the buffer behind what is in `place`.
    fn write(&mut self, mut place: Place) -> Place {
        let result = match &mut place {
            Place::Memory(file, _) | Place::Spool(file, _) => file.write_all(&self.buffer),
            Place::Nowhere | Place::Lost => return Place::Lost,
        };
        match result {
            Ok(()) => {
                self.written += octets(&self.buffer);
                place
            }
            Err(error) => {
                tracing::warn!(%error, "message data finds no room");
                Place::Lost
            }
        }
    }

    /// Moves what is in memory, and the buffer, to a spool file.
    async fn move_to_spool(&mut self, memory: Option<&File>, spool: &impl Spool) -> Place {
        let Some((fd, spooled)) = spool.spool().await else { return Place::Lost };
        let mut file = File::from(fd);
        if let Some(memory) = memory
            && let Err(error) = copy(memory, &mut file, self.written)
        {
            tracing::warn!(%error, "message data finds no room");
            return Place::Lost;
        }
        self.write(Place::Spool(file, spooled))
    }
}

fn memory() -> io::Result<File> {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let fd = memfd_create(c"message", flags).inspect_err(|error| {
        tracing::warn!(%error, "no memory for message data");
    })?;
    Ok(File::from(fd))
}

/// From now on nobody can change it, this process included.
fn seal(file: &File) -> io::Result<()> {
    let all =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(file, FcntlArg::F_ADD_SEALS(all))?;
    Ok(())
}

fn copy(from: &File, to: &mut File, octets: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < octets {
        let read = from.read_at(&mut buffer, at)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(piece)?;
        at += u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(())
}
