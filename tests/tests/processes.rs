//! What runs, as whom, locked in by what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{collections::BTreeSet, process::Command};

use moxd_tests::{ADDRESS, Instance, Smtp, client, mail::message, process::uid};

const ROLES: [&str; 7] =
    ["mox-keyd", "mox-authd", "mox-queued", "mox-smtpd", "mox-submitd", "mox-imapd", "mox-webd"];

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
    let expected = [
        instance.smtp(),
        instance.submission(),
        instance.submissions(),
        instance.imap(),
        instance.imaps(),
        instance.https(),
    ];
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
