//! moxd as an ordinary user: all of it works, and what is weaker than as root is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{fs, os::unix::fs::MetadataExt, process::Command, time::Duration};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, PASSWORD, Smtp, client,
    mail::{assert_same, behind_prefix, message},
    ordinary,
    process::{eventually, uid},
    sys::{Absent, without},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn start() -> Instance {
    ordinary::try_start(ordinary::home()).unwrap_or_else(|refused| panic!("{refused}"))
}

/// One of moxd's own commands, run by the instance's user.
fn moxctl(home: &Home, arguments: &[&str]) -> String {
    let mut moxctl = ordinary::program(home, "moxctl");
    client::run(moxctl.arg("--dir").arg(home.data()).args(arguments))
}

/// Whether that user may make namespaces here: some kernels and containers say no.
fn may_make_namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--net", "true"]);
    client::output(ordinary::by_them(&mut unshare)).status.success()
}

/// The last column of each process's line.
fn layers_of(status: &str) -> Vec<String> {
    let lines = status.lines().filter(|line| line.starts_with("mox-"));
    let layers = lines.map(|line| line[line.find("all").unwrap_or_default()..].to_owned());
    layers.collect()
}

const ONLY_WALL: &str =
    "note: one user for all: Landlock is the only wall between accounts; run as root for more";

#[test]
fn mail_comes_in_and_is_read_and_status_says_what_is_missing() {
    let instance = start();
    let sent = message("ordinary", 1000);
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &sent);
    let found = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    assert_eq!(found.len(), 1);
    assert_same(behind_prefix(&found[0]), &sent);

    let status = moxctl(instance.home(), &["status"]);
    assert!(status.contains(ONLY_WALL), "{status}");
    let expected = if may_make_namespaces() { "all but own_user" } else { "all but own_user, empty_network" };
    assert_eq!(layers_of(&status), vec![expected; 8], "{status}");
    // All of it is theirs: processes and files.
    for (name, pid) in instance.pids() {
        assert_eq!(uid(pid), ordinary::user(), "{name}");
    }
    let data = instance.home().data();
    for name in ["keys", "directory", "queue", "accounts", "accounts/1", "run/control.sock"] {
        assert_eq!(fs::metadata(data.join(name)).unwrap().uid(), ordinary::user(), "{name}");
    }
    instance.finish();
}

#[test]
fn a_kernel_that_lets_users_make_no_namespaces_is_reported_and_not_fatal() {
    let home = ordinary::home();
    let mut command = ordinary::command(&home);
    // `kernel.unprivileged_userns_clone = 0`, `user.max_user_namespaces = 0`.
    without(&mut command, &[Absent { call: libc::SYS_unshare, first: None, errno: libc::EPERM }]);
    let instance = home.try_start_with(command).unwrap_or_else(|refused| panic!("{refused}"));
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("shared", 1000));
    assert_eq!(Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap().len(), 1);
    let status = moxctl(instance.home(), &["status"]);
    assert!(status.contains("note: no network namespaces: this user may not make them"), "{status}");
    assert!(status.contains(ONLY_WALL), "{status}");
    assert_eq!(layers_of(&status), vec!["all but own_user, empty_network"; 8], "{status}");
    instance.finish();
}

/// Attack class 40: without root too.
#[test]
fn processes_that_are_killed_come_back_and_mail_is_there_at_the_second_start() {
    let instance = start();
    let kept = message("kept", 1000);
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &kept);
    for (name, pid) in instance.pids() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let back = eventually(Duration::from_secs(30), || {
            let delivered = Smtp::connect(instance.smtp()).and_then(|mut smtp| smtp.command("NOOP"));
            let read = Imap::login(instance.imap()).and_then(|mut imap| imap.messages("INBOX"));
            delivered.is_ok() && read.is_ok_and(|found| found.len() == 1)
        });
        assert!(back, "{name} was killed, and that is the end of it");
    }
    let home = instance.stop();
    let instance = ordinary::try_start(home).unwrap_or_else(|refused| panic!("{refused}"));
    let found = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    assert_same(behind_prefix(&found[0]), &kept);
    instance.finish();
}

#[test]
fn accounts_are_added_and_read_by_their_own_passwords() {
    let instance = start();
    instance.add_account("other", PASSWORD);
    Smtp::connect(instance.smtp()).unwrap().must_deliver("other@localhost", &message("others", 100_000));
    let mut other = Imap::login_as(instance.imap(), "other", PASSWORD).unwrap();
    assert_eq!(other.messages("INBOX").unwrap().len(), 1);
    assert_eq!(Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap().len(), 0);
    instance.finish();
}

mod as_root {
    use std::os::unix::process::CommandExt;

    use super::*;

    /// The kernel says who asks, and the directory of the socket is closed.
    #[test]
    fn another_ordinary_user_gets_nothing_of_the_control_socket() {
        let instance = start();
        for directory_mode in [0o700, 0o755] {
            let run = instance.home().data().join("run");
            fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(directory_mode)).unwrap();
            let socket = run.join("control.sock");
            // Even where its mode lets everybody connect.
            fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
            let mut stranger = ordinary::program(instance.home(), "moxctl");
            stranger.uid(ordinary::user() + 1).gid(ordinary::user() + 1);
            let output = client::output(stranger.arg("--dir").arg(instance.home().data()).arg("status"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && output.stdout.is_empty(), "{directory_mode:o}: {output:?}");
            assert_eq!(said.lines().count(), 1, "{directory_mode:o}: {said}");
        }
        instance.finish();
    }
}
