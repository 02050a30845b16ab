//! The device side of Sterna: how two devices reach each other through a relay.
//!
//! [`relay`] keeps a device connected to its node by the best rung that its network lets through, and
//! to a spare node beside it. Hole punching and the tunnel will live beside it.

#![forbid(unsafe_code)]

pub mod control;
pub mod relay;
