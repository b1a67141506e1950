//! A session against a simple model: whatever two clients do, in whatever order, both see the same mailbox.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::harness::{Account, Client, message};

/// A client's own count of its mailbox, kept only from the untagged responses it gets (RFC 3501 §5.5).
#[derive(Default)]
struct View {
    exists: usize,
}

impl View {
    fn hear(&mut self, lines: &[String]) -> Result<(), TestCaseError> {
        for line in lines {
            let mut words = line.split(' ').skip(1);
            let number = words.next().and_then(|word| word.parse::<usize>().ok());
            match (number, words.next()) {
                (Some(number), Some("EXISTS")) => {
                    prop_assert!(number >= self.exists, "EXISTS never shrinks the mailbox: {line}");
                    self.exists = number;
                }
                (Some(number), Some("EXPUNGE")) => {
                    prop_assert!((1..=self.exists).contains(&number), "{line} of {}", self.exists);
                    self.exists -= 1;
                }
                (Some(number), Some("FETCH")) => {
                    prop_assert!((1..=self.exists).contains(&number), "{line} of {}", self.exists);
                }
                (Some(_) | None, _) => (),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Act {
    Append,
    Delete(usize),
    Undelete(usize),
    Expunge,
    Copy(usize),
    Move(usize),
    Fetch,
    Search,
    Noop,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Append),
        2 => (1usize..8).prop_map(Act::Delete),
        1 => (1usize..8).prop_map(Act::Undelete),
        1 => Just(Act::Expunge),
        1 => (1usize..8).prop_map(Act::Copy),
        1 => (1usize..8).prop_map(Act::Move),
        1 => Just(Act::Fetch),
        1 => Just(Act::Search),
        1 => Just(Act::Noop),
    ]
}

fn perform(client: &mut Client, view: &mut View, act: &Act) -> Result<(), TestCaseError> {
    let command = match act {
        Act::Append => {
            client.send("t APPEND INBOX {3+}\r\nabc\r\n");
            let lines = client.until("t ");
            return view.hear(&lines);
        }
        Act::Delete(number) => format!("STORE {number} +FLAGS (\\Deleted)"),
        Act::Undelete(number) => format!("STORE {number} -FLAGS (\\Deleted)"),
        Act::Expunge => "EXPUNGE".to_owned(),
        Act::Copy(number) => format!("COPY {number} INBOX"),
        Act::Move(number) => format!("MOVE {number} INBOX"),
        Act::Fetch => "FETCH 1:* (UID FLAGS)".to_owned(),
        Act::Search => "SEARCH ALL".to_owned(),
        Act::Noop => "NOOP".to_owned(),
    };
    let before = view.exists;
    let lines = client.command(&command);
    if matches!(act, Act::Fetch | Act::Search | Act::Delete(_) | Act::Undelete(_)) {
        let expunged = lines.iter().any(|line| line.ends_with(" EXPUNGE"));
        prop_assert!(!expunged, "EXPUNGE during {command}: {lines:?}");
    }
    if let Act::Search = act {
        let numbers = lines[0].split(' ').skip(2).map(|number| number.parse::<usize>().unwrap());
        prop_assert!(numbers.into_iter().all(|number| number <= before), "{lines:?} of {before}");
    }
    view.hear(&lines)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_clients_never_lose_count(acts in proptest::collection::vec((0usize..2, any_act()), 1..40)) {
        let account = Account::new();
        let mut clients = [account.log_in(), account.log_in()];
        let mut views = [View::default(), View::default()];
        for client in &mut clients {
            client.command("SELECT INBOX");
        }
        for (who, act) in &acts {
            perform(&mut clients[*who], &mut views[*who], act)?;
        }
        let mut seen = Vec::new();
        for (client, view) in clients.iter_mut().zip(&mut views) {
            view.hear(&client.command("NOOP"))?;
            let found = client.command("UID SEARCH ALL").remove(0);
            prop_assert_eq!(found.split(' ').count() - 2, view.exists);
            seen.push(found);
        }
        prop_assert_eq!(&seen[0], &seen[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// RFC 9051 §6.4.4.1: `$` loses what is expunged and gains nothing, whatever the numbers are by then.
    #[test]
    fn what_was_saved_is_what_was_found_and_is_still_there(
        found in proptest::collection::btree_set(1u32..12, 0..9),
        gone in proptest::collection::btree_set(1u32..12, 0..9),
        arrived in 0usize..3,
        told in any::<bool>(),
    ) {
        let set = |uids: &BTreeSet<u32>| {
            let uids: Vec<String> = uids.iter().map(u32::to_string).collect();
            // A UID that no message will have.
            if uids.is_empty() { "4000000000".to_owned() } else { uids.join(",") }
        };
        let account = Account::new();
        (0..11).for_each(|_| account.file("INBOX", b"Subject: x\r\n\r\n"));
        let (mut one, mut two) = (account.log_in(), account.log_in());
        one.command("SELECT INBOX");
        two.command("SELECT INBOX");
        one.command(&format!("SEARCH RETURN (SAVE) UID {}", set(&found)));
        two.command(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", set(&gone)));
        two.command("EXPUNGE");
        (0..arrived).for_each(|_| account.file("INBOX", b"Subject: x\r\n\r\n"));
        if told {
            one.command("NOOP");
        }
        let left: BTreeSet<u32> = found.difference(&gone).copied().collect();
        let numbers = |line: &str| -> BTreeSet<u32> {
            line.split(' ').skip(2).map(|number| number.parse().unwrap()).collect()
        };
        prop_assert_eq!(numbers(&one.command("UID SEARCH $")[0]), left.clone());
        one.command("NOOP");
        let count = format!("* ESEARCH (TAG \"t\") COUNT {}", left.len());
        prop_assert_eq!(&one.command("SEARCH RETURN (COUNT) $")[0], &count);
        let fetched = one.command("UID FETCH $ UID").len() - 1;
        prop_assert_eq!(fetched, left.len());
        one.command("UID STORE $ +FLAGS.SILENT (\\Flagged)");
        prop_assert_eq!(numbers(&one.command("UID SEARCH FLAGGED")[0]), left);
    }
}

/// What the fuzzer of the language begins with, as conversations: no session panics, each answer is a line of an answer
/// or the octets it announces, and the counts are right afterwards.
#[test]
fn sessions_survive_what_fuzzers_say() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/imap");
    let inputs: Vec<PathBuf> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 40, "{} inputs in {}", inputs.len(), corpus.display());
    for input in inputs {
        let account = Account::new();
        for name in ["simple.eml", "mixed.eml", "broken.eml"] {
            account.file("INBOX", &message(name));
        }
        let mut client = account.log_in();
        client.command("SELECT INBOX");
        let octets = std::fs::read(&input).unwrap();
        // It may be closed in the middle: that is an answer too.
        let mut sender = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let _ = sender.write_all(&octets);
            let _ = sender.shutdown(std::net::Shutdown::Write);
        });
        let mut answers = Vec::new();
        client.stream.read_to_end(&mut answers).unwrap();
        sending.join().unwrap();
        assert_answers(&answers, &input);
        drop(client.end());
    }
}

/// `* …`, `+ …` and `tag …`, with literals in them.
fn assert_answers(mut rest: &[u8], input: &Path) {
    let mut in_line = false;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("whole lines");
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        let word = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let begins =
            matches!(word, b"*" | b"+") || (!word.is_empty() && word.iter().all(u8::is_ascii_graphic));
        assert!(in_line || begins, "{}: {}", input.display(), line.escape_ascii());
        assert!(
            !line.contains(&b'\n') && !line.contains(&b'\r'),
            "{}: {}",
            input.display(),
            line.escape_ascii()
        );
        let literal = line.strip_suffix(b"}").and_then(|line| {
            let digits = line.rsplit(|octet| *octet == b'{').next()?;
            std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
        });
        in_line = literal.is_some();
        rest = &after[literal.unwrap_or(0)..];
    }
}
