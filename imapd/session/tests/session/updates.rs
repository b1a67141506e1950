//! What a session is told about others' changes, and when.

use std::ops::ControlFlow;

use store_lib::{Columns, FlagChange, Flags, MailboxName, Origin, Parse, SystemFlag};

use crate::harness::{Account, message};

/// The wake-up comes from the store's descriptor: nothing here sleeps or polls.
#[test]
fn idle_hears_of_a_delivery_at_once() {
    let account = Account::new();
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    client.send("i IDLE\r\n");
    assert_eq!(client.line(), "+ idling");
    for count in 1..=20 {
        account.file("INBOX", b"Subject: x\r\n\r\n");
        assert_eq!(client.line(), format!("* {count} EXISTS"));
        assert_eq!(client.line(), format!("* {count} RECENT"));
    }
    client.send("DONE\r\n");
    assert_eq!(client.line(), "i OK IDLE completed");
}

#[test]
fn idle_without_a_mailbox_only_waits() {
    let account = Account::new();
    let mut client = account.log_in();
    client.send("i IDLE\r\nDONE\r\n");
    assert_eq!(client.until("i "), ["+ idling", "i OK IDLE completed"]);
}

#[test]
fn ten_idling_sessions_all_hear_the_same() {
    let account = Account::new();
    let mut clients: Vec<_> = (0..10).map(|_| account.log_in()).collect();
    for client in &mut clients {
        client.command("SELECT INBOX");
        client.send("i IDLE\r\n");
        client.until("+ ");
    }
    account.file("INBOX", b"Subject: x\r\n\r\n");
    // To one of them it is new (RFC 3501 §2.3.2).
    let mut recent = Vec::new();
    for client in &mut clients {
        assert_eq!(client.line(), "* 1 EXISTS");
        recent.push(client.line());
    }
    recent.sort_unstable();
    assert_eq!(recent[..9], vec!["* 0 RECENT"; 9]);
    assert_eq!(recent[9], "* 1 RECENT");
}

/// Attack class 27: a session that was told of more changes than the store keeps for it looks at its mailbox anew,
/// and ends up with the truth.
#[test]
fn a_session_that_missed_its_changes_catches_up() {
    let account = Account::new();
    for _ in 0..300 {
        account.file("INBOX", b"Subject: x\r\n\r\n");
    }
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    let inbox = MailboxName::inbox();
    let (id, uids) = account
        .store
        .read(&Default::default(), |reader| {
            let id = reader.find(&inbox)?.unwrap().id;
            Ok((id, reader.uids(id)?))
        })
        .unwrap();
    let seen = Flags::NONE.with(SystemFlag::Seen);
    for round in 0..4 {
        let change =
            if round % 2 == 0 { FlagChange::Add(seen.clone()) } else { FlagChange::Remove(seen.clone()) };
        account.store.change_flags(id, &uids, change, Origin::NONE).unwrap();
    }
    let flagged = FlagChange::Add(Flags::NONE.with(SystemFlag::Flagged));
    account.store.change_flags(id, &uids[..1], flagged, Origin::NONE).unwrap();
    let deleted = FlagChange::Add(Flags::NONE.with(SystemFlag::Deleted));
    account.store.change_flags(id, &uids[290..], deleted, Origin::NONE).unwrap();
    account.store.expunge(id, None, Origin::NONE).unwrap();
    account.file("INBOX", b"Subject: y\r\n\r\n");

    let told = client.command("NOOP");
    assert_eq!(told.iter().filter(|line| line.ends_with(" EXPUNGE")).count(), 10);
    assert!(told.contains(&"* 291 EXISTS".to_owned()), "{told:?}");
    assert!(told.contains(&"* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))".to_owned()), "{told:?}");
    let found = client.command("UID SEARCH ALL");
    let expected: Vec<String> = (1..=290).chain([301]).map(|uid: u32| uid.to_string()).collect();
    assert_eq!(found[0], format!("* SEARCH {}", expected.join(" ")));
    let mut flags = 0;
    account
        .store
        .read(&Default::default(), |reader| {
            reader.fetch(id, uids[0]..=uids[299], Columns::Flags, |_| {
                flags += 1;
                ControlFlow::Continue(())
            })
        })
        .unwrap();
    assert_eq!(flags, 290);
}

/// More messages than the store keeps changes for, changed and copied in one command.
#[test]
fn commands_about_many_messages_answer_as_for_few() {
    let account = Account::new();
    for _ in 0..100 {
        account.file("INBOX", b"Subject: x\r\n\r\n");
    }
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    for count in [200, 400, 800, 1600, 3200] {
        let answer = client.command("COPY 1:* INBOX");
        assert_eq!(answer[0], format!("* {count} EXISTS"));
        assert!(answer.last().unwrap().starts_with("t OK [COPYUID"), "{answer:?}");
    }
    assert_eq!(client.command("STORE 1:* +FLAGS.SILENT (\\Flagged)"), ["t OK STORE completed"]);
    let stored = client.command("STORE 1:* +FLAGS (\\Deleted)");
    assert_eq!(stored.len(), 3201);
    assert_eq!(stored[3199], "* 3200 FETCH (FLAGS (\\Flagged \\Deleted \\Recent))");
    let fetched = client.command("FETCH 1:* (UID FLAGS)");
    assert_eq!(fetched.len(), 3201);
    client.command("STORE 1,3200 -FLAGS.SILENT (\\Deleted)");
    assert_eq!(client.command("EXPUNGE").len(), 3199);
    assert_eq!(client.command("UID SEARCH ALL")[0], "* SEARCH 1 3200");
}

#[test]
fn a_message_that_came_and_went_is_never_mentioned() {
    let account = Account::new();
    let (mut one, mut two) = (account.log_in(), account.log_in());
    one.command("SELECT INBOX");
    two.command("SELECT INBOX");
    two.append("INBOX", b"Subject: x\r\n\r\n");
    two.command("STORE 1 +FLAGS.SILENT (\\Deleted)");
    two.command("EXPUNGE");
    assert_eq!(one.command("NOOP"), ["t OK NOOP completed"]);
}

#[test]
fn flags_come_from_the_store_even_before_their_change_is_told() {
    let account = Account::new();
    account.file("INBOX", b"Subject: x\r\n\r\n");
    let (mut one, mut two) = (account.log_in(), account.log_in());
    one.command("SELECT INBOX");
    two.command("SELECT INBOX");
    two.command("STORE 1 +FLAGS.SILENT (\\Answered)");
    assert_eq!(one.command("FETCH 1 FLAGS")[0], "* 1 FETCH (FLAGS (\\Answered \\Recent))");
}

/// A message in whose parsing the process once died is filed unparsed and shown as plain text.
#[test]
fn an_unparsed_message_is_one_plain_text() {
    let account = Account::new();
    let octets = message("mixed.eml");
    account.file_as("INBOX", &octets, Parse::No);
    let mut client = account.log_in();
    client.command("EXAMINE INBOX");
    let size = octets.len();
    let answer = client.command("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY RFC822.SIZE)");
    assert_eq!(
        answer[0],
        format!(
            "* 1 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) BODYSTRUCTURE (\"TEXT\" \"PLAIN\" \
             (\"CHARSET\" \"UTF-8\") NIL NIL \"8BIT\" {size} 0) BODY (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"UTF-8\") NIL \
             NIL \"8BIT\" {size} 0) RFC822.SIZE {size})"
        )
    );
    assert_eq!(client.command("FETCH 1 BODY[1]")[0], format!("* 1 FETCH (BODY[1] {{{size}}}"));
    assert_eq!(client.command("FETCH 1 BODY[2]")[0], "* 1 FETCH (BODY[2] NIL)");
    assert_eq!(client.command("FETCH 1 BODY[HEADER]")[0], "* 1 FETCH (BODY[HEADER] {0}");
    assert_eq!(client.command("SEARCH TEXT \"inner subject\"")[0], "* SEARCH 1");
}

#[test]
fn a_read_only_session_changes_nothing() {
    let account = Account::new();
    account.file("INBOX", b"Subject: x\r\n\r\n");
    let mut client = account.log_in_with(imapd_session::SessionLimits::default(), true);
    assert_eq!(client.command("SELECT INBOX").pop().unwrap(), "t OK [READ-ONLY] SELECT completed");
    for command in [
        "CREATE a",
        "DELETE Drafts",
        "RENAME Drafts b",
        "SUBSCRIBE INBOX",
        "UNSUBSCRIBE INBOX",
        "COPY 1 Drafts",
        "MOVE 1 Drafts",
        "STORE 1 +FLAGS (\\Seen)",
        "EXPUNGE",
        "UID EXPUNGE 1",
    ] {
        let answer = client.command(command).pop().unwrap();
        assert!(
            answer.starts_with("t NO [NOPERM]") || answer.starts_with("t NO [READ-ONLY]"),
            "{command}: {answer}"
        );
    }
    assert!(client.append("INBOX", b"x\r\n").starts_with("t NO [NOPERM]"));
    client.command("FETCH 1 BODY[]");
    assert_eq!(client.command("CLOSE"), ["t OK CLOSE completed"]);
    assert_eq!(client.command("STATUS INBOX (UNSEEN RECENT)")[0], "* STATUS INBOX (UNSEEN 1 RECENT 1)");
}

/// `\Recent` is claimed when it is told, and stored when the mailbox is left, whichever way.
#[test]
fn what_was_told_as_recent_is_not_recent_after_a_restart() {
    for leave in ["CLOSE", "UNSELECT", "SELECT Drafts", "LOGOUT"] {
        let mut account = Account::new();
        let mut client = account.log_in();
        client.command("SELECT INBOX");
        account.file("INBOX", b"Subject: x\r\n\r\n");
        assert_eq!(client.command("NOOP")[..2], ["* 1 EXISTS", "* 1 RECENT"]);
        client.command(leave);
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
        client.end();
        account.reopen();
        let mut client = account.log_in();
        assert_eq!(client.command("STATUS INBOX (RECENT)")[0], "* STATUS INBOX (RECENT 0)", "{leave}");
    }
}
