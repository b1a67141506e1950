//! What the kernel lacks, and directories that are somebody else's or closed: one line that says what to do, a failing
//! exit, and nothing damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp, client,
    mail::message,
    ordinary,
    sys::{Absent, without},
};

/// Linux before 5.13, or `lsm=` without it.
const LANDLOCK: &[Absent] =
    &[Absent { call: libc::SYS_landlock_create_ruleset, first: None, errno: libc::ENOSYS }];
/// Without CONFIG_SECCOMP_FILTER: neither way to a filter.
const SECCOMP: &[Absent] = &[
    Absent { call: libc::SYS_seccomp, first: None, errno: libc::ENOSYS },
    Absent { call: libc::SYS_prctl, first: Some(libc::PR_SET_SECCOMP.unsigned_abs()), errno: libc::EINVAL },
];
/// Without CONFIG_NET_NS.
const NAMESPACES: &[Absent] = &[Absent { call: libc::SYS_unshare, first: None, errno: libc::EINVAL }];

/// An instance's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// Who runs the tests.
    Us,
    /// Not root.
    Ordinary,
}

impl As {
    fn home(self) -> Home {
        match self {
            Self::Us => Home::new(),
            Self::Ordinary => ordinary::home(),
        }
    }

    fn command(self, home: &Home) -> Command {
        match self {
            Self::Us => home.command(),
            Self::Ordinary => ordinary::command(home),
        }
    }

    fn start(self, home: Home) -> Instance {
        let command = self.command(&home);
        home.try_start_with(command).unwrap_or_else(|refused| panic!("{self:?}: {refused}"))
    }

    /// Stopped in order, with one message in it.
    fn with_mail(self) -> Home {
        let instance = self.start(self.home());
        Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("kept", 1000));
        instance.finish()
    }

    fn still_has_its_mail(self, home: Home) -> Home {
        let instance = self.start(home);
        let stored = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
        assert_eq!(stored.len(), 1);
        instance.finish()
    }
}

fn set_mode(path: &Path, mode: u32) -> u32 {
    let before = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    before
}

/// Refused without the layer; accepted where the configuration says so, and then `status` shows that it is missing.
fn missing(who: As, absent: &[Absent], layer: &str, said: &str) {
    let home = who.with_mail();
    let mut command = who.command(&home);
    without(&mut command, absent);
    let refused = home.try_start_with(command).expect_err("it started");
    assert_eq!(refused.status.code(), Some(78), "{layer}: {refused}");
    refused.says(&["moxd: ", said, "[sandbox] accept_missing", layer]);
    let home = who.still_has_its_mail(refused.home);

    let before = fs::read_to_string(home.configuration()).unwrap();
    let accepted = format!("{before}\n[sandbox]\naccept_missing = [\"{layer}\"]\n");
    fs::write(home.configuration(), accepted).unwrap();
    let mut command = who.command(&home);
    without(&mut command, absent);
    let instance = home.try_start_with(command).unwrap_or_else(|refused| panic!("{layer}: {refused}"));
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("accepted", 1000));
    assert_eq!(Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap().len(), 2);
    let status = instance.status();
    let notes = status["notes"].as_array().unwrap();
    let note = format!("no {said}: accepted by [sandbox] accept_missing");
    assert_eq!(notes.iter().filter(|have| *have == &note).count(), 1, "{notes:?}");
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 8);
    for process in processes {
        let missing = process["layers"]["missing"].as_array().unwrap();
        assert!(missing.iter().any(|name| name == layer), "{layer}: {process}");
    }
    instance.finish();
}

#[test]
fn an_ordinary_users_kernel_without_landlock_is_refused_unless_that_is_accepted() {
    missing(As::Ordinary, LANDLOCK, "landlock_files", "Landlock");
}

#[test]
fn an_ordinary_users_kernel_without_seccomp_is_refused_unless_that_is_accepted() {
    missing(As::Ordinary, SECCOMP, "seccomp", "seccomp");
}

#[test]
fn an_ordinary_users_closed_directory_is_named_with_what_to_do() {
    // What a user may not look into, also of what is their own.
    for (closed, mode, parts) in [
        ("data", 0o000, &["/data", "Permission denied", "--dir"][..]),
        ("data/run", 0o000, &["/data/run", "Permission denied"]),
        ("data/keys", 0o000, &["/data/keys", "chmod 0700 "]),
        ("data/directory", 0o000, &["/data/directory", "chmod 0700 "]),
        ("data/queue", 0o400, &["/data/queue", "chmod 0700 "]),
        ("data/accounts", 0o000, &["/data/accounts", "chmod 0711 "]),
    ] {
        let home = As::Ordinary.with_mail();
        let path = home.path().join(closed);
        let before = set_mode(&path, mode);
        let refused = ordinary::try_start(home).expect_err("it started");
        assert_eq!(refused.status.code(), Some(78), "{closed}: {refused}");
        refused.says(parts);
        set_mode(&path, before);
        As::Ordinary.still_has_its_mail(refused.home);
    }
}

#[test]
fn an_ordinary_users_configuration_that_they_cannot_read_is_named() {
    let home = As::Ordinary.with_mail();
    let before = set_mode(&home.configuration(), 0o000);
    for arguments in [&["--check"][..], &[]] {
        let mut moxd = ordinary::program(&home, "moxd");
        let output = client::output(moxd.arg("--config").arg(home.configuration()).args(arguments));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.lines().count() == 1 && said.contains("moxd.toml: Permission denied"), "{said}");
    }
    set_mode(&home.configuration(), before);
    As::Ordinary.still_has_its_mail(home);
}

mod as_root {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    #[test]
    fn a_kernel_without_landlock_is_refused_unless_that_is_accepted() {
        missing(As::Us, LANDLOCK, "landlock_files", "Landlock");
    }

    #[test]
    fn a_kernel_without_seccomp_is_refused_unless_that_is_accepted() {
        missing(As::Us, SECCOMP, "seccomp", "seccomp");
    }

    #[test]
    fn a_kernel_without_network_namespaces_is_refused_unless_that_is_accepted() {
        missing(As::Us, NAMESPACES, "empty_network", "network namespace");
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        chown(home.data(), Some(12_345), Some(12_345)).unwrap();
        let refused = home.try_start().unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["belongs to uid 12345", "--dir"]);
        assert_eq!(fs::read_dir(refused.home.data()).unwrap().count(), 0, "something was made in it");
    }

    #[test]
    fn what_somebody_else_owns_is_refused_by_moxd_too_and_left_as_it_is() {
        for who in [As::Us, As::Ordinary] {
            for (name, theirs) in [
                ("keys", 12_345),
                ("directory", 12_345),
                ("queue", 12_345),
                ("accounts", 12_345),
                ("queue", 0),
            ] {
                let home = who.with_mail();
                let path = home.data().join(name);
                let (owner, mode) = (fs::metadata(&path).unwrap().uid(), fs::metadata(&path).unwrap().mode());
                chown(&path, Some(theirs), Some(theirs)).unwrap();
                let command = who.command(&home);
                let refused = home.try_start_with(command).expect_err("it started");
                assert_eq!(refused.status.code(), Some(78), "{who:?}: {name}");
                refused.says(&[&format!("data/{name} belongs to user {theirs}"), "chown"]);
                let now = fs::metadata(&path).unwrap();
                assert_eq!((now.uid(), now.mode()), (theirs, mode), "{who:?}: {name}");
                chown(&path, Some(owner), Some(owner)).unwrap();
                who.still_has_its_mail(refused.home);
            }
        }
    }

    #[test]
    fn an_ordinary_user_gets_nothing_from_roots_directory() {
        let home = ordinary::home();
        chown(home.path(), Some(0), Some(0)).unwrap();
        // It does not exist, and they may not make it.
        let refused = ordinary::try_start(home).unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["Permission denied", "--dir"]);
        // It exists, and is root's.
        fs::create_dir(refused.home.data()).unwrap();
        let refused = ordinary::try_start(refused.home).unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["belongs to uid 0", "--dir"]);
        assert_eq!(fs::read_dir(refused.home.data()).unwrap().count(), 0, "something was made in it");
    }

    #[test]
    fn a_directory_that_the_processes_cannot_pass_is_refused() {
        let home = As::Us.with_mail();
        set_mode(&home.data(), 0o700);
        let refused = home.try_start().unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["chmod o+x "]);
        set_mode(&refused.home.data(), 0o755);
        As::Us.still_has_its_mail(refused.home);
    }

    #[test]
    fn a_private_directory_that_is_open_to_others_or_closed_to_its_owner_is_refused() {
        for (name, mode, parts) in [
            ("keys", 0o755, &["data/keys is open to others", "chmod 0700 "][..]),
            ("queue", 0o300, &["data/queue", "chmod 0700 "]),
            ("directory", 0o000, &["data/directory", "chmod 0700 "]),
            ("keys", 0o600, &["data/keys", "chmod 0700 "]),
            ("accounts", 0o700, &["data/accounts", "chmod 0711 "]),
        ] {
            let home = As::Us.with_mail();
            let path = home.data().join(name);
            let before = set_mode(&path, mode);
            let refused = home.try_start().expect_err("it started");
            assert_eq!(refused.status.code(), Some(78), "{name}");
            refused.says(parts);
            set_mode(&path, before);
            As::Us.still_has_its_mail(refused.home);
        }
    }
}
