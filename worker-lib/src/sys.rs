//! The one fd that a worker is born with besides its log, the recorder's page, and memory that is wiped.
#![allow(unsafe_code)]

mod page;
mod program;
mod wiping;

pub(crate) use page::map_recorder;
pub(crate) use program::let_go_of_start;
pub use wiping::Wiping;

use std::os::{
    fd::{FromRawFd, OwnedFd},
    unix::net::UnixStream,
};

use ipc_proto::control::CONTROL_FD;
use tokio::io::{Interest, unix::AsyncFd};

/// The control channel; `None`: this process was not started by the supervisor. Call once.
pub(crate) fn control_stream() -> Option<UnixStream> {
    let mut kind: libc::c_int = 0;
    let mut length: libc::socklen_t = 4;
    // SAFETY: the kernel writes at most `length` octets, which is what `kind` has.
    let result = unsafe {
        libc::getsockopt(
            CONTROL_FD,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut kind).cast(),
            &raw mut length,
        )
    };
    if result != 0 || kind != libc::AF_UNIX {
        return None;
    }
    // SAFETY: it is open (just asked), the supervisor put it there for us, and this is called once, first of all.
    Some(UnixStream::from(unsafe { OwnedFd::from_raw_fd(CONTROL_FD) }))
}

/// The control channel for tokio's event loop, which waits for orders only.
pub(crate) fn register(stream: UnixStream) -> std::io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` owns its fd and keeps the same one until it is dropped.
    unsafe { AsyncFd::register_with_interest(stream, Interest::READABLE) }.map_err(std::io::Error::from)
}
