#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mail_lib::check::check_mime(input));
