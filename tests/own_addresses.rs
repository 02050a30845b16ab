//! What is the host's own is no peer, also when it becomes the host's own under a running node.
#![forbid(unsafe_code)]

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::machine::Machine;
use common::namespace::{self, shell};
use common::node::{Node, PASSWORD, USER};
use common::wait_for;
use sterna_turn::client::{ClientConfig, ClientError, Credentials, Link};

/// Runs this test in a namespace of its own; true in there.
fn enter(test: &str) -> bool {
    namespace::enter(test, &[("ip", "iproute2")], "ip link set lo up")
}

fn permissions(node: &Node) -> u64 {
    node.get("/allocations").json()["allocations"][0]["permissions"]
        .as_u64()
        .expect("an allocation")
}

/// A peer is permitted until these lines make it the host's own; within a second its permission is
/// gone, and there is no other.
fn what_becomes_the_hosts_own_is_refused(engine: &str, peer: &str, lines: &str) {
    let node = Node::start(&[&format!("node.engine={engine}")]);
    let credentials = Credentials {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let config = ClientConfig::new(Link::Datagram, Some(credentials));
    let mut client = Machine::new(node.v4(), config);
    let peer: IpAddr = peer.parse().expect("an address");
    assert_eq!(client.allocate(), Ok(()));
    assert_eq!(client.permit(peer), Ok(()));
    assert_eq!(permissions(&node), 1);

    shell(lines);
    let began = Instant::now();
    wait_for("the permission to end", common::SOON, || {
        (permissions(&node) == 0).then_some(())
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(client.permit(peer), Err(ClientError::Refused(403)));
    node.stop_now();
}

#[test]
fn a_new_address_of_the_host_is_no_peer_within_a_second() {
    if !enter("a_new_address_of_the_host_is_no_peer_within_a_second") {
        return;
    }
    shell("ip link set lo up");
    what_becomes_the_hosts_own_is_refused(
        "auto",
        "192.175.48.9",
        "ip address add 192.175.48.9/32 dev lo",
    );
}

#[test]
fn a_prefix_that_is_newly_routed_to_the_host_is_no_peer_within_a_second() {
    if !enter("a_prefix_that_is_newly_routed_to_the_host_is_no_peer_within_a_second") {
        return;
    }
    shell("ip link set lo up");
    what_becomes_the_hosts_own_is_refused(
        "mmsg",
        "192.31.196.77",
        "ip route add local 192.31.196.0/24 dev lo",
    );
}
