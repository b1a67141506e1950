//! `mox-submitd` takes mail on ports 587 and 465 from those who log in. It does what the sessions of [`smtpd`] ask for.
//!
//! ```text
//!               listeners ──▶ ┌─────────────┐ ── may it stay? is this a login? ──▶ authd ── grant ─▶ queued
//!   mail programs ◀─ TLS, ──▶ │ mox-submitd │ ── one signature per handshake ────▶ keyd
//!                       SMTP  └─────────────┘ ── may connection C send this? sealed memfd or spool file ──▶ queued
//! ```
//! One thread for all connections, two for handshakes. Holds: messages on their way in, as `mox-smtpd`; passwords in
//! flight (with SCRAM not even those). Never: a file of its own, a key, a connection out, an account's name or number.
//!
//! Always true: (1) no login without TLS (or from loopback where a test instance allows it); (2) no mail without a
//! login; (3) whose a connection is queued knows from authd alone: submitd names the connection; (4) where somebody is
//! stays out of their mail; (5) passwords are wiped from memory when they were used; and what holds for `mox-smtpd`.
//! Start at [`smtpd::front`].

use std::process::ExitCode;

use ipc_proto::control::Role;
use worker_lib::Wiping;

/// Passwords pass through.
#[global_allocator]
static MEMORY: Wiping = Wiping;

fn main() -> ExitCode {
    worker_lib::main(Role::Submitd, smtpd::front::submitd)
}
