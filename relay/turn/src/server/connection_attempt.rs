//! A peer connects to a relayed address (RFC 6062 §5.3): announced to the client if the peer has a
//! permission, else closed at once.

use std::net::SocketAddr;

use rand::Rng;
use sterna_stun::{
    attr::{ConnectionId, XorPeerAddress},
    message::{Method as StunMethod, TransactionId},
};

use super::{
    Server,
    peer_connections::{Connection, Stage},
};
use crate::{Command, PeerConnection, RelayPort, tick::Tick};

impl Server {
    /// Takes a connection that the driver accepted.
    pub(super) fn connection_attempt(
        &mut self,
        now: Tick,
        listener: RelayPort,
        from: SocketAddr,
        handle: PeerConnection,
    ) {
        if !self.announce(now, listener, from, handle) {
            // RFC 6062 §5.3: "If no permission for this peer has been installed for this
            // allocation, the server MUST close the connection with the peer immediately after it
            // has been accepted."
            self.outbox
                .push(Command::CloseConnection { connection: handle });
        }
    }

    fn announce(
        &mut self,
        now: Tick,
        listener: RelayPort,
        from: SocketAddr,
        handle: PeerConnection,
    ) -> bool {
        let Some(index) = self.of_listener(listener) else {
            return false;
        };
        let peer = self.as_told(from);
        let allocation = &self.allocations[index];
        if allocation.expires <= now {
            return false;
        }
        if allocation.permissions.live(peer.ip(), now).is_none() {
            self.counters.peers_without_permission += 1;
            return false;
        }
        if !self.acquire_connection(index) {
            return false;
        }
        let client = self.allocations[index].client;
        let place = self.enter_connection(Connection {
            allocation: index,
            peer,
            stage: Stage::Made {
                handle,
                id: 0,
                asked: false,
            },
        });
        let id = self.offer_connection(now, place, handle, false);
        self.counters.peers_accepted += 1;
        let mut transaction_id = TransactionId([0; 12]);
        self.rng.fill_bytes(&mut transaction_id.0);
        // RFC 6062 §5.3: "The indication MUST include an XOR-PEER-ADDRESS attribute containing the
        // peer's transport address, as well as a CONNECTION-ID attribute".
        let method = StunMethod::CONNECTION_ATTEMPT;
        self.outbox
            .indicate(client, method, transaction_id, |writer| {
                writer.attr(&XorPeerAddress(peer))?;
                writer.attr(&ConnectionId(id))
            });
        true
    }

    /// A peer's address as clients know it: another client of this node by its external address.
    fn as_told(&self, from: SocketAddr) -> SocketAddr {
        let relay = self
            .relays
            .iter()
            .find(|relay| relay.internal == from.ip() && relay.table.is_stream(from.port()));
        relay.map_or(from, |relay| SocketAddr::new(relay.external, from.port()))
    }
}

#[cfg(test)]
mod tests;
