//! Clients that come back: what they are told when the store remembers what was expunged, and when it does not any more.

use std::collections::BTreeSet;

use crate::harness::{Account, Client};

/// Delivers, expunges and leaves: messages 1 to `count`, of which `gone` are expunged one after the other.
fn account(count: usize, gone: &[u32]) -> (Account, u64) {
    let account = Account::new();
    (0..count).for_each(|_| account.file("INBOX", b"Subject: x\r\n\r\n"));
    let mut client = account.log_in();
    client.command("ENABLE QRESYNC");
    let before = highest(&client.command("SELECT INBOX"));
    for uid in gone {
        client.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"));
        client.command("EXPUNGE");
    }
    (account, before)
}

fn highest(lines: &[String]) -> u64 {
    let after = lines.iter().find_map(|line| line.split_once("[HIGHESTMODSEQ ")).unwrap().1;
    after.split(']').next().unwrap().parse().unwrap()
}

fn client(account: &Account) -> Client {
    let mut client = account.log_in();
    client.command("ENABLE QRESYNC");
    client
}

/// What SELECT says of messages that vanished, in lines as they came.
fn vanished(client: &mut Client, account: &Account, known: &str) -> Vec<String> {
    let validity = account.uidvalidity("INBOX");
    let lines = client.command(&format!("SELECT INBOX (QRESYNC ({validity} {known}))"));
    assert!(lines.last().unwrap().starts_with("t OK"), "{lines:?}");
    let vanished = lines.iter().filter_map(|line| line.strip_prefix("* VANISHED (EARLIER) "));
    vanished.map(str::to_owned).collect()
}

fn uids(lines: &[String]) -> BTreeSet<u32> {
    let ranges = lines.iter().flat_map(|line| line.split(','));
    ranges
        .flat_map(|range| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse().unwrap()
        })
        .collect()
}

#[test]
fn what_is_not_remembered_is_taken_for_expunged() {
    let (account, before) = account(10, &[3, 4, 7]);
    let mut client = client(&account);
    for (known, exact, complete) in [
        ("", &["3:4,7"][..], &["3:4,7"][..]),
        (" 1:10", &["3:4,7"], &["3:4,7"]),
        (" 1:3,7,11:20", &["3,7"], &["3,7"]),
        (" 5:6", &[], &[]),
    ] {
        account.store.forget_expunged(50_000).unwrap();
        assert_eq!(vanished(&mut client, &account, &format!("{before}{known}")), exact, "{known}");
        // As if the mailbox had seen many more since.
        account.store.forget_expunged(0).unwrap();
        assert_eq!(vanished(&mut client, &account, &format!("{before}{known}")), complete, "{known}");
    }
    // What is beyond the memory is asked for by UID FETCH as well.
    let fetched = client.command(&format!("UID FETCH 1:100 (UID) (CHANGEDSINCE {before} VANISHED)"));
    assert_eq!(fetched[0], "* VANISHED (EARLIER) 3:4,7");
    // A client that knows the latest change has missed nothing.
    let now = highest(&client.command("SELECT INBOX"));
    assert!(vanished(&mut client, &account, &format!("{now} 1:10")).is_empty());
}

/// RFC 7162 §3.2.5.2: what the client says of its numbers cuts the answer short, and never too short.
#[test]
fn known_numbers_spare_what_is_certain() {
    let (account, before) = account(10, &[6, 8]);
    account.store.forget_expunged(0).unwrap();
    let mut client = client(&account);
    for (pairs, told, reason) in [
        ("", &["6,8"][..], "nothing known"),
        (" (5 5)", &["6,8"], "5 is still the fifth: all up to it are there"),
        (" (1:10 1:10)", &["6,8"], "1 to 5 agree"),
        (" (5,6 5,7)", &["8"], "it knew already that 6 was gone: 7 is the sixth"),
        (" (5:7 5,7,9)", &[], "it knew already that both were gone"),
        (" (1:8 1:5,7,9:10)", &[], "the whole mailbox"),
        (" (10 10)", &["6,8"], "10 is not the tenth any more"),
        (" (4294967295 4294967295)", &["6,8"], "beyond the end"),
        (" (1:4294967295 1:4294967295)", &["6,8"], "all that could ever be"),
    ] {
        let known = format!("{before} 1:5,7:10{pairs}");
        let expected: Vec<_> = told.iter().map(|told| told.replace("6,8", "8")).collect();
        assert_eq!(vanished(&mut client, &account, &known), expected, "{reason}");
        let known = format!("{before} 1:10{pairs}");
        assert_eq!(vanished(&mut client, &account, &known), told, "{reason}");
    }
}

/// Attack class 8: sets as large as a line holds, and as numbers go, cost what there is in the mailbox.
#[test]
fn hostile_sets_cost_no_more_than_the_mailbox() {
    let (account, before) = account(50, &[2]);
    account.store.forget_expunged(0).unwrap();
    let mut client = client(&account);
    let begun = std::time::Instant::now();
    let halves = "1:2147483647,2147483648:4294967295";
    let known = format!("{before} {halves} (1:4294967295 {halves})");
    assert_eq!(vanished(&mut client, &account, &known), ["2"]);
    let odd: Vec<String> = (0..900).map(|place| (1 + 2 * place).to_string()).collect();
    let even: Vec<String> = (0..900).map(|place| (2 + 2 * place).to_string()).collect();
    let known = format!("{before} {} ({} {})", even.join(","), odd.join(","), even.join(","));
    assert!(known.len() > 8_000);
    // 4 is the third, as the client says: so it knows of 2.
    assert!(vanished(&mut client, &account, &known).is_empty());
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

/// RFC 7162 §4 leaves room for 8,192 octets in a line.
#[test]
fn long_lists_of_vanished_messages_come_in_lines_that_clients_can_read() {
    let account = Account::new();
    (0..6000).for_each(|_| account.file("INBOX", b"x\r\n"));
    let mut client = client(&account);
    let before = highest(&client.command("SELECT INBOX"));
    let odd: Vec<String> = (1..6000).step_by(2).map(|uid: u32| uid.to_string()).collect();
    for part in odd.chunks(1000) {
        client.command(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", part.join(",")));
    }
    let lines = client.command("EXPUNGE");
    let now: Vec<String> =
        lines.iter().filter_map(|line| line.strip_prefix("* VANISHED ")).map(str::to_owned).collect();
    let remembered = vanished(&mut client, &account, &before.to_string());
    account.store.forget_expunged(0).unwrap();
    let forgotten = vanished(&mut client, &account, &before.to_string());
    let expected: BTreeSet<u32> = (1..6000).step_by(2).collect();
    for lines in [now, remembered, forgotten] {
        assert!(lines.iter().all(|line| line.len() < 8000) && lines.len() > 1);
        assert_eq!(uids(&lines), expected);
    }
}

/// The store compares and changes in one step: of many sessions that all saw the same state one wins.
#[test]
fn of_conditional_stores_at_the_same_time_one_wins() {
    let account = Account::new();
    account.file("INBOX", b"x\r\n");
    let mut clients: Vec<_> = (0..4).map(|_| client(&account)).collect();
    for round in 0..25 {
        let seen: Vec<u64> =
            clients.iter_mut().map(|client| highest(&client.command("SELECT INBOX"))).collect();
        for (place, (client, seen)) in clients.iter_mut().zip(&seen).enumerate() {
            client.send(format!("t STORE 1 (UNCHANGEDSINCE {seen}) +FLAGS.SILENT ($r{round}-{place})\r\n"));
        }
        let answers: Vec<_> = clients.iter_mut().map(|client| client.until("t ").pop().unwrap()).collect();
        let won = answers.iter().filter(|answer| *answer == "t OK STORE completed").count();
        assert_eq!(won, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| won == 1 && answer.starts_with("t OK")));
        clients[0].command("STORE 1 FLAGS.SILENT ()");
    }
}
