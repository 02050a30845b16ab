//! A device's connection to the flow relay: rungs, nodes, and the peers behind them.
//!
//! | what | where |
//! |---|---|
//! | what the user of this library holds | [`Relay`] |
//! | which node and which rung, and when to change | `keeper` |
//! | one connection: a session on what carries it | `link` |
//! | UDP, QUIC and WebSocket, each as something that carries frames | `carrier` |
//! | how long things may take | [`limits`] |
//! | TLS below a session | [`tls`] |
//!
//! The session itself, its handshake and its timers are the machine's (`sterna_flow::device`).

mod carrier;
mod keeper;
pub mod limits;
mod link;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
pub use sterna_control_api::relay_map::Node;
use sterna_control_api::{DeviceKey, NodeId};
pub use sterna_flow::{Mark, PeerState, Refusal, Rung, Secret};
use tokio::sync::{mpsc, watch};

use self::keeper::{Keeper, Order, Paths};
use self::limits::{EVENTS_MAX, ORDERS_MAX, RECEIVED_MAX, Timing};
use self::link::Command;

/// What a device needs to reach its peers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The private half of the relay key.
    pub secret: Secret,
    /// The relay ticket.
    pub ticket: Vec<u8>,
    /// The home node first, then the spare one, if there is one. Further ones are gone to where one of
    /// the two goes away, names them as its alternates, and the other is not to be had.
    pub nodes: Vec<Node>,
    /// The rungs that may be used.
    pub rungs: Vec<Rung>,
}

/// A packet of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub peer: DeviceKey,
    /// Its ECN field and priority.
    pub mark: Mark,
    /// The packet. While a path is in doubt packets go over two, so one may come twice, as over any
    /// network of datagrams; WireGuard drops the second by its counter.
    pub payload: Bytes,
    /// What carried it to this device.
    pub rung: Rung,
}

/// What the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Peers are reached by this path from now on.
    Path {
        /// The node.
        node: NodeId,
        /// The rung.
        rung: Rung,
        /// Why it was chosen.
        reason: Reason,
    },
    /// There is no path at the moment; it is looked for.
    Lost,
    /// A peer's state at the node in use, and the longest packet that goes to it in one piece.
    Peer {
        /// The peer.
        peer: DeviceKey,
        /// Its state.
        state: PeerState,
        /// The longest payload of one frame to it.
        payload_max: u16,
    },
    /// A rung of a node could not be had; the others are tried, and this one later again.
    Unreachable {
        /// The node.
        node: NodeId,
        /// The rung.
        rung: Rung,
        /// What the system said.
        error: String,
    },
    /// A node has refused the device; nothing helps but another ticket, where `refusal` says so. It
    /// is tried again all the same, at growing intervals.
    Refused {
        /// The node.
        node: NodeId,
        /// The rung.
        rung: Rung,
        /// Why; none for a code of a later version.
        refusal: Option<Refusal>,
        /// Whether the node has said so under its key. In clear it may have been somebody between,
        /// such as a middlebox that ends TLS ([`Refusal::Handshake`]).
        sealed: bool,
        /// What it said.
        text: String,
    },
}

/// Why a path was chosen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was the first to stand.
    First,
    /// The one before was silent, or broke.
    Failed,
    /// A better rung works again.
    Better,
    /// The node before goes away.
    Restarting,
}

/// The path in use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The node.
    pub node: NodeId,
    /// The rung.
    pub rung: Rung,
}

/// Why a packet was not sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no path at the moment.
    #[error("there is no path to a relay at the moment")]
    NoPath,
    /// Packets come faster than the path takes them.
    #[error("the path is busy")]
    Busy,
}

/// A device's connection to its relays. Dropping it says goodbye.
#[derive(Debug)]
pub struct Relay {
    orders: mpsc::Sender<Order>,
    paths: watch::Receiver<Paths>,
    dropped: Arc<AtomicU64>,
}

impl Relay {
    /// Begins to connect, on the runtime that this is called on. What peers send comes out of the
    /// first receiver, and what happens out of the second; packets that are not fetched are dropped.
    ///
    /// # Panics
    /// Without a node or a rung.
    #[must_use]
    pub fn start(config: Config) -> (Self, mpsc::Receiver<Packet>, mpsc::Receiver<Event>) {
        Self::start_with(config, Timing::default())
    }

    /// The same with times of one's own.
    ///
    /// # Panics
    /// Without a node or a rung.
    #[must_use]
    pub fn start_with(
        config: Config,
        timing: Timing,
    ) -> (Self, mpsc::Receiver<Packet>, mpsc::Receiver<Event>) {
        assert!(
            !config.nodes.is_empty() && !config.rungs.is_empty(),
            "a node and a rung"
        );
        let (orders, orders_out) = mpsc::channel(ORDERS_MAX);
        let (packets_in, packets) = mpsc::channel(RECEIVED_MAX);
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (paths_in, paths) = watch::channel(Paths::default());
        let dropped = Arc::new(AtomicU64::new(0));
        let keeper = Keeper::new(
            config,
            timing,
            packets_in,
            events_in,
            paths_in,
            Arc::clone(&dropped),
        );
        tokio::spawn(keeper.run(orders_out));
        let relay = Self {
            orders,
            paths,
            dropped,
        };
        (relay, packets, events)
    }

    /// Asks for a flow to a peer. Not needed before [`Relay::send`], but the first answer comes sooner.
    pub async fn open(&self, peer: DeviceKey) {
        // The keeper lives as long as this does.
        let _ = self.orders.send(Order::Open(peer)).await;
    }

    /// Sends a packet to a peer, on the path in use; on two where the first is in doubt.
    ///
    /// # Errors
    /// [`SendError`]; packets may also be lost on their way without one.
    pub fn send(&self, peer: DeviceKey, mark: Mark, payload: &Bytes) -> Result<(), SendError> {
        let paths = self.paths.borrow();
        let mut sent = Err(SendError::NoPath);
        for link in paths.links() {
            let command = Command::Send {
                peer,
                mark,
                payload: payload.clone(),
            };
            match link.try_send(command) {
                Ok(()) => sent = Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) if sent.is_err() => {
                    sent = Err(SendError::Busy);
                }
                Err(_) => {}
            }
        }
        sent
    }

    /// Shows a newer ticket, at every node.
    pub async fn renew(&self, ticket: Vec<u8>) {
        let _ = self.orders.send(Order::Renew(ticket)).await;
    }

    /// Takes over other nodes, home first, as a newer relay map has them. Peers go on being reached by
    /// the old ones until one of the new ones stands; an empty list changes nothing.
    pub async fn set_nodes(&self, nodes: Vec<Node>) {
        let _ = self.orders.send(Order::Nodes(nodes)).await;
    }

    /// Says that the device's own address may have changed; it is noticed within half a second
    /// without.
    pub async fn address_changed(&self) {
        let _ = self.orders.send(Order::AddressChanged).await;
    }

    /// The path in use.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        self.paths.borrow().path()
    }

    /// Waits until there is a path.
    pub async fn connected(&self) -> Path {
        let mut paths = self.paths.clone();
        loop {
            if let Some(path) = paths.borrow_and_update().path() {
                return path;
            }
            if paths.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until there is a path by another node than this one.
    pub async fn elsewhere_than(&self, node: Option<NodeId>) -> NodeId {
        let mut paths = self.paths.clone();
        loop {
            let path = paths.borrow_and_update().path();
            if let Some(path) = path.filter(|path| Some(path.node) != node) {
                return path.node;
            }
            if paths.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Packets of peers that were dropped because nobody fetched them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
