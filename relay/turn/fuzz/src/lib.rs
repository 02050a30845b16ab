//! What the fuzz targets check, callable from anywhere: the corpus is replayed on stable, and a
//! property test drives the same machine with sequences of its own.

mod client;
mod forbidden;
mod node;
mod script;

use std::time::Duration;

use sterna_stun::{
    attr::{AttributeType, XorMappedAddress},
    message::{Class, Message, Method},
};
use sterna_turn::{Transport, Verdict};

use self::{
    node::Node,
    script::{Script, Step},
};

/// A whole node under packets from strangers: nothing is relayed, nothing is stored, and no answer
/// is larger than the amplification budget allows.
pub fn unauthenticated(bytes: &[u8]) {
    let mut node = Node::new();
    let mut script = Script::new(bytes);
    while let Some((argument, packet)) = script.packet() {
        let client = node.client(argument);
        let verdict = node.receive(argument, packet);
        assert!(
            matches!(verdict, Verdict::Handled | Verdict::Drop(_)),
            "{verdict:?}"
        );
        assert!(node.replies.len() <= 1, "one packet, one answer");
        for (to, reply) in node.replies.drain(..) {
            // RFC 5780: another listener and another port of the client, never another host.
            assert_eq!(to.transport, client.transport);
            assert_eq!(to.addr.ip(), client.addr.ip());
            assert!(to == client || is_of_discovery(&reply));
            let budget = budget(packet, &reply);
            let within = reply.len() * 10 <= packet.len() * budget;
            assert!(
                within || client.transport != Transport::Udp,
                "{} for {}",
                reply.len(),
                packet.len()
            );
        }
        assert!(
            node.ports.is_empty() && node.listening.is_empty(),
            "a socket for a stranger"
        );
    }
    node.check_nothing_is_left();
}

/// Tenths of the request that its answer may have.
fn budget(packet: &[u8], reply: &[u8]) -> usize {
    let (asked, answer) = (Message::parse(packet), Message::parse(reply));
    let (asked, answer) = (
        asked.expect("answered"),
        answer.expect("an answer is well formed"),
    );
    match (asked.method(), answer.class()) {
        (Method::BINDING, Class::Success) => {
            let mapped = answer
                .find::<XorMappedAddress>()
                .expect("ok")
                .expect("there");
            match (mapped.0.is_ipv4(), is_of_discovery(reply)) {
                (true, false) => 16,
                (false, false) => 22,
                (true, true) => 36,
                (false, true) => 50,
            }
        }
        (Method::BINDING, _) => 22,
        (Method::ALLOCATE, _) => 35,
        _ => 50,
    }
}

fn is_of_discovery(reply: &[u8]) -> bool {
    Message::parse(reply).is_ok_and(|answer| answer.has(AttributeType::OTHER_ADDRESS))
}

/// A client whose server, or whoever can write to its socket, says anything: it says nothing but whole
/// messages, points at nothing outside the packet, and comes to rest.
pub fn client(bytes: &[u8]) {
    client::run(bytes);
}

/// A whole node under clients with credentials: whatever they ask for and send, in whatever order,
/// nothing is sent to a peer that is forbidden, nobody gets what another was sent, and in the end
/// nothing is left.
pub fn authenticated(bytes: &[u8]) {
    let mut node = Node::new();
    let mut script = Script::new(bytes);
    while let Some(step) = script.step() {
        match step {
            Step::Raw { client, packet } => {
                let verdict = node.receive(client, packet);
                node.check(&verdict, packet.len());
            }
            Step::Request {
                client,
                method,
                attributes,
            } => node.ask(client, method, attributes),
            Step::Send { client, attributes } => node.send(client, attributes),
            Step::Peer { port, peer, len } => node.peer_sends(port, peer, len),
            Step::Tcp { act, peer } => node.tcp(act, peer),
            Step::Pass { seconds } => node.pass(Duration::from_secs(seconds)),
            Step::Close { client } => node.close(client),
            Step::Revoke { client } => node.revoke(client),
            Step::Deny { all } => node.deny(all),
            Step::Drain { draining } => node.drain(draining),
        }
        node.replies.clear();
    }
    node.check_nothing_is_left();
}
