//! The behaviour that all engines share, as tests generic over the engine.

pub(crate) mod buffers;
pub(crate) mod errors;
pub(crate) mod ground;
pub(crate) mod kernel;
pub(crate) mod ports;
pub(crate) mod traffic;
pub(crate) mod waiting;
pub(crate) mod workers;
