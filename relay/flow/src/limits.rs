//! Every cap and every time of the machines, named.
//!
//! [`Limits`] holds those that an operator sets; the constants hold those that follow from the
//! protocol or from what memory is worth.

use std::time::Duration;

/// The caps that an operator sets. Of each, 0 means: no cap of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of the whole node; beyond it REFUSED `busy`.
    pub sessions_max: u32,
    /// Sessions of one tenant; beyond it REFUSED `busy`.
    pub sessions_per_tenant_max: u32,
    /// Flows of one session, where its ticket does not say less.
    pub flows_per_session_max: u32,
    /// Answers to HELLO for one source prefix (/24, /56) in a second, a shard; beyond it silence.
    pub hellos_per_prefix_per_s: u32,
    /// Handshakes past the cookie for one source prefix in a second, a shard; beyond it silence.
    pub handshakes_per_prefix_per_s: u32,
    /// Handshakes past the cookie in a second, a shard; beyond it REFUSED `busy`.
    pub handshakes_per_s: u32,
    /// Payload bytes of one session in a second, where its ticket does not say less.
    pub session_bytes_per_s: u64,
    /// Packets of one session in a second, where its ticket does not say less.
    pub session_packets_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 0,
            sessions_per_tenant_max: 0,
            flows_per_session_max: 1024,
            hellos_per_prefix_per_s: 500,
            handshakes_per_prefix_per_s: 100,
            handshakes_per_s: 2000,
            session_bytes_per_s: 0,
            session_packets_per_s: 0,
        }
    }
}

/// Bits of a flow number that name the shard, at most.
pub const SHARD_BITS_MAX: u32 = 6;
/// Shards of a node.
pub const SHARDS_MAX: usize = 1 << SHARD_BITS_MAX;
/// Bits of a flow number that change when its slot is used again.
pub const GENERATION_BITS: u32 = 3;
/// Slots of flow ends that are made at a time; a free one is chosen at random among them.
pub const SLOTS_AT_A_TIME: u32 = 1024;
/// Sessions of one device: the active one, and passive ones.
pub const SESSIONS_PER_DEVICE_MAX: usize = 4;
/// Sessions of one device that have been welcomed and have not spoken.
pub const EMBRYOS_PER_DEVICE_MAX: usize = 8;
/// How long a session may stay silent after WELCOME.
pub const EMBRYO_LIFETIME: Duration = Duration::from_secs(10);
/// How long a cookie is valid: a round trip and some retransmissions.
pub const COOKIE_LIFETIME_S: u64 = 10;
/// A session without a valid frame for so long is dead.
pub const SESSION_IDLE: Duration = Duration::from_secs(30);
/// How long a challenge for a new address stands.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5);
/// Bytes sent to an address that is not proved, by those that came from it.
pub const UNPROVED_AMPLIFICATION_MAX: u32 = 3;
/// Counters behind the newest one that are still taken, each once.
pub const REPLAY_WINDOW: u64 = 1024;
/// Messages that wait for a device's acknowledgement; the oldest gives way.
pub const NOTICES_MAX: usize = 128;
/// How often a notice is repeated before the session is left to its idle time.
pub const NOTICE_TRIES_MAX: u32 = 8;
/// The first repetition of a notice; each further one waits twice as long.
pub const NOTICE_REPEAT: Duration = Duration::from_millis(250);
/// KEYED frames of one session in a second: they ask the directory.
pub const KEYED_PER_S: u32 = 128;
/// Sealed frames of one session in a second.
pub const SEALED_PER_S: u32 = 256;
/// A policer's bucket holds so much of a second's rate.
pub const BURST: Duration = Duration::from_millis(250);
/// What a session's strict class may use of its rate: one part in so many.
pub const PRIORITY_SHARE: u64 = 10;
/// Buckets of one rate limiter of strangers.
pub const RATE_BUCKETS: usize = 1 << 14;
/// Sessions that one `handle_timeout` looks at, so that a turn stays short.
pub const TIMEOUT_BATCH_MAX: usize = 256;
/// Locks of the directory: more than threads that ask it at a time.
pub const DIRECTORY_SHARDS: usize = 64;
/// Revocations that are held at a time; beyond it the one that ends first gives way.
pub const REVOCATIONS_MAX: usize = 65_536;
/// Alternates that RESTARTING names.
pub const ALTERNATES_MAX: usize = 8;
/// The longest text of a refusal or a close.
pub const TEXT_BYTES_MAX: usize = 120;
/// The longest frame that the machines write themselves.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1500;
/// The longest payload of a data frame: that of a UDP datagram over IPv4, less the head.
pub const PAYLOAD_BYTES_MAX: u16 = 65_507 - 4;
/// The payload that every rung is taken to carry until it shows more.
pub const PAYLOAD_BYTES_INITIAL: u16 = 1_158;
/// What a full-size WireGuard packet takes: 1,280 inside.
pub const PAYLOAD_BYTES_WIREGUARD: u16 = 1_312;

/// The queue into a QUIC or WebSocket session.
pub const QUEUE_BYTES_MAX: usize = 64 << 10;
/// What a packet costs in a queue besides its bytes.
pub const QUEUE_PACKET_OVERHEAD_BYTES: usize = 64;
/// The sojourn that a queue may have for a while.
pub const QUEUE_TARGET: Duration = Duration::from_millis(5);
/// The while.
pub const QUEUE_INTERVAL: Duration = Duration::from_millis(50);
/// What a flow may send in its turn of the round.
pub const QUEUE_QUANTUM_BYTES: usize = 1_500;

/// Halves of one flow that wait for their other half.
pub const REASSEMBLY_SLOTS: usize = 16;
/// How long a half waits.
pub const REASSEMBLY_TIME: Duration = Duration::from_millis(250);

/// A device pings when it has heard nothing for so long.
pub const PING_IDLE: Duration = Duration::from_secs(15);
/// Silence, while data is expected, that brings the first ping.
pub const SUSPECT_SILENCE: Duration = Duration::from_millis(400);
/// When the pings of a suspicion go out, from the first.
pub const SUSPECT_PINGS_MS: [u64; 4] = [0, 200, 400, 800];
/// Unanswered pings that make a path suspect.
pub const SUSPECT_UNANSWERED: usize = 3;
/// A node pings the active one of several sessions of a device when it has heard nothing for so long.
pub const WATCH_SILENCE: Duration = Duration::from_secs(1);
/// The first repetition of HELLO, INIT and a device's requests; each further one doubles it.
pub const REQUEST_REPEAT: Duration = Duration::from_millis(200);
/// The longest wait between repetitions.
pub const REQUEST_REPEAT_MAX: Duration = Duration::from_secs(3);
/// A handshake that is not done by then has failed.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// A rung counts as up after a frame of so many bytes has crossed it both ways.
pub const PROBE_BYTES_UP: usize = 1_200;
/// Requests of a device that wait for their answer.
pub const REQUESTS_MAX: usize = 4096;

/// When the ping of such a place in a suspicion goes out; after the fourth, one every second.
pub(crate) fn suspicion_ping_at(place: usize) -> Duration {
    let last = SUSPECT_PINGS_MS.len() - 1;
    let further = u64::try_from(place.saturating_sub(last)).unwrap_or(0) * 1000;
    Duration::from_millis(SUSPECT_PINGS_MS[place.min(last)] + further)
}

const _: () = assert!(RATE_BUCKETS.is_power_of_two() && DIRECTORY_SHARDS.is_power_of_two());
const _: () = assert!(SUSPECT_UNANSWERED < SUSPECT_PINGS_MS.len());
const _: () = assert!(COOKIE_LIFETIME_S <= EMBRYO_LIFETIME.as_secs());
/// Packets that one end of a QUIC connection takes before it acknowledges, where the other end asks
/// for that (draft-ietf-quic-ack-frequency): datagrams are never repeated, so that an acknowledgement
/// of every second one costs more than what it tells.
pub const QUIC_UNACKNOWLEDGED: u32 = 10;
