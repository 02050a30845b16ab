//! See `sterna_preface_fuzz::proxy`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_preface_fuzz::proxy(bytes));
