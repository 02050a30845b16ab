//! The driver's TCP side: what it answers to a Connect, what peers do, what clients ask over TCP.

use std::net::SocketAddr;

use sterna_stun::{
    attr::{ConnectionId, RequestedTransport, XorPeerAddress, XorRelayedAddress},
    message::{Class, Method},
};

use super::{Answer, Caller, Connecting, Node};
use crate::{NotConnected, PeerConnection, RelayPort, Transport};

impl Caller {
    /// Another connection of the same user, to any worker.
    pub(crate) fn again(&self, route: u32, worker: usize) -> Self {
        let mut again = self.clone().over(Transport::Tcp, route).on_worker(worker);
        again
            .client
            .addr
            .set_port(u16::try_from(route).expect("a port"));
        again.next_transaction = u64::from(route) << 32;
        // A nonce belongs to its address.
        again.nonce.clear();
        again
    }
}

impl Node {
    /// Makes an allocation that relays TCP; returns the relayed address or the error's code.
    pub(crate) fn allocate_tcp(&mut self, caller: &mut Caller) -> Result<SocketAddr, u16> {
        let answer = self.ask(caller, Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::TCP)
        });
        match answer.find::<XorRelayedAddress>() {
            Some(relayed) if answer.is_success() => Ok(relayed.0),
            _ => Err(answer.code()),
        }
    }

    /// The listener on a relayed address.
    pub(crate) fn listener_of(&self, relayed: SocketAddr) -> RelayPort {
        let mut listening = self.listening.iter();
        let found = listening.find(|(_, addr)| **addr == relayed);
        *found.expect("a listener").0
    }

    /// Asks to connect to a peer: 0 when that is under way, else the error's code.
    pub(crate) fn connect(&mut self, caller: &mut Caller, peer: &str) -> u16 {
        if caller.nonce.is_empty() {
            self.challenge(caller);
        }
        let peer = XorPeerAddress(peer.parse().expect("an address"));
        let packet = caller.signed(Method::CONNECT, |writer| writer.attr(&peer));
        self.answers.clear();
        self.send(caller, &packet);
        self.answers.pop_front().map_or(0, |answer| answer.code())
    }

    /// Answers the oldest connect; returns the connection, and the id that the client got or the
    /// error's code.
    pub(crate) fn connected(&mut self, success: bool) -> (PeerConnection, Result<u32, u16>) {
        let Connecting {
            worker,
            token,
            port,
            ..
        } = self.connecting.remove(0);
        let handle = self.peer_handle(port);
        let result = if success {
            Ok(handle)
        } else {
            self.peers.remove(&handle);
            Err(NotConnected)
        };
        self.answers.clear();
        self.servers[worker].handle_connected(self.now, token, result);
        self.settle(worker);
        let answer = self.answers.pop_front().expect("an answer");
        let id = answer.find::<ConnectionId>().map(|id| id.0);
        (handle, id.ok_or_else(|| answer.code()))
    }

    /// Asks to connect and lets it succeed; returns the connection and its id.
    pub(crate) fn connect_now(&mut self, caller: &mut Caller, peer: &str) -> (PeerConnection, u32) {
        assert_eq!(self.connect(caller, peer), 0);
        let (handle, id) = self.connected(true);
        (handle, id.expect("connected"))
    }

    /// A peer connects to a relayed address of `worker`; returns the connection, and the indication
    /// if there is one.
    pub(crate) fn attempt(
        &mut self,
        worker: usize,
        relayed: SocketAddr,
        from: &str,
    ) -> (PeerConnection, Option<Answer>) {
        let port = self.listener_of(relayed);
        let handle = self.peer_handle(port);
        let from = from.parse().expect("an address");
        self.answers.clear();
        self.servers[worker].handle_peer_connection(self.now, port, from, handle);
        self.settle(worker);
        let indication = self.answers.pop_front();
        if let Some(indication) = &indication {
            let message = indication.message();
            assert_eq!(message.class(), Class::Indication);
            assert_eq!(message.method(), Method::CONNECTION_ATTEMPT);
        }
        (handle, indication)
    }

    /// Asks to bind a connection; returns 0 or the error's code.
    pub(crate) fn bind_connection(&mut self, caller: &mut Caller, id: u32) -> u16 {
        self.ask(caller, Method::CONNECTION_BIND, |writer| {
            writer.attr(&ConnectionId(id))
        })
        .code()
    }

    /// The driver says that a connection has ended.
    pub(crate) fn connection_closes(&mut self, worker: usize, handle: PeerConnection) {
        self.peers.remove(&handle);
        self.servers[worker].handle_connection_closed(self.now, handle);
        self.settle(worker);
    }

    fn peer_handle(&mut self, port: RelayPort) -> PeerConnection {
        let handle = PeerConnection(self.next_peer);
        self.next_peer += 1;
        self.peers.insert(handle, port);
        handle
    }
}
