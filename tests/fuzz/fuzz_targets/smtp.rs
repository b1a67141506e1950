#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smtpd::check::check_smtp(input));
