//! What a client may hold at once, and how far ahead of an expiry it acts.

use std::time::Duration;

/// Most requests of one client that may wait for an answer together.
///
/// Requests beyond it are refused to the caller ([`super::ClientError::Busy`]), so that a server
/// that answers nothing cannot make the client's memory grow.
pub const PENDING_REQUESTS_MAX: usize = 256;

/// Most channels of one allocation: the whole range 0x4000–0x4FFF (RFC 8656 §12).
pub const CHANNELS_MAX: usize = 0x1000;

/// Most sets of permissions of one allocation; each set is one CreatePermission.
pub const PERMISSION_SETS_MAX: usize = 1024;

/// Most addresses in one CreatePermission: 32 IPv6 addresses are 768 bytes, which leaves room for
/// the user name, the realm and the nonce within one unfragmented datagram.
pub const PEERS_PER_REQUEST_MAX: usize = 32;

/// Most 438 answers in a row that are followed: a server that finds each of its own fresh nonces
/// stale will not find the next one good.
pub const STALE_NONCES_MAX: u8 = 3;

/// How long a server is remembered that was asked for an allocation (RFC 8489 §10): a redirection
/// back to it leads in circles.
pub const SERVERS_REMEMBERED: Duration = Duration::from_secs(300);

/// Most servers that are asked in that time.
pub const SERVERS_MAX: usize = 8;

/// Largest request: 513 bytes each of user name, realm and nonce at most,
/// [`PEERS_PER_REQUEST_MAX`] addresses, two password algorithms, the choice and the MAC.
pub const REQUEST_BYTES_MAX: usize = 2560;

/// Lifetime of a permission (RFC 8656 §9), which a ChannelBind installs or refreshes as well.
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// How long before its end an allocation or a permission is refreshed: longer than the 39.5 s that
/// one unanswered request takes to time out, so that a second attempt still comes in time.
pub const REFRESH_AHEAD: Duration = Duration::from_secs(60);

/// Pause before an unanswered upkeep request is tried again.
pub const UPKEEP_PAUSE: Duration = Duration::from_secs(1);

const _: () = assert!(PERMISSION_LIFETIME.as_secs() > 2 * REFRESH_AHEAD.as_secs());
const _: () = assert!(REQUEST_BYTES_MAX >= 3 * 520 + PEERS_PER_REQUEST_MAX * 24 + 20 + 12 + 8 + 36);
