//! How many sessions an account may have at once, and that one that ended counts no more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::{io::ErrorKind, time::Duration};

use moxd_tests::{Imap, Instance, process::eventually};

/// `limits.account_sessions`, when nothing sets it.
const MOST: usize = 100;

/// A session that the account's process has begun, or the line by which it refused.
fn session(instance: &Instance) -> Result<Imap, String> {
    let mut imap = Imap::login(instance.imap()).unwrap();
    imap.send_only("NOOP").unwrap();
    let first = imap.response().unwrap().text;
    if first.ends_with(" OK NOOP completed") { Ok(imap) } else { Err(first) }
}

#[test]
fn the_place_of_a_session_that_ended_is_free_for_the_next() {
    let instance = Instance::start();
    let mut held: Vec<_> = (1..MOST).map(|_| session(&instance).unwrap()).collect();
    // One place is left, which each of them needs: it is free before the client sees the end.
    for _ in 0..100 {
        let mut imap = session(&instance).unwrap();
        imap.command("LOGOUT").unwrap();
        assert_eq!(imap.response().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    // Of a client that is gone without a word it is free once the front has noticed.
    for _ in 0..20 {
        let next = || session(&instance).is_ok();
        assert!(eventually(Duration::from_secs(5), next));
    }
    assert!(eventually(Duration::from_secs(5), || session(&instance).is_ok_and(|last| {
        held.push(last);
        true
    })));
    let refused = session(&instance).unwrap_err();
    assert_eq!(refused, "* BYE [LIMIT] Too many sessions of this account, close one and try again");
    // Those that have theirs notice nothing.
    for imap in &mut held {
        imap.command("NOOP").unwrap();
    }
    instance.finish();
}
