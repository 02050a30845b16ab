//! What the control service knows, and the rules over it: no SQL, no HTTP, no clock.
//!
//! | what | where |
//! |---|---|
//! | nodes, and what each one is at a moment | [`node`] |
//! | regions | [`region`] |
//! | devices, and who may talk to whom | [`device`], [`netmap`], [`overlay`] |
//! | which of two devices punches first | [`punch`] |
//! | signing keys and TURN secrets, and their rotation | [`key`], [`rotation`] |
//! | tokens, people, sessions | [`access`] |
//! | what is no longer admitted | [`revocation`] |
//! | who did what | [`audit`] |
//!
//! Records are what the store keeps. What callers of the API see is made of them elsewhere.

pub mod access;
pub mod audit;
pub mod device;
pub mod key;
pub mod netmap;
pub mod node;
pub mod overlay;
pub mod punch;
pub mod region;
pub mod revocation;
pub mod rotation;

pub use access::{SessionRecord, TokenRecord, UserRecord};
pub use audit::{Act, AuditFilter, AuditRecord};
pub use device::{DeviceRecord, DeviceRegistration, DeviceReport};
pub use key::{KeyRecord, KeySecret};
pub use node::{HeartbeatRecord, NodeRecord, NodeRegistration};
pub use region::RegionRecord;
pub use revocation::{Revocation, RevocationRecord};
