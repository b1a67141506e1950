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

mod commits;
mod delivery;
mod failure;
mod fetching;
mod imap;
mod instance;
mod message;
mod processes;
mod smtp;

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
    instance::{Instance, Programs},
    message::Octets,
};

/// Measures moxd: builds nothing, starts an instance of its own, prints rows.
#[derive(Debug, Parser)]
#[command(name = "moxd-bench", version)]
struct Options {
    /// Where to put the instances: a disk that fsync reaches [default: /var/tmp]
    #[arg(long, value_name = "DIR", default_value = "/var/tmp", hide_default_value = true)]
    dir: PathBuf,
    /// A tenth of the messages: to see that everything works
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
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
    let share = if options.quick { 10 } else { 1 };
    let raw = commits::rate(&place.path().join("raw.sqlite"))?;
    line(format_args!("raw commits: {:.0} a second, {:.3} ms each\n", raw.a_second(), raw.milliseconds()));

    delivery::heading();
    {
        let instance = Instance::start(&programs, &place.path().join("delivering"))?;
        for (size, connections, messages) in [
            (Octets(1024), 1, 2_000),
            (Octets(1024), 10, 20_000),
            (Octets(1024), 50, 20_000),
            (Octets(50 * 1024), 1, 500),
            (Octets(50 * 1024), 10, 4_000),
            (Octets(50 * 1024), 50, 4_000),
        ] {
            let load = delivery::Load { size, connections, messages: messages / share };
            line(format_args!("{}", delivery::measure(&instance, load)?.row(raw)));
        }
        instance.stop()?;
    }

    let directory = place.path().join("fetching");
    {
        let instance = Instance::start(&programs, &directory)?;
        let mailbox = delivery::Load { size: Octets(2048), connections: 10, messages: 10_000 / share };
        delivery::measure(&instance, mailbox)?;
        fetching::heading(mailbox.messages);
        for row in fetching::measure(&instance, mailbox.messages)? {
            line(format_args!("{row}"));
        }
        instance.stop()?;
    }

    let instance = Instance::start(&programs, &directory)?;
    line(format_args!("\nsecond start to ready: {:.0} ms", instance.start_took.as_secs_f64() * 1000.0));
    line(format_args!("\n{}", processes::Memory::of(&instance.processes()?)));
    instance.stop()?;

    let raw = commits::rate(&place.path().join("raw-after.sqlite"))?;
    line(format_args!("raw commits, again: {:.0} a second", raw.a_second()));
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
