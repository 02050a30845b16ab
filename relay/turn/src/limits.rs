//! Every cap of the machine, named.
//!
//! [`Limits`] holds those that an operator sets; the constants hold those that follow from the
//! protocol or from what memory is worth.

/// The caps that an operator sets. Of each, 0 means: no cap of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Allocations of the whole node; beyond it 508.
    pub allocations_max: u32,
    /// Allocations of one account, reservations included; beyond it 486.
    pub allocations_per_user_max: u32,
    /// Allocations of one source prefix (/24, /56), reservations included; beyond it 486.
    pub allocations_per_prefix_max: u32,
    /// Permissions of one allocation; beyond it 508.
    pub permissions_per_allocation_max: u32,
    /// Channels of one allocation; beyond it 508.
    pub channels_per_allocation_max: u32,
    /// Permissions and channels for new peers that one allocation may add in a second; beyond it
    /// 508.
    pub new_peers_per_allocation_per_s: u32,
    /// Answers to unproved sources of one prefix (/24, /56) in a second, a worker; beyond it
    /// silence.
    pub unauthenticated_replies_per_prefix_per_s: u32,
    /// Error answers in a second to one address that holds a nonce and shows wrong credentials, a
    /// worker; beyond it silence.
    pub failed_credentials_per_client_per_s: u32,
    /// ICMP errors of peers' sides that one allocation is told in a second; beyond it silence.
    pub icmp_per_allocation_per_s: u32,
    /// Packets of one allocation in a second, both ways together; beyond it they are dropped.
    pub session_packets_per_s: u32,
    /// Payload bytes of one allocation in a second, both ways together; beyond it packets are
    /// dropped.
    pub session_bytes_per_s: u64,
    /// TCP connections to peers of the whole node (RFC 6062); beyond it 508, and peers are refused.
    pub tcp_peer_connections_max: u32,
    /// TCP connections to peers of one allocation; beyond it 508, and peers are refused.
    pub tcp_peer_connections_per_allocation_max: u32,
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
            unauthenticated_replies_per_prefix_per_s: 500,
            failed_credentials_per_client_per_s: 20,
            icmp_per_allocation_per_s: 20,
            session_packets_per_s: 0,
            session_bytes_per_s: 0,
            tcp_peer_connections_max: 2048,
            tcp_peer_connections_per_allocation_max: 64,
        }
    }
}

/// RFC 8656 §3.2: the default lifetime of an allocation, and the least that is granted.
pub const LIFETIME_DEFAULT_S: u32 = 600;
/// RFC 8656 §9: the lifetime of a permission.
pub const PERMISSION_LIFETIME_S: u32 = 300;
/// RFC 8656 §12: the lifetime of a channel binding.
pub const CHANNEL_LIFETIME_S: u32 = 600;
/// RFC 8656 §7.2 asks for 30 s or more; a client that loses its first answer needs longer.
pub const RESERVATION_LIFETIME_S: u32 = 60;
/// RFC 6062 §5.2, §5.3: how long a connection to a peer waits for its ConnectionBind.
pub const UNBOUND_CONNECTION_S: u32 = 30;
/// RFC 6062 §5.2: how long a driver tries to connect to a peer, 30 s at least.
pub const CONNECT_PATIENCE_S: u32 = 30;
/// How long a port that somebody else holds is left alone before it is tried again.
pub const FOREIGN_PORT_HOLDOFF_S: u32 = 5;
/// RFC 8016 §3.2.2 asks for 30 s or more, for a client that has not got the answer; a request is
/// repeated for 31.5 s (RFC 8489 §6.2.1).
pub const TICKET_RETENTION_S: u32 = 40;
/// Mobility tickets of one allocation: the one to move with, and the one that was moved with last.
pub const TICKETS_PER_ALLOCATION_MAX: usize = 2;
/// 5-tuples that one allocation was moved to and whose client has not sent data from there; beyond
/// it the oldest is forgotten.
pub const FIVE_TUPLES_WAITING_MAX: usize = 3;
/// How long an allocation with a mobility ticket waits for its client after the connection closed.
pub const AWAY_MAX_S: u32 = 120;
/// 5-tuples whose packets one worker hands to the worker that has their allocation; beyond it a move
/// from another worker is not answered.
pub const MOVED_CLIENTS_MAX: usize = 1 << 16;
/// RFC 8656 §12: the first channel number that may be bound.
pub const CHANNEL_FIRST: u16 = 0x4000;
/// RFC 8656 §12: the last channel number that may be bound.
pub const CHANNEL_LAST: u16 = 0x4fff;
/// Peers in one CreatePermission; more would need a message beyond any sane MTU.
pub const PEERS_PER_REQUEST_MAX: usize = 64;
/// Relay sockets that one worker is opening at a time. The driver opens them at once.
pub const PENDING_BINDS_MAX: usize = 1024;
/// The relay ports' handles are indices; one beyond this is refused.
pub const RELAY_PORT_INDEX_MAX: u32 = 1 << 20;
/// Allocations that one `handle_timeout` ends at most, so that a worker's turn stays short.
pub const TIMEOUT_BATCH_MAX: usize = 256;
/// Buckets of one rate limiter: 512 KiB a worker, whatever is thrown at it.
pub const RATE_BUCKETS: usize = 1 << 16;
/// The size of one bucket.
pub const RATE_BUCKET_BYTES: usize = 8;
/// Rate limiters of one worker: of strangers, and of failed credentials.
pub const RATE_LIMITERS: usize = 2;
/// The longest answer without PADDING: it stays within the smallest IPv6 MTU.
pub const ANSWER_BYTES_MAX: usize = 1280;
/// The longest Data indication without data: a header, an IPv6 address and an ICMP error.
pub const INDICATION_BYTES_MAX: usize = 20 + (4 + 20) + (4 + 8);
/// The longest PADDING of an answer (RFC 5780 §6.1): the MTU of most interfaces, and never more
/// than the request brought.
pub const PADDING_BYTES_MAX: usize = 1500;
/// The longest answer that the machine writes.
pub const REPLY_BYTES_MAX: usize = ANSWER_BYTES_MAX + 4 + PADDING_BYTES_MAX;
/// The lowest RESPONSE-PORT that is answered to (RFC 5780 §7.5): services listen below.
pub const RESPONSE_PORT_MIN: u16 = 1024;
/// RFC 8656 §7.1: the shortest Allocate, a header and REQUESTED-TRANSPORT.
pub const CHALLENGE_BYTES_MIN: usize = 28;
/// The longest realm with which a 401 to the smallest Allocate stays within 3.5 times its size.
pub const REALM_BYTES_MAX: usize = 24;
/// The longest realm that leaves room for PASSWORD-ALGORITHMS in such a 401.
pub const REALM_BYTES_WITH_ALGORITHMS_MAX: usize = 12;
/// The longest SOFTWARE that is sent (RFC 8489 §14.14 allows 763).
pub const SOFTWARE_BYTES_MAX: usize = 128;
/// What fits a UDP datagram over IPv4; the longest that is sent to a UDP client.
pub const UDP_PAYLOAD_MAX: usize = 65_507;

// A 401 without PASSWORD-ALGORITHMS: header, ERROR-CODE, REALM, NONCE of 33 bytes.
const _: () = assert!(20 + 8 + (4 + REALM_BYTES_MAX) + (4 + 36) <= 28 * 7 / 2);
// With it: two algorithms of four bytes more.
const _: () =
    assert!(20 + 8 + (4 + REALM_BYTES_WITH_ALGORITHMS_MAX) + (4 + 36) + (4 + 8) <= 28 * 7 / 2);
const _: () = assert!(RESERVATION_LIFETIME_S >= 30);
const _: () = assert!(TICKET_RETENTION_S >= 30);
const _: () = assert!(CONNECT_PATIENCE_S >= 30);
const _: () = assert!(RATE_BUCKETS.is_power_of_two());
