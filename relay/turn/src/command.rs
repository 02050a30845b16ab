//! Cold work, named as data.

use std::{net::SocketAddr, sync::Arc};

use crate::{AllocationId, BindToken, Client, RelayPort, Traffic};

/// Something that the driver has to do after a `handle_*` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send the first `len` bytes of the buffer that `poll_command` was given.
    Reply {
        /// To whom, and by which way.
        client: Client,
        /// How many bytes of the buffer.
        len: usize,
    },
    /// Open a relay socket on `addr` at once and answer with `handle_port`.
    BindPort {
        /// Goes back with the answer.
        token: BindToken,
        /// The relayed transport address, as the node knows it.
        addr: SocketAddr,
    },
    /// Bind a socket on `addr` that the whole node holds, receive nothing on it, and answer with
    /// `handle_port`; the port number in that answer is ignored (EVEN-PORT with R = 1).
    HoldPort {
        /// Goes back with the answer.
        token: BindToken,
        /// The address to hold.
        addr: SocketAddr,
    },
    /// Take the socket that the node holds on `addr`, whichever worker had it held, make it a
    /// relay socket of this worker, and answer with `handle_port` (RESERVATION-TOKEN).
    AdoptPort {
        /// Goes back with the answer.
        token: BindToken,
        /// The held address.
        addr: SocketAddr,
    },
    /// Close the socket that the node holds on `addr`: nobody came with its token.
    DropHeldPort {
        /// The held address.
        addr: SocketAddr,
    },
    /// Close a relay socket.
    ReleasePort {
        /// Which one.
        port: RelayPort,
    },
    /// Close a client's connection: its allocation was ended from this side.
    CloseStream {
        /// Whose connection.
        client: Client,
    },
    /// Something worth a line in the log.
    Event(Event),
}

/// A step in an allocation's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An allocation was made.
    Allocated {
        /// Its name.
        id: AllocationId,
        /// Who asked for it.
        client: Client,
        /// The account that it counts for; empty on an open relay.
        account: Arc<str>,
        /// The relayed transport address that the client was told.
        relayed: SocketAddr,
        /// The granted lifetime.
        lifetime_s: u32,
    },
    /// An allocation was refreshed.
    Refreshed {
        /// Its name.
        id: AllocationId,
        /// The granted lifetime.
        lifetime_s: u32,
    },
    /// An allocation ended.
    Ended {
        /// Its name.
        id: AllocationId,
        /// Who had it.
        client: Client,
        /// The account that it counted for.
        account: Arc<str>,
        /// Why it ended.
        reason: EndReason,
        /// What its client sent to peers.
        to_peers: Traffic,
        /// What peers sent to its client.
        to_client: Traffic,
    },
}

/// Why an allocation ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// Its lifetime ran out, or the longest session is over.
    Expired,
    /// The client sent a Refresh with a lifetime of 0.
    Released,
    /// The client's connection closed.
    StreamClosed,
    /// The operator ended it.
    Revoked,
    /// A change of configuration removed its user.
    UserRemoved,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Expired,
        Self::Released,
        Self::StreamClosed,
        Self::Revoked,
        Self::UserRemoved,
    ];

    /// The stable name used in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Released => "released",
            Self::StreamClosed => "stream_closed",
            Self::Revoked => "revoked",
            Self::UserRemoved => "user_removed",
        }
    }
}

/// Why the driver could not open a relay socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Somebody else holds the port: another one is tried.
    #[error("the port is in use")]
    InUse,
    /// The node is out of descriptors or slots: the client gets a 508.
    #[error("no more sockets can be opened")]
    Exhausted,
    /// Anything else: the client gets a 508.
    #[error("the socket could not be opened")]
    Other,
}

/// What the operator wants ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// One allocation.
    Allocation(AllocationId),
    /// All allocations of an account (of a time-limited name, the part behind the colon).
    User(String),
}
