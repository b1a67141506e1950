//! Files of many programs, and what is written comes back.

use proptest::prelude::*;

use super::{
    check::{check_mbox, read, write},
    *,
};

const FROM: &str = "From a@example.org Sat Nov 28 16:25:28 2026\n";
const AT: i64 = 1_795_883_128;

fn messages(file: &str, quoting: Quoting) -> Vec<String> {
    let read = read(file.as_bytes(), 1 << 20, quoting).unwrap();
    read.into_iter().map(|(_, octets)| String::from_utf8(octets).unwrap()).collect()
}

fn mboxrd(file: &str) -> Vec<String> {
    messages(file, Quoting::Mboxrd)
}

#[test]
fn messages_end_before_an_empty_line_and_a_from_line() {
    let one = "Subject: 1\r\n\r\ntext\r\n";
    for (file, expected, reason) in [
        (format!("{FROM}Subject: 1\n\ntext\n\n{FROM}Subject: 1\n\ntext\n"), vec![one, one], "LF"),
        (
            format!("{FROM}Subject: 1\n\ntext\n\n{FROM}Subject: 1\n\ntext\n").replace('\n', "\r\n"),
            vec![one, one],
            "CRLF",
        ),
        (format!("{FROM}Subject: 1\r\n\ntext\r\n\n"), vec![one], "mixed"),
        (format!("\n\n{FROM}Subject: 1\n\ntext"), vec![one], "empty lines before, no line end behind"),
        (
            format!("{FROM}Subject: 1\n\ntext\n{FROM}x\n"),
            vec![&*format!("Subject: 1\r\n\r\ntext\r\n{}x\r\n", FROM.replace('\n', "\r\n"))],
            "no empty line: text",
        ),
        (
            format!("{FROM}Subject: 1\n\ntext\n\nFrom here on\n"),
            vec!["Subject: 1\r\n\r\ntext\r\n\r\nFrom here on\r\n"],
            "no date: text",
        ),
        (
            format!("{FROM}Subject: 1\n\n{FROM}Subject: 1\n\ntext\n"),
            vec!["Subject: 1\r\n\r\n", one],
            "no text",
        ),
        (format!("{FROM}\n{FROM}\n"), vec!["\r\n", "\r\n"], "neither header nor text"),
        (FROM.to_owned(), vec![""], "nothing at all"),
        (
            "From - \nSubject: 1\n\ntext\n\nFrom -\nSubject: 1\n\ntext\n".replace("- \n", "-\n"),
            vec![one, one],
            "Thunderbird's, without a date",
        ),
        (
            format!("{FROM}Subject: 1\n\ntext\n\nFrom \nno field\n"),
            vec!["Subject: 1\r\n\r\ntext\r\n\r\nFrom \r\nno field\r\n"],
            "nor a field behind",
        ),
        (String::new(), vec![], "an empty file"),
    ] {
        assert_eq!(mboxrd(&file), expected, "{reason}: {file}");
    }
    assert!(read(b"Subject: 1\n\ntext\n", 1 << 20, Quoting::Mboxrd).is_none(), "no mbox");
}

#[test]
fn quotes_are_undone_as_the_kind_of_file_wants() {
    let file = format!("{FROM}Subject: 1\n\n>From a\n>>From b\n> From c\n>>>x\n>F\n>");
    let text = |quoting| messages(&file, quoting)[0]["Subject: 1\r\n\r\n".len()..].to_owned();
    assert_eq!(text(Quoting::Mboxrd), "From a\r\n>From b\r\n> From c\r\n>>>x\r\n>F\r\n>\r\n");
    assert_eq!(text(Quoting::Mboxo), "From a\r\n>>From b\r\n> From c\r\n>>>x\r\n>F\r\n>\r\n");
    assert_eq!(text(Quoting::Mboxcl2), ">From a\r\n>>From b\r\n> From c\r\n>>>x\r\n>F\r\n>\r\n");
}

#[test]
fn what_programs_noted_in_the_header_becomes_flags_and_goes() {
    let file = format!(
        "{FROM}Return-Path: <a@b>\nStatus: RO\nX-Status: A\nSubject: 1\nX-Keywords: a\n b\nContent-Length: 5\nX: Status: O\n\ntext\n"
    );
    let read = read(file.as_bytes(), 1 << 20, Quoting::Mboxrd).unwrap();
    let (message, octets) = &read[0];
    assert_eq!(
        octets.escape_ascii().to_string(),
        r"Return-Path: <a@b>\r\nSubject: 1\r\nX: Status: O\r\n\r\ntext\r\n"
    );
    assert_eq!(message.head.flags, MailFlags { system: 3, keywords: vec!["a".to_owned()] });
    assert_eq!(message.head.received, AT);
}

#[test]
fn the_library_s_own_first_message_is_none() {
    let file = format!(
        "{FROM}Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n\n{FROM}Subject: 1\nX-IMAPbase: 1 2\n\n"
    );
    assert_eq!(mboxrd(&file), ["Subject: 1\r\n\r\n"]);
}

/// A message that somebody sent may say anything of its length: it takes no other one in, unless it leads to exactly the
/// end of a message.
#[test]
fn a_content_length_counts_only_where_it_leads_to_an_end() {
    let text = format!("text\n\n{FROM}Subject: forged\n\nmore\n");
    let file = |length: usize| {
        format!("{FROM}Subject: 1\nContent-Length: {length}\n\n{text}\n{FROM}Subject: 2\n\nx\n")
    };
    assert_eq!(mboxrd(&file(text.len())).len(), 2, "mboxcl2: the line within is text");
    for length in [0, 1, 4, text.len() - 2, text.len() + 3, usize::MAX] {
        assert_eq!(mboxrd(&file(length)).len(), 3, "{length}");
    }
}

/// Somebody who sends our own field hides nothing of what stands above it.
#[test]
fn our_own_field_counts_at_the_top_only() {
    let file = format!("{FROM}Received: by us\nX-Moxd-Message: lf 12\nSubject: 1\n\n");
    assert_eq!(mboxrd(&file), ["Received: by us\r\nX-Moxd-Message: lf 12\r\nSubject: 1\r\n\r\n"]);
    let file = format!("{FROM}Status: RO\nX-Moxd-Message: lf 12\nSubject: 1\n\n");
    assert_eq!(mboxrd(&file), ["Subject: 1\r\n\r\n"]);
}

#[test]
fn the_same_octets_twice_are_two_messages_with_two_keys_every_time() {
    let one = format!("{FROM}Subject: 1\n\ntext\n\n");
    let file = format!("{one}{one}{FROM}Subject: 2\n\n\n{one}");
    let keys = |file: &str| -> Vec<ImportKey> {
        let read = read(file.as_bytes(), 600, Quoting::Mboxrd).unwrap();
        read.into_iter().map(|(message, _)| message.head.key).collect()
    };
    let all = keys(&file);
    assert_eq!(all.len(), 4);
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), 4);
    // Flags and another place in the file do not change them; messages that went leave those that are left.
    let changed = format!("{}{one}{one}", one.replace("\n\ntext", "\nStatus: RO\n\ntext"));
    assert_eq!(keys(&changed), [all[0], all[1], all[3]]);
}

#[test]
fn long_lines_and_nuls_are_octets_like_others() {
    let long = "x".repeat(700_000);
    let file = format!("{FROM}Subject: {long}\n\n{long}\0{long}\n>From {long}");
    let expected = format!("Subject: {long}\r\n\r\n{long}\0{long}\r\nFrom {long}\r\n");
    assert_eq!(mboxrd(&file), [expected]);
}

#[test]
fn odd_messages_come_back_octet_for_octet() {
    for octets in [
        &b""[..],
        b"\r\n",
        b"\n",
        b"x",
        b"Subject: x\r\n\r\ntext",
        b"Subject: x\r\n\r\ntext\r\n\r\n\r\n",
        b"Subject: x\n\r\nbare\nLF\rCR\r\r\n",
        b"From a@example.org Sat Nov 28 16:25:28 2026\r\n\r\n>From x\r\n>>From y\r\nFrom ",
        b"Status: RO\r\nX-Moxd-Message: lf 0\r\nContent-Length: 3\r\n\r\n\0\0\n",
        b"\r\n\r\nFrom a@example.org Sat Nov 28 16:25:28 2026\r\n\r\n",
        b">",
        b">>From",
    ] {
        let flags = MailFlags { system: 21, keywords: vec!["$Junk".to_owned()] };
        let head = MailHead { key: ImportKey([0; 16]), uid: None, flags, received: AT };
        let message = || {
            (Message { head: head.clone(), octets: 0..0, cut: Vec::new(), form: Form::AsIs }, octets.to_vec())
        };
        let file = write(&[message(), message()]);
        let read = read(&file, 600, Quoting::Mboxrd).unwrap();
        assert_eq!(read.len(), 2, "{}", file.escape_ascii());
        for (message, back) in read {
            assert_eq!(back.escape_ascii().to_string(), octets.escape_ascii().to_string());
            assert_eq!((message.head.flags, message.head.received), (head.flags.clone(), AT));
        }
    }
}

proptest! {
    #[test]
    fn any_file_is_read_and_comes_back(
        lines in prop::collection::vec(
            prop_oneof![
                Just("From a@example.org Sat Nov 28 16:25:28 2026"),
                Just("From -"),
                Just(">From x"),
                Just(">>From x"),
                Just("Subject: x"),
                Just("Status: RO"),
                Just("X-Moxd-Message: lf 20"),
                Just("X-Moxd-Message: raw 7"),
                Just("Content-Length: 9"),
                Just(""),
                Just("\r"),
                Just("a\0b"),
            ],
            0..24,
        ),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        check_mbox(format!("From - Sat Nov 28 16:25:28 2026{end}{}", lines.join(end)).as_bytes());
    }

    #[test]
    fn any_octets_come_back_from_what_was_written(octets in prop::collection::vec(
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'>'), Just(b'F'), Just(b'r'), Just(b'o'), Just(b'm'), Just(b' '), any::<u8>()],
        0..80,
    )) {
        let head = MailHead { key: ImportKey([0; 16]), uid: None, flags: MailFlags::default(), received: 0 };
        let message = Message { head, octets: 0..0, cut: Vec::new(), form: Form::AsIs };
        let file = write(&[(message, octets.clone())]);
        let read = read(&file, 600, Quoting::Mboxrd).unwrap();
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(&read[0].1, &octets);
    }
}
