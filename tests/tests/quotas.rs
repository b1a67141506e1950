//! Quotas from the admin's command to SMTP's and IMAP's answers, on whole instances.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use moxd_tests::{Imap, Instance, PASSWORD, Smtp, process::eventually, smtp::Delivery};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const ALICE: &str = "alice@localhost";

fn done(instance: &Instance, line: &str) {
    let output = instance.moxctl(&line.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn message(octets: usize) -> Vec<u8> {
    let mut message = b"Subject: weight\r\n\r\n".to_vec();
    while message.len() < octets {
        message.extend_from_slice(&[b'x'; 70]);
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn refused(instance: &Instance, at: &str) {
    let mut smtp = Smtp::connect(instance.smtp()).unwrap();
    assert_eq!(smtp.command("MAIL FROM:<sender@example.org>").unwrap().code, 250);
    let rcpt = smtp.command(&format!("RCPT TO:<{ALICE}>")).unwrap();
    let reply = match at {
        "RCPT" => rcpt,
        _ => {
            assert_eq!(rcpt.code, 250, "{rcpt:?}");
            smtp.command("RSET").unwrap();
            match smtp.deliver(ALICE, &message(9000)) {
                Delivery::Refused(reply) => reply,
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(reply.code == 452 && reply.text.starts_with("4.2.2 "), "{at}: {reply:?}");
}

fn quota(imap: &mut Imap) -> Vec<String> {
    imap.command("GETQUOTAROOT INBOX").unwrap().into_iter().map(|response| response.text).collect()
}

#[test]
fn what_the_admin_sets_counts_at_once_and_over_restarts() {
    let instance = Instance::start();
    instance.add_account("alice", PASSWORD);
    let mut imap = Imap::login_as(instance.imap(), "alice", PASSWORD).unwrap();
    assert_eq!(quota(&mut imap), ["* QUOTAROOT INBOX"]);

    // The session that is open hears of it.
    done(&instance, "quota set alice --storage 20KiB");
    assert_eq!(quota(&mut imap), ["* QUOTAROOT INBOX \"\"", "* QUOTA \"\" (STORAGE 0 20)"]);
    for _ in 0..2 {
        Smtp::connect(instance.smtp()).unwrap().must_deliver(ALICE, &message(8000));
    }
    refused(&instance, "data");
    // From then on it is not sent at all.
    refused(&instance, "RCPT");
    let refused_append = imap.command("APPEND INBOX {9000}").unwrap_err();
    assert!(refused_append.to_string().contains("[OVERQUOTA]"), "{refused_append}");

    // Who comes after authd was killed is told the same; what was full is asked again.
    let authd = instance.pid("mox-authd").unwrap();
    kill(Pid::from_raw(authd), Signal::SIGKILL).unwrap();
    let is_back = || {
        instance.pid("mox-authd").is_some_and(|pid| pid != authd)
            && Imap::login_as(instance.imap(), "alice", PASSWORD).is_ok()
    };
    assert!(eventually(Duration::from_secs(20), is_back));
    refused(&instance, "data");
    refused(&instance, "RCPT");

    // More room, for all: the account's own goes first until it is removed.
    done(&instance, "quota set @* --storage 1GiB --messages 3");
    refused(&instance, "data");
    done(&instance, "quota rm alice");
    assert_eq!(quota(&mut imap)[1], "* QUOTA \"\" (STORAGE 17 1048576 MESSAGE 2 3)");
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ALICE, &message(8000));
    assert_eq!(instance.json(&["quota", "show", "alice"])["messages"], 3);
    refused(&instance, "data");
    let found = instance.json(&["account", "verify", "alice"]);
    assert_eq!((&found["messages"], &found["problems"]), (&3.into(), &serde_json::json!([])));

    // An instance that starts again knows it.
    drop(imap);
    let instance = Instance::start_in(instance.stop());
    let mut imap = Imap::login_as(instance.imap(), "alice", PASSWORD).unwrap();
    assert!(quota(&mut imap)[1].ends_with("MESSAGE 3 3)"));
    refused(&instance, "data");
    done(&instance, "quota rm @*");
    Smtp::connect(instance.smtp()).unwrap().must_deliver(ALICE, &message(9000));
}
