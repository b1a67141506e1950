//! Each fuzz target of `tests/fuzz` for a short time, from its committed corpus.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use super::{Options, needs};
use crate::{
    failure::Failure,
    say,
    workspace::{Workspace, announce_and_run},
};

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) run: usize,
    /// Names of targets that found something.
    pub(super) failed: Vec<String>,
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<Outcome, Failure> {
    let sources = workspace.root().join("tests/fuzz");
    let mut targets = targets(&sources).map_err(|error| Failure::Failed(format!("tests/fuzz: {error}")))?;
    targets.retain(|target| options.filter.as_ref().is_none_or(|name| target.contains(name.as_str())));
    if targets.is_empty() || options.fuzz_seconds == 0 {
        return Ok(Outcome { run: 0, failed: Vec::new() });
    }
    let fuzz = Fuzz { workspace, sources, work: workspace.root().join("target/fuzz") };
    announce_and_run(&mut fuzz.command("build")?, "building the fuzz targets")?;
    let mut failed = Vec::new();
    // One for each processor, so that the time that each gets is its own.
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    for some in targets.chunks(at_once) {
        say(&format!("--- fuzzing for {} s: {}", options.fuzz_seconds, some.join(", ")));
        let running: Vec<_> = some
            .iter()
            .map(|target| Ok((target, fuzz.start(target, options.fuzz_seconds)?)))
            .collect::<Result<_, Failure>>()?;
        for (target, mut child) in running {
            if !child.wait().is_ok_and(|status| status.success()) {
                say(&format!("fuzz target {target} failed; the end of {}:", fuzz.log(target).display()));
                say(&end_of(&fuzz.log(target)));
                failed.push(target.clone());
            }
        }
    }
    Ok(Outcome { run: targets.len(), failed })
}

/// The names of all targets.
fn targets(sources: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(sources.join("fuzz_targets")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

struct Fuzz<'a> {
    workspace: &'a Workspace,
    sources: PathBuf,
    /// Builds, logs and what is found on the way.
    work: PathBuf,
}

impl Fuzz<'_> {
    fn command(&self, verb: &str) -> Result<Command, Failure> {
        let program = needs::FUZZ.program(self.workspace).ok_or_else(|| {
            Failure::Missing("cargo-fuzz is not there; run `cargo verify --install`".to_owned())
        })?;
        let mut command = Command::new(program);
        // libFuzzer's flags are unstable ones; the stable compiler takes them so.
        command.current_dir(&self.sources).env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
        command.arg(verb).arg("--fuzz-dir").arg(&self.sources);
        command.arg("--target-dir").arg(self.work.join("build"));
        Ok(command)
    }

    fn log(&self, target: &str) -> PathBuf {
        self.work.join(format!("{target}.log"))
    }

    fn start(&self, target: &str, seconds: u32) -> Result<Child, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("fuzz target {target}: {error}"));
        // New inputs go to the first corpus: the committed one stays as it is.
        let found = self.work.join("corpus").join(target);
        let _ = fs::remove_dir_all(&found);
        let artifacts = self.work.join("artifacts").join(target);
        for directory in [&found, &artifacts] {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let log = File::create(self.log(target)).map_err(failed)?;
        let mut command = self.command("run")?;
        command.arg(target).arg(&found);
        let committed = self.sources.join("corpus").join(target);
        if committed.is_dir() {
            command.arg(committed);
        }
        command.arg("--").arg(format!("-max_total_time={seconds}")).arg("-timeout=10");
        command.arg("-rss_limit_mb=2048").arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        command.spawn().map_err(failed)
    }
}

/// The last lines of a file.
fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn targets_are_the_sources_of_fuzz_targets() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(targets(directory.path()).unwrap(), Vec::<String>::new());
        fs::create_dir(directory.path().join("fuzz_targets")).unwrap();
        for name in ["smtp.rs", "imap.rs", "notes.md"] {
            fs::write(directory.path().join("fuzz_targets").join(name), "").unwrap();
        }
        assert_eq!(targets(directory.path()).unwrap(), ["imap", "smtp"]);
    }

    #[test]
    fn of_a_log_only_the_end_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::write(&log, (0..100).map(|line| format!("line {line}\n")).collect::<String>()).unwrap();
        let end = end_of(&log);
        assert!(end.starts_with("line 60\n") && end.ends_with("line 99"), "{end}");
    }
}
