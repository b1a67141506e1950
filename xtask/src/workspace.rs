//! Where things are, and how they are built.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, say};

/// The source tree and the directory of its builds.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn here() -> Self {
        // Where this was built from: `cargo run` builds it afresh wherever the tree is moved to.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
            Some(target) => std::path::absolute(&target).unwrap_or_else(|_| PathBuf::from(target)),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// Anywhere.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), target: root.join("target") }
    }

    /// The directory of the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where builds go.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where tools go that cargo builds.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// A program of the release build.
    pub(crate) fn release(&self, program: &str) -> PathBuf {
        self.target.join("release").join(program)
    }

    /// The cargo that started this.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    /// Where the programs are that play captured processes in tests.
    pub(crate) fn captured(&self) -> PathBuf {
        self.target.join("captured")
    }

    /// Builds all of moxd. Not this program: it runs.
    pub(crate) fn build_release(&self) -> Result<(), Failure> {
        run(&mut self.build(), "the build")
    }

    /// Builds moxd twice: with `--cfg captured`, to be kept apart, then as it is shipped. Both have the same
    /// dependencies, which are built once.
    pub(crate) fn build_captured_and_release(&self) -> Result<(), Failure> {
        let mut build = self.build();
        build.env("RUSTC_WORKSPACE_WRAPPER", self.root.join("xtask/captured-rustc"));
        run(&mut build, "the build with --cfg captured")?;
        let kept = keep_programs(&self.target.join("release"), &self.captured());
        // Also after a failure: what lies in `release` is not to be the wrong one.
        self.build_release()?;
        kept.map_err(|error| Failure::Failed(format!("{}: {error}", self.captured().display())))
    }

    fn build(&self) -> Command {
        let mut cargo = self.cargo();
        cargo.args(["build", "--release", "--workspace", "--bins", "--exclude", "xtask"]);
        cargo
    }
}

/// Copies moxd's programs.
fn keep_programs(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let program = name.to_str().is_some_and(|name| name.starts_with("mox") && !name.contains('.'));
        let data = entry.metadata()?;
        if program && data.is_file() && data.permissions().mode() & 0o111 != 0 {
            // Under another name first: one that runs cannot be written to.
            let new = to.join("new");
            fs::copy(entry.path(), &new)?;
            fs::rename(&new, to.join(&name))?;
        }
    }
    Ok(())
}

/// Runs a command that shows its own output.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Failed(format!("{what} failed ({status}); its output is above"))),
        Err(error) => Err(Failure::Failed(format!("{what}: {}: {error}", shown(command)))),
    }
}

/// The same, and says before what is run.
pub(crate) fn announce_and_run(command: &mut Command, what: &str) -> Result<(), Failure> {
    say(&format!("--- {what}: {}", shown(command)));
    run(command, what)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn programs_are_kept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("release"), directory.path().join("captured"));
        fs::create_dir_all(from.join("moxdir")).unwrap();
        for (name, mode) in
            [("moxd", 0o755), ("mox-smtpd", 0o755), ("moxd.d", 0o644), ("mox-notes", 0o644), ("xtask", 0o755)]
        {
            fs::write(from.join(name), name).unwrap();
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        keep_programs(&from, &to).unwrap();
        keep_programs(&from, &to).unwrap();
        let mut kept: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kept.sort();
        assert_eq!(kept, ["mox-smtpd", "moxd"]);
    }
}
