//! Every message of every channel, order and event, as the octets that cross: another encoder has to write the same.
//!
//! `golden.txt` has one line each, `name: hex`. A changed line is a changed wire format. When that is meant, write the
//! file anew and look at the difference: `MOXD_WRITE_GOLDEN=1 cargo nextest run -p ipc-proto --test golden`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod golden_messages;

use std::{fmt::Write as _, fs, path::Path};

use golden_messages::{Sample, samples};

const AGAIN: &str =
    "if the change is meant: MOXD_WRITE_GOLDEN=1 cargo nextest run -p ipc-proto --test golden";

fn line(sample: &Sample) -> String {
    let mut line = format!("{}: ", sample.name);
    sample.octets.iter().for_each(|octet| write!(line, "{octet:02x}").unwrap());
    line
}

#[test]
fn every_message_crosses_as_the_file_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt");
    let lines: Vec<String> = samples().iter().map(line).collect();
    if std::env::var_os("MOXD_WRITE_GOLDEN").is_some() {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        return;
    }
    let golden = fs::read_to_string(&path).unwrap();
    let mut golden = golden.lines();
    for line in &lines {
        assert_eq!(golden.next(), Some(&**line), "\n{AGAIN}");
    }
    assert_eq!(golden.next(), None, "a message is gone; {AGAIN}");
}

#[test]
fn every_name_is_there_once() {
    let mut names: Vec<String> = samples().into_iter().map(|sample| sample.name).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn every_message_comes_back_as_it_was_sent() {
    for sample in samples() {
        assert!((sample.comes_back)(&sample.octets), "{}", sample.name);
    }
}
