//! See `sterna_io::fuzzing::kernel`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sterna_io_fuzz::kernel(bytes));
