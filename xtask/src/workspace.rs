//! Where things are, and how they are built.

use std::{
    env,
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

    /// Builds all of moxd. Not this program: it runs.
    pub(crate) fn build_release(&self) -> Result<(), Failure> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--release", "--workspace", "--bins", "--exclude", "xtask"]);
        run(&mut cargo, "the build")
    }
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
