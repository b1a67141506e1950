//! What packages ship beside the programs, written from the one definition of each thing: the manual pages and the shells'
//! completions from the commands that clap has, from moxd's table of options, and from docs/config.md, which the tests of
//! `config check` hold to the configuration itself.
//!
//! `cargo xtask man` writes the files below `packaging/` anew; the tests fail while they are not what this makes of it.

mod completions;
mod manual;
mod roff;

use std::{fs, path::Path};

use clap::{Arg, Command, CommandFactory};

use crate::cli::Cli;

/// All commands, with their full names in their usage.
fn built() -> Command {
    // Not as wide as the terminal of whoever writes it.
    let mut command = Cli::command().term_width(100);
    command.build();
    command
}

/// Those that a person types: clap's own `help` is not among them.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|found| found.get_name() != "help" && !found.is_hide_set())
}

/// Its own options and operands, not those that every command has.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let every =
        |argument: &Arg| argument.is_global_set() || matches!(argument.get_id().as_str(), "help" | "version");
    command.get_arguments().filter(move |argument| !every(argument) && !argument.is_hide_set())
}

/// In one line.
fn help(argument: &Arg) -> String {
    argument.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ")
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default().replace('\n', " ")
}

/// What an argument can be, where that is a choice of words.
fn choices(argument: &Arg) -> Vec<(String, String)> {
    let values = argument.get_possible_values();
    let described = |value: &clap::builder::PossibleValue| {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        (value.get_name().to_owned(), help)
    };
    if argument.get_action().takes_values() { values.iter().map(described).collect() } else { Vec::new() }
}

/// Compares with what is committed, or writes it.
fn ship(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    if std::env::var_os("MOXD_WRITE_PACKAGING").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "packaging/{name} is stale; write it anew with `cargo xtask man`");
}
