//! Buffers for message data, used again: fresh memory costs a page fault for every 4 KiB of a message.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The room of a new one, octets. A message of this size is read, and written out, at once.
pub(crate) const ROOM: usize = 64 * 1024;

/// A buffer that grew over this is not kept, octets.
const LARGEST: usize = 2 * ROOM;

/// Kept at most, a MiB together: a connection has none while it waits for a command or for queued.
const KEPT: usize = 16;

/// Empty buffers of at least [`ROOM`]; the one that was used last comes first, being in the processor's cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free().pop().unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    /// One that is not needed any more, whatever is in it.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        if (ROOM..=LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            let mut free = self.free();
            if free.len() < KEPT {
                free.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_a_few_are_kept() {
        let buffers = Buffers::default();
        for (capacity, kept) in [(ROOM - 1, false), (ROOM, true), (LARGEST, true), (LARGEST + 1, false)] {
            let mut buffer = Vec::with_capacity(capacity);
            buffer.push(b'x');
            buffers.give(buffer);
            assert_eq!(buffers.free().len(), usize::from(kept), "{capacity}");
            let taken = buffers.take();
            assert!(taken.is_empty() && taken.capacity() >= ROOM);
        }
        (0..100).for_each(|_| buffers.give(Vec::with_capacity(ROOM)));
        assert_eq!(buffers.free().len(), KEPT);
    }
}
