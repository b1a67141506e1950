//! Mailboxes shared between accounts (RFC 4314), on whole instances and with a client of others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use moxd_tests::{Imap, Instance, PASSWORD, Smtp, client, mail::message, process::eventually};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Of appended messages.
const DATE: &str = "\"01-Jan-2026 00:00:00 +0000\"";
const PLANS: &str = "\"Other Users/bob/Plans\"";

fn instance() -> Instance {
    let instance = Instance::start();
    for name in ["alice", "bob", "carol"] {
        instance.add_account(name, PASSWORD);
    }
    instance
}

fn log_in(instance: &Instance, name: &str) -> Imap {
    Imap::login_as(instance.imap(), name, PASSWORD).unwrap()
}

fn told(imap: &mut Imap, command: &str) -> Vec<String> {
    imap.command(command).unwrap().into_iter().map(|response| response.text).collect()
}

fn done(instance: &Instance, line: &str) {
    let output = instance.moxctl(&line.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// bob shares Plans with alice.
fn share(bob: &mut Imap, rights: &str) {
    bob.command("CREATE Plans").unwrap();
    bob.append("Plans", "", DATE, &message("plans", 300)).unwrap();
    bob.command(&format!("SETACL Plans alice {rights}")).unwrap();
}

#[test]
fn what_is_shared_is_reached_through_the_owners_process_and_by_nobody_else() {
    let instance = instance();
    let (mut alice, mut bob, mut carol) =
        (log_in(&instance, "alice"), log_in(&instance, "bob"), log_in(&instance, "carol"));
    assert_eq!(told(&mut alice, "NAMESPACE"), ["* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL"]);
    assert_eq!(told(&mut alice, "LIST \"\" \"Other Users/*\""), [""; 0]);
    share(&mut bob, "lrswite");
    assert_eq!(
        told(&mut alice, "LIST \"\" \"Other Users/*\""),
        [
            "* LIST (\\Noselect \\HasChildren) \"/\" \"Other Users/bob\"",
            "* LIST (\\HasNoChildren) \"/\" \"Other Users/bob/Plans\""
        ]
    );
    assert_eq!(alice.messages(PLANS).unwrap(), [message("plans", 300)]);
    // Larger than any buffer on the way, in both directions.
    let large = message("large", 3 << 20);
    alice.append(PLANS, "", DATE, &large).unwrap();
    assert_eq!(bob.messages("Plans").unwrap()[1], large);
    alice.command(&format!("SELECT {PLANS}")).unwrap();
    alice.command("COPY 1:2 INBOX").unwrap();
    assert_eq!(alice.messages("INBOX").unwrap()[1], large);
    // The owner's session sees what the guest does.
    bob.command("SELECT Plans").unwrap();
    alice.command(&format!("SELECT {PLANS}")).unwrap();
    alice.command("STORE 1 +FLAGS (\\Deleted)").unwrap();
    alice.command("EXPUNGE").unwrap();
    assert!(told(&mut bob, "NOOP").contains(&"* 1 EXPUNGE".to_owned()));
    // carol has no right, and is not told of it.
    assert_eq!(told(&mut carol, "LIST \"\" \"Other Users/*\""), [""; 0]);
    let refused = carol.command(&format!("SELECT {PLANS}")).unwrap_err().to_string();
    assert!(refused.contains("[NONEXISTENT]"), "{refused}");
    // DELETEACL counts with the next command.
    bob.command("DELETEACL Plans alice").unwrap();
    assert!(alice.command("FETCH 1 FLAGS").is_err());
    instance.finish();
}

#[test]
fn what_is_shared_is_so_behind_every_restart_and_ends_with_either_account() {
    let instance = instance();
    let mut bob = log_in(&instance, "bob");
    share(&mut bob, "lr");
    bob.command("LOGOUT").unwrap();
    // authd is killed, and then the owner's process.
    for name in ["mox-authd", "mox-accountd"] {
        let pid = instance.pid(name).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let is_back = || {
            Imap::login_as(instance.imap(), "alice", PASSWORD)
                .and_then(|mut alice| alice.messages(PLANS))
                .is_ok_and(|messages| messages.len() == 1)
        };
        assert!(eventually(Duration::from_secs(20), is_back), "{name}");
    }
    // A session that is in there ends when the owner is disabled.
    let mut alice = log_in(&instance, "alice");
    alice.command(&format!("SELECT {PLANS}")).unwrap();
    done(&instance, "account disable bob");
    assert!(alice.command("FETCH 1 FLAGS").is_err());
    let mut alice = log_in(&instance, "alice");
    assert!(alice.command(&format!("SELECT {PLANS}")).is_err());
    done(&instance, "account enable bob");
    alice.command(&format!("SELECT {PLANS}")).unwrap();
    done(&instance, "account disable alice");
    assert!(alice.command("FETCH 1 FLAGS").is_err());
    // bob's process goes on, and his mail comes in.
    Smtp::connect(instance.smtp()).unwrap().must_deliver("bob@localhost", &message("on", 300));
    instance.finish();
}

/// A name that comes again inherits nothing.
#[test]
fn rights_are_an_accounts_and_not_a_names() {
    let instance = instance();
    let mut bob = log_in(&instance, "bob");
    share(&mut bob, "lr");
    done(&instance, "account rm alice");
    instance.add_account("alice", PASSWORD);
    let mut alice = log_in(&instance, "alice");
    assert!(alice.command(&format!("SELECT {PLANS}")).is_err());
    assert_eq!(told(&mut bob, "GETACL Plans"), ["* ACL Plans bob lrswipkxteacd"]);
    instance.finish();
}

const IMAPLIB: &str = r#"
import imaplib, sys
port, password = int(sys.argv[1]), sys.argv[2]
def ok(answer):
    assert answer[0] == 'OK', answer
    return answer[1]
bob = imaplib.IMAP4('127.0.0.1', port); bob.login('bob', password)
alice = imaplib.IMAP4('127.0.0.1', port); alice.login('alice', password)
ok(bob.create('Team'))
ok(bob.setacl('Team', 'alice', 'lrswipted'))
print(ok(bob.getacl('Team')))
print(ok(alice.namespace()))
print(ok(alice.list('""', '"Other Users/*"')))
team = '"Other Users/bob/Team"'
print(ok(alice.myrights(team)))
ok(alice.append(team, r'(\Seen)', None, b'Subject: one\r\n\r\n1\r\n'))
ok(alice.append(team, '', None, b'Subject: two\r\n\r\n{5}\r\n'))
ok(alice.select(team))
print(ok(alice.search(None, 'SUBJECT', 'two')))
print(ok(alice.fetch('1:2', '(FLAGS BODY.PEEK[])')))
ok(alice.store('1', '+FLAGS', r'(\Deleted)'))
print(ok(alice.expunge()))
ok(alice.copy('1', 'INBOX'))
ok(alice.close())
print(ok(alice.status('INBOX', '(MESSAGES)')))
ok(bob.deleteacl('Team', 'alice'))
print(alice.select(team)[0])
"#;

#[test]
fn pythons_imaplib_shares_and_uses_what_is_shared() {
    let instance = instance();
    let mut python = client::python(IMAPLIB);
    let said = client::run(python.arg(instance.imap().port().to_string()).arg(PASSWORD));
    for part in [
        "[b'Team bob lrswipkxteacd alice lrswipted']",
        "((\"Other Users/\" \"/\"))",
        "\"Other Users/bob/Team\"",
        "[b'2']",
        "Subject: two\\r\\n\\r\\n{5}\\r\\n",
        "[b'1']",
        "[b'INBOX (MESSAGES 1)']",
        "NO",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    instance.finish();
}
