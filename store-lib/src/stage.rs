//! A message on its way in: copied, hashed and indexed in one pass, in the caller's thread, without a lock.

use std::io::{self, Write};
use std::sync::Arc;

use mail_lib::{imap, mime::Indexer, ordering::OrderKeys};

use crate::files::{Files, KeptFile, NewFile};
use crate::writer::{Queue, Rank, Transaction};
use crate::{Store, StoreError};

/// Messages up to this size live in the database; it is also the buffer of larger ones on their way to a file.
pub(crate) const IN_DATABASE: usize = 64 * 1024;

/// How much is read from a [`BodySource`] at once: enough for BLAKE3's widest lanes, little for the allocator.
const READ_AT_ONCE: usize = 16 * 1024;

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
pub struct Stager {
    files: Arc<Files>,
    queue: Arc<Queue>,
    prefix: Vec<u8>,
    limit: u64,
    received: u64,
    hasher: Box<blake3::Hasher>,
    indexer: Option<Box<Indexer>>,
    /// All octets so far, or those that are not yet in the file.
    buffer: Vec<u8>,
    /// However small it is.
    to_file: bool,
    file: Option<NewFile>,
}

/// A complete message that no mailbox has yet. Its octets are durable where they are in a file. Dropped instead of
/// filed it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    pub(crate) prefix: Vec<u8>,
    /// As received.
    pub(crate) received: u64,
    pub(crate) hash: blake3::Hash,
    pub(crate) octets: Octets,
    pub(crate) summary: Option<Rendered>,
}

/// Where the octets as received are.
#[derive(Debug)]
pub(crate) enum Octets {
    Memory(Vec<u8>),
    File(Arc<KeptFile>),
}

/// What listings show, as it is stored.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) parts: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) bodystructure: Vec<u8>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) order: OrderKeys,
}

impl Store {
    /// Begins a message of at most `limit` octets (the prefix not counted). `prefix`: the header fields that are put
    /// before it, kept apart from the octets as received.
    #[must_use]
    pub fn stager(&self, prefix: &[u8], parse: Parse, limit: u64) -> Stager {
        let indexer = match parse {
            Parse::Yes if self.is_raw() => None,
            Parse::Yes => {
                let mut indexer = Box::new(Indexer::new());
                indexer.push(prefix);
                Some(indexer)
            }
            Parse::No => None,
        };
        Stager {
            files: Arc::clone(self.files()),
            queue: Arc::clone(self.queue()),
            prefix: prefix.to_vec(),
            limit,
            received: 0,
            hasher: Box::default(),
            indexer,
            buffer: Vec::new(),
            to_file: false,
            file: None,
        }
    }

    /// Copies a whole message from `source`, piece by piece. Only this copy counts from here on.
    pub fn stage(
        &self,
        prefix: &[u8],
        source: &mut dyn BodySource,
        parse: Parse,
        limit: u64,
    ) -> Result<Staged, StoreError> {
        let mut stager = self.stager(prefix, parse, limit);
        let mut buffer = vec![0; READ_AT_ONCE];
        loop {
            match source.read_at(stager.received, &mut buffer) {
                Ok(0) => return stager.finish(),
                Ok(read) => stager.push(buffer.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::Source(error.to_string())),
            }
        }
    }
}

impl Stager {
    /// Keeps the message in a file even if it is small: for one of many that are to be filed together.
    #[must_use]
    pub fn into_file(mut self) -> Self {
        self.to_file = true;
        self
    }

    /// Octets so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next octets. Over the limit: [`StoreError::TooLarge`], now and for every further piece.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let queue = Arc::clone(&self.queue);
        look_for_room(&queue, self.take(piece))
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.hasher.update(piece);
        if let Some(indexer) = &mut self.indexer {
            indexer.push(piece);
        }
        if self.buffer.len() + piece.len() <= IN_DATABASE {
            self.buffer.extend_from_slice(piece);
            return Ok(());
        }
        self.spill()?;
        match &mut self.file {
            // Large pieces go straight to the file.
            Some(file) if piece.len() >= IN_DATABASE / 2 => {
                file.file().write_all(piece).map_err(|error| StoreError::file(&error))
            }
            _ => {
                self.buffer.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Moves the buffer to the file.
    fn spill(&mut self) -> Result<(), StoreError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.files.create()?),
        };
        file.file().write_all(&self.buffer).map_err(|error| StoreError::file(&error))?;
        self.buffer.clear();
        Ok(())
    }

    /// There are no more octets: makes a large message's file durable.
    pub fn finish(self) -> Result<Staged, StoreError> {
        let queue = Arc::clone(&self.queue);
        look_for_room(&queue, self.complete())
    }

    fn complete(mut self) -> Result<Staged, StoreError> {
        if self.received > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        let summary = self.indexer.take().map(|indexer| {
            let indexed = indexer.finish();
            Rendered {
                parts: indexed.index.to_bytes(),
                body: imap::body(&indexed),
                bodystructure: imap::bodystructure(&indexed),
                envelope: imap::envelope(indexed.headers()),
                order: OrderKeys::find(indexed.headers()),
            }
        });
        if self.file.is_some() || (self.to_file && !self.buffer.is_empty()) {
            self.spill()?;
        }
        let octets = match self.file.take() {
            Some(file) => Octets::File(Arc::new(file.finish()?)),
            None => Octets::Memory(self.buffer),
        };
        Ok(Staged {
            prefix: self.prefix,
            received: self.received,
            hash: self.hasher.finalize(),
            octets,
            summary,
        })
    }
}

/// Of a disk that is full the writer has to hear, since what was deleted makes room.
fn look_for_room<T>(queue: &Queue, result: Result<T, StoreError>) -> Result<T, StoreError> {
    if let Err(StoreError::NoSpace) = result {
        let tell = |transaction: &mut Transaction<'_>| {
            transaction.effects.full = true;
            Ok(())
        };
        queue.push(Rank::Session { messages: 1 }, tell, |_, _| ());
    }
    result
}

impl Staged {
    /// Octets, the prefix included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.received.saturating_add(self.prefix.len() as u64)
    }

    /// Octets of memory that it takes until it is filed, but for what listings show.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        match &self.octets {
            Octets::Memory(octets) => octets.capacity(),
            Octets::File(_) => 0,
        }
    }

    /// Whether it was looked into: without, it is shown as plain text.
    #[must_use]
    pub fn is_parsed(&self) -> bool {
        self.summary.is_some()
    }

    /// To be told whether a commit named the file.
    pub(crate) fn kept_file(&self) -> Option<Arc<KeptFile>> {
        match &self.octets {
            Octets::Memory(_) => None,
            Octets::File(file) => Some(Arc::clone(file)),
        }
    }
}
