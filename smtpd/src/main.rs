//! `mox-smtpd` takes mail on port 25. It does what the sessions of [`smtpd`] ask for.
//!
//! ```text
//!              listener ──▶ ┌───────────┐ ── may it stay? whose is this? ──▶ authd
//!   clients ◀─ TLS, SMTP ─▶ │ mox-smtpd │ ── one signature per handshake ──▶ keyd
//!                           └───────────┘ ── sealed memfd or spool file ───▶ queued ── on disk? ──▶ 250
//! ```
//! One thread for all connections, two for handshakes. Holds: messages on their way in, in memory within a budget, then
//! in files that queued opened and that it cannot read. Never: a file of its own, a password, a key, a connection out.
//!
//! Always true: (1) 250 is said only after queued said that the message is on disk; (2) what queued gets cannot be
//! changed any more: sealed, or without a writer; (3) a connection's panic ends that connection and is charged to its
//! client; (4) every read, write, handshake and message has its deadline.
//! Start at [`smtpd::front`].

use std::process::ExitCode;

use ipc_proto::control::Role;

fn main() -> ExitCode {
    worker_lib::main(Role::Smtpd, smtpd::front::smtpd)
}
