//! The caps of tickets, maps, messages and signatures, named.

/// The longest relay ticket on the wire.
pub const TICKET_BYTES_MAX: usize = 320;
/// Groups that one ticket names.
pub const GROUPS_MAX: usize = 8;
/// The longest name of a fleet.
pub const FLEET_BYTES_MAX: usize = 32;
/// The longest time that a ticket may be valid for, in seconds.
pub const TICKET_LIFETIME_MAX_S: u64 = 3600;
/// How far a node's clock may be behind the control service's, in seconds.
pub const CLOCK_SKEW_MAX_S: u64 = 120;
/// Keys that verify at the same time: the one in use, its successor, and predecessors on their way
/// out.
pub const KEYS_MAX: usize = 8;
/// The longest signed relay map that is read, as text.
pub const RELAY_MAP_BYTES_MAX: usize = 4 << 20;
/// Nodes of one relay map.
pub const RELAY_MAP_NODES_MAX: usize = 4096;
/// The longest signed orders that are read, as text.
pub const ORDERS_BYTES_MAX: usize = 1 << 20;
/// The longest signalling message, as text.
pub const SIGNAL_BYTES_MAX: usize = 16 << 10;
/// The longest body of a request.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// How far the `created` of a signature may be from the service's clock, in seconds.
pub const SIGNATURE_SKEW_MAX_S: u64 = 60;
/// How long the nonces of calls that change something are remembered, in seconds: both skews.
pub const NONCE_MEMORY_S: u64 = 2 * SIGNATURE_SKEW_MAX_S;
/// The longest time that a heartbeat asks to be held for, in milliseconds: proxies cut connections on
/// which nothing happens for a minute.
pub const HEARTBEAT_WAIT_MS_MAX: u32 = 50_000;
/// The longest `signature-input`, `signature` or `content-digest` that is read.
pub const SIGNATURE_HEADER_BYTES_MAX: usize = 1024;
/// The longest authority, path, query and `authorization` of a signed request, together.
pub const SIGNATURE_TARGET_BYTES_MAX: usize = 8 << 10;
