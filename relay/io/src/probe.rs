//! Choosing an engine.
