//! Memory that is wiped when it is given back.

use std::alloc::{GlobalAlloc, Layout, System};

/// For the processes that passwords pass through, as their `#[global_allocator]`. Their own buffers are wiped one by
/// one; this is for the copies that nobody holds: in the buffers of TLS, of a frame, of a vector that grew.
#[derive(Debug, Clone, Copy)]
pub struct Wiping;

// SAFETY: all memory is the system allocator's, under its own rules; what is written to lies inside a block that the
// caller gives back.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block of this size, and nobody uses it any more.
        unsafe {
            libc::explicit_bzero(block.cast(), layout.size());
            System.dealloc(block, layout);
        }
    }

    // `realloc` is the provided one: allocate, copy, give back. The system's would leave the old octets where they were.
}
