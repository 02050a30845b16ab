//! The TCP connections of this worker's allocations to peers (RFC 6062), from the Connect or the
//! accept to the end of either.
//!
//! | what | where |
//! |---|---|
//! | Connect, and the driver's answer | `connect` |
//! | a peer that connects | `connection_attempt` |
//! | ConnectionBind, on any worker | `connection_bind` |
//! | what is kept, and how it ends | here |
//!
//! The bytes that flow are no concern of the machine's: the driver joins two connections and tells
//! when they have ended.

use std::{net::SocketAddr, sync::Arc};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::Rng;
use slab::Slab;

use super::{Server, authenticate::Credentials, respond::Refusal, respond::Request};
use crate::{
    BindToken, Command, EndReason, Meter, PeerConnection, RelayPort,
    limits::{TIMEOUT_BATCH_MAX, UNBOUND_CONNECTION_S},
    policy::{Denied, Permitted, Policy},
    registry::connections::Waiting,
    tick::Tick,
    timers::Timers,
};

/// The connections of one worker, by place, by the driver's handle and by their listener.
#[derive(Debug, Default)]
pub(super) struct PeerConnections {
    pub(super) table: Slab<Connection>,
    by_handle: HashMap<PeerConnection, u32, FixedState>,
    /// Places of allocations by their TCP listener.
    by_listener: HashMap<RelayPort, u32, FixedState>,
    /// When those that are made must have been bound.
    unbound: Timers,
}

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) allocation: usize,
    /// The peer as the client names it.
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The driver is about to connect.
    Connecting(Box<Connecting>),
    /// It stands; bound or not, the registry knows.
    Made {
        handle: PeerConnection,
        id: u32,
        /// The client asked for it, so that the rule of ports holds for the peer.
        asked: bool,
    },
}

/// A Connect that waits for its answer.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) token: BindToken,
    pub(super) request: Request,
    pub(super) credentials: Option<Credentials>,
}

/// What a TCP allocation has that others have not.
#[derive(Debug)]
pub(crate) struct TcpSide {
    pub(crate) listener: RelayPort,
    /// Its rate, and what has passed.
    pub(crate) meter: Meter,
    /// Places in the table of connections.
    pub(crate) connections: Vec<u32>,
}

impl TcpSide {
    pub(super) fn new(listener: RelayPort, meter: Meter) -> Self {
        Self {
            listener,
            meter,
            connections: Vec::new(),
        }
    }
}

impl Connection {
    /// What a policy says about the peer.
    fn judge(&self, policy: &Policy) -> Result<Permitted, Denied> {
        match self.stage {
            Stage::Made { asked: false, .. } => policy.address(self.peer.ip()),
            _ => policy.peer(self.peer),
        }
    }
}

impl Server {
    /// Takes note that a TCP listener belongs to an allocation.
    pub(super) fn point_listener(&mut self, listener: RelayPort, place: u32) {
        self.peers.by_listener.insert(listener, place);
    }

    /// The allocation of a TCP listener.
    pub(super) fn of_listener(&self, listener: RelayPort) -> Option<usize> {
        self.peers
            .by_listener
            .get(&listener)
            .map(|place| *place as usize)
    }

    /// RFC 6062 §5.2, §5.3, and the caps: tells whether an allocation may have one more connection,
    /// and counts it.
    pub(super) fn acquire_connection(&mut self, index: usize) -> bool {
        let limits = &self.config.limits;
        let max = limits.tcp_peer_connections_per_allocation_max as usize;
        let tcp = self.allocations[index].tcp.as_ref();
        let len = tcp.map_or(usize::MAX, |tcp| tcp.connections.len());
        let acquired = (max == 0 || len < max)
            && self
                .registry
                .connections
                .acquire(limits.tcp_peer_connections_max);
        self.counters.peer_connections_refused += u64::from(!acquired);
        acquired
    }

    /// Enters a connection that has been counted.
    pub(super) fn enter_connection(&mut self, connection: Connection) -> usize {
        let index = connection.allocation;
        let place = self.peers.table.insert(connection);
        let narrow = u32::try_from(place).expect("invariant: fewer connections than descriptors");
        if let Some(tcp) = &mut self.allocations[index].tcp {
            tcp.connections.push(narrow);
        }
        place
    }

    /// The connection stands: it gets an id, under which a client has
    /// [`UNBOUND_CONNECTION_S`] to come for it.
    pub(super) fn offer_connection(
        &mut self,
        now: Tick,
        place: usize,
        handle: PeerConnection,
        asked: bool,
    ) -> u32 {
        let allocation = self.peers.table[place].allocation;
        let credentials = self.allocations[allocation].credentials.as_ref();
        let waiting = Waiting {
            connection: handle,
            maker: credentials.map(|credentials| Arc::clone(credentials.identity())),
        };
        // RFC 6062 §5.2: "The attribute's value MUST uniquely identify the peer data connection."
        let id = loop {
            let id = self.rng.next_u32();
            if self.registry.connections.insert(id, waiting.clone()) {
                break id;
            }
        };
        self.peers.table[place].stage = Stage::Made { handle, id, asked };
        let narrow = u32::try_from(place).expect("invariant: entered before");
        self.peers.by_handle.insert(handle, narrow);
        self.peers
            .unbound
            .set(place, now.plus_s(UNBOUND_CONNECTION_S));
        id
    }

    /// Takes a connection out, and its id out of the registry; tells whether it was still unbound.
    pub(super) fn forget_connection(&mut self, place: usize) -> Option<(Connection, bool)> {
        let connection = self.peers.table.try_remove(place)?;
        self.peers.unbound.cancel(place);
        self.registry.connections.release();
        let unbound = match connection.stage {
            Stage::Made { handle, id, .. } => {
                self.peers.by_handle.remove(&handle);
                self.registry.connections.remove(id)
            }
            Stage::Connecting(_) => false,
        };
        if let Some(allocation) = self.allocations.get_mut(connection.allocation)
            && let Some(tcp) = &mut allocation.tcp
        {
            tcp.connections.retain(|other| *other as usize != place);
        }
        Some((connection, unbound))
    }

    /// The driver says that a connection has ended, whoever ended it.
    pub(super) fn connection_ended(&mut self, handle: PeerConnection) {
        // What the machine has closed itself is forgotten already.
        if let Some(&place) = self.peers.by_handle.get(&handle) {
            self.forget_connection(place as usize);
        }
    }

    /// When the first connection must have been bound.
    pub(super) fn next_unbound(&self) -> Option<Tick> {
        self.peers.unbound.next()
    }

    /// RFC 6062 §5.2, §5.3: "If no ConnectionBind request associated with this peer data connection
    /// is received after 30 seconds, the peer data connection MUST be closed."
    pub(super) fn expire_unbound(&mut self, now: Tick) {
        for _ in 0..TIMEOUT_BATCH_MAX {
            let Some(place) = self.peers.unbound.pop_due(now) else {
                return;
            };
            let Stage::Made { handle, id, .. } = self.peers.table[place].stage else {
                debug_assert!(false, "only what stands has a deadline");
                continue;
            };
            // Whoever has bound it, on whichever worker, has taken its id out: it goes on.
            if self.registry.connections.remove(id) {
                self.counters.peers_unbound += 1;
                self.forget_connection(place);
                self.outbox
                    .push(Command::CloseConnection { connection: handle });
            }
        }
    }

    /// Ends the connections of an allocation that has just been taken out. The driver closes them
    /// with their listener.
    pub(super) fn end_connections(&mut self, tcp: &TcpSide, reason: EndReason) {
        self.peers.by_listener.remove(&tcp.listener);
        for &place in &tcp.connections {
            let Some((connection, _)) = self.forget_connection(place as usize) else {
                continue;
            };
            // A Connect that was under way is answered as one that came a moment later.
            if let Stage::Connecting(connecting) = connection.stage
                && reason != EndReason::StreamClosed
            {
                let credentials = connecting.credentials.as_ref();
                self.refuse(
                    &connecting.request,
                    credentials,
                    &Refusal::ALLOCATION_MISMATCH,
                );
            }
        }
    }

    /// Asks a new policy about every peer that is connected, and closes what it refuses.
    pub(super) fn rejudge_connections(&mut self) -> usize {
        let condemned: Vec<usize> = self
            .peers
            .table
            .iter()
            .filter(|(_, connection)| {
                let terms = &self.allocations[connection.allocation].terms;
                connection.judge(&terms.policy).is_err()
            })
            .map(|(place, _)| place)
            .collect();
        for &place in &condemned {
            match self.forget_connection(place) {
                Some((connection, _)) => match connection.stage {
                    Stage::Made { handle, .. } => self
                        .outbox
                        .push(Command::CloseConnection { connection: handle }),
                    Stage::Connecting(connecting) => {
                        let credentials = connecting.credentials.as_ref();
                        self.refuse(&connecting.request, credentials, &Refusal::FORBIDDEN);
                    }
                },
                None => debug_assert!(false, "found a moment ago"),
            }
        }
        condemned.len()
    }
}

#[cfg(test)]
mod tests;
