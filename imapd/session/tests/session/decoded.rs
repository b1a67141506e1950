//! BINARY: parts come decoded, whatever their size, and what they cost is bounded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imapd_session::SessionLimits;
use proptest::prelude::*;
use store_lib::Parse;

use crate::harness::{Account, message};

/// A message of one part in base64, its lines of 76.
fn in_base64(octets: &[u8]) -> Vec<u8> {
    let mut message =
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    for line in STANDARD.encode(octets).as_bytes().chunks(76) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message
}

#[test]
fn a_part_with_nuls_comes_as_a_literal8() {
    let account = Account::new();
    account.file("INBOX", &in_base64(b"a\0b"));
    account.file("INBOX", &in_base64(b"a\0b"));
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    let (text, octets, rest) = client.literal("FETCH 1 BINARY.PEEK[1]");
    assert_eq!((text.as_str(), octets.as_slice()), ("* 1 FETCH (BINARY[1] ~", &b"a\0b"[..]));
    assert_eq!(rest, [")", "t OK FETCH completed"]);
    // The NUL is not among the octets that were asked for.
    let (text, octets, _) = client.literal("FETCH 1 BINARY.PEEK[1]<0.1>");
    assert_eq!((text.as_str(), octets.as_slice()), ("* 1 FETCH (BINARY[1]<0> ", &b"a"[..]));
    assert_eq!(client.command("FETCH 1 BINARY.SIZE[1]")[0], "* 1 FETCH (BINARY.SIZE[1] 3)");
}

/// 20 MiB of which the session holds no more than pieces; offsets in it are found in any place.
#[test]
fn a_large_part_is_decoded_in_pieces() {
    let account = Account::new();
    let octets: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    account.file("INBOX", &in_base64(&octets));
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    let size = octets.len();
    assert_eq!(client.command("FETCH 1 BINARY.SIZE[1]")[0], format!("* 1 FETCH (BINARY.SIZE[1] {size})"));
    let (text, found, _) = client.literal("FETCH 1 BINARY.PEEK[1]");
    assert_eq!(text, "* 1 FETCH (BINARY[1] ~");
    assert!(found == octets);
    for (first, length) in [(0, 1), (size / 2 + 1, 100_000), (size - 3, 100), (65_535, 2)] {
        let (_, found, _) = client.literal(&format!("FETCH 1 BINARY.PEEK[1]<{first}.{length}>"));
        assert!(found == octets[first..size.min(first + length)], "{first}.{length}");
    }
    assert_eq!(
        client.command(&format!("FETCH 1 BINARY.PEEK[1]<{size}.1>"))[..2],
        [format!("* 1 FETCH (BINARY[1]<{size}> {{0}}"), ")".to_owned()]
    );
}

/// Attack class 46: parts that cost much to decode and answer little have a time limit, and the session goes on.
#[test]
fn decoding_has_a_time_limit() {
    let account = Account::new();
    account.file("INBOX", &in_base64(&[0; 1 << 20]));
    let limits = SessionLimits { search: Duration::ZERO, ..SessionLimits::default() };
    let mut client = account.log_in_with(limits, false);
    client.command("SELECT INBOX");
    let stopped = ["t NO [LIMIT] that took too long and was stopped"];
    assert_eq!(client.command("FETCH 1 BINARY.SIZE[1]"), stopped);
    assert_eq!(client.command("FETCH 1 (UID BINARY.PEEK[1]<1000000.1>)"), stopped);
    assert_eq!(client.command("FETCH 1 UID").len(), 2);
    assert_eq!(client.command("LIST \"\" *"), stopped);
}

/// A message in whose parsing the process once died is one plain text, in no encoding.
#[test]
fn an_unparsed_message_is_decoded_as_it_is() {
    let account = Account::new();
    let octets = in_base64(b"x");
    account.file_as("INBOX", &octets, Parse::No);
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    let (_, found, _) = client.literal("FETCH 1 BINARY.PEEK[1]");
    assert_eq!(found, octets);
    let sizes = client.command("FETCH 1 (BINARY.SIZE[] BINARY.SIZE[1] BINARY.SIZE[2])");
    let size = octets.len();
    assert_eq!(sizes[0], format!("* 1 FETCH (BINARY.SIZE[] {size} BINARY.SIZE[1] {size} BINARY.SIZE[2] 0)"));
}

/// RFC 3516 §4.4: a server that keeps no binary messages says so by UNKNOWN-CTE.
#[test]
fn an_appended_message_has_no_nul_however_it_is_announced() {
    let account = Account::new();
    let mut client = account.log_in();
    client.send("t APPEND INBOX ~{3+}\r\na\0b\r\n");
    assert_eq!(client.until("t "), ["t NO [UNKNOWN-CTE] a message has no NUL"]);
    client.send("t APPEND INBOX ~{3}\r\n");
    assert_eq!(client.line(), "+ OK");
    client.send("a\0b\r\n");
    assert_eq!(client.until("t "), ["t NO [UNKNOWN-CTE] a message has no NUL"]);
    client.send("t APPEND INBOX ~{3+}\r\nabc\r\n");
    assert!(client.line().starts_with("t OK [APPENDUID"));
    assert_eq!(client.command("STATUS INBOX (MESSAGES)")[0], "* STATUS INBOX (MESSAGES 1)");
}

#[test]
fn reading_a_decoded_part_marks_the_message_as_seen_and_peeking_does_not() {
    let account = Account::new();
    account.file("INBOX", &message("encoded.eml"));
    let mut client = account.log_in();
    client.command("SELECT INBOX");
    client.command("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])");
    assert_eq!(client.command("STATUS INBOX (UNSEEN)")[0], "* STATUS INBOX (UNSEEN 1)");
    client.command("FETCH 1 BINARY[1]");
    assert_eq!(client.command("STATUS INBOX (UNSEEN)")[0], "* STATUS INBOX (UNSEEN 0)");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_come_back_as_they_were_encoded(
        octets in proptest::collection::vec(any::<u8>(), 0..3000), first in 0usize..3500, length in 1usize..3500,
    ) {
        let account = Account::new();
        account.file("INBOX", &in_base64(&octets));
        let mut client = account.log_in();
        client.command("SELECT INBOX");
        let size = format!("* 1 FETCH (BINARY.SIZE[1] {})", octets.len());
        prop_assert_eq!(&client.command("FETCH 1 BINARY.SIZE[1]")[0], &size);
        let (text, found, _) = client.literal(&format!("FETCH 1 BINARY.PEEK[1]<{first}.{length}>"));
        let from = first.min(octets.len());
        let expected = &octets[from..octets.len().min(from + length)];
        prop_assert_eq!(found.as_slice(), expected);
        prop_assert_eq!(text.ends_with('~'), expected.contains(&0));
    }
}
