//! See `sterna_turn_fuzz::client`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_turn_fuzz::client(bytes));
