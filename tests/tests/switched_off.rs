//! Capabilities that the admin switches off for an account: what both ends of its sessions say, on whole instances.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use moxd_tests::{Imap, Instance, PASSWORD};

fn done(instance: &Instance, line: &str) {
    let output = instance.moxctl(&line.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What is announced behind the login, by the front, and what by the session. Always the same.
fn announced(instance: &Instance, account: &str) -> (Imap, Vec<String>) {
    let mut imap = Imap::open(instance.imap()).unwrap();
    imap.send_only(&format!("LOGIN {account} {PASSWORD}")).unwrap();
    let login = imap.response().unwrap().text;
    let said = imap.command("CAPABILITY").unwrap().remove(0).text;
    let words = said.strip_prefix("* CAPABILITY ").unwrap().to_owned();
    assert_eq!(login, format!("t1 OK [CAPABILITY {words}] logged in"));
    (imap, words.split(' ').map(str::to_owned).collect())
}

#[test]
fn one_accounts_sessions_are_without_what_is_switched_off_and_others_have_it() {
    let instance = Instance::start();
    ["alice", "bob"].iter().for_each(|name| instance.add_account(name, PASSWORD));
    let (mut before, all) = announced(&instance, "alice");
    assert!(before.command("NAMESPACE").is_ok());

    done(&instance, "account capabilities alice --without IDLE,namespace,LIST-EXTENDED");
    assert!(before.command("NOOP").is_err(), "sessions that are open end");
    let (mut alice, words) = announced(&instance, "alice");
    let gone: Vec<_> = all.iter().filter(|word| !words.contains(word)).map(String::as_str).collect();
    assert_eq!(gone, ["IMAP4rev2", "NAMESPACE", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "LIST-METADATA"]);
    for command in ["NAMESPACE", "IDLE", "LIST \"\" % RETURN (CHILDREN)"] {
        let error = alice.command(command).unwrap_err().to_string();
        assert!(error.contains("BAD unknown command"), "{command}: {error}");
    }
    assert!(alice.command("LIST \"\" %").is_ok());
    assert_eq!(announced(&instance, "bob").1, all);
    let row = instance.json(&["account", "show", "alice"]);
    assert_eq!(row["account"]["without"].as_array().unwrap().len(), 6, "{row}");
    let row = instance.json(&["account", "capabilities", "alice"]);
    assert_eq!(row["without"].as_array().unwrap().len(), 6, "{row}");

    // Kept over a restart, and switched on again.
    let instance = Instance::start_in(instance.stop());
    assert_eq!(announced(&instance, "alice").1, words);
    done(&instance, "account capabilities alice --all");
    assert_eq!(announced(&instance, "alice").1, all);
    let nothing = instance.moxctl(&["account", "capabilities", "alice", "--without", "IMAP4rev1"]);
    assert_eq!(nothing.status.code(), Some(2));
}
