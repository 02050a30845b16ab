//! See `sterna_flow_fuzz::machines`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_flow_fuzz::machines(bytes));
