//! What the end-to-end tests share: a real instance of the built programs, and small clients that see every octet.
//!
//! ```text
//!   test ──▶ Instance ── moxctl localserve ──▶ moxd and its processes, in a directory under /tmp
//!    │          │ drop: SIGTERM to the one process that it started, and wait
//!    ├──▶ Smtp, Imap: raw clients, so that a test knows what was acknowledged
//!    └──▶ client::run: swaks, mbsync, curl, mutt, Python, Node
//! ```
//! The programs are those of `MOXD_RELEASE` (`cargo verify` sets it), else those that lie beside the test. A test ends
//! with [`Instance::finish`]: the account is verified octet by octet, and the instance stops in order.
// It is only ever linked into tests, whose way to fail is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod client;
pub mod dovecot;
pub mod imap;
pub mod instance;
pub mod mail;
pub mod ordinary;
pub mod process;
pub mod smtp;
pub mod sys;

pub use imap::Imap;
pub use instance::{Home, Instance, Refused};
pub use smtp::Smtp;

/// The account of every instance, its password and address.
pub const ACCOUNT: &str = "mox";
/// See [`ACCOUNT`].
pub const PASSWORD: &str = "moxmoxmox";
/// See [`ACCOUNT`].
pub const ADDRESS: &str = "mox@localhost";
