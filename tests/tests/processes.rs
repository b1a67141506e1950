//! What runs, as whom, locked in by what, and that sessions leave nothing behind in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use moxd_tests::{
    ADDRESS, Imap, Instance, Smtp, client,
    mail::message,
    process::{eventually, fds, uid},
};

const ROLES: [&str; 6] = ["mox-keyd", "mox-authd", "mox-queued", "mox-smtpd", "mox-imapd", "mox-webd"];

#[test]
fn status_shows_every_process_with_its_user_and_layers() {
    let instance = Instance::start();
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ADDRESS, &message("one", 1000));
    let status = instance.status();
    assert_eq!(status["ready"], true);
    let processes = status["processes"].as_array().unwrap();
    let names: BTreeSet<_> = processes.iter().map(|process| process["process"].as_str().unwrap()).collect();
    assert_eq!(names, ROLES.into_iter().chain(["mox-accountd"]).collect());
    for process in processes {
        let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
        assert_eq!(u64::from(uid(pid)), process["uid"].as_u64().unwrap(), "{process}");
        assert_eq!(process["violations"], 0, "{process}");
        assert_eq!(process["restarts"], 0, "{process}");
        let in_force = process["layers"]["in_force"].as_array().unwrap();
        for layer in ["no_new_privs", "not_dumpable", "limits", "seccomp", "landlock_files"] {
            assert!(in_force.iter().any(|name| name == layer), "no {layer}: {process}");
        }
    }
    let addresses: BTreeSet<_> = status["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["address"].as_str().unwrap().to_owned())
        .collect();
    let expected = [instance.smtp(), instance.imap(), instance.imaps(), instance.https()];
    assert!(expected.iter().all(|address| addresses.contains(&address.to_string())), "{addresses:?}");
    instance.finish();
}

#[test]
fn the_web_front_says_what_runs_and_that_it_is_well() {
    let instance = Instance::start();
    let certificate = instance.home().path().join("localhost.pem");
    client::save_certificate(instance.https(), &certificate);
    let get = |path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--cacert"]).arg(&certificate);
        client::run(curl.arg(format!("https://localhost:{}{path}", instance.https().port())))
    };
    assert!(get("/").contains("moxd"));
    assert!(!get("/health").is_empty());
    instance.finish();
}

fn all_fds(instance: &Instance) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut all: BTreeMap<_, _> = instance.pids().into_iter().map(|(name, pid)| (name, fds(pid))).collect();
    let supervisor = i32::try_from(instance.status()["pid"].as_i64().unwrap()).unwrap();
    all.insert("moxd".to_owned(), fds(supervisor));
    all
}

/// One of each: a delivery, a refused one, a session over TLS that breaks off, logins good and bad, sessions left open.
fn sessions(instance: &Instance, round: usize) {
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    if round.is_multiple_of(10) {
        smtp.must_deliver(
            ADDRESS,
            &message(&format!("round{round}"), if round.is_multiple_of(100) { 200_000 } else { 1000 }),
        );
    } else {
        smtp.command("MAIL FROM:<a@example.org>").unwrap();
        smtp.command("RSET").unwrap();
    }
    if round.is_multiple_of(3) {
        assert_eq!(smtp.command("QUIT").unwrap().code, 221);
    } else if round.is_multiple_of(5) {
        smtp.command("STARTTLS").unwrap();
        smtp.send(b"\x16\x03\x01").unwrap();
    }
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.command("SELECT INBOX").unwrap();
    if round.is_multiple_of(2) {
        imap.command("LOGOUT").unwrap();
    }
    if round.is_multiple_of(50) {
        let mut stranger = Imap::open(instance.imap()).unwrap();
        assert!(stranger.command("LOGIN mox wrong").is_err());
    }
}

/// Attack class 39: whatever a session takes it gives back.
#[test]
fn after_a_thousand_sessions_each_process_holds_the_fds_it_held_before() {
    let instance = Instance::start();
    // Whatever is opened with the first use and kept.
    (0..20).for_each(|round| sessions(&instance, round));
    let mut before = all_fds(&instance);
    assert!(
        eventually(Duration::from_secs(20), || {
            let now = all_fds(&instance);
            let still = now == before;
            before = now;
            still
        }),
        "the fds do not come to rest"
    );
    (0..500).for_each(|round| sessions(&instance, round));
    let mut after = BTreeMap::new();
    let back = eventually(Duration::from_secs(20), || {
        after = all_fds(&instance);
        after == before
    });
    assert!(back, "before: {before:#?}\nafter: {after:#?}");
    instance.finish();
}
