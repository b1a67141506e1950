#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| imapd::check::check_imap(input));
