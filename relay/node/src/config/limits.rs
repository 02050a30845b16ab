//! `[limits]`: the caps of the node.

use serde::{Deserialize, Serialize};

/// The `[limits]` section. Where 0 is allowed, it means no cap but what ports, descriptors and the
/// pool allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Allocations of the node.
    pub allocations_max: u32,
    /// Allocations of one user.
    pub allocations_per_user_max: u32,
    /// Allocations of one source prefix (/24, /56).
    pub allocations_per_prefix_max: u32,
    /// Permissions of one allocation.
    pub permissions_per_allocation_max: u32,
    /// Channels of one allocation.
    pub channels_per_allocation_max: u32,
    /// Peers that one allocation may name anew within a second.
    pub new_peers_per_allocation_per_s: u32,
    /// TCP and TLS connections of the node.
    pub tcp_connections_max: u32,
    /// TCP and TLS connections of one source prefix (/24, /56).
    pub tcp_connections_per_prefix_max: u32,
    /// How long a connection without an allocation may send no whole frame.
    pub tcp_unauthenticated_idle_s: u32,
    /// How long a TLS handshake may take, and a PROXY header before it.
    pub tcp_handshake_s: u32,
    /// How long a client may accept nothing of what is queued for it.
    pub tcp_write_stall_s: u32,
    /// Bytes that wait for one connection's client; beyond, the oldest frame is dropped.
    pub tcp_queue_bytes_max: u32,
    /// Bytes that wait for the clients of all connections; beyond, whoever gets a frame loses its
    /// oldest ones.
    pub tcp_queues_bytes_max: u64,
    /// Answers to unproved sources of one prefix.
    pub unauthenticated_replies_per_prefix_per_s: u32,
    /// Error answers to one address that holds a nonce and shows wrong credentials.
    pub failed_credentials_per_client_per_s: u32,
    /// Packets of one session, both ways together.
    pub session_packets_per_s: u32,
    /// Payload bytes of one session, both ways together.
    pub session_bytes_per_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations_max: 0,
            allocations_per_user_max: 1000,
            allocations_per_prefix_max: 4000,
            permissions_per_allocation_max: 1000,
            channels_per_allocation_max: 512,
            new_peers_per_allocation_per_s: 1000,
            tcp_connections_max: 4096,
            tcp_connections_per_prefix_max: 2500,
            tcp_unauthenticated_idle_s: 30,
            tcp_handshake_s: 10,
            tcp_write_stall_s: 30,
            tcp_queue_bytes_max: 256 * 1024,
            tcp_queues_bytes_max: 256 * 1024 * 1024,
            unauthenticated_replies_per_prefix_per_s: 500,
            failed_credentials_per_client_per_s: 20,
            session_packets_per_s: 0,
            session_bytes_per_s: 0,
        }
    }
}
