//! Replays `tests/transcripts/*.txt`.
//!
//! ```text
//! # path: RFC section            the first line
//! D: INBOX simple.eml            a delivery, filed before the next line
//! Q: 2048 10                     the account's quota from now on, octets and messages; - for no limit
//! L: 3                           from here on a command of a client that comes may be about so many messages
//! P: 0                           a client that comes is told of progress so many seconds apart
//! W: MOVE IDLE                   switched off for the account, before the first client
//! C: a1 NOOP                     the client sends a line
//! C: a2 SELECT x (QRESYNC ($VALIDITY 5))    with the UIDVALIDITY of INBOX
//! C: a3 URLFETCH $URL            with the first URL of the latest GENURLAUTH
//! S: a1 OK NOOP completed        the server answers with a line; … stands for anything
//! C2: … S2: …                    a second client of the same account, which is alice's
//! CB: … SB: …                    a client of another account of the instance, bob's
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imapd::Capabilities;
use imapd_session::SessionLimits;
use store_lib::Quota;

use crate::harness::{Client, message};
use crate::neighbours::Street;

fn transcripts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Replays one transcript, the client's octets sent in pieces of `piece`.
fn replay(path: &Path, piece: usize) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with(&format!("# {name}: RFC ")),
        "{name}: the first line names the file and the RFC"
    );
    let street = Street::new(&["alice", "bob"]);
    let account = street.account("alice");
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut limits = SessionLimits::default();
    let mut url = String::new();
    for (number, line) in
        text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let (who, rest) = line.split_once(':').expect("a line begins with who speaks");
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let speaker = who.replace('S', "C");
        if speaker.starts_with('C') {
            let whose = if speaker == "CB" { "bob" } else { "alice" };
            clients.entry(speaker.clone()).or_insert_with(|| street.log_in_with(whose, limits));
        }
        match who {
            "D" => {
                let (mailbox, file) = rest.split_once(' ').unwrap();
                account.file(mailbox, &message(file));
            }
            "W" => account.without.set(Capabilities::parse(rest.split(' ')).unwrap()),
            "Q" => {
                let (octets, messages) = rest.split_once(' ').unwrap();
                let [octets, messages] = [octets, messages].map(|limit| limit.parse().ok());
                account.store.set_quota(Quota { octets, messages });
            }
            "L" => limits.messages = rest.parse().unwrap(),
            "P" => limits.progress = Duration::from_secs(rest.parse().unwrap()),
            "C" | "C2" | "CB" => {
                let rest = rest.replace("$VALIDITY", &account.uidvalidity("INBOX").to_string());
                let rest = rest.replace("$URL", &url);
                let bytes = format!("{rest}\r\n").into_bytes();
                let client = clients.get_mut(&speaker).unwrap();
                bytes.chunks(piece).for_each(|piece| client.send(piece));
            }
            "S" | "S2" | "SB" => {
                let answer = clients.get_mut(&speaker).unwrap().line();
                if let Some(urls) = answer.strip_prefix("* GENURLAUTH \"") {
                    url = format!("\"{}\"", urls.split('"').next().unwrap());
                }
                assert!(matches(rest, &answer), "{name}:{}: expected\n  {rest}\ngot\n  {answer}", number + 1);
            }
            _ => panic!("{name}:{}: {line}", number + 1),
        }
    }
    for (_, mut client) in clients {
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        client.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "{name}: more than was expected");
        drop(client.end());
    }
}

/// Whether `line` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn every_transcript_is_replayed_as_written() {
    assert!(transcripts().len() >= 20);
    transcripts().iter().for_each(|path| replay(path, usize::MAX));
}

#[test]
fn every_transcript_is_the_same_octet_by_octet() {
    transcripts().iter().for_each(|path| replay(path, 1));
}
