//! Looking at a file of any size through a window of a bounded one.

use std::io;

/// Octets that are held.
const WINDOW: usize = 256 * 1024;

/// A file that is read at places.
pub trait ReadAt {
    /// As pread: 0 at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        io::Read::read(&mut &*from, buffer)
    }
}

/// The part of the file that was looked at last.
#[derive(Debug)]
pub(crate) struct Window<S> {
    source: S,
    /// What lies behind is not looked at, even if the file grows.
    end: u64,
    start: u64,
    held: Vec<u8>,
    /// How much is read at once: less in tests.
    size: usize,
}

impl<S: ReadAt> Window<S> {
    pub(crate) fn new(source: S, end: u64) -> Self {
        Self { source, end, start: 0, held: Vec::new(), size: WINDOW }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn with_size(source: S, end: u64, size: usize) -> Self {
        Self { size, ..Self::new(source, end) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What lies from `offset` on: at least `least` octets unless the file ends before.
    pub(crate) fn look(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        let least = u64::try_from(least).unwrap_or(u64::MAX).min(self.end.saturating_sub(offset));
        let held_to = self.start.saturating_add(self.held.len() as u64);
        if offset < self.start || offset.saturating_add(least) > held_to || least == 0 {
            self.fill(offset, least)?;
        }
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.held.get(from..).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, least: u64) -> io::Result<()> {
        let left = self.end.saturating_sub(offset);
        let size = (self.size as u64).max(least).min(left);
        self.held.resize(usize::try_from(size).unwrap_or_default(), 0);
        self.start = offset;
        let mut filled = 0;
        while let Some(rest) = self.held.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(offset + filled as u64, rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled < self.held.len() {
            // It was made shorter meanwhile: that is its end now.
            self.end = offset + filled as u64;
            self.held.truncate(filled);
        }
        Ok(())
    }
}
