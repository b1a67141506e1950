//! Messages made to cost more than their size: four times as many octets cost about four times as much.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use mail_lib::{
    header::{self, Headers, Selection},
    imap,
    mime::Indexer,
};

/// Octets of the smaller of two messages.
const SIZE: usize = 64 << 10;

/// A cost that grows with the square would be sixteen times as much. The rest is for a machine that is busy.
const GROWTH: u32 = 10;

/// Below that a difference says nothing.
const NOTHING: Duration = Duration::from_millis(100);

/// Everything that is done with a message when it is delivered.
fn file(message: &[u8]) {
    let mut indexer = Indexer::new();
    message.chunks(16 << 10).for_each(|chunk| indexer.push(chunk));
    let indexed = indexer.finish();
    for rendered in [imap::envelope(indexed.headers()), imap::bodystructure(&indexed), imap::body(&indexed)] {
        assert!(!rendered.is_empty());
    }
    assert!(!indexed.index.to_bytes().is_empty());
}

/// Everything that FETCH and SEARCH do with a header.
fn look_into(block: &[u8]) {
    for field in Headers::new(block).fields() {
        let text = header::decode(field.value);
        let _ = header::base_subject(&text);
        let _ = header::parse_date(field.value);
        let _ = header::message_ids(field.value);
    }
    let names: Vec<String> = (0..500).map(|number| format!("{number}")).collect();
    let _ = header::select(block, Selection::FieldsNot, &names);
}

/// What this thread has had of a processor: a busy machine gives it less, and counts the same.
fn on_processor() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(figures.split(' ').next().unwrap().parse().unwrap())
}

/// Of a few runs together: the kernel's figure is some milliseconds old.
fn cost(work: fn(&[u8]), input: &[u8]) -> Duration {
    let start = on_processor();
    (0..3).for_each(|_| work(input));
    on_processor() - start
}

fn is_linear(name: &str, work: fn(&[u8]), make: impl Fn(usize) -> Vec<u8>) {
    let (small, large) = (cost(work, &make(SIZE)), cost(work, &make(4 * SIZE)));
    assert!(large < NOTHING.max(small * GROWTH), "{name}: {small:?}, and {large:?} for four times as much");
}

/// `head`, then `unit` up to that size.
fn filled(head: &str, unit: &str) -> impl Fn(usize) -> Vec<u8> {
    let (head, unit) = (head.to_owned(), unit.to_owned());
    move |size| format!("{head}{}", unit.repeat(size / unit.len())).into_bytes()
}

fn multipart(boundary: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n")
}

/// Attack class 9: parts, depth, and lines that are nearly delimiters, at every depth at once.
#[test]
fn structures_cost_what_their_octets_cost() {
    let prefix = "p".repeat(67);
    let deep: String = (0..150).map(|level| multipart(&format!("{prefix}{level:03}"))).collect();
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n";
    for (name, head, unit) in [
        ("parts", multipart("b"), "\r\nx\r\n--b\r\n".to_owned()),
        ("parts of nothing", multipart("b"), "--b\n".to_owned()),
        ("messages", digest.to_owned(), "--b\r\n\r\nFrom: a,b\r\n\r\n".to_owned()),
        ("messages in messages", String::new(), "Content-Type: message/rfc822\r\n\r\n".to_owned()),
        ("nearly delimiters of a hundred levels", deep.clone(), format!("--{prefix}xxx\r\n")),
        ("parts of the deepest level", deep, format!("--{prefix}098\r\n\r\n")),
        ("delimiters in a header", multipart("b"), "--b--x\n".to_owned()),
        ("one line", multipart("b") + "\r\n", "x".to_owned()),
        ("one line of dashes", multipart("b") + "\r\n", "-".to_owned()),
        ("one delimiter and white space", multipart("b") + "\r\n--", " ".to_owned()),
        ("lines with one dash", multipart("b") + "\r\n", "\n-".to_owned()),
        ("lines with two", multipart("b") + "\r\n", "\n--".to_owned()),
        ("line ends", multipart("b") + "\r\n", "\n".to_owned()),
        ("carriage returns", multipart("b") + "\r\n", "\r".to_owned()),
    ] {
        is_linear(name, file, filled(&head, &unit));
    }
}

/// Attack class 10: fields, folds, and every character that means something in an address, a parameter or a date.
#[test]
fn headers_cost_what_their_octets_cost() {
    for unit in ["a: b\r\n", "a:\n", ":\n", "x", "a: b\r\n c\r\n", "\n ", "a\n"] {
        is_linear(unit, file, filled("", unit));
        is_linear(unit, look_into, filled("", unit));
    }
    for unit in [
        "(",
        "()",
        "<",
        "<a",
        "\"",
        "\\",
        "\"\\",
        "@",
        "<@,",
        "<@a:",
        ":",
        "a:",
        ";",
        "a;",
        "a;a:",
        ",",
        "a,",
        "a<,",
        "a@b,",
        ".",
        "a ",
        "=?",
        "=?a?q?",
        "=?a?q?b?= ",
        "=?a?b?=?=",
        "<a> ",
        "\r\n ",
        "Re: ",
        "[a] ",
        "a=b;",
        "a*0=b;",
        "(a",
        "\t",
        "\0",
        "\u{fc}",
    ] {
        for field in [
            "From",
            "To",
            "Subject",
            "Date",
            "Content-Type: a/b; x",
            "Content-Disposition",
            "Content-Language",
        ] {
            is_linear(&format!("{field}: {unit}"), file, filled(&format!("{field}: "), unit));
        }
        is_linear(unit, look_into, filled("Subject: ", unit));
    }
}
