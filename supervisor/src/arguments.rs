//! What the command `moxd` is given. The table is also its manual's.

use std::{ffi::OsString, path::PathBuf};

/// Every option and what it does.
pub const OPTIONS: [(&str, &str); 4] = [
    ("--config FILE", "Read the configuration from FILE; without it from /etc/moxd/moxd.toml."),
    ("--check", "Only say whether moxd would start with the configuration: exit code 0, or 78 and one line."),
    ("--version", "Print the version."),
    ("--help", "Print how it is used."),
];

/// How it is called.
pub const USAGE: &str = "moxd [--config FILE] [--check]";

/// Every code that it ends with, and what it means.
pub const EXIT_CODES: [(u8, &str); 2] = [
    (0, "it was told to stop and did, or `--check` found nothing wrong"),
    (
        78,
        "it was not started rightly: the configuration, the command line or the host; one line says what to do",
    ),
];

/// What it is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Run with this configuration.
    Run(PathBuf),
    /// Read it and end.
    Check(PathBuf),
    /// Say the version.
    Version,
    /// Say how it is used.
    Help,
}

/// `Err`: one line that says what is wrong.
pub fn parse(given: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let (mut path, mut check) = (PathBuf::from("/etc/moxd/moxd.toml"), false);
    let mut given = given.into_iter();
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--config") => {
                path = given.next().ok_or_else(|| format!("--config needs a FILE; use `{USAGE}`"))?.into();
            }
            Some("--check") => check = true,
            Some("--version") => return Ok(Asked::Version),
            Some("--help") => return Ok(Asked::Help),
            Some(_) | None => return Err(format!("unknown argument {argument:?}; use `{USAGE}`")),
        }
    }
    Ok(if check { Asked::Check(path) } else { Asked::Run(path) })
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text =
        format!("The mail system's supervisor. Managed by `moxctl`.\n\nUsage: {USAGE}\n\nOptions:\n");
    for (option, what) in OPTIONS {
        text.push_str(&format!("  {option:<15}{what}\n"));
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("  {code:>2}  {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_say_what_to_do_or_are_refused_in_one_line() {
        let path = |text: &str| PathBuf::from(text);
        for (line, asked) in [
            ("", Ok(Asked::Run(path("/etc/moxd/moxd.toml")))),
            ("--config /a", Ok(Asked::Run(path("/a")))),
            ("--check --config /a", Ok(Asked::Check(path("/a")))),
            ("--version", Ok(Asked::Version)),
            ("--help", Ok(Asked::Help)),
            ("--config", Err("--config needs a FILE; use `moxd [--config FILE] [--check]`".to_owned())),
            ("-x", Err("unknown argument \"-x\"; use `moxd [--config FILE] [--check]`".to_owned())),
        ] {
            assert_eq!(parsed(line), asked, "{line}");
        }
    }

    #[test]
    fn every_option_of_the_table_is_understood() {
        for (option, _) in OPTIONS {
            assert!(parsed(option).is_ok(), "{option}");
            assert!(help().contains(option));
        }
    }
}
