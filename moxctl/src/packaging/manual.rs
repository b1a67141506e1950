//! moxctl(1), moxd(8) and moxd.toml(5).

use std::{
    io::Write,
    process::{Command as Process, Stdio},
};

use clap::{Arg, Command};
use supervisor::arguments;

use super::{about, arguments as own_arguments, built, choices, help, roff::Page, ship, subcommands};
use crate::failure::EXIT_CODES;

const SEE_ALSO: &str = "`moxctl`(1), `moxd.toml`(5), `moxd`(8)";

fn moxctl() -> String {
    let command = built();
    let mut page = Page::new("moxctl", 1, "manages moxd, the mail system");
    page.section("SYNOPSIS");
    page.paragraph("`moxctl` [`--socket` PATH | `--dir` DIR] [`--json`] COMMAND ...");
    page.section("DESCRIPTION");
    page.paragraph(
        "moxctl asks a running moxd over its control socket, which only root and the user that runs moxd may use. \
         `moxctl localserve` starts a complete instance of its own.",
    );
    page.section("OPTIONS");
    for argument in command.get_arguments().filter(|argument| argument.is_global_set()) {
        option(&mut page, argument);
    }
    page.section("COMMANDS");
    for command in subcommands(&command) {
        page.subsection(command.get_name());
        if command.has_subcommands() {
            page.paragraph(&format!("{}.", about(command)));
        }
        commands(&mut page, command);
    }
    page.section("JSON");
    page.paragraph(
        "With `--json` a command prints one JSON value on stdout: an array of objects for a list, an object for all else, \
         {\"done\": true} where there is nothing to tell. What went wrong is one line on stderr: {\"error\": {\"code\": the \
         exit code, \"kind\": its name in the table below, \"message\": the line that people get}}. `moxctl localserve` and \
         `--help` print text.",
    );
    page.section("EXIT STATUS");
    for (code, kind, meaning) in EXIT_CODES {
        page.item(&code.to_string(), &format!("{kind}: {meaning}."));
    }
    page.paragraph("`moxctl localserve` ends with the code of its moxd.");
    page.section("FILES");
    page.item("/run/moxd/control.sock", "The control socket of the instance that packages install.");
    page.section("SEE ALSO");
    page.paragraph(SEE_ALSO);
    page.finish()
}

/// The command itself, or those that it has.
fn commands(page: &mut Page, command: &Command) {
    if command.has_subcommands() {
        return subcommands(command).for_each(|command| commands(page, command));
    }
    let usage = command.clone().render_usage().to_string();
    let usage =
        usage.strip_prefix("Usage: ").unwrap_or(&usage).split_whitespace().collect::<Vec<_>>().join(" ");
    page.item(&usage, &format!("{}.", about(command)));
    if own_arguments(command).next().is_some() {
        page.inset(|page| own_arguments(command).for_each(|argument| option(page, argument)));
    }
}

fn option(page: &mut Page, argument: &Arg) {
    let values: Vec<_> =
        argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = values.join(" ");
    let term = match argument.get_long() {
        Some(long) if argument.get_action().takes_values() && argument.is_require_equals_set() => {
            format!("--{long}[={value}]")
        }
        Some(long) if argument.get_action().takes_values() => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    };
    let choices: Vec<_> = choices(argument).into_iter().map(|(name, _)| format!("`{name}`")).collect();
    let mut text = format!("{}.", help(argument));
    if !choices.is_empty() {
        text.push_str(&format!(" One of {}.", choices.join(", ")));
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        text.push_str(&format!(" Without it: {}.", defaults.join(",")));
    }
    page.item(&term, &text);
}

fn moxd() -> String {
    let mut page = Page::new("moxd", 8, "the mail system's supervisor");
    page.section("SYNOPSIS");
    let usage = arguments::USAGE.strip_prefix("moxd ").unwrap();
    page.paragraph(&format!("`moxd` {usage}"));
    page.section("DESCRIPTION");
    page.paragraph(
        "moxd starts the processes of the mail system, each as a user of its own and locked in before it sees input, \
         connects them with one another, hands them their listeners, and starts again what ends. It reads nothing from the \
         network itself. It runs as root, or as an ordinary user with fewer walls.",
    );
    page.paragraph(
        "It stays in the foreground and writes its log to stderr. It is told what to do by `moxctl`(1).",
    );
    page.section("OPTIONS");
    for (option, what) in arguments::OPTIONS {
        page.item(option, what);
    }
    page.section("SIGNALS");
    page.item("SIGTERM, SIGINT", "Stop in order: what is being acknowledged is finished first.");
    page.item("SIGHUP", "Read the configuration again, as `moxctl reload` does.");
    page.section("EXIT STATUS");
    for (code, meaning) in arguments::EXIT_CODES {
        page.item(&code.to_string(), &format!("{meaning}."));
    }
    page.section("FILES");
    page.item("/etc/moxd/moxd.toml", "The configuration, see `moxd.toml`(5).");
    page.item("/var/lib/moxd", "The data directory that packages set.");
    page.section("SEE ALSO");
    page.paragraph(SEE_ALSO);
    page.finish()
}

fn moxd_toml() -> String {
    let mut page = Page::new("moxd.toml", 5, "the configuration of moxd");
    page.section("DESCRIPTION");
    page.markdown(include_str!("../../../docs/config.md"));
    page.section("SEE ALSO");
    page.paragraph(SEE_ALSO);
    page.finish()
}

fn pages() -> [(&'static str, String); 3] {
    [("moxctl.1", moxctl()), ("moxd.8", moxd()), ("moxd.toml.5", moxd_toml())]
}

#[test]
fn the_manual_pages_are_what_the_programs_say() {
    for (name, text) in pages() {
        ship(&format!("man/{name}"), &text);
    }
}

#[test]
fn every_command_and_option_is_in_the_manual() {
    fn names(command: &Command, all: &mut Vec<String>) {
        if !command.has_subcommands() {
            all.push(command.get_bin_name().unwrap().to_owned());
            all.extend(
                own_arguments(command).filter_map(|argument| Some(format!("--{}", argument.get_long()?))),
            );
        }
        subcommands(command).for_each(|command| names(command, all));
    }
    let (mut all, page) = (Vec::new(), moxctl().replace("\\-", "-"));
    names(&built(), &mut all);
    assert!(all.len() > 50 && all.contains(&"moxctl alias member add".to_owned()), "{all:?}");
    all.iter().for_each(|name| assert!(page.contains(name), "{name}"));
}

/// groff and mandoc say nothing of them, and what groff makes of them has their words.
#[test]
fn nothing_is_wrong_with_the_manual_pages() {
    for ((name, text), word) in pages().into_iter().zip(["alias add", "--check", "direct_recipients = 20"]) {
        let (shown, complaints) = piped(&["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], &text);
        assert_eq!(complaints, "", "{name}");
        assert!(shown.replace('\u{2010}', "-").contains(word), "{name}: no {word} in {shown}");
        assert_eq!(piped(&["mandoc", "-Tlint", "-W", "warning"], &text), Default::default(), "{name}");
    }
}

/// What a program says of a text: stdout, stderr.
fn piped(command: &[&str], text: &str) -> (String, String) {
    let mut process = Process::new(command[0]);
    process.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().unwrap_or_else(|error| panic!("{}: {error}", command[0]));
    let (mut stdin, text) = (child.stdin.take().unwrap(), text.to_owned());
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (text(output.stdout), text(output.stderr))
}
