//! coturn's client at its most restless: with extra requests between its data (`-G`), and dropping
//! connections half-way (`-B`).
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::client::Client;
use common::node::Node;
use common::tools::{Counted, EchoPeer, tool, uclient};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How the client reaches the node.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Udp,
    Tcp,
    Tls,
}

const CLIENTS: u64 = 20;
const MESSAGES: u64 = 20;

/// Runs the client with an option; what it counted, and the node that it left behind.
fn run(test: &str, by: By, option: &str) -> Option<(Counted, Node)> {
    let client = tool(test, "turnutils_uclient", "coturn")?;
    let peer = tool(test, "turnutils_peer", "coturn")?;
    let node = Node::start(&[]);
    let peer = EchoPeer::start(&peer, SERVER);
    let (clients, messages) = (CLIENTS.to_string(), MESSAGES.to_string());
    let (peer_addr, peer_port) = (peer.addr.to_string(), peer.port.to_string());
    let mut arguments = vec![option, "-l", "172", "-m", &clients, "-n", &messages];
    arguments.extend(["-e", &peer_addr, "-r", &peer_port]);
    let port = if by == By::Tls {
        node.tls_port
    } else {
        node.port
    };
    match by {
        By::Udp => {}
        By::Tcp => arguments.push("-t"),
        By::Tls => arguments.extend(["-t", "-S"]),
    }
    Some((uclient(&client, &node, SERVER, port, &arguments), node))
}

/// The node is as good as new for whoever comes next, and keeps nothing of connections that are gone.
fn is_well(node: Node, by: By) {
    if by != By::Udp {
        common::wait_for("the last connection to end", common::SOON, || {
            (node.metric("sterna_stream_connections", &[]) == 0.0).then_some(())
        });
    }
    let client = Client::new(node.v4(), node.user(), node.password());
    client.allocate().expect("an allocation");
    assert_eq!(client.refresh(0), Ok(0));
    node.stop_now();
}

/// Permissions and channels come and go between the data: none of it is lost.
fn extra_requests(test: &str, by: By) {
    let Some((counted, node)) = run(test, by, "-G") else {
        return;
    };
    let expected = Counted {
        sent: CLIENTS * MESSAGES,
        received: CLIENTS * MESSAGES,
        lost: 0,
        send_dropped: 0,
    };
    assert_eq!(counted, expected);
    let answered = |method| node.metric("stun_responses_total", &[method, "result=\"success\""]);
    assert!(
        answered("method=\"create_permission\"") >= 10.0,
        "too few extra requests"
    );
    assert!(
        answered("method=\"channel_bind\"") >= 50.0,
        "too few extra requests"
    );
    is_well(node, by);
}

/// A client that leaves half-way takes its own data with it and nobody else's.
fn random_disconnects(test: &str, by: By) {
    let Some((counted, node)) = run(test, by, "-B") else {
        return;
    };
    // Who has left neither sends the rest nor gets anything back; the tool makes that a rare event.
    let most = |part: u64, whole: u64| part <= whole && part * 10 >= whole * 7;
    assert!(
        most(counted.sent, CLIENTS * MESSAGES) && most(counted.received, counted.sent),
        "{counted:?}"
    );
    is_well(node, by);
}

#[test]
fn extra_requests_between_the_data_lose_nothing_over_udp() {
    extra_requests(
        "extra_requests_between_the_data_lose_nothing_over_udp",
        By::Udp,
    );
}

#[test]
fn extra_requests_between_the_data_lose_nothing_over_tcp() {
    extra_requests(
        "extra_requests_between_the_data_lose_nothing_over_tcp",
        By::Tcp,
    );
}

#[test]
fn extra_requests_between_the_data_lose_nothing_over_tls() {
    extra_requests(
        "extra_requests_between_the_data_lose_nothing_over_tls",
        By::Tls,
    );
}

#[test]
fn clients_that_disconnect_at_random_leave_a_node_that_serves_over_udp() {
    random_disconnects(
        "clients_that_disconnect_at_random_leave_a_node_that_serves_over_udp",
        By::Udp,
    );
}

#[test]
fn clients_that_disconnect_at_random_leave_a_node_that_serves_over_tcp() {
    random_disconnects(
        "clients_that_disconnect_at_random_leave_a_node_that_serves_over_tcp",
        By::Tcp,
    );
}

#[test]
fn clients_that_disconnect_at_random_leave_a_node_that_serves_over_tls() {
    random_disconnects(
        "clients_that_disconnect_at_random_leave_a_node_that_serves_over_tls",
        By::Tls,
    );
}
