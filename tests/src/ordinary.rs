//! An instance of a user who is not root. Where the tests run as root it is started as somebody else; where they do not,
//! it is theirs.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use nix::unistd::geteuid;

use crate::{
    Home,
    instance::{Instance, Refused, programs},
};

/// Nobody has it.
const UID: u32 = 54_321;

/// Who runs it.
#[must_use]
pub fn user() -> u32 {
    let us = geteuid();
    if us.is_root() { UID } else { us.as_raw() }
}

/// A new home of theirs, with moxd's programs where they can reach them.
#[must_use]
pub fn home() -> Home {
    let home = Home::new();
    fs::create_dir(bin(&home)).expect("a directory");
    for name in ["moxd", "moxctl"].into_iter().chain(WORKERS) {
        // Copied: the tree may lie where only root gets to.
        fs::copy(programs().join(name), bin(&home).join(name)).expect("a program of moxd");
    }
    if geteuid().is_root() {
        chown(home.path(), Some(UID), Some(UID)).expect("root may give away");
    }
    home
}

const WORKERS: [&str; 8] = [
    "mox-keyd",
    "mox-authd",
    "mox-queued",
    "mox-smtpd",
    "mox-submitd",
    "mox-imapd",
    "mox-webd",
    "mox-accountd",
];

fn bin(home: &Home) -> PathBuf {
    home.path().join("bin")
}

/// One of moxd's programs, run by them.
#[must_use]
pub fn program(home: &Home, name: &str) -> Command {
    let mut command = Command::new(bin(home).join(name));
    command.env("HOME", home.path()).stdin(Stdio::null());
    by_them(&mut command);
    command
}

/// Has a command run by them.
pub fn by_them(command: &mut Command) -> &mut Command {
    if geteuid().is_root() {
        command.uid(UID).gid(UID);
    }
    // Nothing of root's that they could not look at.
    command.current_dir("/")
}

/// `moxctl localserve` on their home.
#[must_use]
pub fn command(home: &Home) -> Command {
    let mut command = program(home, "moxctl");
    command.args(home.command().get_args());
    command
}

/// Starts it, or says how it refused.
pub fn try_start(home: Home) -> Result<Instance, Refused> {
    let command = command(&home);
    home.try_start_with(command)
}
