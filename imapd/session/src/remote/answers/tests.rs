use super::*;

const PREFIX: &str = "Other Users/bob/";

fn expected(tag: &[u8], selected: bool) -> Expected<'_> {
    Expected { tag, prefix: PREFIX, form: NameForm::default(), selected }
}

/// What a client is sent of these answers, up to the tagged one.
fn shown(octets: &[u8], selected: bool, piece: usize) -> Result<(Vec<u8>, Option<Tagged>), Violation> {
    let mut answers = Answers::new();
    let mut out = Vec::new();
    for mut input in octets.chunks(piece) {
        while let Some(item) = answers.next(&mut input)? {
            match item {
                Item::Line(line) => match short(&line, expected(b"a1", selected))? {
                    Short::Shown(line) => out.extend_from_slice(&[&line[..], b"\r\n"].concat()),
                    Short::Dropped => {}
                    Short::Tagged(tagged) => return Ok((out, Some(tagged))),
                },
                Item::Text(text) => out.extend_from_slice(&text),
                Item::Literal(piece) => out.extend_from_slice(piece),
            }
        }
    }
    Ok((out, None))
}

#[test]
fn answers_about_the_selected_mailbox_pass_as_they_are() {
    let octets = b"* 3 EXISTS\r\n* FLAGS (\\Seen x)\r\n* 1 FETCH (UID 7 BODY[] {12}\r\n* BYE\r\n{3}\r\n)\r\n\
        * 2 FETCH (ENVELOPE (\"a{1}\" \"b\\\"\" {0}\r\n NIL))\r\n* SEARCH 1 2\r\n* 1 EXPUNGE\r\n\
        * LIST () \"/\" \"Other Users/bob/x\"\r\n* STATUS \"Other Users/bob/x\" (MESSAGES 1)\r\n";
    for piece in [1, 2, 7, octets.len()] {
        let (out, tagged) = shown(octets, true, piece).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(octets), "{piece}");
        assert_eq!(tagged, None);
    }
}

#[test]
fn what_would_be_read_as_something_else_is_a_violation() {
    for (octets, selected) in [
        (&b"* BYE\r\n"[..], true),
        (b"* CAPABILITY IMAP4\r\n", true),
        (b"* PREAUTH\r\n", true),
        (b"* METADATA \"\" (/x y)\r\n", true),
        (b"a2 OK not asked\r\n", true),
        (b"x\r\n", true),
        (b"\r\n", true),
        (b"* LIST () \"/\" INBOX\r\n", true),
        (b"* LIST () \"/\" \"Other Users/carol/x\"\r\n", true),
        (b"* LIST () \"/\" {5}\r\n", true),
        (b"* LIST () \"/\" \"Other Users/bob/x\" {5}\r\n", true),
        (b"* LIST x\r\n", true),
        (b"* STATUS INBOX (MESSAGES 1)\r\n", true),
        (b"* ACL \"Other Users/bob\" x\r\n", true),
        (b"* 3 EXISTS x\r\n", true),
        (b"* 3 BYE\r\n", true),
        // Nothing of that account is selected.
        (b"* 3 EXISTS\r\n", false),
        (b"* 3 EXPUNGE\r\n", false),
        (b"* FLAGS ()\r\n", false),
        // Lines that end elsewhere for a client.
        (b"* 1 FETCH (X \"a\r\n", true),
        (b"* 1 FETCH (X \"a\n", true),
        (b"* 1 FETCH (X\n", true),
        (b"* 1 FETCH (X\rY)\r\n", true),
        (b"* 1 FETCH (X\0)\r\n", true),
        (b"* OK x\ny\r\n", true),
        (b"* OK x\ry\r\n", true),
    ] {
        for piece in [1, octets.len()] {
            let outcome = shown(octets, selected, piece);
            assert!(outcome.is_err(), "{}: {outcome:?}", octets.escape_ascii());
        }
    }
    let long = [b"* STATUS ".to_vec(), vec![b'x'; SHORT_LINE]].concat();
    assert!(shown(&long, true, 4096).is_err());
}

#[test]
fn texts_are_not_theirs_to_write() {
    for (octets, selected, out) in [
        (&b"* OK [ALERT] call this number\r\n"[..], true, &b""[..]),
        (b"* OK [CLOSED] x\r\n", true, b""),
        (b"* OK no code\r\n", true, b""),
        (b"* OK [UIDNEXT 5] text {3}\r\n", true, b"* OK [UIDNEXT 5] shared mailbox\r\n"),
        (b"* OK [UIDNEXT 5] text\r\n", false, b""),
        (b"* NO [UNSEEN 1\r\n", true, b""),
        (b"+ go on\r\n", true, b""),
    ] {
        assert_eq!(shown(octets, selected, 3).unwrap().0, out, "{}", octets.escape_ascii());
    }
    for (octets, status, text) in [
        (&b"a1 OK [READ-WRITE] done\r\n"[..], Status::Ok, "[READ-WRITE] done"),
        (b"a1 NO [ALERT] {9}\r\n", Status::No, "9"),
        (b"a1 NO [REFERRAL imap://x] y\r\n", Status::No, "y"),
        (b"a1 BAD \r\n", Status::Bad, "answered"),
        (b"a1 OK [APPENDUID 1 2:3] x\r\n", Status::Ok, "[APPENDUID 1 2:3] x"),
    ] {
        let tagged = shown(octets, true, 2).unwrap().1;
        assert_eq!(tagged, Some(Tagged { status, text: text.to_owned() }), "{}", octets.escape_ascii());
    }
    assert!(shown(b"a1 BYE x\r\n", true, 9).is_err() && shown(b"a1 \r\n", true, 9).is_err());
}

#[test]
fn pieces_of_any_size_are_read_alike() {
    // Octets from a fixed generator, in and around what lines are made of.
    let words: [&[u8]; 14] = [
        b"* ", b"1 ", b"FETCH ", b"(", b")", b"\"", b"\\", b"{3}", b"{0}", b"\r\n", b"abc", b"OK ",
        b"SEARCH ", b"a1 ",
    ];
    let mut state = 1_u64;
    for _ in 0..2_000 {
        let mut octets = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            octets.extend_from_slice(words[usize::try_from(state >> 33).unwrap() % words.len()]);
        }
        let whole = shown(&octets, true, octets.len());
        for piece in [1, 3] {
            let pieces = shown(&octets, true, piece);
            match (&whole, &pieces) {
                (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "{}", octets.escape_ascii()),
                (Err(_), Err(_)) => {}
                other => panic!("{}: {other:?}", octets.escape_ascii()),
            }
        }
    }
}
