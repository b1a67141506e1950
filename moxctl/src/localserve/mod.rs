//! `moxctl localserve`: a complete instance in one directory, on loopback, until Ctrl-C.
//!
//! ```text
//!   place ──▶ configuration ──▶ moxd starts ── READY ──▶ setup ──────────▶ next steps, `ready`
//!   DIR, its   DIR/moxd.toml    (child, bound            domain localhost,   printed once
//!   parents,                     to this process)        account mox
//!   one lock
//! ```
//! Always true: (1) moxd never outlives this process by more than its orderly stop; (2) a second start finds all mail,
//! a second instance is refused; (3) the exit code is moxd's.

mod configuration;
mod moxd;
mod next_steps;
mod place;
mod setup;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;

pub(crate) use place::default_directory;

use self::{
    configuration::Wanted,
    moxd::{Ended, Moxd, Start},
    next_steps::NextSteps,
    place::Place,
};
use crate::{
    cli::Localserve,
    control::Instance,
    failure::{Failure, reason},
    output::{self, Output},
    signals::Signals,
};

/// Runs until moxd ends.
pub(crate) fn run(options: &Localserve, directory: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => default_directory().ok_or_else(|| {
            Failure::Usage(
                "there is no HOME to put the instance into; name a directory with --dir".to_owned(),
            )
        })?,
    };
    let signals = Signals::hold(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD])
        .map_err(|error| cannot("hold signals", &error))?;
    let place = Place::prepare(&directory)?;
    let wanted = Wanted { ip: options.ip, port_offset: options.port_offset };
    configuration::write(&place, &wanted)?;
    if !options.ip.is_loopback() {
        output::complain(&format!(
            "beware: whoever reaches {} can use this instance, its password is no secret",
            options.ip
        ));
    }
    match Moxd::start(&place, &signals)? {
        Start::Ready(mut moxd) => {
            let prepared = prepare(&place, &wanted, options, output);
            if prepared.is_err() {
                moxd.stop();
            }
            let ended = moxd.wait(&signals).map_err(|error| cannot("wait for moxd", &error))?;
            match (prepared, ended) {
                // moxd failed, and setup only noticed it.
                (Err(Failure::Unavailable(_)), Ended::Failed(code)) => Err(Failure::Moxd(code)),
                (Err(failure), Ended::Failed(_) | Ended::InOrder) => Err(failure),
                (Ok(()), ended) => result(ended),
            }
        }
        Start::Ended(ended) => result(ended),
    }
}

fn result(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::InOrder => Ok(()),
        Ended::Failed(code) => Err(Failure::Moxd(code)),
    }
}

/// Everything runs: makes the account, and says so.
fn prepare(place: &Place, wanted: &Wanted, options: &Localserve, output: &Output) -> Result<(), Failure> {
    let instance = Instance::connect(&place.control())?;
    setup::run(&instance.directory()?)?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("moxctl"));
    let steps = NextSteps::new(place.directory(), wanted, &program);
    match (options.quiet, options.wait_ready) {
        (true, _) => {}
        (false, true) => output.show_to(&mut io::stderr().lock(), &steps, NextSteps::text),
        (false, false) => output.show(&steps, NextSteps::text),
    }
    if options.wait_ready {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "ready").and_then(|()| stdout.flush());
    }
    Ok(())
}

/// Something of the system that is hardly ever refused.
fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::Config(format!("cannot {what}: {}", reason(error)))
}
