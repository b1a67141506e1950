//! Every message of every channel, order and event, as the octets that cross: another encoder has to write the same.
//!
//! `golden.txt` has one line each, `name: hex`. A changed line is a changed wire format. When that is meant, write the
//! file anew and look at the difference: `MOXD_WRITE_GOLDEN=1 cargo nextest run -p ipc-proto --test golden`. The same
//! writes the inputs that the fuzzer of the channels begins with: there is one of each message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod golden_messages;

use std::{fmt::Write as _, fs, path::Path};

use golden_messages::{Sample, samples};
use ipc_proto::{ChannelId, frame::HEADER};

const CHANNELS: [ChannelId; 18] = [
    ChannelId::SmtpdKeyd,
    ChannelId::ImapdKeyd,
    ChannelId::WebdKeyd,
    ChannelId::SmtpdAuthd,
    ChannelId::ImapdAuthd,
    ChannelId::WebdAuthd,
    ChannelId::SmtpdQueued,
    ChannelId::QueuedAuthd,
    ChannelId::QueuedAccountd,
    ChannelId::AdminAuthd,
    ChannelId::AdminAccountd,
    ChannelId::AdminSupervisor,
    ChannelId::SubmitdKeyd,
    ChannelId::SubmitdAuthd,
    ChannelId::SubmitdQueued,
    ChannelId::AuthdQueued,
    ChannelId::AdminQueued,
    ChannelId::AccountdAuthd,
];

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

/// Octets of an order before its body: length, number of fds.
const ORDER_HEADER: usize = 5;

/// As `ipc_proto::check` reads it: what the rest is, then the body alone.
fn seed(sample: &Sample) -> (String, Vec<u8>) {
    let name = sample.name.to_lowercase().replace(' ', "-");
    let (which, header) = match name.split('-').next().unwrap() {
        "order" => (128, ORDER_HEADER),
        "event" => (129, 0),
        "mail" => (133, 0),
        "toreader" => (134, 0),
        "fromreader" => (135, 0),
        edge => {
            let channel = CHANNELS.iter().find(|channel| format!("{channel:?}").to_lowercase() == edge);
            let number = *channel.unwrap_or_else(|| panic!("{edge} is missing here")) as u8;
            (if name.contains("-reply-") { number + 64 } else { number }, HEADER)
        }
    };
    (name, [&[which], &sample.octets[header..]].concat())
}

#[test]
fn the_fuzzer_begins_with_every_message() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/channels");
    for sample in samples() {
        let (name, octets) = seed(&sample);
        if std::env::var_os("MOXD_WRITE_GOLDEN").is_some() {
            fs::write(corpus.join(&name), octets).unwrap();
        } else {
            assert!(fs::read(corpus.join(&name)).is_ok_and(|found| found == octets), "{name}: {AGAIN}");
        }
    }
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
