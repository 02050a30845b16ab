//! What a relay is told: plain values, compiled by the node from its configuration.

use sterna_control_api::{Fleet, KeySet, NodeId};

use crate::frame::DATA_HEAD_BYTES;
use crate::limits::{Limits, PAYLOAD_BYTES_MAX};
use crate::{Epoch, NumberLayout, Secret};

/// The configuration of every relay of a node.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The node's identity, told to devices.
    pub node: NodeId,
    /// The private half of the node's Noise key, whose public half is in the relay map.
    pub secret: Secret,
    /// The fleet that tickets must be made out to.
    pub fleet: Fleet,
    /// The keys that sign tickets.
    pub ticket_keys: KeySet,
    /// How long after its ticket's expiry a known device is served, in seconds; for when the control
    /// service is down.
    pub grace_s: u64,
    /// The wall clock.
    pub epoch: Epoch,
    /// How flow numbers name shards; the same on every shard.
    pub layout: NumberLayout,
    /// Shards below this number are workers, which can send from every UDP listener; the others
    /// serve QUIC and WebSocket.
    pub workers: u8,
    /// The longest payload of a datagram of the `udp` rung.
    pub udp_payload_max: u16,
    /// The caps.
    pub limits: Limits,
}

impl RelayConfig {
    /// A configuration with every default, for so many workers among so many shards.
    #[must_use]
    pub fn new(
        node: NodeId,
        secret: Secret,
        fleet: Fleet,
        ticket_keys: KeySet,
        epoch: Epoch,
        workers: u8,
        shards: usize,
    ) -> Self {
        Self {
            node,
            secret,
            fleet,
            ticket_keys,
            grace_s: 0,
            epoch,
            layout: NumberLayout::for_shards(shards),
            workers,
            udp_payload_max: UDP_PAYLOAD_MAX,
            limits: Limits::default(),
        }
    }
}

/// A jumbo frame of Ethernet, less the headers of IPv6 and UDP and the head of DATA. Less passes on
/// most paths, which devices find out by themselves.
const UDP_PAYLOAD_MAX: u16 = 9000 - 48 - 4;
const _: () = assert!(UDP_PAYLOAD_MAX < PAYLOAD_BYTES_MAX && DATA_HEAD_BYTES == 4);
