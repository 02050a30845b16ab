//! See `sterna_control_api_fuzz::messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_control_api_fuzz::messages(bytes));
