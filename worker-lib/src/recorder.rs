//! Whose connection each thread of a front works on, for whoever comes after this process: see [`ipc_proto::recorder`].
//!
//! Noting costs two stores to memory and no system call. A process without a page, as in tests, notes into its own memory.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use ipc_proto::{ConnectionId, recorder::SLOTS};

/// One thread's place in the page.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Slot(AtomicU64);

/// The page.
pub(crate) type Page = [Slot; SLOTS];

const _: () = assert!(size_of::<Page>() == ipc_proto::recorder::SIZE);

static PAGE: OnceLock<&'static Page> = OnceLock::new();

static NOWHERE: Page = [const { Slot(AtomicU64::new(0)) }; SLOTS];

/// From now on it is this one. Before there are threads.
pub(crate) fn set(page: &'static Page) {
    // A process is started once.
    let _ = PAGE.set(page);
}

impl Slot {
    /// The place of this thread, 0 for the front's own. Numbers beyond the last share it.
    #[must_use]
    pub fn of_thread(number: usize) -> &'static Self {
        let page = PAGE.get().copied().unwrap_or(&NOWHERE);
        let [first, ..] = page;
        page.get(number.min(SLOTS - 1)).unwrap_or(first)
    }

    /// Notes the connection until the answer is dropped, by a panic too.
    pub fn work_on(&self, connection: ConnectionId) -> Working<'_> {
        self.note(connection.0);
        #[cfg(captured)]
        crate::captured::fault_in(self);
        Working(self)
    }

    pub(crate) fn note(&self, number: u64) {
        // Nobody reads it while this thread runs on.
        self.0.store(number, Ordering::Relaxed);
    }

    /// What it says now; 0: nothing.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A thread works on a connection.
#[derive(Debug)]
#[must_use = "the note is gone when this is dropped"]
pub struct Working<'s>(&'s Slot);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.note(0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::{fd::OwnedFd, unix::fs::FileExt},
    };

    use ipc_proto::recorder::{SIZE, connections};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::sys::map_recorder;

    fn file(size: u64) -> File {
        let file = File::from(memfd_create("recorder", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn what_a_thread_works_on_stands_in_the_file_and_nothing_once_it_is_done() {
        let file = file(SIZE as u64);
        let page = map_recorder(OwnedFd::from(file.try_clone().unwrap())).unwrap();
        let read = || {
            let mut octets = [0; SIZE];
            file.read_exact_at(&mut octets, 0).unwrap();
            connections(&octets)
        };
        assert_eq!(read(), []);
        let first = page[0].work_on(ConnectionId(7));
        let last = page[SLOTS - 1].work_on(ConnectionId(u64::MAX));
        assert_eq!(read(), [ConnectionId(7), ConnectionId(u64::MAX)]);
        drop(first);
        assert_eq!((read(), page[0].noted()), (vec![ConnectionId(u64::MAX)], 0));
        let unwound = std::panic::catch_unwind(|| {
            let _working = page[0].work_on(ConnectionId(8));
            assert_eq!(page[0].noted(), 8);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(unwound.is_err() && page[0].noted() == 0, "a panic ends the work, too");
        drop(last);
        assert_eq!(read(), []);
    }

    #[test]
    fn a_file_that_is_not_the_page_is_not_mapped() {
        for size in [0, SIZE as u64 - 1, SIZE as u64 + 1] {
            assert!(map_recorder(OwnedFd::from(file(size))).is_err(), "{size}");
        }
    }

    #[test]
    fn without_a_page_and_beyond_its_end_there_is_a_slot_all_the_same() {
        for number in [0, 1, SLOTS - 1, SLOTS, usize::MAX] {
            let slot = Slot::of_thread(number);
            let working = slot.work_on(ConnectionId(3));
            assert_eq!(Slot::of_thread(number).noted(), 3);
            drop(working);
        }
        assert!(!std::ptr::eq(Slot::of_thread(0), Slot::of_thread(1)));
    }
}
