//! Cold work, named as data.

use std::{net::SocketAddr, sync::Arc};

use crate::{AllocationId, BindToken, Client, Meter, PeerConnection, RelayPort, Traffic, WorkerId};

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
    /// Listen on `addr` for TCP connections of peers and answer at once with `handle_port`; what is
    /// accepted goes to `handle_peer_connection` (RFC 6062 §5.1).
    ListenRelay {
        /// Goes back with the answer.
        token: BindToken,
        /// The relayed transport address, as the node knows it.
        addr: SocketAddr,
        /// What to ask and to tell about the bytes of all connections of this listener.
        meter: Meter,
    },
    /// Close a TCP listener, and every connection to a peer that came or went by it.
    CloseListener {
        /// Which one.
        port: RelayPort,
    },
    /// Connect to a peer from the address and port of a TCP listener, and answer with
    /// `handle_connected` when that is done or has failed (RFC 6062 §5.2).
    ConnectPeer {
        /// Goes back with the answer.
        token: BindToken,
        /// The listener to connect from.
        port: RelayPort,
        /// The peer.
        peer: SocketAddr,
    },
    /// From now on a client's connection is nothing but the other end of the one to a peer: once
    /// what is queued for the client was sent, bytes go as they are (RFC 6062 §5.4). The machine
    /// has forgotten the client.
    JoinConnections {
        /// The client's connection.
        client: Client,
        /// The one to the peer.
        connection: PeerConnection,
    },
    /// Close a connection to a peer, and the client's that is joined to it.
    CloseConnection {
        /// Which one.
        connection: PeerConnection,
    },
    /// Close a client's connection: its allocation was ended from this side.
    CloseStream {
        /// Whose connection.
        client: Client,
    },
    /// A client's 5-tuple has no allocation here any more, though its connection may go on: one that
    /// was moved away from, or one of another worker that was not moved to.
    Detach {
        /// Whose connection.
        client: Client,
    },
    /// Say to another worker of this node that a client's connection is gone, for its
    /// `handle_stream_closed`: the client's allocation is there.
    TellClosed {
        /// The worker that has the allocation.
        worker: WorkerId,
        /// Whose connection it was.
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
        /// The one of the other family, of a dual allocation.
        relayed_second: Option<SocketAddr>,
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
    /// One half of a dual allocation ended; the other one lives on.
    HalfEnded {
        /// Its name.
        id: AllocationId,
        /// The relayed transport address that is gone.
        relayed: SocketAddr,
        /// Why it ended.
        reason: EndReason,
    },
    /// A client takes its allocation along to another 5-tuple (RFC 8016). Until it sends data from
    /// there, the present one goes on as well.
    Moved {
        /// Its name.
        id: AllocationId,
        /// Where data for the client goes until then.
        from: Client,
        /// The other 5-tuple.
        to: Client,
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

/// The peer could not be connected, or not in time.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer could not be connected")]
pub struct NotConnected;

/// What the operator wants ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// One allocation.
    Allocation(AllocationId),
    /// All allocations of an account (of a time-limited name, the part behind the colon), or of the
    /// tokens that a key of this name sealed.
    User(String),
}
