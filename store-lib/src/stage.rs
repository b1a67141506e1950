//! A message on its way in: copied, hashed and indexed in one pass, in the caller's thread, without a lock.

use std::io;

use crate::{Store, StoreError};

/// Where a message is read from: positioned reads, because the file position of a descriptor from another process
/// is shared with that process.
pub trait BodySource {
    /// Reads at `offset`; 0 at the end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl BodySource for &std::fs::File {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(*self, buffer, offset)
    }
}

impl BodySource for &[u8] {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        io::Read::read(&mut &*from, buffer)
    }
}

/// Whether a message is looked into when it is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// As usual.
    Yes,
    /// It was in hand when the process died, or the account is in safe mode: filed as it is, shown as plain text.
    No,
}

/// A message that comes in pieces (APPEND). Dropped before [`Stager::finish`] it leaves nothing behind.
#[derive(Debug)]
pub struct Stager {}

/// A complete message that no mailbox has yet. Its octets are durable where they are in a file. Dropped instead of
/// filed it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {}

impl Stager {
    /// The next octets. Over the limit: [`StoreError::TooLarge`], now and for every further piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let _ = piece;
        Err(StoreError::Closed)
    }

    /// There are no more octets: makes a large message's file durable.
    pub fn finish(self) -> Result<Staged, StoreError> {
        Err(StoreError::Closed)
    }
}

impl Store {
    /// Begins a message of at most `limit` octets (the prefix not counted). `prefix`: the header fields that are put
    /// before it, kept apart from the octets as received.
    pub fn stager(&self, prefix: &[u8], parse: Parse, limit: u64) -> Stager {
        let _ = (prefix, parse, limit);
        Stager {}
    }

    /// Copies a whole message from `source` in pieces of 64 KiB. Only this copy counts from here on.
    pub fn stage(
        &self,
        prefix: &[u8],
        source: &mut dyn BodySource,
        parse: Parse,
        limit: u64,
    ) -> Result<Staged, StoreError> {
        let _ = (prefix, source, parse, limit);
        Err(StoreError::Closed)
    }
}

impl Staged {
    /// Octets, the prefix included.
    #[must_use]
    pub fn size(&self) -> u64 {
        0
    }

    /// Whether it was looked into: without, it is shown as plain text.
    #[must_use]
    pub fn is_parsed(&self) -> bool {
        false
    }
}
