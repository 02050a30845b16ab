//! What travels over `GET /ws`: signalling between devices, and what the service pushes.
//!
//! Each message is one JSON text message of at most
//! [`SIGNAL_BYTES_MAX`](crate::limits::SIGNAL_BYTES_MAX) bytes.

use serde::{Deserialize, Serialize};

use crate::device::NatReport;
use crate::id::DeviceId;

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromDevice {
    /// An opaque message to another device: candidates, or a request to be called.
    Signal {
        /// To whom.
        to: DeviceId,
        /// Comes back in [`ToDevice::Undelivered`].
        id: u32,
        /// Opaque to the service; base64url.
        payload: String,
    },
    /// Asks for an order of punching with another device; both are told.
    Punch {
        /// With whom.
        with: DeviceId,
        /// What the asking device knows of its NAT now.
        nat: NatReport,
    },
    /// Is anybody there?
    Ping {
        /// Comes back.
        id: u32,
    },
}

/// What the service says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToDevice {
    /// Another device's message.
    Signal {
        /// From whom.
        from: DeviceId,
        /// As it was sent.
        payload: String,
    },
    /// A message did not reach anybody.
    Undelivered {
        /// Which.
        id: u32,
        /// Why.
        reason: Undelivered,
    },
    /// How to punch.
    Punch {
        /// With whom.
        with: DeviceId,
        /// What to do.
        order: PunchOrder,
        /// The same on both sides; names the attempt.
        attempt: u64,
        /// Milliseconds from now after which to begin.
        after_ms: u32,
        /// What the other device knows of its NAT.
        nat: NatReport,
    },
    /// The netmap has changed: fetch it.
    NetmapChanged {
        /// Its version.
        version: u64,
    },
    /// The relay map has changed: fetch it.
    RelayMapChanged {
        /// Its version.
        version: u64,
    },
    /// The device was revoked; the connection ends.
    Revoked,
    /// The replica goes away; connect again after this many milliseconds.
    Restarting {
        /// How long to wait.
        after_ms: u32,
    },
    /// The answer to a ping.
    Pong {
        /// The ping's.
        id: u32,
    },
    /// A message of a newer service; never sent.
    #[serde(other)]
    Unknown,
}

/// Why a message did not reach anybody.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Undelivered {
    /// The device is not connected, unknown, or none that this one may talk to.
    Unreachable,
    /// The sender sends too much.
    TooMany,
    /// The receiver does not keep up.
    Full,
}

/// What a device does in an attempt to punch.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PunchOrder {
    /// Sends first, which opens its own NAT for what comes back.
    First,
    /// Sends when the other side has opened.
    Second,
    /// Sends at the same time as the other side.
    Together,
    /// Opens many ports, for the other side to find one (both NATs map by endpoint on one side).
    Spray,
    /// No use trying: both map by address and port. Use the relay.
    Relay,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_of_a_newer_service_is_unknown_and_a_broken_one_is_an_error() {
        let read = |text: &str| serde_json::from_str::<ToDevice>(text);
        assert_eq!(
            read(r#"{"type":"pong","id":7}"#).unwrap(),
            ToDevice::Pong { id: 7 }
        );
        assert_eq!(read(r#"{"type":"revoked"}"#).unwrap(), ToDevice::Revoked);
        let newer = read(r#"{"type":"weather","sunny":true}"#).unwrap();
        assert_eq!(newer, ToDevice::Unknown);
        for wrong in ["", "[]", "{}", r#"{"type":"pong"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_says_nothing_beside_what_is_known() {
        let read = |text: &str| serde_json::from_str::<FromDevice>(text);
        assert_eq!(
            read(r#"{"type":"ping","id":1}"#).unwrap(),
            FromDevice::Ping { id: 1 }
        );
        for wrong in [
            r#"{"type":"weather"}"#,
            r#"{"type":"ping","id":1,"more":2}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
