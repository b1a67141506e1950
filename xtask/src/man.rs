//! `cargo xtask man`: writes what packages ship beside the programs anew, from what it is written from.

use crate::{
    failure::Failure,
    workspace::{Workspace, announce_and_run},
};

/// The tests that compare it write it.
pub(crate) fn run(workspace: &Workspace) -> Result<u8, Failure> {
    let mut cargo = workspace.cargo();
    cargo.env("MOXD_WRITE_PACKAGING", "1");
    cargo.args(["test", "--quiet", "--release", "--package", "moxctl", "--bin", "moxctl", "packaging::"]);
    announce_and_run(&mut cargo, "writing packaging/")?;
    Ok(0)
}
