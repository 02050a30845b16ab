//! The relay map: what a device knows of the nodes, signed by the control service.
//!
//! A field that a reader does not know is passed over.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError, Kind};
use crate::id::{Fleet, NodeId, RelayKey};
use crate::key::{KeySet, SigningKey};
use crate::limits::{CLOCK_SKEW_MAX_S, RELAY_MAP_BYTES_MAX, RELAY_MAP_NODES_MAX};

/// The format that is written and understood.
pub const FORMAT: u16 = 1;

const ENVELOPE: Kind = Kind {
    context: b"sterna relay map 1\0",
    bytes_max: RELAY_MAP_BYTES_MAX,
};

/// Why a relay map is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// It is longer than any map, or has more nodes.
    #[error("the relay map is too large")]
    TooLarge,
    /// It is not well formed.
    #[error("the relay map is not well formed")]
    Malformed,
    /// No key of the set has signed it.
    #[error("the relay map is signed by a key that is not known")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the relay map's signature is wrong")]
    BadSignature,
    /// Its format is not understood here.
    #[error("the relay map has a format that is not understood")]
    Format,
    /// It is another fleet's.
    #[error("the relay map is another fleet's")]
    Audience,
    /// It was made later than now.
    #[error("the relay map is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the relay map has expired")]
    Expired,
    /// It is older than one that was seen before.
    #[error("the relay map is older than the one in use")]
    Older,
}

impl From<EnvelopeError> for MapError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooLarge => Self::TooLarge,
            EnvelopeError::Malformed => Self::Malformed,
            EnvelopeError::UnknownKey => Self::UnknownKey,
            EnvelopeError::BadSignature => Self::BadSignature,
        }
    }
}

/// The nodes of a fleet, as devices see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayMap {
    /// [`FORMAT`].
    pub format: u16,
    /// Grows with each change; a device never goes back.
    pub version: u64,
    /// The fleet, which is also the audience of tickets.
    pub fleet: Fleet,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// Until when it may be used, in seconds since 1970.
    pub expires: u64,
    /// The regions.
    pub regions: Vec<Region>,
}

/// Nodes that are near each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The region's name.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// One node, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The node's name, for people.
    pub name: String,
    /// Its Ed25519 identity.
    pub identity: NodeId,
    /// The static key of its handshakes.
    pub noise_key: RelayKey,
    /// Whether devices should choose it.
    pub state: NodeState,
    /// How busy it is, 0 to 100.
    #[serde(default)]
    pub load: u8,
    /// STUN and TURN over UDP and TCP.
    #[serde(default)]
    pub stun: Vec<SocketAddr>,
    /// Flow frames over UDP.
    #[serde(default)]
    pub udp: Vec<SocketAddr>,
    /// The flow relay over QUIC.
    #[serde(default)]
    pub quic: Vec<SocketAddr>,
    /// The flow relay over WebSocket.
    #[serde(default)]
    pub wss: Vec<SocketAddr>,
    /// The name that its certificate is checked against, on `quic` and `wss`; empty where only
    /// `pins` count.
    #[serde(default)]
    pub host: String,
    /// SHA-256 of the public keys of its certificates, base64url; any one suffices.
    #[serde(default)]
    pub pins: Vec<String>,
}

/// Whether devices should choose a node.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes new sessions.
    Ready,
    /// It goes away soon; sessions that it has go on.
    Draining,
}

/// A relay map and the signature over it, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedRelayMap {
    /// The bytes of the map's JSON, base64url.
    pub map: String,
    /// The signing key, as in tickets.
    pub key_id: String,
    /// Ed25519 over the context string and the bytes, base64url.
    pub signature: String,
}

impl RelayMap {
    /// Signs the map.
    ///
    /// # Errors
    /// [`MapError::TooLarge`] where no device would read it.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedRelayMap, MapError> {
        if self.nodes().count() > RELAY_MAP_NODES_MAX {
            return Err(MapError::TooLarge);
        }
        let Envelope {
            body,
            key_id,
            signature,
        } = ENVELOPE.seal(self, key)?;
        Ok(SignedRelayMap {
            map: body,
            key_id,
            signature,
        })
    }

    /// All nodes of all regions.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.regions.iter().flat_map(|region| &region.nodes)
    }
}

impl SignedRelayMap {
    /// Verifies the signature and reads the map.
    ///
    /// `seen` is the newest version that the device has used; an older map is refused.
    ///
    /// # Errors
    /// The first reason that applies, in the order of [`MapError`].
    pub fn verify(
        &self,
        keys: &KeySet,
        fleet: &Fleet,
        unix_s: u64,
        seen: u64,
    ) -> Result<RelayMap, MapError> {
        let envelope = Envelope {
            body: self.map.as_str(),
            key_id: self.key_id.as_str(),
            signature: self.signature.as_str(),
        };
        let map: RelayMap = ENVELOPE.open(&envelope, keys)?;
        let refusal = [
            (
                map.nodes().count() > RELAY_MAP_NODES_MAX,
                MapError::TooLarge,
            ),
            (map.format != FORMAT, MapError::Format),
            (map.fleet != *fleet, MapError::Audience),
            (
                map.issued > unix_s.saturating_add(CLOCK_SKEW_MAX_S),
                MapError::NotYet,
            ),
            (map.expires <= unix_s, MapError::Expired),
            (map.version < seen, MapError::Older),
        ];
        match refusal.into_iter().find(|(applies, _)| *applies) {
            Some((_, error)) => Err(error),
            None => Ok(map),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::text;

    const NOW: u64 = 1_700_000_000;

    fn map() -> RelayMap {
        RelayMap {
            format: FORMAT,
            version: 5,
            fleet: Fleet::new("example").unwrap(),
            issued: NOW,
            expires: NOW + 86_400,
            regions: vec![Region {
                name: "eu".to_owned(),
                nodes: vec![Node {
                    name: "eu-1".to_owned(),
                    identity: NodeId([1; 32]),
                    noise_key: RelayKey([2; 32]),
                    state: NodeState::Ready,
                    load: 10,
                    stun: vec!["192.0.2.1:3478".parse().unwrap()],
                    udp: vec!["192.0.2.1:3478".parse().unwrap()],
                    quic: vec!["[2001:db8::1]:443".parse().unwrap()],
                    wss: vec!["192.0.2.1:443".parse().unwrap()],
                    host: "eu-1.example".to_owned(),
                    pins: Vec::new(),
                }],
            }],
        }
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[42; 32])
    }

    fn verify(signed: &SignedRelayMap, unix_s: u64, seen: u64) -> Result<RelayMap, MapError> {
        let keys = KeySet::new([key().verifying_key()]).unwrap();
        signed.verify(&keys, &Fleet::new("example").unwrap(), unix_s, seen)
    }

    #[test]
    fn a_signed_map_is_read_again_after_it_has_travelled_as_json() {
        let signed = map().sign(&key()).unwrap();
        let text = serde_json::to_string(&signed).unwrap();
        let travelled: SignedRelayMap = serde_json::from_str(&text).unwrap();
        assert_eq!(verify(&travelled, NOW, 5), Ok(map()));
    }

    #[test]
    fn each_way_of_being_wrong_has_its_own_reason() {
        let signed = map().sign(&key()).unwrap();
        assert_eq!(verify(&signed, NOW, 6), Err(MapError::Older));
        assert_eq!(verify(&signed, NOW + 86_400, 0), Err(MapError::Expired));
        assert_eq!(verify(&signed, NOW - 121, 0), Err(MapError::NotYet));
        let mut forged = signed.clone();
        forged.map = text::encode(b"{}");
        assert_eq!(verify(&forged, NOW, 0), Err(MapError::BadSignature));
        forged.signature = "short".to_owned();
        assert_eq!(verify(&forged, NOW, 0), Err(MapError::Malformed));
        let stranger = map().sign(&SigningKey::from_seed(&[1; 32])).unwrap();
        assert_eq!(verify(&stranger, NOW, 0), Err(MapError::UnknownKey));
        let cases = [
            (RelayMap { format: 2, ..map() }, MapError::Format),
            (
                RelayMap {
                    fleet: Fleet::new("other").unwrap(),
                    ..map()
                },
                MapError::Audience,
            ),
        ];
        for (map, expected) in cases {
            assert_eq!(verify(&map.sign(&key()).unwrap(), NOW, 0), Err(expected));
        }
    }

    #[test]
    fn a_ticket_is_no_map_though_the_same_key_signs_both() {
        let bytes = serde_json::to_vec(&map()).unwrap();
        let signature = key().sign(&[b"sterna relay ticket 1\0".as_slice(), &bytes].concat());
        let crossed = SignedRelayMap {
            map: text::encode(&bytes),
            key_id: key().id().to_string(),
            signature: text::encode(&signature),
        };
        assert_eq!(verify(&crossed, NOW, 0), Err(MapError::BadSignature));
    }
}
