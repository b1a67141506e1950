//! `mox-webd`: public pages over HTTP and HTTPS.
//!
//! ```text
//!               ┌──────── mox-webd ────────┐
//!   80, 443 ──▶ │ TLS, HTTP/1.1, two pages │ ── may it stay? ──▶ authd
//!               └──────────────────────────┘ ── signatures ────▶ keyd
//! ```
//! Holds: accepted connections. Never: a file, a key, a connection out, a verb that changes anything.
//!
//! Always true: (1) a request's header is bounded in size and in time, its body is not read; (2) a client that does
//! nothing, or does not read, is gone after the idle time-out; (3) at the limit the oldest connection makes room; (4)
//! the key of this front's certificate is the web's alone.
//!
//! Start at [`front::run`]; the pages are the crate's library.

mod front;

use std::process::ExitCode;

use ipc_proto::control::Role;
use worker_lib::{Fault, Worker};

fn main() -> ExitCode {
    worker_lib::main(Role::Webd, run)
}

fn run(worker: Worker) -> Result<(), Fault> {
    let settings = worker.settings.clone();
    let control = worker.lock_in()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(front::run(control, settings))
}
