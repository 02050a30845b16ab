//! See `sterna_stun_fuzz::token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_stun_fuzz::token(bytes));
