//! `cargo verify [--install] [--fuzz-seconds N] [FILTER]`: every test there is, on the release profile.

mod fuzz;
mod install;
mod needs;
mod tests;

use std::{ffi::OsString, fs, os::unix::fs::MetadataExt, time::Instant};

use crate::{failure::Failure, say, workspace::Workspace};

/// All passed, but some tests need root.
const NOT_ALL_RUN: u8 = 3;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    install: bool,
    /// For each target; 0: none is run.
    fuzz_seconds: u32,
    /// Only tests and fuzz targets whose name contains it.
    filter: Option<String>,
}

const USAGE: &str = "usage: cargo verify [--install] [--fuzz-seconds N] [FILTER]";

/// Runs everything and says in one line how it went.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<u8, Failure> {
    let started = Instant::now();
    let options = Options::parse(arguments)?;
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    needs::provide(workspace, &options, root)?;
    workspace.build_captured_and_release()?;
    let tests = tests::run(workspace, options.filter.as_deref(), root)?;
    let fuzzed = fuzz::run(workspace, &options)?;
    if options.filter.is_some() && tests.run == 0 && fuzzed.run == 0 && tests.not_run.is_empty() {
        return Err(Failure::Missing("no test and no fuzz target has that in its name".to_owned()));
    }
    for test in &tests.not_run {
        say(&format!("not run: needs root: {test}"));
    }
    say(&summary(&tests, &fuzzed, options.fuzz_seconds, started.elapsed().as_secs()));
    Ok(verdict(&tests, &fuzzed))
}

/// The exit code.
fn verdict(tests: &tests::Outcome, fuzzed: &fuzz::Outcome) -> u8 {
    match (tests.failed + fuzzed.failed.len(), tests.not_run.is_empty()) {
        (0, true) => 0,
        (0, false) => NOT_ALL_RUN,
        _ => 1,
    }
}

fn summary(tests: &tests::Outcome, fuzzed: &fuzz::Outcome, seconds: u32, took: u64) -> String {
    let mut line = format!("verify: {} of {} tests passed", tests.run - tests.failed, tests.run);
    if fuzzed.run > 0 {
        let good = fuzzed.run - fuzzed.failed.len();
        line.push_str(&format!(", {good} of {} fuzz targets passed {seconds} s each", fuzzed.run));
    }
    if !fuzzed.failed.is_empty() {
        line.push_str(&format!(" (failed: {})", fuzzed.failed.join(", ")));
    }
    if !tests.not_run.is_empty() {
        line.push_str(&format!(", {} not run: they need root", tests.not_run.len()));
    }
    line.push_str(&format!("; {}m {:02}s", took / 60, took % 60));
    line
}

impl Options {
    fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Missing(format!("{what}; {USAGE}"));
        let mut options = Self { install: false, fuzz_seconds: 60, filter: None };
        let mut words = arguments.iter().map(|word| word.to_str().unwrap_or_default());
        while let Some(word) = words.next() {
            match word {
                "--install" => options.install = true,
                "--fuzz-seconds" => {
                    let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                    options.fuzz_seconds = seconds.ok_or_else(|| wrong("--fuzz-seconds takes a number"))?;
                }
                // It becomes part of a filter expression.
                name if options.filter.is_none() && is_name(name) => options.filter = Some(name.to_owned()),
                other => return Err(wrong(&format!("{other:?} is not understood"))),
            }
        }
        Ok(options)
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"_:-".contains(&octet);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_understood_or_refused_with_its_usage() {
        let options = |install, fuzz_seconds, filter: Option<&str>| Options {
            install,
            fuzz_seconds,
            filter: filter.map(str::to_owned),
        };
        assert_eq!(parse(""), Ok(options(false, 60, None)));
        assert_eq!(parse("--install"), Ok(options(true, 60, None)));
        assert_eq!(parse("--fuzz-seconds 5 smtpd::data"), Ok(options(false, 5, Some("smtpd::data"))));
        for line in ["--fuzz-seconds", "--fuzz-seconds x", "--instal", "a b", "a|b", "a)"] {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{line}");
            assert!(failure.to_string().ends_with(USAGE), "{line}");
        }
    }

    #[test]
    fn what_was_not_run_is_neither_success_nor_failure() {
        let tests = |failed, not_run: &[&str]| tests::Outcome {
            run: 10,
            failed,
            not_run: not_run.iter().map(|name| (*name).to_owned()).collect(),
        };
        let fuzzed = |failed: &[&str]| fuzz::Outcome {
            run: 4,
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(verdict(&tests(0, &[]), &fuzzed(&[])), 0);
        assert_eq!(verdict(&tests(0, &["as_root::a"]), &fuzzed(&[])), 3);
        assert_eq!(verdict(&tests(1, &["as_root::a"]), &fuzzed(&[])), 1);
        assert_eq!(verdict(&tests(0, &[]), &fuzzed(&["imap"])), 1);
        assert_eq!(verdict(&tests(0, &["as_root::a"]), &fuzzed(&["imap"])), 1);
    }

    #[test]
    fn the_summary_is_one_line() {
        let tests = tests::Outcome { run: 812, failed: 1, not_run: vec!["a".into(), "b".into()] };
        let fuzzed = fuzz::Outcome { run: 4, failed: vec!["imap".into()] };
        assert_eq!(
            summary(&tests, &fuzzed, 60, 754),
            "verify: 811 of 812 tests passed, 3 of 4 fuzz targets passed 60 s each (failed: imap), 2 not run: they need \
             root; 12m 34s"
        );
    }
}
