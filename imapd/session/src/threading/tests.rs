use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use imapd::ThreadAlgorithm::{OrderedSubject, References, Refs};
use proptest::prelude::*;

use super::*;
use crate::connection::Connection;
use crate::thread::write_thread;

/// `id<reference,reference subject`, in the order of their dates; the subject may begin with `Re:`.
fn entries(messages: &[&str]) -> Entries {
    let hash =
        |text: &str| i64::try_from(text.len()).unwrap() * 1000 + text.bytes().map(i64::from).sum::<i64>();
    let mut all = Entries::default();
    for (sent, message) in (0..).zip(messages) {
        let (ids, subject) = message.split_once(' ').unwrap_or((message, ""));
        let (id, references) = ids.split_once('<').unwrap_or((ids, ""));
        let from = all.references.len();
        all.references.extend(references.split(',').filter(|id| !id.is_empty()).map(hash));
        let base = subject.strip_prefix("Re:").unwrap_or(subject);
        all.entries.push(Entry {
            sent,
            received: sent,
            topic: (!base.is_empty()).then(|| hash(base)),
            is_reply: subject.starts_with("Re:"),
            id: (!id.is_empty()).then(|| hash(id)),
            references: from..all.references.len(),
        });
    }
    all
}

/// As THREAD answers.
fn shown(forest: &Forest) -> String {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        text
    });
    let mut connection = Connection::new(ours, Duration::from_secs(20)).unwrap();
    for thread in &forest.threads {
        write_thread(&mut connection, forest, thread, &|message| message + 1).unwrap();
    }
    connection.flush().unwrap();
    drop(connection);
    reading.join().unwrap()
}

fn threads(algorithm: ThreadAlgorithm, messages: &[&str]) -> String {
    shown(&Forest::new(&entries(messages), algorithm))
}

#[test]
fn messages_stand_below_what_they_answer() {
    for (messages, expected, reason) in [
        (&["a", "b<a", "c<a,b", "d<a", "e"][..], "(1 (2 3)(4))(5)", "a tree"),
        (&["c<a,b", "b<a", "a"], "(3 2 1)", "whatever the order of dates"),
        (&["b<a", "c<a"], "((1)(2))", "siblings of one that is missing"),
        (&["c<a,b"], "(1)", "one alone needs no dummy"),
        (&["d<a,b", "e<a,c"], "((1)(2))", "missing ones between are left out"),
        (&["a", "d<a,b", "e<a,c"], "(1 (2)(3))", "below the first that is there"),
        (&["a<a"], "(1)", "itself"),
        (&["a<b", "b<a"], "(2 1)", "a loop of two"),
        (&["a<c", "b<a", "c<b"], "(3 1 2)", "a loop of three"),
        (&["a", "a", "b<a"], "(2)(1 3)", "an id twice: the second has none"),
        (&["", "", "b<a", "c<a,b"], "(1)(2)(3 4)", "without ids"),
        (&["a", "b", "c<a,b"], "(1 2 3)", "what another message says of these"),
        (&["c<a,b", "b<x", "x"], "(3 2 1)", "a message knows its own parent best"),
        (&[], "", "nothing"),
    ] {
        assert_eq!(threads(Refs, messages), expected, "{reason}");
    }
}

#[test]
fn threads_of_one_subject_come_together() {
    for (messages, expected, reason) in [
        (&["a Lunch", "b Re:Lunch"][..], "(1 2)", "a reply without references"),
        (&["b Re:Lunch", "a Lunch"], "(2 1)", "that was sent before"),
        (&["a Lunch", "b Lunch"], "((1)(2))", "neither answers the other"),
        (&["a Re:Lunch", "b Re:Lunch"], "((1)(2))", "both answer what is missing"),
        (&["a Lunch", "b Lunch", "c Re:Lunch"], "((1)(2)(3))", "with two to answer it stands beside them"),
        (&["b<a Re:Lunch", "c<a Re:Lunch", "d Lunch"], "((1)(2)(3))", "a dummy takes them all"),
        (&["b<a Re:Lunch", "c<a Re:Lunch", "d<z Re:Lunch", "e<z Re:Lunch"], "((1)(2)(3)(4))", "dummies"),
        (&["a", "b"], "(1)(2)", "without a subject"),
        (&["a Lunch", "b<a Dinner", "c Re:Dinner"], "(1 2)(3)", "only the first of a thread counts"),
    ] {
        assert_eq!(threads(References, messages), expected, "{reason}");
    }
}

#[test]
fn ordered_subject_has_two_levels() {
    assert_eq!(threads(OrderedSubject, &["a B", "b A", "c Re:B", "d<b Re:A", "e B"]), "(1 (3)(5))(2 4)");
    assert_eq!(threads(OrderedSubject, &["a", "b"]), "(1 2)");
}

/// draft-ietf-morg-inthread: the latest message moves its thread to the end.
#[test]
fn refs_orders_threads_by_their_latest_message() {
    assert_eq!(threads(Refs, &["a", "b", "c<a"]), "(2)(1 3)");
    assert_eq!(threads(References, &["a", "b", "c<a"]), "(1 3)(2)");
}

/// Attack class 8: chains, fans and combs of a hundred thousand messages, forwards and backwards.
#[test]
fn crafted_references_cost_what_their_number_costs() {
    let count = 100_000_u32;
    type Shape = fn(i64, i64) -> Vec<i64>;
    let shapes: [(&str, Shape); 6] = [
        ("a chain", |at, _| vec![at - 1]),
        ("a chain backwards", |at, _| vec![at + 1]),
        ("a ring", |at, count| vec![(at + 1) % count]),
        ("a comb", |at, _| vec![at - 1 - at % 2]),
        ("far jumps", |at, count| vec![at * 7919 % count, at * 104_729 % count, at * 31 % count]),
        ("ids of nobody", |at, count| (1..50).map(|n| count + at * 50 + n).collect()),
    ];
    for (shape, references) in shapes {
        let mut all = Entries::default();
        for at in 0..count {
            let from = all.references.len();
            all.references.extend(references(i64::from(at), i64::from(count)));
            let references = from..all.references.len();
            all.entries.push(Entry { sent: 0, id: Some(i64::from(at)), references, ..Entry::default() });
        }
        for algorithm in [References, Refs] {
            let forest = Forest::new(&all, algorithm);
            assert_eq!(every_message_once(&forest), (0..count).collect::<Vec<_>>(), "{shape}");
            let text = shown(&forest);
            let mut depth = 0_i32;
            for octet in text.bytes() {
                depth += match octet {
                    b'(' => 1,
                    b')' => -1,
                    _ => 0,
                };
                assert!((0..=200).contains(&depth), "{shape}");
            }
            assert_eq!(depth, 0);
        }
    }
}

fn every_message_once(forest: &Forest) -> Vec<u32> {
    let mut found = Vec::new();
    let mut waiting: Vec<u32> = forest.threads.iter().flatten().copied().collect();
    while let Some(message) = waiting.pop() {
        found.push(message);
        waiting.extend_from_slice(forest.children(message));
    }
    found.sort_unstable();
    found
}

proptest! {
    #[test]
    fn every_message_is_in_one_thread(
        messages in proptest::collection::vec(
            (proptest::option::of(0_i64..12), proptest::collection::vec(0_i64..15, 0..4), proptest::option::of(0_i64..4),
             any::<bool>(), 0_i64..5),
            0..25,
        )
    ) {
        let mut all = Entries::default();
        for (id, references, topic, is_reply, sent) in messages {
            let from = all.references.len();
            all.references.extend(references);
            let references = from..all.references.len();
            all.entries.push(Entry { sent, received: sent, topic, is_reply, id, references });
        }
        for algorithm in [OrderedSubject, References, Refs] {
            let forest = Forest::new(&all, algorithm);
            let every: Vec<u32> = (0..number(all.entries.len())).collect();
            prop_assert_eq!(every_message_once(&forest), every);
            prop_assert!(forest.threads.iter().all(|thread| !thread.is_empty()));
        }
    }
}
