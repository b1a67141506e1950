#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipc_proto::check::check_client_key(input));
