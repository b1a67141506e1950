//! Mail of other programs, on its way in and out: mbox, Maildir, IMAP servers.
//!
//! ```text
//!                 ┌─ reader: a child of moxctl, locked in ─┐
//!   mbox file ──▶ │ mbox::Mbox        who sent this mail   │
//!   Maildir ────▶ │ maildir::…        may have written any ├── ipc_proto::reader ──▶ moxctl ──▶ an account's process
//!   IMAP ───────▶ │ imap::Responses   octet of it          │
//!                 └────────────────────────────────────────┘
//!   an account's process ──▶ moxctl ──▶ mbox::Writer, maildir names, tar
//! ```
//!
//! Always true: (1) every parser is bounded, and holds no message: octets go through; (2) the child opens, connects and
//! runs nothing: it has the source's descriptor and moxctl's; (3) what moxd exported comes back octet for octet, with
//! flags, keywords and dates; (4) nothing is ever changed at the source.
//! Start at [`reader`], or at [`mbox`].

pub mod imap;
pub mod maildir;
pub mod mbox;
pub mod name;
pub mod reader;
pub mod tar;
mod window;

#[cfg(any(test, fuzzing))]
pub mod check;

pub use window::ReadAt;
