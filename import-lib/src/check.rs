//! What must hold for any octets of a source. Run by the fuzz target `import` and by the unit tests.

/// The first octet says what the rest is: 0 an mbox, 1 what an IMAP server says.
pub fn check_import(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    match which {
        0 => crate::mbox::check::check_mbox(rest),
        1 => crate::imap::check::check_responses(rest),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fuzzer_s_inputs_still_hold() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/import");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            check_import(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 3);
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_taken_apart_or_refused(lines in prop::collection::vec(
            prop_oneof![
                Just("* 1 FETCH (UID 7 BODY[] {3}"),
                Just("abc FLAGS (\\Seen))"),
                Just("* LIST (\\Sent) \".\" {2}"),
                Just("* LIST () NIL \"a\\\"b\""),
                Just("m1 OK [UIDNEXT 4] done {3}"),
                Just("+ go on"),
                Just("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL"),
                Just("(((("),
                Just(""),
            ],
            0..12,
        )) {
            crate::imap::check::check_responses(lines.join("\r\n").as_bytes());
        }
    }
}
