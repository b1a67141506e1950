//! `mox-imapd`: IMAP before login. It reads what strangers send, has authd judge them, and copies bytes for those who
//! logged in.
//!
//! ```text
//!                  ┌───────── mox-imapd ──────────┐
//!   143, 993 ────▶ │ TLS, greeting, LOGIN         │ ── may it stay? is this a login? ──▶ authd
//!                  │   then bytes, both ways ◀────┼── one stream per session, from the supervisor ── accountd N
//!                  └──────────────────────────────┘ ── signatures ──▶ keyd
//! ```
//! Holds: accepted connections, the streams of their sessions, passwords in flight. Never: a file, a key, a connection
//! out, an account's number before authd has named it.
//!
//! Always true: (1) no password is taken without TLS (or from loopback where a test instance allows it); (2) what was
//! pipelined behind STARTTLS is thrown away and ends the connection; (3) a stranger has a few kilobytes and one
//! deadline per command; (4) which account a connection reaches is authd's and the supervisor's doing: imapd cannot ask
//! for one; (5) an idle connection has no buffer.
//!
//! Start at [`front::run`]. The language is the crate's library; after login it is spoken by `imapd-session` in the
//! account's process.

mod front;

use std::process::ExitCode;

use ipc_proto::control::Role;
use worker_lib::{Fault, Wiping, Worker};

/// Passwords pass through.
#[global_allocator]
static MEMORY: Wiping = Wiping;

fn main() -> ExitCode {
    worker_lib::main(Role::Imapd, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let settings = worker.settings.clone();
    let control = worker.lock_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(front::run(control, settings))
}
