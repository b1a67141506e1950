//! The recorder's page in this process.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use ipc_proto::recorder::SIZE;

use crate::recorder::Page;

/// Maps the page for good and closes the descriptor.
pub(crate) fn map_recorder(page: OwnedFd) -> io::Result<&'static Page> {
    let file = File::from(page);
    if usize::try_from(file.metadata()?.len()) != Ok(SIZE) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses where; nothing of this process is there.
    let address =
        unsafe { libc::mmap(ptr::null_mut(), SIZE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is of `SIZE` octets, which is what a `Page` has, and begins at a page of memory, so it is
    // aligned; it is never unmapped, and the supervisor's seals keep the file from shrinking under it. A `Page` is atomics:
    // every value is valid, and they may change at any time.
    Ok(unsafe { &*address.cast::<Page>() })
}
