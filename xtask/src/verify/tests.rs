//! Every test of the workspace, by cargo-nextest (`.config/nextest.toml`).

use std::{fs, process::Command};

use super::needs;
use crate::{
    failure::Failure,
    say,
    workspace::{Workspace, announce_and_run},
};

/// Tests in modules or binaries of this name need root.
const AS_ROOT: &str = "(test(/(^|::)as_root(::|$)/) | binary(/as_root/))";

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) run: usize,
    pub(super) failed: usize,
    /// Those that need root, where this is not root.
    pub(super) not_run: Vec<String>,
}

pub(super) fn run(workspace: &Workspace, filter: Option<&str>, root: bool) -> Result<Outcome, Failure> {
    let wanted = filter.map_or("all()".to_owned(), |name| format!("(test(~{name}) | binary_id(~{name}))"));
    let not_run = if root { Vec::new() } else { list(workspace, &format!("{wanted} & {AS_ROOT}"))? };
    let chosen = if root { wanted } else { format!("{wanted} & not {AS_ROOT}") };
    let report = workspace.target().join("nextest/default/junit.xml");
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
        (None, Ok(())) => Ok(Outcome { run: 0, failed: 0, not_run }),
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
    say("--- looking for tests that need root");
    let mut nextest = nextest(workspace, "list")?;
    nextest.args(["--message-format", "oneline", "--filterset", filterset]);
    let output = nextest.output().map_err(|error| Failure::Failed(format!("cargo nextest list: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Failed(format!("cargo nextest list failed: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
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
    use super::*;

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
