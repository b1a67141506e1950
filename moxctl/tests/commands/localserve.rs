//! localserve with a program in moxd's place: who ends when, and with which code. With moxd itself: `tests`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

/// A moxctl with a script as its moxd, and a directory to serve.
struct Stage {
    home: tempfile::TempDir,
}

impl Stage {
    fn new(moxd: &str) -> Self {
        // Beside the build, so that a link will do for moxctl.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_moxctl"), home.path().join("moxctl")).unwrap();
        let script = home.path().join("moxd");
        fs::write(&script, format!("#!/bin/sh\n{moxd}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { home }
    }

    fn localserve(&self, directory: &Path) -> Child {
        let mut command = Command::new(self.home.path().join("moxctl"));
        command.args(["localserve", "--wait-ready", "--dir"]).arg(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// Passable for everybody, as root needs it.
fn instance() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = parent.path().join("moxd");
    (parent, directory)
}

fn lines(child: &mut Child) -> std::io::Lines<BufReader<ChildStderr>> {
    BufReader::new(child.stderr.take().unwrap()).lines()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

#[test]
fn moxd_that_cannot_start_has_the_word_and_the_code() {
    let stage = Stage::new("echo 'moxd: cannot listen on 127.0.0.1:1025' >&2; exit 78");
    let (_parent, directory) = instance();
    let output = stage.localserve(&directory).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(output.stdout, b"");
    assert_eq!(output.stderr, b"moxd: cannot listen on 127.0.0.1:1025\n");
}

#[test]
fn moxd_gets_its_configuration_and_where_to_say_that_it_is_ready() {
    let stage = Stage::new("echo \"$1 $2 $NOTIFY_SOCKET $WATCHDOG_USEC.\" >&2; exit 3");
    let (_parent, directory) = instance();
    let output = stage.localserve(&directory).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let place = directory.display();
    let expected = format!("--config {place}/moxd.toml {place}/run/notify.sock .\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert!(fs::read_to_string(directory.join("moxd.toml")).unwrap().contains("127.0.0.1:1025"));
}

#[test]
fn a_signal_stops_moxd_in_order_and_its_code_is_ours() {
    for name in ["TERM", "INT", "HUP"] {
        let stage =
            Stage::new("trap 'echo told >&2; exit 0' TERM; echo up >&2; while :; do sleep 0.01; done");
        let (_parent, directory) = instance();
        let mut child = stage.localserve(&directory);
        let mut lines = lines(&mut child);
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        signal(&child, name);
        assert_eq!(lines.next().unwrap().unwrap(), "told", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}

#[test]
fn who_asks_again_does_not_want_to_wait() {
    let stage = Stage::new("trap 'echo told >&2' TERM; echo up >&2; while :; do sleep 0.01; done");
    let (_parent, directory) = instance();
    let mut child = stage.localserve(&directory);
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    signal(&child, "TERM");
    assert_eq!(lines.next().unwrap().unwrap(), "told");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn moxd_does_not_outlive_a_localserve_that_was_killed() {
    let stage = Stage::new("trap 'echo told >&2; exit 0' TERM; echo up >&2; while :; do sleep 0.01; done");
    let (_parent, directory) = instance();
    let mut child = stage.localserve(&directory);
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "told");
}

#[test]
fn a_second_instance_is_refused_and_the_first_lives_on() {
    let stage = Stage::new("trap 'exit 0' TERM; echo up >&2; while :; do sleep 0.01; done");
    let (_parent, directory) = instance();
    let mut first = stage.localserve(&directory);
    let mut lines = lines(&mut first);
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let second = stage.localserve(&directory).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(78));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.starts_with("moxctl: another localserve runs in ") && said.lines().count() == 1, "{said}");
    signal(&first, "TERM");
    assert_eq!(first.wait().unwrap().code(), Some(0));
}

#[test]
fn without_moxd_beside_it_localserve_says_how_to_build_it() {
    let stage = Stage::new("");
    fs::remove_file(stage.home.path().join("moxd")).unwrap();
    let (_parent, directory) = instance();
    let mut child = stage.localserve(&directory);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(78));
    assert!(said.contains("/moxd: No such file or directory; build all of moxd with"), "{said}");
}
