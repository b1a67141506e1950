//! Time limits, bounded memory, hostile clients.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;

use imapd_session::{End, SessionLimits};

use crate::harness::Account;

fn limits(change: impl FnOnce(&mut SessionLimits)) -> SessionLimits {
    let mut limits = SessionLimits::default();
    change(&mut limits);
    limits
}

/// Attack class 14: a client that never reads loses its session by the write limit, and meanwhile another session
/// on the same account is served.
#[test]
fn a_client_that_never_reads_delays_nobody_and_is_cut() {
    let account = Account::new();
    let large = [b"Subject: x\r\n\r\n".to_vec(), vec![b'x'; 4 << 20]].concat();
    account.file("INBOX", &large);
    let mut deaf = account.log_in_with(limits(|limits| limits.write = Duration::from_millis(300)), false);
    deaf.send("a SELECT INBOX\r\nb FETCH 1 BODY.PEEK[]\r\n");
    let mut other = account.log_in();
    other.command("SELECT INBOX");
    for _ in 0..20 {
        assert_eq!(other.command("FETCH 1 FLAGS").len(), 2);
        other.command("STORE 1 +FLAGS.SILENT (\\Flagged)");
    }
    assert!(matches!(deaf.end(), End::NotReading));
}

#[test]
fn an_idle_session_is_told_bye() {
    let account = Account::new();
    let quick = limits(|limits| limits.idle = Duration::from_millis(50));
    let (text, end) = account.log_in_with(quick, false).rest();
    assert_eq!(text, "* BYE idle for too long\r\n");
    assert!(matches!(end, End::Idle));
    let mut idling = account.log_in_with(quick, false);
    idling.send("a IDLE\r\n");
    assert!(matches!(idling.rest().1, End::Idle));
}

/// Attack class 14: one octet at a time does not keep a command open beyond its limit.
#[test]
fn a_command_that_never_ends_is_cut() {
    let account = Account::new();
    let quick = limits(|limits| limits.command = Duration::from_millis(50));
    let mut client = account.log_in_with(quick, false);
    client.send("a NOO");
    let (text, end) = client.rest();
    assert_eq!(text, "* BYE command not finished in time\r\n");
    assert!(matches!(end, End::Stalled));
    let mut client = account.log_in_with(quick, false);
    client.send("a APPEND INBOX {100}\r\n");
    assert_eq!(client.line(), "+ OK");
    client.send("Subject");
    assert!(matches!(client.rest().1, End::Stalled));
    assert_eq!(account.log_in().command("STATUS INBOX (MESSAGES)")[0], "* STATUS INBOX (MESSAGES 0)");
}

#[test]
fn a_session_told_to_stop_says_bye() {
    let account = Account::new();
    let client = account.log_in();
    client.stopping.store(true, Ordering::Release);
    client.stream.shutdown(Shutdown::Write).unwrap();
    let (text, end) = client.rest();
    assert_eq!(text, "* BYE the server is stopping, come back soon\r\n");
    assert!(matches!(end, End::Stopping));
}

#[test]
fn a_client_that_talks_nonsense_is_sent_away() {
    let account = Account::new();
    let mut client = account.log_in();
    client.send("GET / HTTP/1.1\r\n".repeat(30));
    let (text, end) = client.rest();
    assert_eq!(text.matches("GET BAD unknown command").count(), 20);
    assert!(text.ends_with("* BYE too many errors\r\n"));
    assert!(matches!(end, End::BadCommands));
}

/// Attack class 7: literals beyond the limits end the session, whatever the command; nothing is kept of them.
#[test]
fn hostile_literals_end_the_session() {
    let account = Account::new();
    let many = format!("a SEARCH {}ALL\r\n", "TEXT {1+}\r\nx ".repeat(1001));
    for (input, answer) in [
        ("a SELECT {102401+}\r\n", "* BAD literal too large\r\n* BYE closing the connection\r\n"),
        ("a APPEND INBOX {104857601+}\r\n", "* BAD literal too large\r\n* BYE closing the connection\r\n"),
        (
            "a LOGIN {99999999999999999999+}\r\n",
            "* BAD literal too large\r\n* BYE closing the connection\r\n",
        ),
        (many.as_str(), "* BAD command too large\r\n* BYE closing the connection\r\n"),
        ("{5+}\r\n", "* BAD a literal where no string can be\r\n* BYE closing the connection\r\n"),
        ("a NOOP\n", "* BAD lines end in CR LF\r\n* BYE closing the connection\r\n"),
    ] {
        let mut client = account.log_in();
        client.send(input);
        let (text, end) = client.rest();
        assert_eq!(text, answer, "{}", input.get(..40).unwrap_or(input));
        assert!(matches!(end, End::Protocol(_)));
    }
}

/// Attack class 8: nesting and sets beyond all measure are answered BAD or cheaply, and the session goes on.
#[test]
fn hostile_nesting_and_sets_are_answered() {
    let account = Account::new();
    account.file("INBOX", b"Subject: x\r\n\r\n");
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    for unit in ["NOT ", "(", "OR ALL "] {
        let answer = client.command(&format!("SEARCH {}ALL", unit.repeat(16_000 / unit.len())));
        assert_eq!(answer, ["t BAD nested too deeply"]);
    }
    let set = vec!["1:4294967295"; 1200].join(",");
    assert_eq!(client.command(&format!("UID FETCH {set} UID")).len(), 2);
    assert_eq!(client.command(&format!("FETCH {set} UID")), ["t BAD no message has that number"]);
    assert_eq!(client.command(&format!("UID STORE {set} FLAGS ()")).len(), 2);
    assert_eq!(client.command(&format!("SEARCH {set}"))[0], "* SEARCH 1");
    assert_eq!(client.command(&format!("LIST \"\" {}", "%*".repeat(7000))).len(), 7);
    let patterns = vec!["%*".repeat(100); 50].join(" ");
    assert_eq!(client.command(&format!("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" ({patterns})")).len(), 7);
    let answer = client.command(&format!("LIST \"\" ({patterns} %)"));
    assert_eq!(answer, ["t BAD too many patterns"]);
    assert_eq!(
        client.command(&format!("SEARCH RETURN ({}) ALL", "ALL ".repeat(3000))),
        ["t BAD too many result options"]
    );
    assert_eq!(client.command(&format!("ENABLE{}", " X".repeat(3000))), ["t BAD too many extensions"]);
}

/// Attack class 18: what a client says is never written back as anything but data.
#[test]
fn names_cannot_inject_response_lines() {
    let account = Account::new();
    let mut client = account.log_in();
    client.send("a CREATE {18+}\r\nx\r\n* BYE injected \r\n");
    assert_eq!(
        client.until("a "),
        ["a BAD mailbox name: only printable US-ASCII and modified UTF-7 are allowed"]
    );
    client.send("b CREATE {8+}\r\n\" (\\Seen\r\n");
    let answer = client.until("b ");
    assert!(answer[0].starts_with("b NO [CANNOT]"), "{answer:?}");
    client.send("c CREATE {5+}\r\na\" (b\r\n");
    client.until("c OK");
    let listed = client.command("LIST \"\" \"a\\\"*\"");
    assert_eq!(listed[0], "* LIST (\\HasNoChildren) \"/\" \"a\\\" (b\"");
}

/// Attack class 24 and 31: nothing a client can say reaches beyond its own account's store. Names are refused or
/// name nothing; none is a path.
#[test]
fn no_name_reaches_outside_the_account() {
    let account = Account::new();
    let neighbour = Account::new();
    neighbour.file("INBOX", b"Subject: canary-of-the-neighbour\r\n\r\n");
    let mut client = account.log_in();
    for name in [
        "../2/INBOX",
        "/",
        "/etc/passwd",
        "..",
        ".",
        "INBOX/../../2",
        "#shared/other/INBOX",
        "~other/INBOX",
        "accounts/2/account.sqlite",
        "file:account.sqlite",
        "INBOX;DROP TABLE message",
        "x' OR '1'='1",
        "&AC8-",
        "&AAA-",
        "%",
        "*",
    ] {
        for command in ["SELECT", "EXAMINE", "DELETE"] {
            let answer = client.command(&format!("{command} \"{name}\"")).pop().unwrap();
            assert!(answer.starts_with("t NO") || answer.starts_with("t BAD"), "{command} {name}: {answer}");
        }
        let answer = client.append(&format!("\"{name}\""), b"x\r\n");
        assert!(
            answer.starts_with("t NO") || answer.starts_with("t BAD") || answer.is_empty(),
            "{name}: {answer}"
        );
    }
    client.command("SELECT INBOX");
    assert_eq!(client.command("SEARCH TEXT canary")[0], "* SEARCH");
    let long = "a".repeat(16_000);
    let answer = client.command(&format!("CREATE {long}"));
    assert_eq!(answer, ["t NO [CANNOT] a mailbox name has at most 255 octets"]);
}

#[test]
fn a_large_message_goes_in_and_out_in_pieces() {
    let account = Account::new();
    let mut client = account.log_in();
    let mut octets = b"Subject: large\r\n\r\n".to_vec();
    (0..200_000u32).for_each(|line| octets.extend_from_slice(format!("line {line}\r\n").as_bytes()));
    assert!(client.append("INBOX", &octets).starts_with("t OK [APPENDUID"));
    client.command("SELECT INBOX");
    client.send("f FETCH 1 BODY.PEEK[]\r\n");
    assert_eq!(client.line(), format!("* 1 FETCH (BODY[] {{{}}}", octets.len()));
    let mut back = Vec::new();
    while back.len() < octets.len() {
        back.extend_from_slice(client.line().as_bytes());
        back.extend_from_slice(b"\r\n");
    }
    assert!(back == octets);
    client.until("f OK");
    let answer = client.command(&format!("FETCH 1 BODY.PEEK[TEXT]<{}.6>", octets.len() - 18 - 6));
    assert_eq!(answer[0], format!("* 1 FETCH (BODY[TEXT]<{}> {{6}}", octets.len() - 24));
    assert_eq!(answer[1..3], ["9999", ")"]);
    assert_eq!(client.command("SEARCH BODY \"LINE 199999\"")[0], "* SEARCH 1");
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_it_is_sent() {
    let account = Account::new();
    let mut client = account.log_in_with(limits(|limits| limits.message = 1000), false);
    client.send("a APPEND INBOX {1001}\r\n");
    assert_eq!(client.line(), "a NO [TOOBIG] literal too large");
    assert!(client.append("INBOX", &[b'x'; 1000]).starts_with("t OK"));
    assert_eq!(client.append("INBOX", b"a\0b"), "t NO [CANNOT] a message has no NUL");
}

/// Attack class 46: a SEARCH that takes too long is stopped, and the session goes on.
#[test]
fn a_search_has_a_time_limit() {
    let account = Account::new();
    account.file("INBOX", b"Subject: x\r\n\r\n");
    let mut client = account.log_in_with(limits(|limits| limits.search = Duration::ZERO), false);
    client.command("SELECT INBOX");
    assert_eq!(client.command("SEARCH TEXT x"), ["t NO [LIMIT] that took too long and was stopped"]);
    assert_eq!(client.command("NOOP"), ["t OK NOOP completed"]);
}

#[test]
fn a_client_that_leaves_in_the_middle_ends_its_session() {
    let account = Account::new();
    for sent in ["", "a NOOP", "a APPEND INBOX {10+}\r\nabc", "a IDLE\r\n", "a SELECT INBOX\r\n"] {
        let mut client = account.log_in();
        client.send(sent);
        client.stream.shutdown(Shutdown::Write).unwrap();
        let (_, end) = client.rest();
        assert!(matches!(end, End::Disconnected), "{sent}: {end}");
    }
    assert_eq!(account.log_in().command("STATUS INBOX (MESSAGES)")[0], "* STATUS INBOX (MESSAGES 0)");
}

#[test]
fn answers_to_a_flood_of_commands_do_not_pile_up() {
    let account = Account::new();
    let client = account.log_in();
    let mut writer = client.stream.try_clone().unwrap();
    let mut reader = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for number in 0..20_000 {
            writer.write_all(format!("a{number} NOOP\r\n").as_bytes()).unwrap();
        }
        writer.write_all(b"z LOGOUT\r\n").unwrap();
    });
    let mut answers = String::new();
    reader.read_to_string(&mut answers).unwrap();
    writing.join().unwrap();
    assert_eq!(answers.matches(" OK NOOP completed\r\n").count(), 20_000);
    assert!(matches!(client.end(), End::Logout));
}

/// RFC 9585: every command that goes on in slices says how far it is, before its answer.
#[test]
fn commands_that_take_long_say_how_far_they_are() {
    let account = Account::new();
    for _ in 0..3 {
        account.file("INBOX", b"Subject: x\r\n\r\n");
    }
    let limits = SessionLimits { progress: Duration::ZERO, ..SessionLimits::default() };
    let mut client = account.log_in_with(limits, false);
    client.command("SELECT INBOX");
    for (command, answer) in [
        ("SEARCH UNSEEN", "* SEARCH 1 2 3"),
        ("SORT (SUBJECT) UTF-8 ALL", "* SORT 1 2 3"),
        ("THREAD REFS UTF-8 ALL", "* THREAD (1)(2)(3)"),
        ("STORE 1:3 +FLAGS.SILENT (\\Seen)", "t OK STORE completed"),
        ("COPY 1:3 Archive", "t OK [COPYUID"),
        ("UID MOVE 2:3 Archive", "* OK [COPYUID"),
    ] {
        let lines = client.command(command);
        let of = if command.starts_with("UID MOVE") { 2 } else { 3 };
        assert_eq!(lines[0], format!("* OK [INPROGRESS (\"t\" {of} {of})] still at work"), "{command}");
        assert!(lines[1].starts_with(answer), "{command}: {lines:?}");
    }
}
