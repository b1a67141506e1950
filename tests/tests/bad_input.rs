//! What is wrong on the host: one line that says what to do, a failing exit, and nothing damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp, client,
    instance::programs,
    mail::message,
    smtp::{Delivery, Reply},
};

/// Stopped in order, with one message in it.
fn with_mail() -> Home {
    let instance = Instance::start();
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("kept", 1000));
    instance.finish()
}

fn still_has_its_mail(home: Home) {
    let instance = Instance::start_in(home);
    let stored = Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap();
    assert_eq!(stored.len(), 1);
    instance.finish();
}

/// Writes, and gives back what was there.
fn replace(path: &Path, by: impl FnOnce(&str) -> String) -> String {
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, by(&before)).unwrap();
    before
}

fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap() + 1
}

#[test]
fn a_wrong_key_is_named_with_its_file_and_line() {
    let home = with_mail();
    let path = home.configuration();
    for (wrong, key) in [
        ("[limits]\nimap_conections = 7\n", "imap_conections"),
        ("[limits]\nimap_connections = \"many\"\n", "imap_connections"),
        ("[limits]\nimap_connections = 0\n", "imap_connections"),
        ("[sandbox]\naccept_missing = [\"everything\"]\n", "accept_missing"),
        ("[users]\nbase = 3\n", "base"),
    ] {
        let before = replace(&path, |text| format!("{text}\n{wrong}"));
        let text = fs::read_to_string(&path).unwrap();
        let place = format!("moxd.toml:{}: ", line_of(&text, &format!("{key} =")));

        let mut check = Command::new(programs().join("moxd"));
        let output = client::output(check.arg("--config").arg(&path).arg("--check"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&place) && said.contains(key), "no {place} {key} in: {said}");

        let mut start = Command::new(programs().join("moxd"));
        let output = client::output(start.arg("--config").arg(&path));
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(String::from_utf8_lossy(&output.stderr), said, "start and --check differ");
        fs::write(&path, before).unwrap();
    }
    still_has_its_mail(home);
}

#[test]
fn a_port_in_use_is_named() {
    let home = with_mail();
    let port = 143 + home.port_offset;
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let refused = home.try_start().unwrap_err();
    assert_eq!(refused.status.code(), Some(78));
    refused.says(&[&format!("127.0.0.1:{port}"), "ss -ltnp"]);
    drop(taken);
    still_has_its_mail(refused.home);
}

#[test]
fn a_second_instance_on_the_same_directory_is_refused_and_the_first_serves_on() {
    let instance = Instance::start();
    let second = client::output(&mut instance.home().command());
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(78), "{said}");
    assert_eq!((said.lines().count(), second.stdout.len()), (1, 0), "{said}");
    assert!(said.contains("another localserve runs in ") && said.contains(" stop"), "{said}");

    // Not through localserve, which has a lock of its own.
    let mut moxd = Command::new(programs().join("moxd"));
    let second = client::output(moxd.arg("--config").arg(instance.home().configuration()));
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(78), "{said}");
    assert!(said.lines().count() == 1 && said.contains("another moxd runs on this directory"), "{said}");

    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("still", 1000));
    instance.finish();
}

/// Nobody starts a working server without knowing what the account was asked for.
#[test]
fn an_unknown_account_is_refused_with_what_to_do() {
    let instance = Instance::start();
    for arguments in [&["account", "verify", "nobody"][..], &["account", "disable", "nobody"]] {
        let output = instance.moxctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains("nobody"), "{arguments:?}: {said}");
    }
    instance.finish();
}

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// The first page is overwritten.
    Corrupted,
    /// Cut in the middle of a page.
    Truncated,
    /// Nothing is left.
    Emptied,
}

fn damage(path: &Path, how: Damage) -> Vec<u8> {
    let mut octets = fs::read(path).unwrap();
    match how {
        Damage::Corrupted => octets.iter_mut().take(4096).for_each(|octet| *octet ^= 0x5a),
        Damage::Truncated => octets.truncate(octets.len() / 2 + 100),
        Damage::Emptied => octets.clear(),
    }
    // In place: owner and mode stay as they were.
    fs::write(path, &octets).unwrap();
    octets
}

fn only_file(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

#[test]
fn a_damaged_directory_database_keeps_moxd_from_starting_and_is_left_as_it_is() {
    for how in [Damage::Corrupted, Damage::Truncated, Damage::Emptied] {
        let home = with_mail();
        let path = only_file(&home.data().join("directory"), "directory.sqlite");
        let good = fs::read(&path).unwrap();
        let damaged = damage(&path, how);
        let refused = home.try_start().expect_err("it started");
        assert_ne!(refused.status.code(), Some(0), "{how:?}");
        // By now there is a log; of its lines one is the error, and the last says who could not start.
        let errors: Vec<_> =
            refused.stderr.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        assert_eq!(errors.len(), 1, "{how:?}: {}", refused.stderr);
        assert!(
            errors[0].contains("directory.sqlite") && errors[0].contains("backup"),
            "{how:?}: {}",
            errors[0]
        );
        let last = refused.stderr.lines().last().unwrap();
        assert!(last.starts_with("moxd: mox-authd "), "{how:?}: {}", refused.stderr);
        assert_eq!(fs::read(&path).unwrap(), damaged, "{how:?}: the file was changed");
        // Restored from a backup, all is as it was.
        fs::write(&path, good).unwrap();
        still_has_its_mail(refused.home);
    }
}

#[test]
fn a_damaged_account_is_left_as_it_is_and_other_accounts_are_served() {
    for how in [Damage::Corrupted, Damage::Truncated, Damage::Emptied] {
        let instance = Instance::start();
        let added = instance.moxctl(&["account", "add", "other", "other@localhost"]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        smtp.must_deliver(ADDRESS, &message("kept", 1000));
        smtp.must_deliver("other@localhost", &message("others", 1000));
        drop(smtp);
        let home = instance.finish();
        let path = only_file(&home.data().join("accounts/2"), "account.sqlite");
        let good = fs::read(&path).unwrap();
        let damaged = damage(&path, how);

        let instance = Instance::start_in(home);
        let mut smtp = Smtp::connect(instance.smtp()).unwrap();
        smtp.must_deliver(ADDRESS, &message("served", 1000));
        // Taken for later or not taken now; never gone, and never refused for good.
        match smtp.deliver("other@localhost", &message("later", 1000)) {
            Delivery::Acknowledged | Delivery::Refused(Reply { code: 400..=499, .. }) => {}
            other => panic!("{how:?}: {other:?}"),
        }
        let verified = instance.moxctl(&["account", "verify", "other"]);
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(!verified.status.success(), "{how:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{how:?}: {said}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "{how:?}: the file was changed");
        assert_eq!(Imap::login(instance.imap()).unwrap().messages("INBOX").unwrap().len(), 2);
        let home = instance.finish();

        // Restored from a backup, its mail is there again.
        fs::write(&path, good).unwrap();
        let instance = Instance::start_in(home);
        let verified = instance.moxctl(&["account", "verify", "other"]);
        assert!(verified.status.success(), "{how:?}: {}", String::from_utf8_lossy(&verified.stderr));
        instance.finish();
    }
}

mod as_root {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

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
    fn an_accounts_or_roles_directory_of_somebody_else_is_refused_and_left_as_it_is() {
        for name in ["keys", "directory", "queue"] {
            let home = with_mail();
            let path = home.data().join(name);
            let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&path).unwrap());
            chown(&path, Some(12_345), Some(12_345)).unwrap();
            let refused = home.try_start().expect_err("it started");
            assert_eq!(refused.status.code(), Some(78), "{name}");
            refused.says(&[&format!("data/{name} belongs to user 12345"), "chown"]);
            chown(&path, Some(owner), Some(owner)).unwrap();
            still_has_its_mail(refused.home);
        }
    }

    #[test]
    fn a_directory_that_the_processes_cannot_pass_is_refused() {
        let home = with_mail();
        fs::set_permissions(home.data(), fs::Permissions::from_mode(0o700)).unwrap();
        let refused = home.try_start().unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["chmod o+x "]);
        fs::set_permissions(refused.home.data(), fs::Permissions::from_mode(0o755)).unwrap();
        still_has_its_mail(refused.home);
    }

    #[test]
    fn a_private_directory_that_is_open_to_others_is_refused() {
        let home = with_mail();
        let keys = home.data().join("keys");
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = home.try_start().unwrap_err();
        assert_eq!(refused.status.code(), Some(78));
        refused.says(&["data/keys is open to others", "chmod 0700 "]);
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        still_has_its_mail(refused.home);
    }
}
