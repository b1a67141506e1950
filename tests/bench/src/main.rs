//! `moxd-bench` measures a complete instance from outside: real processes, sandboxes, sockets and fsyncs.
//!
//! ```text
//!              ┌─ SMTP, plain ──▶ ┌──────────────────────┐
//!   moxd-bench ├─ IMAP, plain ──▶ │ moxctl localserve    │ ──▶ a directory of its own, gone afterwards
//!              └─ /proc ────────▶ │ moxd and its workers │
//!                                 └──────────────────────┘
//! ```
//! First it measures what the disk can do (single-row synchronous commits of SQLite), because every promise of the
//! server is a commit: rates are given as ratios to it. Clients share the machine with the server; processor time is
//! the server's alone.
//!
//! Always true: (1) a row is printed only when every message was acknowledged and every fetch was complete; (2) each
//! part has an instance of its own, so that none is measured on what another left behind.
//! Start at [`run`]. What the rows mean: `docs/performance.md`.

mod aims;
mod announce;
mod asleep;
mod beside;
mod commits;
mod delivery;
mod disk;
mod dovecot;
mod failure;
mod fetching;
mod fsyncs;
mod growth;
mod idle;
mod imap;
mod importing;
mod instance;
mod letter;
mod logins;
mod mail;
mod mailbox;
mod message;
mod parts;
mod play;
mod processes;
mod scram;
mod searching;
mod smtp;
mod tls;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use tempfile::TempDir;

use crate::{
    failure::Failure,
    instance::Programs,
    parts::{Bench, Part},
};

/// Measures moxd: builds nothing, starts instances of its own, prints rows, and marks the aims that are missed.
#[derive(Debug, Parser)]
#[command(name = "moxd-bench", version)]
struct Options {
    /// Where to put the instances: a disk that fsync reaches [default: /var/tmp]
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", hide_default_value = true)]
    dir: PathBuf,
    /// A tenth of the messages: to see that everything works
    #[arg(long)]
    quick: bool,
    /// These parts only
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// For children of this program
    #[arg(long, value_enum, hide = true)]
    play: Option<play::Part>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.play {
        Some(part) => play::play(part, &options.dir),
        None => run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("moxd-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Every part in turn.
fn run(options: &Options) -> Result<(), Failure> {
    let programs = Programs::find()?;
    let place = place(&options.dir)?;
    let raw = commits::rate(&place.path().join("raw.sqlite"))?;
    line(format_args!(
        "raw commits: {:.0} a second, {:.3} ms each, p99 {:.3} ms, CPU {:.3} ms",
        raw.a_second(),
        raw.milliseconds(),
        raw.p99_milliseconds(),
        raw.processor_milliseconds()
    ));
    let mut bench = Bench::new(programs, place.path(), if options.quick { 10 } else { 1 }, raw);
    for part in Part::ALL {
        if options.only.is_empty() || options.only.contains(&part) {
            bench.measure(part)?;
        }
    }
    let raw = commits::rate(&place.path().join("raw-after.sqlite"))?;
    line(format_args!(
        "\nraw commits, again: {:.0} a second, p99 {:.3} ms",
        raw.a_second(),
        raw.p99_milliseconds()
    ));
    line(format_args!("\n{}", bench.aims));
    Ok(())
}

/// A new directory in `directory` through which the processes of all roles get to their own.
fn place(directory: &Path) -> Result<TempDir, Failure> {
    let failed = |error| Failure::io(format!("{}", directory.display()), error);
    fs::create_dir_all(directory).map_err(failed)?;
    let place = tempfile::Builder::new().prefix("moxd-bench-").tempdir_in(directory).map_err(failed)?;
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).map_err(failed)?;
    Ok(place)
}

/// The one place that prints.
#[allow(clippy::print_stdout)]
fn line(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
