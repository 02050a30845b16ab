//! The fuzz target of `sterna-io`; what it checks is the crate's own, which shows it under
//! `cfg(fuzzing)`.

pub use sterna_io::fuzzing::kernel;
