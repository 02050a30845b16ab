//! The behaviour that all engines share, as tests generic over the engine.

pub(crate) mod ground;
pub(crate) mod kernel;
pub(crate) mod traffic;
