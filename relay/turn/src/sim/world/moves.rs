//! Clients that change their address, port, transport or connection, and what they ask for then.

use std::net::SocketAddr;

use super::{Place, World, tuple};
use crate::{Client, Transport, sim::model::Ask};

/// Places that a client is still heard from, beside the one where it is.
const EARLIER_MAX: usize = 4;

impl World {
    /// Where a client sends from: from where it is, or now and then from where it was.
    pub(super) fn place_of(&mut self, index: usize) -> (Client, Vec<u8>) {
        let earlier = self.actors[index].earlier.len();
        if earlier > 0 && self.one_in(5) {
            let place = self.below(earlier);
            let place = &self.actors[index].earlier[place];
            return (place.client, place.nonce.clone());
        }
        let caller = &self.actors[index].caller;
        (caller.client, caller.nonce.clone())
    }

    /// A client is somewhere else from now on, or where it was before. What it leaves stays open, or
    /// breaks now or later.
    pub(super) fn move_client(&mut self, index: usize) {
        let earlier = self.actors[index].earlier.len();
        let to = if earlier > 0 && self.one_in(3) {
            let place = self.below(earlier);
            self.actors[index].earlier.remove(place)
        } else {
            Place {
                client: self.new_place(index),
                nonce: Vec::new(),
            }
        };
        let actor = &mut self.actors[index];
        actor.has_moved = !actor.tickets.is_empty();
        let left = Place {
            client: std::mem::replace(&mut actor.caller.client, to.client),
            nonce: std::mem::replace(&mut actor.caller.nonce, to.nonce),
        };
        if left.client.transport.is_stream() && self.one_in(2) {
            self.connection_breaks(&left.client);
        } else {
            self.actors[index].earlier.push(left);
        }
        while self.actors[index].earlier.len() > EARLIER_MAX
            || !self.actors[index].earlier.is_empty() && self.one_in(6)
        {
            let place = self.actors[index].earlier.remove(0);
            if place.client.transport.is_stream() {
                self.connection_breaks(&place.client);
            }
        }
    }

    /// Another port, and maybe another host, address family or transport.
    fn new_place(&mut self, index: usize) -> Client {
        let port = 10_000 + u16::try_from(self.below(50_000)).expect("a port");
        let mut client = self.actors[index].caller.client;
        client.addr.set_port(port);
        match self.below(6) {
            0 => client.addr.set_ip([192, 88, 98, 7].into()),
            1 => client.addr.set_ip([0x2a00, 1, 0, 0, 0, 0, 0, 7].into()),
            2 | 3 => {
                let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
                client.transport = transports[self.below(3)];
            }
            _ => {}
        }
        let listener = match client.addr {
            SocketAddr::V4(_) => "198.51.100.1:3478",
            SocketAddr::V6(_) => "[2620:5::1]:3478",
        };
        client.server = listener.parse().expect("an address");
        client.route = if client.transport.is_stream() {
            self.connections += 1;
            self.connections
        } else {
            u32::from(client.addr.is_ipv6())
        };
        client
    }

    fn connection_breaks(&mut self, client: &Client) {
        let worker = self.worker_of(client);
        self.node.servers[worker].handle_stream_closed(self.node.now, *client);
        self.node.settle(worker);
        self.model.stream_closed(self.node.now, tuple(client));
        self.closed.insert(tuple(client));
    }

    /// A Refresh with a ticket: mostly the client's newest, else a used one, one that is over, one of
    /// somebody else's, or one that was made up.
    pub(super) fn think_of_moving(&mut self, index: usize) -> Ask {
        let owner = if self.one_in(8) {
            self.below(self.actors.len())
        } else {
            index
        };
        let given = self.actors[owner].tickets.len();
        let age = match self.below(10) {
            0 => self.below(given.max(1)),
            1..=5 => usize::from(given > 1),
            _ => 0,
        };
        let mut ticket = match given {
            0 => vec![b'A'; 32],
            _ => self.actors[owner].tickets[given - 1 - age].clone(),
        };
        if self.one_in(15) {
            let at = self.below(ticket.len());
            ticket[at] ^= 1;
        }
        Ask::Refresh {
            ticket: Some(ticket),
            v6: [None, None, None, None, None, None, Some(false), Some(true)][self.below(8)],
            lifetime_s: [0, 1, 600, 600, 600, 600, 600, 600, 1200, 9999][self.below(10)],
        }
    }
}
