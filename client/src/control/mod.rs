//! A device and its control service: enrols, gets its ticket, its nodes and TURN credentials, and keeps
//! a [`Relay`](crate::relay::Relay) up with what changes.
//!
//! | what | where |
//! |---|---|
//! | a device's keys, and the file that they lie in | [`DeviceKeys`] |
//! | what a device is told, and asks for | [`Account`] |
//! | which of the fleet's nodes are its own | `choice` |
//! | the ticket and the nodes of a relay, kept fresh | [`Following`] |

mod account;
mod choice;
mod follow;
mod keys;

pub use account::{Account, AccountError, Terms};
pub use follow::{Event, Following};
pub use keys::{DeviceKeys, KeysError};
pub use sterna_control_client::{CallError, ConfigError, Options};
