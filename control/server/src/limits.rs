//! The service's own caps that are no configuration, named.

use std::time::Duration;

use sterna_control_api::limits::{BODY_BYTES_MAX, SIGNAL_BYTES_MAX};

/// Addresses, callers or names whose rate is remembered.
pub(crate) const RATE_KEYS_MAX: usize = 200_000;
/// Counters of signed reads and heartbeats that are remembered; the longest unused goes first.
pub(crate) const COUNTERS_MAX: usize = 200_000;
/// How long a connection may take to send a request's head, the wait for the next one included.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long running requests and WebSockets get when the service ends.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);
/// What one connection may buffer of a request's head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Names, notes and other short texts for people, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 128;
/// Addresses of one service of a node.
pub(crate) const ADDRESSES_MAX: usize = 16;
/// Tags of an enrolment key.
pub(crate) const TAGS_MAX: usize = 16;
/// Paths of one report of a device.
pub(crate) const PATHS_MAX: usize = 256;
/// The longest time that a join token or an enrolment key may be valid for, in seconds: a year.
pub(crate) const TOKEN_TTL_MAX_S: u32 = 366 * 86_400;
/// How long nothing may be heard of a WebSocket before it is asked, and asked again it is cut.
pub(crate) const WEBSOCKET_SILENCE: Duration = Duration::from_secs(45);
/// How often the service asks one that is silent whether it is there.
pub(crate) const WEBSOCKET_ASKS_MAX: u8 = 2;
/// How long a WebSocket may take to read what was pushed to it.
pub(crate) const WEBSOCKET_WRITE_MAX: Duration = Duration::from_secs(10);
/// How long a device gets to answer the end of its WebSocket.
pub(crate) const WEBSOCKET_FAREWELL: Duration = Duration::from_secs(1);
/// What a WebSocket reads at once. Longer messages grow its buffer for as long as they last.
pub(crate) const WEBSOCKET_READ_BYTES: usize = 1 << 10;
/// Revocations of one request.
pub(crate) const REVOCATIONS_MAX: usize = 256;
/// Devices that are kept in memory so that their next call costs no SQL.
pub(crate) const DEVICES_KNOWN_MAX: usize = 100_000;
/// Devices that one message about presence names.
pub(crate) const PRESENCE_DEVICES_MAX: usize = 1_000;

const _: () = assert!(SIGNAL_BYTES_MAX <= BODY_BYTES_MAX);
