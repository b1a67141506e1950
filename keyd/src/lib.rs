//! `keyd` holds every private key and signs on request. No key ever leaves this process.
//!
//! ```text
//!   smtpd ──▶ channel ──▶ thread of group mx   ─┐
//!   imapd ──▶ channel ──▶ thread of group mail ─┼─▶ one key each, from `keys/`, which no other process can open
//!   webd  ──▶ channel ──▶ thread of group web  ─┘
//! ```
//! Holds: one key per listener group, in locked memory that is wiped when freed; one channel per front. Never: a
//! network socket, a path from a message, a shell, a verb that signs what it is given.
//!
//! Always true: (1) the group, and with it the key, follows from the channel asked on, never from a message: a captured
//! smtpd cannot pose as the webmail; (2) what is signed is built here from typed parts and is a server's part of a TLS
//! handshake, nothing else; (3) each front has so many signatures a second and a thread of its own, so none can
//! starve another; (4) a key file is never written over, and a certificate only when it no longer fits.
//!
//! Start at [`answer::Desk::answer`]. Wire types: `ipc_proto::tls`.

pub mod answer;
pub mod certificate;
pub mod group;
pub mod handshake;
pub mod key;
pub mod rate;
mod sys;

pub use sys::{Locked, lock_memory};
