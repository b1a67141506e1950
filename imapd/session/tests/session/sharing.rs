//! Mailboxes of other accounts (RFC 4314), over real sessions on both sides.

use crate::harness::{Client, message};
use crate::neighbours::Street;

/// bob shares Plans with alice, who has these rights.
fn shared(rights: &str) -> (Street, Client, Client) {
    let street = Street::new(&["alice", "bob", "carol"]);
    let mut bob = street.log_in("bob");
    ok(&mut bob, "CREATE Plans");
    ok(&mut bob, "CREATE Secret");
    street.account("bob").file("Plans", &message("simple.eml"));
    street.account("bob").file("Plans", &message("simple.eml"));
    street.account("bob").file("Secret", &message("simple.eml"));
    ok(&mut bob, &format!("SETACL Plans alice {rights}"));
    let alice = street.log_in("alice");
    (street, alice, bob)
}

fn ok(client: &mut Client, command: &str) -> Vec<String> {
    let answer = client.command(command);
    assert!(answer.last().unwrap().starts_with("t OK"), "{command}: {answer:?}");
    answer
}

fn no(client: &mut Client, command: &str) -> String {
    let answer = client.command(command).pop().unwrap();
    assert!(answer.starts_with("t NO"), "{command}: {answer}");
    answer
}

fn has(answer: &[String], line: &str) -> bool {
    answer.iter().any(|found| found == line)
}

#[test]
fn a_shared_mailbox_is_listed_opened_read_and_left() {
    let (_street, mut alice, _bob) = shared("lr");
    let listed = ok(&mut alice, "LIST \"\" \"Other Users/*\"");
    assert_eq!(
        listed,
        [
            "* LIST (\\Noselect \\HasChildren) \"/\" \"Other Users/bob\"",
            "* LIST (\\HasNoChildren) \"/\" \"Other Users/bob/Plans\"",
            "t OK LIST completed"
        ]
    );
    let status = ok(&mut alice, "STATUS \"Other Users/bob/Plans\" (MESSAGES UNSEEN)");
    assert!(has(&status, "* STATUS \"Other Users/bob/Plans\" (MESSAGES 2 UNSEEN 2)"), "{status:?}");
    let selected = ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    assert!(
        has(&selected, "* 2 EXISTS") && has(&selected, "* OK [PERMANENTFLAGS ()] shared mailbox"),
        "{selected:?}"
    );
    assert!(selected.last().unwrap().starts_with("t OK [READ-ONLY]"), "{selected:?}");
    let fetched = ok(&mut alice, "FETCH 1:* (UID FLAGS)");
    assert!(
        has(&fetched, "* 1 FETCH (UID 1 FLAGS (\\Recent))") || has(&fetched, "* 1 FETCH (UID 1 FLAGS ())"),
        "{fetched:?}"
    );
    let (text, octets, _) = alice.literal("FETCH 2 BODY[]");
    assert_eq!(text, "* 2 FETCH (BODY[] ");
    assert_eq!(octets, message("simple.eml"));
    let found = ok(&mut alice, "UID SEARCH ALL");
    assert!(has(&found, "* SEARCH 1 2"), "{found:?}");
    for command in ["STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 INBOX"] {
        no(&mut alice, command);
    }
    // Fetching a body set nothing.
    let unseen = ok(&mut alice, "SEARCH UNSEEN");
    assert!(has(&unseen, "* SEARCH 1 2"), "{unseen:?}");
    ok(&mut alice, "CLOSE");
    let answer = alice.command("FETCH 1 UID");
    assert_eq!(answer, ["t BAD no mailbox is selected"]);
    // Its own mailboxes as ever.
    ok(&mut alice, "SELECT INBOX");
}

#[test]
fn what_is_not_shared_is_not_there() {
    let (_street, mut alice, _bob) = shared("lr");
    for name in [
        "Other Users/bob/Secret",
        "Other Users/bob/INBOX",
        "Other Users/bob/Nothing",
        "Other Users/carol/INBOX",
        "Other Users/nobody/x",
    ] {
        let told = no(&mut alice, &format!("SELECT \"{name}\""));
        assert_eq!(told, "t NO [NONEXISTENT] no such mailbox", "{name}");
        let told = no(&mut alice, &format!("STATUS \"{name}\" (MESSAGES)"));
        assert_eq!(told, "t NO [NONEXISTENT] no such mailbox", "{name}");
        no(&mut alice, &format!("MYRIGHTS \"{name}\""));
        no(&mut alice, &format!("GETACL \"{name}\""));
    }
    // And nothing is selected after the attempt.
    assert_eq!(alice.command("FETCH 1 UID"), ["t BAD no mailbox is selected"]);
    assert_eq!(
        no(&mut alice, "GETACL \"Other Users/bob/Plans\""),
        "t NO [NOPERM] you have no right to do that"
    );
}

#[test]
fn rights_are_told_and_end_with_the_next_command() {
    let (_street, mut alice, mut bob) = shared("lrw");
    let told = ok(&mut alice, "MYRIGHTS \"Other Users/bob/Plans\"");
    assert!(has(&told, "* MYRIGHTS \"Other Users/bob/Plans\" lrw"), "{told:?}");
    let told = ok(&mut bob, "GETACL Plans");
    assert!(has(&told, "* ACL Plans bob lrswipkxteacd alice lrw"), "{told:?}");
    ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    ok(&mut alice, "STORE 1 +FLAGS (\\Flagged)");
    ok(&mut bob, "DELETEACL Plans alice");
    no(&mut alice, "STORE 1 -FLAGS (\\Flagged)");
    no(&mut alice, "FETCH 1 FLAGS");
    no(&mut alice, "SELECT \"Other Users/bob/Plans\"");
}

#[test]
fn flags_are_those_that_the_rights_let_be_set() {
    let (_street, mut alice, _bob) = shared("lrsw");
    let selected = ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    let flags = selected.iter().find(|line| line.contains("PERMANENTFLAGS")).unwrap();
    assert_eq!(flags, "* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Draft \\*)] shared mailbox");
    let told = ok(&mut alice, "STORE 1 FLAGS (\\Seen \\Deleted kept)");
    assert!(told.iter().any(|line| line.contains("FLAGS (\\Seen kept")), "{told:?}");
    no(&mut alice, "STORE 1 +FLAGS (\\Deleted)");
    no(&mut alice, "EXPUNGE");
}

#[test]
fn messages_go_in_and_out() {
    let (_street, mut alice, mut bob) = shared("lrsite");
    let plans = "\"Other Users/bob/Plans\"";
    let appended = alice.append(plans, &message("simple.eml"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    // Out of a mailbox of her own, and back.
    for _ in 0..3 {
        alice.append("INBOX", &message("simple.eml"));
    }
    ok(&mut alice, "SELECT INBOX");
    ok(&mut alice, "STORE 1 +FLAGS (\\Seen \\Flagged)");
    let copied = ok(&mut alice, &format!("COPY 1:2 {plans}"));
    assert!(
        copied.last().unwrap().contains("[COPYUID ") && copied.last().unwrap().contains(" 1:2 4:5]"),
        "{copied:?}"
    );
    let moved = ok(&mut alice, &format!("UID MOVE 3 {plans}"));
    assert!(moved.iter().any(|line| line.contains(" 3 6]")) && has(&moved, "* 3 EXPUNGE"), "{moved:?}");
    let selected = ok(&mut alice, &format!("SELECT {plans}"));
    assert!(
        has(&selected, "* OK [CLOSED] the previous mailbox is closed") && has(&selected, "* 6 EXISTS"),
        "{selected:?}"
    );
    // `\Flagged` needs w, which she has not.
    let flags = ok(&mut alice, "UID FETCH 4 FLAGS");
    assert!(flags[0].contains("\\Seen") && !flags[0].contains("\\Flagged"), "{flags:?}");
    let copied = ok(&mut alice, "UID COPY 1,6 Archive");
    assert!(copied.last().unwrap().contains(" 1,6 1:2]"), "{copied:?}");
    let moved = ok(&mut alice, "MOVE 6 Archive");
    assert!(moved.iter().any(|line| line.contains(" 6 3]")) && has(&moved, "* 6 EXPUNGE"), "{moved:?}");
    let status = ok(&mut alice, "STATUS Archive (MESSAGES)");
    assert!(has(&status, "* STATUS Archive (MESSAGES 3)"), "{status:?}");
    ok(&mut alice, "STORE 1 +FLAGS (\\Deleted)");
    let expunged = ok(&mut alice, "EXPUNGE");
    assert!(has(&expunged, "* 1 EXPUNGE"), "{expunged:?}");
    let status = ok(&mut bob, "STATUS Plans (MESSAGES)");
    assert!(has(&status, "* STATUS Plans (MESSAGES 4)"), "{status:?}");
    // A part of another message is not taken, and the command is answered when it is whole.
    alice.send(format!("t APPEND {plans} CATENATE (URL \"/INBOX/;UID=1\" TEXT {{3+}}\r\nabc)\r\n"));
    let told = alice.until("t ");
    assert!(told.last().unwrap().starts_with("t NO [BADURL"), "{told:?}");
    // Synchronising, in pieces.
    alice.send(format!("t APPEND {plans} {{5}}\r\n"));
    assert_eq!(alice.line(), "+ OK");
    alice.send("a: b");
    alice.send("\n\r\n");
    let told = alice.until("t ");
    assert!(told.last().unwrap().starts_with("t OK [APPENDUID"), "{told:?}");
}

#[test]
fn mailboxes_are_made_renamed_and_deleted_by_right() {
    let (_street, mut alice, mut bob) = shared("lrkx");
    ok(&mut alice, "CREATE \"Other Users/bob/Plans/new\"");
    // It has the rights of the one above it.
    let told = ok(&mut alice, "MYRIGHTS \"Other Users/bob/Plans/new\"");
    assert!(has(&told, "* MYRIGHTS \"Other Users/bob/Plans/new\" lrkxc"), "{told:?}");
    ok(&mut alice, "RENAME \"Other Users/bob/Plans/new\" \"Other Users/bob/Plans/old\"");
    no(&mut alice, "RENAME \"Other Users/bob/Plans/old\" \"Other Users/bob/old\"");
    no(&mut alice, "RENAME \"Other Users/bob/Plans/old\" mine");
    no(&mut alice, "CREATE \"Other Users/bob/top\"");
    no(&mut alice, "CREATE \"Other Users/carol/top\"");
    no(&mut alice, "CREATE \"Other Users\"");
    ok(&mut alice, "DELETE \"Other Users/bob/Plans/old\"");
    ok(&mut bob, "RENAME Plans Old");
    let told = ok(&mut alice, "MYRIGHTS \"Other Users/bob/Old\"");
    assert!(has(&told, "* MYRIGHTS \"Other Users/bob/Old\" lrkxc"), "{told:?}");
    // A mailbox of the same name is another one.
    ok(&mut bob, "DELETE Old");
    ok(&mut bob, "CREATE Old");
    no(&mut alice, "SELECT \"Other Users/bob/Old\"");
}

#[test]
fn changes_are_told_in_idle() {
    let (street, mut alice, mut bob) = shared("lr");
    ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    alice.send("t IDLE\r\n");
    assert_eq!(alice.line(), "+ idling");
    street.account("bob").file("Plans", &message("simple.eml"));
    alice.until("* 3 EXISTS");
    ok(&mut bob, "SELECT Plans");
    ok(&mut bob, "STORE 1 +FLAGS (\\Deleted)");
    ok(&mut bob, "EXPUNGE");
    alice.until("* 1 EXPUNGE");
    alice.send("DONE\r\n");
    alice.until("t OK");
    ok(&mut alice, "NOOP");
}

#[test]
fn idle_ends_when_nothing_is_shared_any_more() {
    let (street, mut alice, mut bob) = shared("lr");
    ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    alice.send("t IDLE\r\n");
    assert_eq!(alice.line(), "+ idling");
    ok(&mut bob, "SETACL Plans alice \"\"");
    street.account("bob").file("Plans", &message("simple.eml"));
    assert_eq!(alice.line(), "* BYE the selected mailbox cannot be reached any more");
}

#[test]
fn anyone_is_everybody() {
    let (street, _alice, mut bob) = shared("lr");
    ok(&mut bob, "SETACL Plans anyone lr");
    ok(&mut bob, "SETACL Plans carol +i");
    let mut carol = street.log_in("carol");
    let told = ok(&mut carol, "MYRIGHTS \"Other Users/bob/Plans\"");
    assert!(has(&told, "* MYRIGHTS \"Other Users/bob/Plans\" lri"), "{told:?}");
}

#[test]
fn enabled_extensions_hold_on_both_sides() {
    let (_street, mut alice, _bob) = shared("lrswte");
    ok(&mut alice, "ENABLE QRESYNC IMAP4rev2");
    let selected = ok(&mut alice, "SELECT \"Other Users/bob/Plans\"");
    assert!(selected.iter().any(|line| line.contains("HIGHESTMODSEQ")), "{selected:?}");
    assert!(has(&selected, "* LIST () \"/\" \"Other Users/bob/Plans\""), "{selected:?}");
    ok(&mut alice, "STORE 1 +FLAGS (\\Deleted)");
    let expunged = ok(&mut alice, "EXPUNGE");
    assert!(has(&expunged, "* VANISHED 1"), "{expunged:?}");
    ok(&mut alice, "ENABLE UIDONLY");
    let fetched = ok(&mut alice, "UID FETCH 2 FLAGS");
    assert!(fetched[0].starts_with("* 2 UIDFETCH ("), "{fetched:?}");
}

/// Attack class 31: what a captured process of a principal may say to an owner's session.
#[test]
fn a_guest_may_say_nothing_but_the_commands_of_shared_mailboxes() {
    let (street, _alice, _bob) = shared("lrswipkxtea");
    let mut guest = street.guest("alice", "bob");
    for command in [
        "CAPABILITY",
        "LOGIN a b",
        "AUTHENTICATE PLAIN",
        "STARTTLS",
        "SUBSCRIBE \"Other Users/bob/Plans\"",
        "UNSUBSCRIBE Plans",
        "LSUB \"\" *",
        "ESEARCH IN (personal) ALL",
        "GETMETADATA \"\" /private/x",
        "GETMETADATA \"Other Users/bob/Plans\" /private/x",
        "SETMETADATA \"\" (/private/x NIL)",
        "COMPRESS DEFLATE",
        "GETQUOTA \"\"",
        "GETQUOTAROOT INBOX",
        "ID NIL",
        "LANGUAGE",
        "NAMESPACE",
        "NOTIFY NONE",
        "LIST (SUBSCRIBED) \"\" *",
        "LIST (SPECIAL-USE) \"\" *",
        "LIST \"\" * RETURN (METADATA (/private/x))",
        "SELECT INBOX",
        "SELECT Plans",
        "SELECT Secret",
        "SELECT \"Other Users/bob/Secret\"",
        "SELECT \"Other Users/bob/../bob/Plans\"",
        "SELECT \"Other Users/carol/Plans\"",
        "STATUS Secret (MESSAGES)",
        "DELETE Secret",
        "RENAME Secret \"Other Users/bob/Plans/x\"",
        "RENAME \"Other Users/bob/Plans\" mine",
        "GETACL Secret",
        "SETACL \"Other Users/bob/Secret\" alice lr",
        "CREATE \"Other Users/bob/Plans/x\" (USE (\\Sent))",
        "CREATE top",
    ] {
        let answer = guest.command(command);
        assert_eq!(answer.len(), 1, "{command}: {answer:?}");
        assert!(answer[0].starts_with("t NO ") || answer[0].starts_with("t BAD "), "{command}: {answer:?}");
    }
    let listed = guest.command("LIST \"\" \"*\"");
    assert_eq!(listed, ["* LIST (\\HasNoChildren) \"/\" \"Other Users/bob/Plans\"", "t OK LIST completed"]);
    for command in ["COPY 1 Secret", "COPY 1 \"Other Users/bob/Secret\"", "MOVE 1 INBOX"] {
        guest.command("SELECT \"Other Users/bob/Plans\"");
        let answer = guest.command(command).pop().unwrap();
        assert!(answer.starts_with("t NO [TRYCREATE]"), "{command}: {answer}");
    }
    // A part of a message that it may not read.
    guest.send("t APPEND \"Other Users/bob/Plans\" CATENATE (URL \"/Secret/;UID=1\")\r\n");
    assert!(guest.until("t ").pop().unwrap().starts_with("t NO [BADURL"));
    let appended = guest.append("Secret", b"a: b\r\n\r\n");
    assert!(appended.starts_with("t NO [TRYCREATE]"), "{appended}");
    let set = guest.command("SETACL \"Other Users/bob/Plans\" carol lr");
    assert_eq!(set, ["t OK SETACL completed"]);
}

/// Attack class 27: half a command, commands before the first is answered, and octets that are none.
#[test]
fn a_guest_that_keeps_no_rules_costs_its_own_session() {
    let (street, _alice, mut bob) = shared("lr");
    let mut half = street.guest("alice", "bob");
    half.send("t SELECT \"Other Users/bob/Pl");
    let mut eager = street.guest("alice", "bob");
    eager.send(
        "a SELECT \"Other Users/bob/Plans\"\r\nb SELECT \"Other Users/bob/Secret\"\r\nc FETCH 1 FLAGS\r\n",
    );
    eager.until("a OK");
    eager.until("b NO");
    assert_eq!(eager.until("c ").pop().unwrap(), "c BAD no mailbox is selected");
    let mut broken = street.guest("alice", "bob");
    broken.send([b"t ".to_vec(), vec![b'x'; (16 << 10) - 1]].concat());
    let (said, _) = broken.rest();
    assert!(said.contains("* BYE"), "{said}");
    // UIDs beyond the mailbox are nobody's.
    let mut beyond = street.guest("alice", "bob");
    beyond.command("SELECT \"Other Users/bob/Plans\"");
    assert_eq!(beyond.command("UID FETCH 99:100 FLAGS"), ["t OK FETCH completed"]);
    ok(&mut bob, "SELECT Plans");
}
