//! What has to be built before it can run: `cargo localserve` and `cargo verify` (see `.cargo/config.toml`).
//!
//! ```text
//!   cargo localserve ARGS ──▶ release build ──▶ becomes `moxctl localserve ARGS`
//!   cargo verify [--install] ──▶ what the tests need ──▶ release build ──▶ every test ──▶ fuzz targets ──▶ one line
//!   cargo xtask man ──▶ packaging/man, packaging/completions
//! ```
//! Knows nothing of moxd but the names of its packages. Exit codes: 0; 1 something failed; 2 something is missing, or
//! wrong usage; 3 all passed, but what needs root was not run.

mod failure;
mod localserve;
mod man;
mod sys;
mod verify;
mod workspace;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use failure::Failure;
use workspace::Workspace;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<_> = arguments.collect();
    let workspace = Workspace::here();
    let result = match command.to_str() {
        Some("localserve") => localserve::run(&workspace, &rest).map(|never| match never {}),
        Some("verify") => verify::run(&workspace, &rest),
        Some("man") => man::run(&workspace),
        Some(_) | None => {
            Err(Failure::Missing("use `cargo localserve`, `cargo verify` or `cargo xtask man`".to_owned()))
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// One line on stderr, where the builds say theirs.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
