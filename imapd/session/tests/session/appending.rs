//! Many messages in one command, and messages made of others: all or nothing, in bounded memory.

use imapd_session::{End, SessionLimits};

use crate::harness::{Account, Client};

fn counts(client: &mut Client, mailbox: &str) -> String {
    client.command(&format!("STATUS {mailbox} (MESSAGES SIZE)")).remove(0)
}

/// Larger than what may wait in memory, and with a large one among them.
#[test]
fn many_messages_are_filed_in_one_commit_whatever_their_size() {
    let account = Account::new();
    let mut client = account.log_in();
    client.send("t APPEND Archive");
    let sizes: Vec<usize> =
        (0..120).map(|number| if number == 60 { 200_000 } else { 40_000 + number }).collect();
    for size in &sizes {
        client.send(format!(" {{{size}+}}\r\n{}", "x".repeat(*size)));
    }
    client.send("\r\n");
    let answer = client.until("t ").pop().unwrap();
    assert!(answer.ends_with(" 1:120] APPEND completed"), "{answer}");
    let size: usize = sizes.iter().sum();
    assert_eq!(counts(&mut client, "Archive"), format!("* STATUS Archive (MESSAGES 120 SIZE {size})"));
    client.command("SELECT Archive");
    let (_, octets, _) = client.literal("FETCH 119 BODY.PEEK[]");
    assert_eq!(octets, "x".repeat(sizes[118]).into_bytes());
}

#[test]
fn of_messages_that_are_refused_together_none_stays() {
    let account = Account::new();
    let mut client =
        account.log_in_with(SessionLimits { message: 100_000, ..SessionLimits::default() }, false);
    // The third has a NUL.
    client.send(format!(
        "t APPEND Archive {{70000+}}\r\n{} {{1+}}\r\nx {{1+}}\r\n\0 {{1+}}\r\ny\r\n",
        "x".repeat(70_000)
    ));
    assert_eq!(client.until("t "), ["t NO [CANNOT] a message has no NUL"]);
    // One too many.
    client.send(format!("t APPEND Archive{}\r\n", " {1+}\r\nx".repeat(501)));
    assert_eq!(client.until("t "), ["t NO [LIMIT] at most 500 messages in one APPEND"]);
    // Too much together.
    client
        .send(format!("t APPEND Archive{}\r\n", format!(" {{90000+}}\r\n{}", "x".repeat(90_000)).repeat(5)));
    assert_eq!(client.until("t "), ["t NO [LIMIT] too much for one APPEND"]);
    // The client goes away in the middle of the second.
    client.send("t APPEND Archive {1+}\r\nx {10+}\r\ny");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(client.rest().1, End::Disconnected));
    let mut client = account.log_in();
    assert_eq!(counts(&mut client, "Archive"), "* STATUS Archive (MESSAGES 0 SIZE 0)");
    // As many as are allowed.
    client.send(format!("t APPEND Archive{}\r\n", " {1+}\r\nx".repeat(500)));
    assert!(client.until("t ").pop().unwrap().ends_with(" 1:500] APPEND completed"));
}

/// RFC 4469 §4: TOOBIG, by texts and by what URLs bring, before it is too late.
#[test]
fn a_message_made_of_parts_is_not_larger_than_any_other() {
    let account = Account::new();
    account.file("INBOX", "x".repeat(600).as_bytes());
    let mut client = account.log_in_with(SessionLimits { message: 1000, ..SessionLimits::default() }, false);
    let url = "URL /INBOX/;UID=1";
    let too_big = ["t NO [TOOBIG] at most 1000 octets"];
    assert_eq!(client.command(&format!("APPEND Drafts CATENATE ({url} {url})")), too_big);
    assert_eq!(client.command(&format!("APPEND Drafts CATENATE ({url} TEXT {{401}}")), too_big);
    client.send(format!("t APPEND Drafts CATENATE ({url} TEXT {{400}}\r\n"));
    assert_eq!(client.line(), "+ OK");
    client.send(format!("{})\r\n", "y".repeat(400)));
    assert!(client.until("t ").pop().unwrap().starts_with("t OK [APPENDUID "));
    assert_eq!(counts(&mut client, "Drafts"), "* STATUS Drafts (MESSAGES 1 SIZE 1000)");
}

/// RFC 8508 §3.1: one of two who replace the same message is told that it is gone, and files nothing.
#[test]
fn a_message_is_replaced_once() {
    let account = Account::new();
    account.file("Drafts", b"first");
    let (mut one, mut two) = (account.log_in(), account.log_in());
    one.command("SELECT Drafts");
    two.command("SELECT Drafts");
    two.send("t REPLACE 1 Drafts {6}\r\n");
    assert_eq!(two.line(), "+ OK");
    one.send("t REPLACE 1 Drafts {6+}\r\nsecond\r\n");
    let told = one.until("t ");
    assert_eq!(told[1..4], ["* 2 EXISTS", "* 2 RECENT", "* 1 EXPUNGE"]);
    assert_eq!(told[4], "t OK REPLACE completed");
    two.send("third!\r\n");
    let told = two.until("t ");
    assert_eq!(told.last().unwrap(), "t NO [EXPUNGEISSUED] that message is expunged");
    let (_, octets, _) = one.literal("FETCH 1 BODY.PEEK[]");
    assert_eq!(octets, b"second");
    assert_eq!(counts(&mut one, "Drafts"), "* STATUS Drafts (MESSAGES 1 SIZE 6)");
}

/// A command that is not finished is one that is under way, also between two of its messages.
#[test]
fn a_client_that_stops_between_two_messages_is_cut() {
    let account = Account::new();
    let limits = SessionLimits { command: std::time::Duration::from_millis(50), ..SessionLimits::default() };
    let mut client = account.log_in_with(limits, false);
    client.send("t APPEND INBOX {1+}\r\nx {1+}\r\ny");
    assert!(matches!(client.rest().1, End::Stalled));
}
