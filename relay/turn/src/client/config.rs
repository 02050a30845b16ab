//! What a client is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use sterna_stun::attr::AddressFamily;
use sterna_stun::integrity::Key;

/// What carries the client's packets: it decides about retransmission and about padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// UDP or DTLS: requests are repeated, ChannelData is not padded.
    Datagram,
    /// TCP or TLS: requests are sent once, ChannelData is padded to four bytes (RFC 8656 §12.5).
    Stream,
}

/// A user name and password of the long-term mechanism (RFC 8489 §9.2).
///
/// Time-limited credentials are the same thing to a client: the name carries the expiry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name, at most 508 bytes.
    pub username: String,
    /// Password; never logged, never printed.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What an authorisation server gives to a client, to be used in place of a password (RFC 7635 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct AccessGrant {
    /// The name of the key that sealed the token: USERNAME.
    pub kid: String,
    /// The token: ACCESS-TOKEN in Allocate and Refresh, and nothing that the client could read.
    pub token: Vec<u8>,
    /// The session key, with which requests and answers are signed.
    pub key: Key,
}

impl std::fmt::Debug for AccessGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessGrant")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The timers of RFC 8489 §6.2.1 (datagrams) and §6.2.2 (streams).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Wait before the first repetition; doubles with each one.
    pub rto: Duration,
    /// How often a request is sent in all (Rc).
    pub sends_max: u32,
    /// How many `rto` the client waits after the last one (Rm).
    pub last_wait_rtos: u32,
    /// How long a request on a stream may remain unanswered (Ti).
    pub stream_timeout: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            rto: Duration::from_millis(500),
            sends_max: 7,
            last_wait_rtos: 16,
            stream_timeout: Duration::from_millis(39_500),
        }
    }
}

/// The settings of one [`super::TurnClient`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What carries the packets.
    pub link: Link,
    /// The server, where the owner says it: redirections back to it are then told from others.
    pub server: Option<SocketAddr>,
    /// How to authenticate; without it, only a Binding will be answered by a careful server.
    pub credentials: Option<Credentials>,
    /// An access token, which goes before `credentials`.
    pub grant: Option<AccessGrant>,
    /// When to repeat and when to give up.
    pub timers: Timers,
}

impl ClientConfig {
    /// Settings for `link` with `credentials` and the RFC's timers.
    #[must_use]
    pub fn new(link: Link, credentials: Option<Credentials>) -> Self {
        Self {
            link,
            server: None,
            credentials,
            grant: None,
            timers: Timers::default(),
        }
    }
}

/// What an Allocate asks for beyond a relayed UDP address of the server's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocateOptions {
    /// Whether datagrams or connections are relayed.
    pub relayed: Relayed,
    /// Family of the relayed address, or both.
    pub family: FamilyWish,
    /// Lifetime to ask for; `None` leaves it to the server.
    pub lifetime: Option<Duration>,
    /// Which port to ask for.
    pub port: PortWish,
    /// Whether to ask for a ticket to move with (RFC 8016). A server that forbids it (405) is asked
    /// again without.
    pub mobile: bool,
    /// Whether the server shall set the Don't Fragment bit on request.
    pub dont_fragment: bool,
}

/// What an Allocate wants to be relayed (REQUESTED-TRANSPORT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relayed {
    /// Datagrams.
    #[default]
    Udp,
    /// TCP connections (RFC 6062): over [`Link::Stream`] only, without wishes for ports and
    /// fragmentation.
    Tcp,
}

/// What an Allocate says about the family of the relayed address (RFC 8656 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyWish {
    /// Nothing, which means IPv4.
    #[default]
    Any,
    /// One of this family (REQUESTED-ADDRESS-FAMILY).
    Only(AddressFamily),
    /// One of each (ADDITIONAL-ADDRESS-FAMILY): a dual allocation, or what the server has of it.
    Both,
}

/// What an Allocate says about the relayed port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortWish {
    /// Nothing.
    #[default]
    Any,
    /// An even port (EVEN-PORT, R=0), of a dual allocation two.
    Even,
    /// An even port, and the next one held for a second allocation (EVEN-PORT, R=1). Not for
    /// [`FamilyWish::Both`].
    EvenAndNext,
    /// The port that an earlier allocation had held (RESERVATION-TOKEN).
    Reserved([u8; 8]),
}
