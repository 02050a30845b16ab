//! Connect (RFC 6062 §5.2): a TCP connection from the relayed address to a peer.
//!
//! The driver connects; the answer waits for it. No permission is needed, since it is the client
//! who asks, but the policy is: for addresses and ports, as in ChannelBind and Send.

use std::net::SocketAddr;

use rand::Rng;
use sterna_stun::{
    attr::{ConnectionId, XorPeerAddress},
    message::Message,
};

use super::{
    Server,
    authenticate::Authenticated,
    peer_connections::{Connecting, Connection, Stage},
    respond::{Refusal, Request},
};
use crate::{BindToken, Command, NotConnected, PeerConnection, tick::Tick};

impl Server {
    pub(super) fn connect(
        &mut self,
        now: Tick,
        request: &Request,
        message: &Message<'_>,
        authenticated: &Authenticated,
    ) -> Result<(), Refusal> {
        // RFC 6062 §5.2: "If the request is received on a TCP connection for which no allocation
        // exists, the server MUST return a 437 (Allocation Mismatch) error." One that relays
        // datagrams is no such allocation either.
        let index = self.find_own(now, request, authenticated)?;
        let Some(tcp) = &self.allocations[index].tcp else {
            return Err(Refusal::ALLOCATION_MISMATCH);
        };
        let listener = tcp.listener;
        // RFC 6062 §5.2: 400 for a missing or malformed peer, then as RFC 8656 §12.2: 443 for one
        // of the other family.
        let peer = message
            .find::<XorPeerAddress>()
            .map_err(|_| Refusal::BAD_REQUEST)?;
        let Some(XorPeerAddress(peer)) = peer else {
            return Err(Refusal::BAD_REQUEST);
        };
        if !self.allocations[index].is_of_family(peer, now) {
            return Err(Refusal::PEER_FAMILY);
        }
        // RFC 6062 §5.2: 446 while a connection to the same peer is being made, is pending or is
        // active.
        let mut others = tcp.connections.iter();
        if others.any(|place| self.peers.table[*place as usize].peer == peer) {
            return Err(Refusal::CONNECTION_EXISTS);
        }
        // RFC 6062 §5.2: "If the new connection is forbidden by local policy, the server MUST
        // reject the request with a 403 (Forbidden) error."
        let target = self.target(index, peer)?;
        let limits = &self.config.limits;
        if !self.allocations[index].rates.add_peers(now, 1, limits) {
            self.counters.new_peers_refused += 1;
            return Err(Refusal::CAPACITY);
        }
        if !self.acquire_connection(index) {
            return Err(Refusal::CAPACITY);
        }
        let salt = self.rng.next_u32();
        let place = self.enter_connection(Connection {
            allocation: index,
            peer,
            stage: Stage::Connecting(Box::new(Connecting {
                token: BindToken(0),
                request: *request,
                credentials: authenticated.credentials().cloned(),
            })),
        });
        let token = BindToken(u64::from(salt) << 32 | place as u64);
        if let Stage::Connecting(connecting) = &mut self.peers.table[place].stage {
            connecting.token = token;
        }
        self.outbox.push(Command::ConnectPeer {
            token,
            port: listener,
            peer: target,
        });
        Ok(())
    }

    /// Where a permitted peer is connected: a relayed address of this node in its internal form,
    /// since the way by the external one may not come back.
    fn target(&self, index: usize, peer: SocketAddr) -> Result<SocketAddr, Refusal> {
        let permitted = self.judge_peer(index, peer)?;
        if !permitted.own {
            return Ok(peer);
        }
        let (ip, number) = (peer.ip(), peer.port());
        let living = self.relays.iter().find(|relay| {
            (relay.internal == ip || relay.external == ip) && relay.table.is_stream(number)
        });
        match living {
            Some(relay) => Ok(SocketAddr::new(relay.internal, number)),
            // An own address that accepts for nobody: only where the operator allows it.
            None if permitted.allowed => Ok(peer),
            None => Err(Refusal::FORBIDDEN),
        }
    }

    /// Takes the driver's answer to `ConnectPeer`.
    pub(super) fn connect_answer(
        &mut self,
        now: Tick,
        token: BindToken,
        result: Result<PeerConnection, NotConnected>,
    ) {
        let place = usize::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX);
        let connecting = match self.peers.table.get(place).map(|it| &it.stage) {
            Some(Stage::Connecting(connecting)) if connecting.token == token => connecting,
            // The allocation ended meanwhile, or the policy changed: it was answered then.
            _ => {
                if let Ok(connection) = result {
                    self.outbox.push(Command::CloseConnection { connection });
                }
                return;
            }
        };
        let (request, credentials) = (connecting.request, connecting.credentials.clone());
        if let Ok(handle) = result {
            let id = self.offer_connection(now, place, handle, true);
            self.counters.peers_connected += 1;
            // RFC 6062 §5.2: "The server MUST include the CONNECTION-ID attribute in the Connect
            // success response."
            self.succeed(&request, credentials.as_ref(), |writer| {
                writer.attr(&ConnectionId(id))
            });
        } else {
            self.counters.peers_not_connected += 1;
            self.forget_connection(place);
            // RFC 6062 §5.2: "If the connection attempt fails or times out, the server MUST return
            // a 447 (Connection Timeout or Failure) error."
            self.refuse(&request, credentials.as_ref(), &Refusal::CONNECTION_FAILED);
        }
    }
}

#[cfg(test)]
mod tests;
