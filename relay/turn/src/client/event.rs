//! What a client tells its owner.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

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
    /// The allocation lives on.
    Refreshed {
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
    /// A request was refused, was not answered, or was answered with nonsense. Where upkeep failed,
    /// what it was to keep is gone, except that an unanswered one is repeated until its time is up.
    Failed {
        /// What was asked.
        request: Request,
        /// Why not.
        error: ClientError,
    },
    /// The allocation, its permissions and its channels are gone.
    Ended(EndReason),
}

/// What a successful Allocate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// Where peers send to (XOR-RELAYED-ADDRESS).
    pub relayed: SocketAddr,
    /// The client's own address as the server sees it (XOR-MAPPED-ADDRESS).
    pub mapped: SocketAddr,
    /// How long it lives without a Refresh; the client refreshes it by itself.
    pub lifetime: Duration,
    /// Token of the next higher port, where [`super::PortWish::EvenAndNext`] was asked for.
    pub reservation_token: Option<[u8; 8]>,
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
    /// An answer to one of the client's requests; see [`super::TurnClient::poll_event`].
    Answer,
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
    /// A Data indication that reports an ICMP error in place of data (RFC 8656 §11.5).
    Icmp,
    /// A request, or an indication other than Data.
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
    /// The client has an allocation, or is making one.
    #[error("there is an allocation already")]
    AlreadyAllocated,
    /// No channel and no permission for that peer.
    #[error("the peer has neither channel nor permission")]
    NotPermitted,
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
