//! `cargo localserve`: builds, then becomes `moxctl localserve`.

use std::{convert::Infallible, ffi::OsString, os::unix::process::CommandExt, process::Command};

use crate::{failure::Failure, workspace::Workspace};

/// Returns only if it fails: signals, output and exit code are moxctl's own.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<Infallible, Failure> {
    workspace.build_release()?;
    let moxctl = workspace.release("moxctl");
    let error = Command::new(&moxctl).arg("localserve").args(arguments).exec();
    Err(Failure::Failed(format!("{}: {error}", moxctl.display())))
}
