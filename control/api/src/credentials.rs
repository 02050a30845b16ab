//! What lets a device use the nodes: TURN credentials and relay tickets.

use serde::{Deserialize, Serialize};

use crate::id::TicketId;

/// `POST /turn-credentials`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TurnRequest {
    /// Seconds for which they are wanted; zero leaves it to the service.
    #[serde(default)]
    pub ttl_s: u32,
    /// The region that is nearest; empty: all of them, by weight.
    #[serde(default)]
    pub region: String,
    /// Whom they are for, where an application asks for its users; a device's own id otherwise.
    #[serde(default)]
    pub user: String,
}

/// Time-limited TURN credentials, in the shape that `RTCPeerConnection` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TurnCredentials {
    /// `iceServers` of an `RTCConfiguration`.
    pub ice_servers: Vec<IceServer>,
    /// When they run out, in seconds since 1970.
    pub expires: u64,
}

/// One entry of `iceServers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URIs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// The user name: the time of expiry and whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `POST /relay-tickets`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// Seconds for which it is wanted, an hour at most; zero leaves it to the service.
    #[serde(default)]
    pub ttl_s: u32,
}

/// A relay ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TicketIssued {
    /// The ticket, base64url.
    pub ticket: String,
    /// What a revocation names.
    pub id: TicketId,
    /// When it runs out, in seconds since 1970.
    pub expires: u64,
}
