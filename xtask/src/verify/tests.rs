//! Every test of the workspace, by cargo-nextest (`.config/nextest.toml`).

use std::{
    fs,
    process::{Command, Output},
};

use super::needs;
use crate::{
    failure::Failure,
    say,
    workspace::{Workspace, announce_and_run},
};

/// Tests in modules of this name need root, and those in binaries with it in theirs.
const MODULE_AS_ROOT: &str = "test(/(^|::)as_root(::|$)/)";
const BINARY_AS_ROOT: &str = "binary(/as_root/)";

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) run: usize,
    pub(super) failed: usize,
    /// Those that need root, where this is not root.
    pub(super) not_run: Vec<String>,
}

pub(super) fn run(workspace: &Workspace, filter: Option<&str>, root: bool) -> Result<Outcome, Failure> {
    say("--- building the tests");
    let either = |test: String, binary: String| -> Result<String, Failure> {
        Ok(if knows(workspace, &binary)? { format!("({test} | {binary})") } else { test })
    };
    let wanted = match filter {
        None => "all()".to_owned(),
        Some(name) => either(format!("test(~{name})"), format!("binary_id(~{name})"))?,
    };
    let (chosen, not_run) = if root {
        (wanted, Vec::new())
    } else {
        let as_root = either(MODULE_AS_ROOT.to_owned(), BINARY_AS_ROOT.to_owned())?;
        let not_run = list(workspace, &format!("{wanted} & {as_root}"))?;
        (format!("{wanted} & not {as_root}"), not_run)
    };
    // nextest's own directory, wherever the builds go.
    let report = workspace.root().join("target/nextest/default/junit.xml");
    // One of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let mut nextest = nextest(workspace, "run")?;
    nextest.args(["--no-tests", "pass", "--status-level", "slow", "--final-status-level", "fail"]);
    nextest.args(["--filterset", &chosen]);
    let result = announce_and_run(&mut nextest, "tests");
    let counts = fs::read_to_string(&report).ok().and_then(|report| counts(&report));
    match (counts, result) {
        (Some((run, failed)), Ok(())) => Ok(Outcome { run, failed, not_run }),
        (Some((run, failed)), Err(_)) => Ok(Outcome { run, failed: failed.max(1), not_run }),
        // Nothing to run, nothing to report.
        (None, Ok(())) if filter.is_some() => Ok(Outcome { run: 0, failed: 0, not_run }),
        (None, Ok(())) => Err(Failure::Failed(format!("{} was not written", report.display()))),
        // They did not even build.
        (None, Err(failure)) => Err(failure),
    }
}

fn nextest(workspace: &Workspace, verb: &str) -> Result<Command, Failure> {
    let program = needs::NEXTEST.program(workspace).ok_or_else(|| {
        Failure::Missing("cargo-nextest is not there; run `cargo verify --install`".to_owned())
    })?;
    let mut nextest = Command::new(program);
    nextest.args(["nextest", verb, "--release", "--workspace", "--cargo-quiet"]);
    nextest.current_dir(workspace.root()).env("CARGO_TARGET_DIR", workspace.target());
    // Where the tests find what they start.
    nextest.env("MOXD_RELEASE", workspace.target().join("release"));
    nextest.env("MOXD_CAPTURED", workspace.captured());
    // Where the tests' Python and Node clients find their libraries.
    nextest.env("PYTHONPATH", needs::python(workspace));
    nextest.env("NODE_PATH", needs::node(workspace).join("node_modules"));
    Ok(nextest)
}

/// Names of tests, each with its binary.
fn list(workspace: &Workspace, filterset: &str) -> Result<Vec<String>, Failure> {
    let output = listed(workspace, filterset)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Failed(format!("cargo nextest list failed: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Whether there is a binary that an expression names; if not, nextest refuses the expression.
fn knows(workspace: &Workspace, filterset: &str) -> Result<bool, Failure> {
    let output = listed(workspace, filterset)?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(INVALID_FILTERSET) => Ok(false),
        // They do not build: nextest said where.
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::Failed(format!("the tests cannot be listed: {said}")))
        }
    }
}

/// nextest's exit code for a filter expression that it does not take.
const INVALID_FILTERSET: i32 = 94;

fn listed(workspace: &Workspace, filterset: &str) -> Result<Output, Failure> {
    let mut nextest = nextest(workspace, "list")?;
    nextest.args(["--message-format", "oneline", "--filterset", filterset]);
    nextest.output().map_err(|error| Failure::Failed(format!("cargo nextest list: {error}")))
}

/// How many tests a JUnit report says were run, and how many of them did not pass.
fn counts(report: &str) -> Option<(usize, usize)> {
    let head = report.split_once("<testsuites ")?.1.split('>').next()?;
    let number = |name: &str| {
        let text = head.split_once(&format!(" {name}=\""))?.1.split('"').next()?;
        text.parse::<usize>().ok()
    };
    Some((number("tests")?, number("failures")? + number("errors")?))
}

#[cfg(test)]
mod unit {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A nextest that knows three tests, one of which is as_root, writes down what it was asked to run, and passes or fails.
    fn workspace_with_nextest(exit_code: u8) -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(directory.path());
        let program = workspace.tools().join("bin/cargo-nextest");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let script = format!(
            r#"#!/bin/sh
[ "$1" = --version ] && echo "cargo-nextest {version}" && exit
[ "$1" = nextest ] || exit 9
filter=$(printf '%s\n' "$@" | tail -n 1)
case $2 in
list)
    case $filter in
    *binary*) exit {invalid} ;;
    *"& test("*) echo "moxd-tests::kills as_root::a_power_cut_loses_nothing" ;;
    *) exit 9 ;;
    esac ;;
run)
    echo "$filter" > target/asked
    mkdir -p target/nextest/default
    echo '<testsuites name="x" tests="2" failures="{exit_code}" errors="0">' > target/nextest/default/junit.xml
    exit {exit_code} ;;
esac
"#,
            version = needs::NEXTEST.version,
            invalid = INVALID_FILTERSET,
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        (directory, workspace)
    }

    #[test]
    fn without_root_what_needs_it_is_left_out_and_listed() {
        let (directory, workspace) = workspace_with_nextest(0);
        let outcome = run(&workspace, None, false).unwrap();
        let not_run = vec!["moxd-tests::kills as_root::a_power_cut_loses_nothing".to_owned()];
        assert_eq!(outcome, Outcome { run: 2, failed: 0, not_run });
        let asked = fs::read_to_string(directory.path().join("target/asked")).unwrap();
        assert_eq!(asked.trim(), format!("all() & not {MODULE_AS_ROOT}"));
    }

    #[test]
    fn with_root_nothing_is_left_out() {
        let (directory, workspace) = workspace_with_nextest(0);
        assert_eq!(run(&workspace, None, true).unwrap(), Outcome { run: 2, failed: 0, not_run: Vec::new() });
        assert_eq!(fs::read_to_string(directory.path().join("target/asked")).unwrap().trim(), "all()");
    }

    #[test]
    fn a_failed_test_is_counted_and_what_was_left_out_is_still_listed() {
        let (_directory, workspace) = workspace_with_nextest(1);
        let outcome = run(&workspace, None, false).unwrap();
        assert_eq!((outcome.run, outcome.failed, outcome.not_run.len()), (2, 1, 1));
    }

    #[test]
    fn a_reports_first_line_has_the_counts_of_all_suites() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="39" failures="2" errors="1" uuid="x" time="0.118">
    <testsuite name="moxctl::bin/moxctl" tests="7" disabled="0" errors="0" failures="0">"#;
        assert_eq!(counts(report), Some((39, 3)));
        assert_eq!(counts("<testsuites name=\"x\">"), None);
        assert_eq!(counts(""), None);
    }
}
