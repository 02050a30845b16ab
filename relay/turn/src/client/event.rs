//! What a client tells its owner.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use sterna_stun::attr::{AddressFamily, Icmp};

use super::request::Request;

/// Something that happened; taken with [`super::TurnClient::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A Binding was answered: the client's own address as the server sees it.
    Mapped {
        /// Reflexive address.
        addr: SocketAddr,
    },
    /// The allocation exists.
    Allocated(Allocated),
    /// The server makes no allocation and names another one (300): open the same kind of transport to
    /// it, then call [`super::TurnClient::follow`].
    Redirected(Redirect),
    /// The allocation lives on.
    Refreshed {
        /// From now.
        lifetime: Duration,
    },
    /// The server serves the new path; its peers have noticed nothing. Data goes by it from now on.
    Moved {
        /// From now.
        lifetime: Duration,
    },
    /// These peers may send to the relayed address, and be sent to. Reported once for each set,
    /// not for its upkeep.
    Permitted {
        /// As they were asked for.
        peers: Box<[IpAddr]>,
    },
    /// A channel can be used. Reported once, not for its upkeep.
    ChannelBound {
        /// 0x4000–0x4FFF.
        number: u16,
        /// What it stands for.
        peer: SocketAddr,
    },
    /// A peer is connected by TCP, and waits 30 s for [`super::TurnClient::bind_connection`] on
    /// another connection.
    Connected {
        /// As it was asked for.
        peer: SocketAddr,
        /// What to bind.
        connection_id: u32,
    },
    /// A permitted peer has connected to the relayed address, and waits likewise.
    ConnectionAttempt {
        /// Who it is.
        peer: SocketAddr,
        /// What to bind.
        connection_id: u32,
    },
    /// From the next byte on, this connection carries a peer's.
    ConnectionBound {
        /// What was bound.
        connection_id: u32,
    },
    /// A request was refused, was not answered, or was answered with nonsense. Where upkeep failed,
    /// what it was to keep is gone, except that an unanswered one is repeated until its time is up.
    Failed {
        /// What was asked.
        request: Request,
        /// Why not.
        error: ClientError,
    },
    /// One relayed address of a dual allocation is gone, by
    /// [`super::TurnClient::release_half`], with the permissions and channels of its family.
    HalfEnded {
        /// The address.
        relayed: SocketAddr,
    },
    /// The allocation, its permissions and its channels are gone.
    Ended(EndReason),
}

/// What a successful Allocate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Where peers send to (XOR-RELAYED-ADDRESS); of a dual allocation the first address.
    pub relayed: SocketAddr,
    /// Where peers of the other family send to, if there is such an address.
    pub relayed_second: Option<SocketAddr>,
    /// The family that was asked for and not had, and the code that says why: 440 or 508
    /// (ADDRESS-ERROR-CODE).
    pub refused: Option<(AddressFamily, u16)>,
    /// The client's own address as the server sees it (XOR-MAPPED-ADDRESS).
    pub mapped: SocketAddr,
    /// How long it lives without a Refresh; the client refreshes it by itself.
    pub lifetime: Duration,
    /// Token of the next higher port, where [`super::PortWish::EvenAndNext`] was asked for.
    pub reservation_token: Option<[u8; 8]>,
    /// The server gave a ticket: [`super::TurnClient::moved`] takes the allocation along.
    pub is_mobile: bool,
}

/// Where to go instead (RFC 8489 §10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Its address.
    pub server: SocketAddr,
    /// Over TLS, the name that its certificate must bear (ALTERNATE-DOMAIN); where there is none,
    /// the name that the first server's had to bear.
    pub domain: Option<Box<str>>,
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// By [`super::TurnClient::release`].
    Released,
    /// No refresh succeeded in time.
    Expired,
    /// The server says that it has none for this 5-tuple (437).
    Lost,
}

/// What an incoming packet was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Data of a peer.
    Data {
        /// Who sent it to the relayed address.
        peer: SocketAddr,
        /// Where it lies in the packet.
        payload: Range<usize>,
        /// Whether it came by ChannelData or by a Data indication.
        carrier: Carrier,
    },
    /// An ICMP error about what was sent to a peer (RFC 8656 §11.5): the peer's port is closed, it
    /// cannot be reached, or what had to stay whole was longer than the path allows.
    ///
    /// Nothing ends by it. Anybody on the way can forge one, so it is a reason to look again, and
    /// none to give up.
    Icmp {
        /// Whom the datagram was for.
        peer: SocketAddr,
        /// What became of it; of ICMPv4 or ICMPv6 by the family of `peer`.
        icmp: Icmp,
    },
    /// An answer to one of the client's requests; see [`super::TurnClient::poll_event`].
    Answer,
    /// A peer has connected by TCP; see [`super::TurnClient::poll_event`].
    Attempt,
    /// Nothing of ours.
    Ignored(Ignored),
}

/// How data travels between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// ChannelData: four bytes of header.
    Channel,
    /// A Send or Data indication: 36 bytes of header, 48 for an IPv6 peer.
    Indication,
}

/// Why a packet was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Neither STUN nor ChannelData, or a broken one.
    Malformed,
    /// An answer to nothing that is waiting: a late or repeated one, or a forgery.
    UnknownTransaction,
    /// An answer that should prove itself by the MAC that its request asked for and does not, or
    /// whose nonce announces an offer that is missing (RFC 8489 §9.2.5).
    Unproven,
    /// ChannelData of a channel that is not bound (RFC 8656 §12.6).
    UnknownChannel,
    /// Data of a peer for which there is no permission (RFC 8656 §11.4).
    UnknownPeer,
    /// A request, or an indication other than Data and ConnectionAttempt.
    Unexpected,
}

/// Why something cannot be done or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// All repetitions went unanswered.
    #[error("the server did not answer")]
    TimedOut,
    /// The server wants credentials and none are configured.
    #[error("the server asks for credentials")]
    NoCredentials,
    /// The server does not accept the credentials.
    #[error("the server does not accept the user name or the password (401)")]
    Unauthorized,
    /// The server's nonce announces password algorithms and the answer names none.
    #[error(
        "the server's offer of password algorithms is missing although its nonce announces it; \
         somebody on the path may have removed it"
    )]
    BidDown,
    /// None of the server's password algorithms is known here.
    #[error("the server offers neither SHA-256 nor MD5 for passwords")]
    NoPasswordAlgorithm,
    /// The server calls each of its own fresh nonces stale.
    #[error("the server keeps calling fresh nonces stale (438)")]
    StaleNonces,
    /// Any other error answer.
    #[error("the server refused: {}", describe_code(*.0))]
    Refused(u16),
    /// An answer without what it must contain.
    #[error("the server's answer lacks a required attribute")]
    BadAnswer,
    /// The request needs an allocation.
    #[error("there is no allocation")]
    NoAllocation,
    /// The allocation is being taken along to another path.
    #[error("the allocation is on the move")]
    Moving,
    /// The client has an allocation, or is making one.
    #[error("there is an allocation already")]
    AlreadyAllocated,
    /// No channel and no permission for that peer.
    #[error("the peer has neither channel nor permission")]
    NotPermitted,
    /// The allocation has no relayed address of that family.
    #[error("the allocation has no relayed address of that family")]
    NoSuchFamily,
    /// The next port can be reserved for an allocation of one family only (RFC 8656 §7.1).
    #[error("a port can be reserved for one address family, not for both")]
    PortOfBothFamilies,
    /// The server named one that was asked within the last five minutes (RFC 8489 §10).
    #[error("the servers send the client in circles (300)")]
    RedirectedInCircles,
    /// No server has sent the client elsewhere.
    #[error("no server has sent the client elsewhere")]
    NotRedirected,
    /// One of the client's own limits.
    #[error("too many requests, permissions or channels at once")]
    Busy,
    /// More than 65,535 bytes of payload, or than a user name or a realm may be long.
    #[error("too long for one message")]
    TooLong,
}

/// `403 Forbidden` and the like: the code with the name that the RFCs give it.
fn describe_code(code: u16) -> String {
    let name = match code {
        300 => "Try Alternate",
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Mobility Forbidden",
        420 => "Unknown Attribute",
        437 => "Allocation Mismatch",
        440 => "Address Family not Supported",
        441 => "Wrong Credentials",
        442 => "Unsupported Transport Protocol",
        443 => "Peer Address Family Mismatch",
        446 => "Connection Already Exists",
        447 => "Connection Timeout or Failure",
        486 => "Allocation Quota Reached",
        500 => "Server Error",
        508 => "Insufficient Capacity",
        _ => return code.to_string(),
    };
    format!("{code} {name}")
}
