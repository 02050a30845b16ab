//! A client, its ticket and its places; what is tested with them is in the files below.

mod ends;
mod moves;
mod streams;
mod tickets;
mod workers;

use std::net::SocketAddr;

use sterna_stun::{
    attr::{
        AddressFamily, AttributeType, Data, Lifetime, MobilityTicket, RequestedAddressFamily,
        XorPeerAddress,
    },
    credentials::rest_password,
    message::Method,
};

use crate::{
    Client, DropReason, EndReason, Event, Revoke, Transport, Verdict,
    limits::{AWAY_MAX_S, FIVE_TUPLES_WAITING_MAX, TICKET_RETENTION_S},
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

const PEER: &str = "8.8.8.8:5000";
const ELSEWHERE: &str = "192.88.98.7:7000";

/// A client with an allocation that has a channel to [`PEER`], and its ticket.
struct Mobile {
    caller: Caller,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

impl Node {
    fn mobile(&mut self, mut caller: Caller) -> Mobile {
        let answer = self.ask_for_ticket(&mut caller);
        let relayed = answer
            .find::<sterna_stun::attr::XorRelayedAddress>()
            .expect("an allocation")
            .0;
        assert_eq!(self.bind(&mut caller, 0x4000, PEER), 0);
        Mobile {
            caller,
            relayed,
            ticket: ticket_of(&answer).expect("a ticket"),
        }
    }

    fn ask_for_ticket(&mut self, caller: &mut Caller) -> Answer {
        self.ask(caller, Method::ALLOCATE, |writer| {
            writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
            writer.attr(&MobilityTicket(b""))
        })
    }

    fn resume(&mut self, caller: &mut Caller, ticket: &[u8]) -> Answer {
        self.ask(caller, Method::REFRESH, |writer| {
            writer.attr(&MobilityTicket(ticket))
        })
    }

    /// Moves, and returns the caller at its new place.
    fn relocate(&mut self, mobile: &mut Mobile, to: Caller) -> Caller {
        let mut to = to;
        let answer = self.resume(&mut to, &mobile.ticket);
        assert_eq!(answer.code(), 0);
        mobile.ticket = ticket_of(&answer).expect("a new ticket");
        to
    }

    fn sends(&mut self, caller: &Caller) -> Verdict {
        self.send(caller, &[0x40, 0, 0, 2, 1, 2])
    }

    /// Where a packet of the peer goes.
    fn heard_by(&mut self, mobile: &Mobile) -> Client {
        let worker = mobile.caller.worker;
        match self.peer_sends(worker, mobile.relayed, PEER, 10) {
            Verdict::ToClient { client, .. } => client,
            other => panic!("{other:?}"),
        }
    }
}

fn ticket_of(answer: &Answer) -> Option<Vec<u8>> {
    answer
        .find::<MobilityTicket<'_>>()
        .map(|ticket| ticket.0.to_vec())
}

/// The same person at another address.
fn moved(caller: &Caller, addr: &str) -> Caller {
    let mut moved = caller.clone();
    moved.client.addr = addr.parse().expect("an address");
    moved.nonce.clear();
    moved
}

fn is_to_peer(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::ToPeer { .. })
}
