//! `moxctl` is the admin's command: it asks the running moxd over its control socket, and `moxctl localserve` starts one.
//!
//! ```text
//!   moxctl status, reload, stop ─────▶ control socket ──▶ moxd
//!   moxctl domain, account, alias, … ▶ control socket ──▶ moxd hands over a channel ──▶ authd
//!   moxctl queue ────────────────────▶ control socket ──▶ moxd hands over a channel ──▶ queued
//!   moxctl account verify, … ────────▶ control socket ──▶ moxd hands over a channel ──▶ that account's process
//!   moxctl account import ── starts ─▶ itself, locked in, to take the source apart; and the same way to the account
//!   moxctl localserve ── starts ─────▶ moxd, in a directory of its own, until Ctrl-C
//! ```
//!
//! Holds: nothing but what it is told; a password only on its way from the terminal to authd, never in an argument.
//! Always true: (1) every failure is one line on stderr that says what to do; (2) nothing that comes from another process
//! reaches the terminal with control characters in it; (3) the exit code says who refused: [`failure::EXIT_CODES`].
//!
//! Start at [`cli`] for the commands, [`control`] for the socket.

mod abuse;
mod account;
mod address;
mod alias;
mod app_password;
mod care;
mod check;
mod cli;
mod control;
mod domain;
mod export;
mod failure;
mod import;
mod localserve;
mod login;
mod login_key;
mod output;
#[cfg(test)]
mod packaging;
mod password;
mod queue;
mod quota;
mod reload;
mod retention;
mod signals;
mod status;
mod stop;
mod sys;
mod table;
mod undelete;

use std::process::ExitCode;

use cli::{Cli, Command};
use control::Instance;
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == import_lib::reader::ARGUMENT) {
        return import_lib::reader::main();
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    let output = Output::new(cli.json);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let socket = cli.control_socket();
    let connect = || Instance::connect(&socket);
    match cli.command {
        Command::Localserve(options) => localserve::run(&options, cli.dir.as_deref(), output),
        Command::Status => status::run(&connect()?, output),
        Command::Reload => reload::run(&connect()?, output),
        Command::Stop => stop::run(connect()?, output),
        Command::Config(cli::Config::Check { file }) => check::run(&file, output),
        Command::Domain(command) => domain::run(command, &connect()?.directory()?, output),
        Command::Account(command) => account::run(command, &connect()?, output),
        Command::Address(command) => address::run(command, &connect()?.directory()?, output),
        Command::Alias(command) => alias::run(command, &connect()?.directory()?, output),
        Command::Quota(command) => quota::run(command, &connect()?.directory()?, output),
        Command::Queue(command) => queue::run(&command, &connect()?.queue()?, output),
        Command::Password(cli::Password::Set { account }) => {
            // Connected first: nobody types a password twice to learn then that moxd does not run.
            let directory = connect()?.directory()?;
            password::set(account, &directory, output)
        }
        Command::AppPassword(command) => app_password::run(command, &connect()?.directory()?, output),
        Command::LoginKey(command) => login_key::run(command, &connect()?.directory()?, output),
        Command::Login(command) => login::run(command, &connect()?.directory()?, output),
        Command::Abuse(command) => abuse::run(command, &connect()?.directory()?, output),
    }
}
