//! The peers: what they send, and who of them connects.

use std::net::SocketAddr;

use sterna_stun::{
    attr::{ConnectionId, Icmp},
    message::Message,
};
use sterna_turn::{PeerConnection, RelayPort, Verdict};

use super::Node;

/// Peers that somebody might want to reach.
const PEERS: &[&str] = &[
    "8.8.8.8:5000",
    "8.8.8.8:5001",
    "8.8.4.4:5000",
    "8.8.8.8:53",
    "8.8.8.8:0",
    "10.0.0.1:5000",
    "127.0.0.1:5000",
    "0.0.0.0:5000",
    "169.254.169.254:8080",
    "198.51.100.1:3478",
    "198.51.100.1:50001",
    "192.168.1.1:5000",
    "100.64.0.1:5000",
    "255.255.255.255:5000",
    "[2606:4700::1]:5000",
    "[2606:4700::2]:5000",
    "[::1]:5000",
    "[::]:5000",
    "[::ffff:127.0.0.1]:5000",
    "[::127.0.0.1]:5000",
    "[64:ff9b::7f00:1]:5000",
    "[2002:7f00:1::1]:5000",
    "[2001:0:7f00:1::1]:5000",
    "[fe80::1]:5000",
    "[fc00::1]:5000",
    "[2606:4700::5efe:7f00:1]:5000",
    "[2606:4700::200:5efe:a00:1]:5000",
    "[2620:5::1]:3478",
    "[::ffff:8.8.8.8]:5000",
    "[64:ff9b::808:808]:5000",
    "[64:ff9b:1::1]:5000",
    "[ff02::1]:5000",
    "[2620:5::1]:50002",
    "[64:ff9b::c633:6401]:50001",
    "[::ffff:198.51.100.1]:50001",
    "[2606:4700::200:5efe:a00:1]:25",
];

impl Node {
    /// A peer connects, or a connection to one ends.
    pub fn tcp(&mut self, act: u8, peer: u8) {
        if act.is_multiple_of(2) {
            let listening = self.listening.iter();
            let Some((&port, &(worker, _))) = listening.cycle().nth(usize::from(act / 2)) else {
                return;
            };
            let connection = self.connection(port);
            self.servers[worker].handle_peer_connection(self.now, port, peer_at(peer), connection);
            self.settle(worker);
            if let Some((_, indication)) = self.replies.last()
                && let Ok(message) = Message::parse(indication)
                && let Ok(Some(ConnectionId(id))) = message.find()
            {
                self.connection_id = id;
            }
        } else if let Some((&connection, &(port, _))) = self
            .peers
            .iter()
            .nth(usize::from(act / 2) % self.peers.len().max(1))
        {
            let (worker, _) = self.listening[&port];
            self.peers.remove(&connection);
            self.servers[worker].handle_connection_closed(self.now, connection);
            self.settle(worker);
        }
    }

    pub(super) fn connection(&mut self, port: RelayPort) -> PeerConnection {
        self.next_port += 1;
        let connection = PeerConnection(self.next_port);
        self.peers.insert(connection, (port, false));
        connection
    }

    /// Lets a peer send to an open port.
    pub fn peer_sends(&mut self, port: u8, peer: u8, len: usize) {
        let Some((&port, &(worker, _))) = self
            .ports
            .iter()
            .nth(usize::from(port) % self.ports.len().max(1))
        else {
            return;
        };
        let verdict = self.servers[worker].handle_peer(self.now, port, peer_at(peer), len);
        self.check(&verdict, len);
        // And lets somebody say that what went there did not arrive.
        let icmp = Icmp {
            type_: peer & 0x7F,
            code: u16::try_from(len & 0x1FF).expect("nine bits"),
            data: [peer; 4],
        };
        let verdict = self.servers[worker].handle_icmp(self.now, port, peer_at(peer), icmp);
        assert!(matches!(verdict, Verdict::Handled | Verdict::Drop(_)));
        self.settle(worker);
    }
}

pub(super) fn peer_at(place: u8) -> SocketAddr {
    PEERS[usize::from(place) % PEERS.len()]
        .parse()
        .expect("an address")
}
