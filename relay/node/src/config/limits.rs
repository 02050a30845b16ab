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
    /// TCP connections to peers of the node (RFC 6062).
    pub tcp_peer_connections_max: u32,
    /// TCP connections to peers of one allocation.
    pub tcp_peer_connections_per_allocation_max: u32,
    /// How long nothing may pass between a client and a peer that are joined.
    pub tcp_peer_idle_s: u32,
    /// Answers to unproved sources of one prefix.
    pub unauthenticated_replies_per_prefix_per_s: u32,
    /// Error answers to one address that holds a nonce and shows wrong credentials.
    pub failed_credentials_per_client_per_s: u32,
    /// ICMP errors from peers' sides that one session's client is told.
    pub icmp_per_allocation_per_s: u32,
    /// Packets of one session, both ways together.
    pub session_packets_per_s: u32,
    /// Payload bytes of one session, both ways together.
    pub session_bytes_per_s: u64,
    /// Sessions of the flow relay.
    pub flow_sessions_max: u32,
    /// Sessions of one tenant of the flow relay.
    pub flow_sessions_per_tenant_max: u32,
    /// Flows of one session, where its ticket does not say less.
    pub flow_flows_per_session_max: u32,
    /// Handshakes of the flow relay of one source prefix, on each thread.
    pub flow_handshakes_per_prefix_per_s: u32,
    /// Handshakes of the flow relay, on each thread.
    pub flow_handshakes_per_s: u32,
    /// QUIC connections and WebSockets of the flow relay.
    pub flow_connections_max: u32,
    /// Those of one source prefix (/24, /56).
    pub flow_connections_per_prefix_max: u32,
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
            tcp_peer_connections_max: 2048,
            tcp_peer_connections_per_allocation_max: 64,
            tcp_peer_idle_s: 600,
            unauthenticated_replies_per_prefix_per_s: 500,
            failed_credentials_per_client_per_s: 20,
            icmp_per_allocation_per_s: 20,
            session_packets_per_s: 0,
            session_bytes_per_s: 0,
            flow_sessions_max: 0,
            flow_sessions_per_tenant_max: 0,
            flow_flows_per_session_max: 1024,
            flow_handshakes_per_prefix_per_s: 100,
            flow_handshakes_per_s: 2000,
            flow_connections_max: 16_384,
            flow_connections_per_prefix_max: 4000,
        }
    }
}
