//! What is wrong on the host: one line that says what to do, a failing exit, and nothing damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{fs, net::TcpListener, path::Path, process::Command, time::Duration};

use moxd_tests::{
    ADDRESS, Home, Imap, Instance, Smtp, client,
    instance::programs,
    mail::message,
    process::eventually,
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
    /// Nothing is left.
    Emptied,
    /// Only the first 100 octets are left: the header of a database.
    Beginning,
    /// Cut in the middle of a page.
    Cut,
    /// The first 100 octets are others.
    Header,
    /// A page in the middle is another.
    Page,
}

const DAMAGES: [Damage; 5] = [Damage::Emptied, Damage::Beginning, Damage::Cut, Damage::Header, Damage::Page];

/// Of a database of SQLite.
const PAGE: usize = 4096;

/// Damages a file in place: owner and mode stay as they were. What it holds now.
fn damage(path: &Path, how: Damage) -> Vec<u8> {
    let mut octets = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let half = octets.len() / 2;
    let scramble = |octets: &mut [u8]| octets.iter_mut().for_each(|octet| *octet ^= 0x5a);
    match how {
        Damage::Emptied => octets.clear(),
        Damage::Beginning => octets.truncate(100),
        Damage::Cut => octets.truncate(half + 50),
        Damage::Header => scramble(&mut octets[..100]),
        Damage::Page => scramble(&mut octets[half / PAGE * PAGE..][..PAGE.min(half)]),
    }
    fs::write(path, &octets).unwrap();
    octets
}

/// Every file that moxd does not start without: the error names the file and says to restore it, the file is left as it
/// is, and when it is restored all is as it was.
fn keeps_moxd_from_starting(mut home: Home, file: &str) -> Home {
    let path = home.data().join(file);
    let good = fs::read(&path).unwrap();
    for how in DAMAGES {
        let damaged = damage(&path, how);
        let Err(refused) = home.try_start() else { panic!("{file}, {how:?}: it started") };
        assert_eq!(refused.status.code(), Some(78), "{file}, {how:?}: {refused}");
        refused.says(&[&format!("/data/{file}"), "from a backup"]);
        assert_eq!(fs::read(&path).unwrap(), damaged, "{file}, {how:?}: the file was changed");
        fs::write(&path, &good).unwrap();
        home = refused.home;
    }
    home
}

#[test]
fn a_damaged_directory_database_keeps_moxd_from_starting_and_is_left_as_it_is() {
    still_has_its_mail(keeps_moxd_from_starting(with_mail(), "directory/directory.sqlite"));
}

#[test]
fn a_damaged_key_keeps_moxd_from_starting_and_is_left_as_it_is() {
    for key in ["keys/mx.key", "keys/mail.key", "keys/web.key"] {
        still_has_its_mail(keeps_moxd_from_starting(with_mail(), key));
    }
}

/// A certificate is no secret and moxd signs its own: what is lost is made again, for the same key.
#[test]
fn a_damaged_certificate_is_made_again() {
    let mut home = with_mail();
    for how in DAMAGES {
        let certificate = home.data().join("keys/mail.crt");
        let key = fs::read(home.data().join("keys/mail.key")).unwrap();
        damage(&certificate, how);
        let instance = Instance::start_in(home);
        let served = instance.home().path().join("served.pem");
        client::save_certificate(instance.imaps(), &served);
        let stored = fs::read_to_string(&certificate).unwrap();
        assert!(stored.contains(&fs::read_to_string(&served).unwrap()), "{how:?}: {stored}");
        home = instance.finish();
        assert_eq!(fs::read(home.data().join("keys/mail.key")).unwrap(), key, "{how:?}");
    }
    still_has_its_mail(home);
}

/// With one account more, which has its mail in `accounts/2`.
fn with_two_accounts() -> Home {
    let instance = Instance::start();
    let added = instance.moxctl(&["account", "add", "other", "other@localhost"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    smtp.must_deliver(ADDRESS, &message("kept", 1000));
    smtp.must_deliver("other@localhost", &message("others", 1000));
    drop(smtp);
    instance.finish()
}

/// From the write-ahead log alone SQLite could make the database whole again.
fn fold_in_the_log(path: &Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    // Only this process has it: no shared memory, which would be a file of its own.
    database.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(database);
    assert!(!path.with_extension("sqlite-wal").exists(), "the log is still there");
}

#[test]
fn a_damaged_queue_keeps_moxd_from_starting_and_is_left_as_it_is() {
    // An account that takes nothing now: its message is queued.
    let home = with_two_accounts();
    let store = home.data().join("accounts/2/account.sqlite");
    let good = fs::read(&store).unwrap();
    damage(&store, Damage::Emptied);
    let instance = Instance::start_in(home);
    Smtp::connect(instance.smtp()).unwrap().must_deliver("other@localhost", &message("later", 1000));
    let home = instance.finish();
    fs::write(&store, good).unwrap();

    fold_in_the_log(&home.data().join("queue/queue.sqlite"));
    let home = keeps_moxd_from_starting(home, "queue/queue.sqlite");
    let instance = Instance::start_in(home);
    let arrived = eventually(Duration::from_secs(60), || {
        let verified = instance.moxctl(&["--json", "account", "verify", "other"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        let found: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
        found["messages"] == 2
    });
    assert!(arrived, "what was queued did not arrive");
    instance.finish();
}

#[test]
fn a_damaged_account_is_left_as_it_is_and_other_accounts_are_served() {
    for how in DAMAGES {
        let home = with_two_accounts();
        let path = home.data().join("accounts/2/account.sqlite");
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
