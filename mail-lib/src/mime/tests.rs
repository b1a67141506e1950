//! Structures as the RFCs have them, as real mail breaks them, and as attackers build them.

use proptest::prelude::*;

use super::*;
use crate::{
    check::{check_mime, index},
    imap,
};

/// The tree as text: kind, and the body's octets where they are few.
fn shown(message: &str) -> String {
    check_mime(message.as_bytes());
    let indexed = index(message.as_bytes(), 5);
    let parts = indexed.index.parts().iter().map(|part| {
        let kind = match part.kind {
            Kind::Text => "text",
            Kind::Other => "other",
            Kind::Multipart => "multipart",
            Kind::Message => "message",
        };
        let at = |at: u64| usize::try_from(at).unwrap();
        let indent = " ".repeat(usize::from(part.depth));
        if part.kind.is_leaf() {
            format!("{indent}{kind} {:?}", &message[at(part.body.start)..at(part.body.end)])
        } else {
            format!("{indent}{kind}")
        }
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn multipart(boundary: &str, body: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{body}")
}

#[test]
fn structures_are_found_however_they_are_written() {
    let nested = |inner: &str| {
        multipart(
            "b",
            &format!("--b\r\nContent-Type: multipart/x; boundary={inner}\r\n\r\n--{inner}\r\n\r\nin\r\n"),
        )
    };
    for (message, expected, reason) in [
        (String::new(), "text \"\"", "nothing at all"),
        ("\r\nbody".to_owned(), "text \"body\"", "no header"),
        ("Subject: x".to_owned(), "text \"\"", "a header that does not end"),
        ("no header at all\r\n\r\nbody".to_owned(), "text \"body\"", "a first line that is no field"),
        (
            multipart(
                "b",
                "pre\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue\r\n--b\r\nno part",
            ),
            "multipart\n text \"one\"\n text \"two\\r\\n\"",
            "preamble and epilogue are no parts, and a line end belongs to the delimiter",
        ),
        (
            multipart("b", "--b\n\none\n--b\n\ntwo\n--b--\n"),
            "multipart\n text \"one\"\n text \"two\"",
            "line ends without CR",
        ),
        (multipart("b", "--b\r\n\r\none"), "multipart\n text \"one\"", "the end without closing delimiter"),
        (multipart("b", "--b"), "multipart\n text \"\"", "the end in a delimiter"),
        (
            multipart("b", "--b\r\n\r\none\r\n--b--"),
            "multipart\n text \"one\"",
            "a closing delimiter that ends the message",
        ),
        (multipart("b", "no delimiter"), "multipart", "a multipart without parts"),
        (multipart("b", "--b\r\n--b\r\n\r\n--b--"), "multipart\n text \"\"\n text \"\"", "empty parts"),
        (
            multipart("b", "--b\r\nX: y\r\n--b\r\nContent-Type: image/png\r\n\r\n\r\n--b--"),
            "multipart\n text \"\"\n other \"\"",
            "a part header without blank line",
        ),
        (
            multipart("b", "--b  \t \r\n\r\none\r\n--bx\r\n--b-\r\n--b--x\r\n --b\r\nx--b\r\n--b-- \r\n"),
            "multipart\n text \"one\\r\\n--bx\\r\\n--b-\\r\\n--b--x\\r\\n --b\\r\\nx--b\"",
            "only whole lines are delimiters, padding aside",
        ),
        (
            nested("bb") + "--bb--\r\n--b\r\n\r\nout\r\n--b--",
            "multipart\n multipart\n  text \"in\"\n text \"out\"",
            "a boundary that begins with the outer one",
        ),
        (
            nested("b--") + "--b----\r\n--b--\r\n\r\nx",
            "multipart\n multipart\n  text \"in\"",
            "a boundary that looks like the outer one's end; the inner goes first",
        ),
        (
            nested("b") + "--b--\r\n--b\r\n\r\nout\r\n--b--\r\nend",
            "multipart\n multipart\n  text \"in\"\n text \"out\"",
            "the same boundary twice: the inner goes first",
        ),
        (
            nested("i") + "--b\r\n\r\nout\r\n--b--",
            "multipart\n multipart\n  text \"in\"\n text \"out\"",
            "an inner multipart that never closes",
        ),
        (
            multipart("b", "--b\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n--b--"),
            "multipart\n multipart\n  text \"\"",
            "an inner part that begins where the outer ends",
        ),
        (
            multipart("b", "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nhi\r\n--b--"),
            "multipart\n message\n  text \"hi\"",
            "a message in a message",
        ),
        (
            multipart("b", "--b\r\nContent-Type: message/rfc822\r\n\r\n--b\r\n\r\nx\r\n--b--"),
            "multipart\n message\n  text \"\"\n text \"x\"",
            "a message without anything",
        ),
        (
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0K"
                .to_owned(),
            "text \"U3ViamVjdDogeA0K\"",
            "an encoded message is a leaf",
        ),
        (
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\nhi\r\n--b\r\n\
             Content-Type: text/plain\r\n\r\nno message\r\n--b--"
                .to_owned(),
            "multipart\n message\n  text \"hi\"\n text \"no message\"",
            "parts of a digest are messages unless they say otherwise",
        ),
        ("Content-Type: multipart/mixed\r\n\r\n--\r\n".to_owned(), "other \"--\\r\\n\"", "no boundary"),
        (
            "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n".to_owned(),
            "other \"--\\r\\n\"",
            "an empty boundary",
        ),
        ("Content-Type: image\r\n\r\nx".to_owned(), "text \"x\"", "no media type is text/plain"),
        (
            "Content-Type: multipart/mixed;\r\n\tboundary=\"b c \"\r\n\r\n--b c\r\n\r\nx\r\n--b c--"
                .to_owned(),
            "multipart\n text \"x\"",
            "a folded header; a boundary that ends in white space",
        ),
        (
            "Content-Type: multipart/mixed; boundary=\"\u{e4}\"\r\n\r\n--\u{e4}\r\n\r\nx\r\n--\u{e4}--"
                .to_owned(),
            "multipart\n text \"x\"",
            "octets above 127 in a boundary",
        ),
    ] {
        assert_eq!(shown(&message), expected, "{reason}");
    }
}

/// The tree of RFC 3501 §6.4.5, built as it is numbered there.
#[test]
fn section_numbers_are_those_of_the_standard() {
    let message = multipart(
        "1",
        "--1\r\n\r\np1\r\n--1\r\nContent-Type: application/x\r\n\r\np2\r\n--1\r\n\
        Content-Type: message/rfc822\r\nContent-ID: <3>\r\n\r\n\
        Subject: three\r\nContent-Type: multipart/mixed; boundary=3\r\n\r\n--3\r\nX: 31\r\n\r\np3.1\r\n--3\r\n\r\np3.2\r\n--3--\r\n\
        --1\r\nContent-Type: multipart/mixed; boundary=4\r\n\r\n--4\r\nContent-Type: image/gif\r\n\r\np4.1\r\n--4\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: four\r\n\
        Content-Type: multipart/mixed; boundary=42\r\n\r\n--42\r\n\r\np4.2.1\r\n--42\r\n\
        Content-Type: multipart/alternative; boundary=422\r\n\r\n--422\r\n\r\np4.2.2.1\r\n--422\r\n\r\np4.2.2.2\r\n--422--\r\n\
        --42--\r\n--4--\r\n--1\r\nContent-Type: message/rfc822\r\n\r\nSubject: five\r\n\r\np5.1\r\n--1--\r\n",
    );
    check_mime(message.as_bytes());
    let index = index(message.as_bytes(), 11).index;
    let at = |number: &[u32], section| {
        let range = index.locate(number, section)?;
        Some(&message[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()])
    };
    for (number, section, expected) in [
        (&[1][..], Section::Content, Some("p1")),
        (&[2], Section::Content, Some("p2")),
        (&[2], Section::Mime, Some("Content-Type: application/x\r\n\r\n")),
        (&[3], Section::Mime, Some("Content-Type: message/rfc822\r\nContent-ID: <3>\r\n\r\n")),
        (&[3], Section::Header, Some("Subject: three\r\nContent-Type: multipart/mixed; boundary=3\r\n\r\n")),
        (&[3], Section::Text, Some("--3\r\nX: 31\r\n\r\np3.1\r\n--3\r\n\r\np3.2\r\n--3--")),
        (&[3, 1], Section::Content, Some("p3.1")),
        (&[3, 1], Section::Mime, Some("X: 31\r\n\r\n")),
        (&[3, 2], Section::Content, Some("p3.2")),
        (&[4, 1], Section::Content, Some("p4.1")),
        (&[4, 1], Section::Mime, Some("Content-Type: image/gif\r\n\r\n")),
        (&[4, 2], Section::Mime, Some("Content-Type: message/rfc822\r\n\r\n")),
        (
            &[4, 2],
            Section::Header,
            Some("Subject: four\r\nContent-Type: multipart/mixed; boundary=42\r\n\r\n"),
        ),
        (&[4, 2, 1], Section::Content, Some("p4.2.1")),
        (&[4, 2, 2, 1], Section::Content, Some("p4.2.2.1")),
        (&[4, 2, 2, 2], Section::Content, Some("p4.2.2.2")),
        (&[5], Section::Content, Some("Subject: five\r\n\r\np5.1")),
        (&[5, 1], Section::Content, Some("p5.1")),
        (&[5, 1], Section::Mime, Some("Subject: five\r\n\r\n")),
        (&[], Section::Content, Some(message.as_str())),
        (&[], Section::Header, Some("Content-Type: multipart/mixed; boundary=\"1\"\r\n\r\n")),
        // Not there.
        (&[], Section::Mime, None),
        (&[0], Section::Content, None),
        (&[6], Section::Content, None),
        (&[1, 1], Section::Content, None),
        (&[1], Section::Header, None),
        (&[4], Section::Text, None),
        (&[5, 2], Section::Content, None),
        (&[5, 1, 1], Section::Content, None),
        (&[3, u32::MAX], Section::Content, None),
    ] {
        assert_eq!(at(number, section), expected, "{number:?} {section:?}");
    }
}

#[test]
fn a_message_without_parts_is_its_own_part_one() {
    let text = index(b"Subject: x\r\n\r\nbody", 100).index;
    assert_eq!(text.locate(&[1], Section::Content), Some(14..18));
    assert_eq!(text.locate(&[1], Section::Mime), Some(0..14));
    assert_eq!(text.locate(&[], Section::Text), Some(14..18));
    assert_eq!(text.locate(&[2], Section::Content), None);

    // A message that is nothing but a message: [1] is that one, [1.1] its text.
    let message = index(b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nin", 100).index;
    assert_eq!(message.locate(&[1], Section::Content), Some(32..48));
    assert_eq!(message.locate(&[1], Section::Header), Some(32..46));
    assert_eq!(message.locate(&[1, 1], Section::Content), Some(46..48));
    assert_eq!(message.locate(&[1, 1, 1], Section::Content), None);
}

#[test]
fn lines_and_octets_are_counted_without_the_delimiter() {
    let message = multipart("b", "--b\r\n\r\none\r\ntwo\r\n--b\r\n\r\none\r\n\r\n--b\r\n\r\n\r\n\r\n--b--");
    let index = index(message.as_bytes(), 3).index;
    let counts: Vec<_> =
        index.parts()[1..].iter().map(|part| (part.body.end - part.body.start, part.lines)).collect();
    assert_eq!(counts, [(8, 2), (5, 1), (2, 1)]);
}

/// Attack classes 8 and 9: nesting a thousand times deeper than the limit, with and without distinct boundaries.
#[test]
fn nesting_ends_at_its_limit() {
    let distinct: String = (0..10_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let same = multipart("b", "--b\r\n").repeat(10_000);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let digests = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n".repeat(10_000);
    for bomb in [distinct, same, messages, digests] {
        let indexed = index(bomb.as_bytes(), 4096);
        assert!(indexed.index.truncated());
        let deepest = indexed.index.parts().iter().map(|part| part.depth).max();
        assert_eq!(deepest, Some(MAX_DEPTH));
        assert!(indexed.index.parts().len() <= MAX_PARTS);
        assert!(imap::bodystructure(&indexed).len() < 200 * MAX_PARTS);
        assert!(imap::balanced(&imap::bodystructure(&indexed)));
        assert_eq!(Index::from_bytes(&indexed.index.to_bytes()), Ok(indexed.index));
    }
}

/// Attack class 9: a million parts.
#[test]
fn part_number_ten_thousand_is_the_last_one() {
    for (part, least) in
        [("--b\r\n", 1), ("--b\r\n\r\nx\r\n", 1), ("--b\r\nContent-Type: message/rfc822\r\n\r\n\r\n", 2)]
    {
        let bomb = multipart("b", &part.repeat(1_000_000));
        let indexed = index(bomb.as_bytes(), 65_536);
        assert!(indexed.index.truncated());
        assert!(MAX_PARTS - indexed.index.parts().len() < least);
        let last = indexed.index.parts().last().unwrap();
        assert!(last.body.end == indexed.index.size() && last.kind.is_leaf());
        assert!(indexed.index.to_bytes().len() < 16 * MAX_PARTS);
        assert!(imap::bodystructure(&indexed).len() < 400 * MAX_PARTS);
    }
}

/// Attack class 9: a multipart whose boundary never comes, lines that almost are delimiters, lines without end.
#[test]
fn missing_boundaries_and_near_delimiters_keep_nothing() {
    for body in ["--", "--a\r\n", "-", "\n-", "--b ", "--b\t\t", "--bb", "--b--x\r\n", "\r", "\n--b-\n"] {
        let message = multipart("b", &("x\r\n".to_owned() + &body.repeat(300_000)));
        let indexed = index(message.as_bytes(), 4096);
        assert!(indexed.index.parts().len() <= 2, "{body:?}");
        assert!(indexed.kept_octets() < 200, "{body:?}");
    }
}

/// Attack class 10: a million header fields, in the message and in its parts.
#[test]
fn header_bombs_are_kept_only_up_to_their_caps() {
    let fields = "X-Field: value\r\n".repeat(1_000_000);
    let indexed = index(format!("Subject: first\r\n{fields}Subject: last\r\n\r\nbody").as_bytes(), 4096);
    assert!(indexed.index.truncated());
    assert!(indexed.kept_octets() <= MAX_HEADER);
    assert_eq!(indexed.headers().first("subject"), Some(&b" first"[..]));
    assert_eq!(indexed.index.size() - indexed.index.parts()[0].body.start, 4);

    let one_field = format!("Subject: {}\r\n\r\nbody", "x".repeat(10_000_000));
    let indexed = index(one_field.as_bytes(), 4096);
    assert!(indexed.kept_octets() <= MAX_HEADER && indexed.headers().fields().count() == 0);

    let part = format!("--b\r\n{}\r\nbody\r\n", "X-Field: value\r\n".repeat(10_000));
    let indexed = index(multipart("b", &part.repeat(100)).as_bytes(), 4096);
    assert_eq!(indexed.index.parts().len(), 101);
    assert!(indexed.kept_octets() <= MAX_HEADERS);
}

/// Attack class 10: addresses that grow tenfold, in thousands of messages inside the message.
#[test]
fn envelopes_inside_a_message_share_one_budget() {
    let part =
        format!("--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: {}\r\n\r\nx\r\n", "a,".repeat(1_000));
    let indexed = index(multipart("b", &part.repeat(5_000)).as_bytes(), 65_536);
    let rendered = imap::bodystructure(&indexed);
    assert!(imap::balanced(&rendered));
    assert!(rendered.len() <= imap::MAX_NESTED_ENVELOPES + 400 * MAX_PARTS, "{}", rendered.len());
}

fn message_strategy() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("--b\r\n"),
        Just("--b"),
        Just("--b--"),
        Just("--c\n"),
        Just("--c--\r\n"),
        Just("-"),
        Just("--"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just(" "),
        Just("x"),
        Just("\r\n\r\n"),
        Just("\0"),
        Just("Content-Type: multipart/mixed; boundary=b\r\n\r\n"),
        Just("Content-Type: multipart/digest; boundary=\"c\"\n\n"),
        Just("Content-Type: message/rfc822\r\n\r\n"),
        Just("Content-Type: text/html;\r\n charset=utf-8\r\n"),
        Just("Content-Transfer-Encoding: base64\r\n"),
        Just("From: a <b@c>, d:;\r\n"),
        Just("Subject: =?utf-8?q?=C3?= \u{fc}\r\n"),
        Just("Content-Disposition: attachment; filename*0*=x''y; filename*1=z\r\n"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_message_keeps_every_promise(message in message_strategy()) {
        check_mime(&message);
    }

    #[test]
    fn any_octets_keep_every_promise(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_mime(&message);
    }
}

proptest! {
    #[test]
    fn no_cut_changes_the_result(message in message_strategy()) {
        let whole = index(&message, message.len().max(1));
        for cut in 0..=message.len() {
            let mut indexer = Indexer::new();
            indexer.push(&message[..cut]);
            indexer.push(&[]);
            indexer.push(&message[cut..]);
            prop_assert_eq!(&indexer.finish(), &whole, "cut at {}", cut);
        }
    }
}
