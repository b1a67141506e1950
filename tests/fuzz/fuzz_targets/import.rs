#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| import_lib::check::check_import(input));
