//! `[limits]`: the caps of the node.

use serde::{Deserialize, Serialize};
use sterna_daemon::config::{Key, Kind, Section};

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

const U32: u64 = u32::MAX as u64;

/// The section's keys.
pub(super) const SECTION: Section = Section {
    name: "limits",
    about: "Caps. Where 0 is allowed, it means no cap but what ports, descriptors and the buffer pool allow.",
    keys: &[
        Key {
            path: "limits.allocations_max",
            meaning: "Allocations of the node. 0: no cap.",
            unit: "allocations",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.allocations_per_user_max",
            meaning: "Allocations of one user; of time-limited names, the part behind the colon is the user. 0: no cap.",
            unit: "allocations",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.allocations_per_prefix_max",
            meaning: "Allocations of one source prefix (/24, /56). 0: no cap.",
            unit: "allocations",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.permissions_per_allocation_max",
            meaning: "Permissions that one allocation holds at a time.",
            unit: "permissions",
            kind: Kind::Number(1, 65_535),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.channels_per_allocation_max",
            meaning: "Channels that one allocation holds at a time.",
            unit: "channels",
            kind: Kind::Number(1, 4096),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.new_peers_per_allocation_per_s",
            meaning: "Peers that one allocation may name anew within a second, so that a relay is no port scanner. 0: no cap.",
            unit: "peers a second",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.tcp_connections_max",
            meaning: "TCP and TLS connections of the node. One more is closed at once.",
            unit: "connections",
            kind: Kind::Number(1, 1_000_000),
            advice: "below the descriptor limit, which relay sockets share",
            reload: true,
        },
        Key {
            path: "limits.tcp_connections_per_prefix_max",
            meaning: "TCP and TLS connections of one source prefix (/24, /56). 0: no cap.",
            unit: "connections",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.tcp_unauthenticated_idle_s",
            meaning: "How long a connection without an allocation may send no whole frame before it is closed.",
            unit: "seconds",
            kind: Kind::Number(1, 3600),
            advice: "10 to 60",
            reload: true,
        },
        Key {
            path: "limits.tcp_handshake_s",
            meaning: "How long a TLS handshake may take, and a PROXY header before it.",
            unit: "seconds",
            kind: Kind::Number(1, 300),
            advice: "5 to 15",
            reload: true,
        },
        Key {
            path: "limits.tcp_write_stall_s",
            meaning: "How long a client may take nothing of what is queued for it before it is cut off.",
            unit: "seconds",
            kind: Kind::Number(1, 3600),
            advice: "10 to 60",
            reload: true,
        },
        Key {
            path: "limits.tcp_queue_bytes_max",
            meaning: "Bytes that wait for the client of one connection. Beyond, the oldest whole frame is dropped: late media is worth less than new.",
            unit: "bytes",
            kind: Kind::Number(70_000, 16_777_216),
            advice: "the rate of a session times the delay that is still of use",
            reload: true,
        },
        Key {
            path: "limits.tcp_queues_bytes_max",
            meaning: "Memory of what waits for the clients of all connections together. Beyond, a connection that has more than 16 KiB waiting loses its oldest frames for each new one, so that many clients that read nothing neither take the host's memory nor starve the others.",
            unit: "bytes",
            kind: Kind::Number(1_048_576, 1 << 40),
            advice: "a quarter of the memory that the node may use, at most",
            reload: true,
        },
        Key {
            path: "limits.tcp_peer_connections_max",
            meaning: "TCP connections between the node and peers (`turn.tcp_allocations`). One more to a peer is refused, one more from a peer is closed at once. 0: no cap.",
            unit: "connections",
            kind: Kind::Number(0, U32),
            advice: "each takes a descriptor beside its client's, and at worst half a MiB of the kernel's memory",
            reload: true,
        },
        Key {
            path: "limits.tcp_peer_connections_per_allocation_max",
            meaning: "TCP connections between one allocation and peers, likewise. 0: no cap.",
            unit: "connections",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.tcp_peer_idle_s",
            meaning: "How long no byte may pass between a client and a peer whose TCP connections are joined before both are closed; 30 s at most where one of them has closed its half.",
            unit: "seconds",
            kind: Kind::Number(1, 86_400),
            advice: "more than the keep-alive of what is relayed",
            reload: true,
        },
        Key {
            path: "limits.unauthenticated_replies_per_prefix_per_s",
            meaning: "Answers over UDP to sources of one prefix (/24, /56) that have proved nothing yet. 0: no cap.",
            unit: "answers a second",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.failed_credentials_per_client_per_s",
            meaning: "Error answers to one address that holds a valid nonce and shows wrong credentials. 0: no cap.",
            unit: "answers a second",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.icmp_per_allocation_per_s",
            meaning: "ICMP errors from peers' sides that one allocation's client is told. 0: no cap.",
            unit: "errors a second",
            kind: Kind::Number(0, 4_294_967_295),
            advice: "they can be forged; a few are enough to learn that a peer is gone or a path narrow",
            reload: true,
        },
        Key {
            path: "limits.session_packets_per_s",
            meaning: "Packets of one allocation, both ways together; relayed TCP connections have none. 0: no cap.",
            unit: "packets a second",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.session_bytes_per_s",
            meaning: "Payload bytes of one allocation, both ways together. Beyond, packets are dropped, and relayed TCP connections slowed down. 0: no cap.",
            unit: "bytes a second",
            kind: Kind::Number(0, i64::MAX as u64),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.flow_sessions_max",
            meaning: "Sessions of the flow relay. 0: no cap.",
            unit: "sessions",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.flow_sessions_per_tenant_max",
            meaning: "Sessions of one tenant of the flow relay. 0: no cap.",
            unit: "sessions",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.flow_flows_per_session_max",
            meaning: "Flows that one session may have open, where its ticket does not say less.",
            unit: "flows",
            kind: Kind::Number(1, 65_535),
            advice: "the number of peers that a device talks to at a time",
            reload: true,
        },
        Key {
            path: "limits.flow_handshakes_per_prefix_per_s",
            meaning: "Handshakes of the flow relay of one source prefix (/24, /56) in a second, on each thread; beyond, silence. 0: no cap.",
            unit: "handshakes a second",
            kind: Kind::Number(0, U32),
            reload: true,
            ..Key::PLAIN
        },
        Key {
            path: "limits.flow_handshakes_per_s",
            meaning: "Handshakes of the flow relay in a second, on each thread; beyond, devices are told that the node is busy. 0: no cap.",
            unit: "handshakes a second",
            kind: Kind::Number(0, U32),
            advice: "what a core can do beside relaying",
            reload: true,
        },
        Key {
            path: "limits.flow_connections_max",
            meaning: "QUIC connections and WebSockets of the flow relay.",
            unit: "connections",
            kind: Kind::Number(1, U32),
            ..Key::PLAIN
        },
        Key {
            path: "limits.flow_connections_per_prefix_max",
            meaning: "QUIC connections and WebSockets of one source prefix (/24, /56). 0: no cap.",
            unit: "connections",
            kind: Kind::Number(0, U32),
            ..Key::PLAIN
        },
    ],
};
