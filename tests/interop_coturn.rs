//! coturn's own client against the node, unchanged, without losing a packet on loopback.
//!
//! Without `-c`, coturn's client asks for pairs of ports (EVEN-PORT, RESERVATION-TOKEN); with it,
//! for single ones.
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;

use common::node::Node;
use common::ports::has_ipv6;
use common::process::Process;
use common::tools::{Counted, EchoPeer, parse_totals, tool, uclient};
use common::{SOON, skip};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

struct Tools {
    uclient: PathBuf,
    peer: PathBuf,
}

fn tools(test: &str) -> Option<Tools> {
    let uclient = tool(test, "turnutils_uclient", "coturn")?;
    // The same package brings both.
    let peer = tool(test, "turnutils_peer", "coturn")?;
    Some(Tools { uclient, peer })
}

/// Runs the client against an echo peer; every message must come back.
fn echo(test: &str, server: IpAddr, tls: bool, options: &[&str], clients: u64, messages: u64) {
    let Some(tools) = tools(test) else { return };
    if server == V6 && !has_ipv6() {
        skip(test, "this machine has no ::1");
        return;
    }
    let node = Node::start(&[]);
    let peer = EchoPeer::start(&tools.peer, server);
    let port = if tls { node.tls_port } else { node.port };
    let (peer_addr, peer_port) = (peer.addr.to_string(), peer.port.to_string());
    let (clients_text, messages_text) = (clients.to_string(), messages.to_string());
    let mut arguments = vec!["-l", "172", "-m", &clients_text, "-n", &messages_text];
    arguments.extend(["-e", &peer_addr, "-r", &peer_port]);
    arguments.extend(options);
    let counted = uclient(&tools.uclient, &node, server, port, &arguments);
    assert_nothing_lost(&counted, clients * messages);
    node.stop();
}

/// Runs pairs of clients against each other through the node.
fn client_to_client(test: &str, server: IpAddr, tls: bool, options: &[&str]) {
    let Some(tools) = tools(test) else { return };
    if server == V6 && !has_ipv6() {
        skip(test, "this machine has no ::1");
        return;
    }
    let node = Node::start(&[]);
    let port = if tls { node.tls_port } else { node.port };
    let mut arguments = vec!["-y", "-l", "172", "-m", "12", "-n", "50"];
    arguments.extend(options);
    let counted = uclient(&tools.uclient, &node, server, port, &arguments);
    assert_nothing_lost(&counted, 600);
    node.stop();
}

fn assert_nothing_lost(counted: &Counted, messages: u64) {
    let expected = Counted {
        sent: messages,
        received: messages,
        lost: 0,
        send_dropped: 0,
    };
    assert_eq!(*counted, expected);
}

#[test]
fn a_hundred_clients_echo_two_hundred_messages_each_over_udp() {
    echo(
        "a_hundred_clients_echo_two_hundred_messages_each_over_udp",
        V4,
        false,
        &[],
        100,
        200,
    );
}

#[test]
fn channels_carry_everything_over_udp() {
    echo(
        "channels_carry_everything_over_udp",
        V4,
        false,
        &["-c"],
        10,
        50,
    );
}

#[test]
fn send_indications_carry_everything_over_udp() {
    echo(
        "send_indications_carry_everything_over_udp",
        V4,
        false,
        &["-s"],
        10,
        50,
    );
}

/// With `-g`, DONT-FRAGMENT stands in the Allocate and in every Send indication (RFC 8656 §14).
#[test]
fn what_must_not_be_fragmented_is_carried_over_udp() {
    let test = "what_must_not_be_fragmented_is_carried_over_udp";
    echo(test, V4, false, &["-g", "-s", "-c"], 10, 50);
}

#[test]
fn what_must_not_be_fragmented_is_carried_over_tcp() {
    let test = "what_must_not_be_fragmented_is_carried_over_tcp";
    echo(test, V4, false, &["-t", "-g", "-s", "-c"], 10, 50);
}

#[test]
fn a_hundred_clients_echo_two_hundred_messages_each_over_tcp() {
    echo(
        "a_hundred_clients_echo_two_hundred_messages_each_over_tcp",
        V4,
        false,
        &["-t"],
        100,
        200,
    );
}

#[test]
fn send_indications_carry_everything_over_tcp() {
    echo(
        "send_indications_carry_everything_over_tcp",
        V4,
        false,
        &["-t", "-s", "-c"],
        10,
        50,
    );
}

#[test]
fn a_hundred_clients_echo_two_hundred_messages_each_over_tls() {
    let test = "a_hundred_clients_echo_two_hundred_messages_each_over_tls";
    echo(test, V4, true, &["-t", "-S"], 100, 200);
}

#[test]
fn send_indications_carry_everything_over_tls() {
    echo(
        "send_indications_carry_everything_over_tls",
        V4,
        true,
        &["-t", "-S", "-s", "-c"],
        10,
        50,
    );
}

#[test]
fn ipv6_clients_reach_ipv6_peers_over_udp() {
    echo(
        "ipv6_clients_reach_ipv6_peers_over_udp",
        V6,
        false,
        &["-x"],
        10,
        50,
    );
}

#[test]
fn ipv6_clients_reach_ipv6_peers_over_tcp() {
    echo(
        "ipv6_clients_reach_ipv6_peers_over_tcp",
        V6,
        false,
        &["-x", "-t", "-c"],
        10,
        50,
    );
}

#[test]
fn ipv6_clients_reach_ipv6_peers_over_tls() {
    echo(
        "ipv6_clients_reach_ipv6_peers_over_tls",
        V6,
        true,
        &["-x", "-t", "-S", "-c"],
        10,
        50,
    );
}

#[test]
fn clients_reach_each_other_over_udp() {
    client_to_client("clients_reach_each_other_over_udp", V4, false, &["-c"]);
}

#[test]
fn clients_with_port_pairs_reach_each_other_over_udp() {
    client_to_client(
        "clients_with_port_pairs_reach_each_other_over_udp",
        V4,
        false,
        &[],
    );
}

#[test]
fn clients_reach_each_other_with_send_indications() {
    client_to_client(
        "clients_reach_each_other_with_send_indications",
        V4,
        false,
        &["-c", "-s"],
    );
}

#[test]
fn clients_reach_each_other_over_tcp() {
    client_to_client("clients_reach_each_other_over_tcp", V4, false, &["-t"]);
}

#[test]
fn clients_reach_each_other_over_tls() {
    client_to_client("clients_reach_each_other_over_tls", V4, true, &["-t", "-S"]);
}

#[test]
fn clients_reach_each_other_over_ipv6() {
    client_to_client(
        "clients_reach_each_other_over_ipv6",
        V6,
        false,
        &["-x", "-c"],
    );
}

/// Pairs whose ends hash to different workers go by mailbox, those on one worker do not.
#[test]
fn clients_reach_each_other_across_three_workers_with_either_engine() {
    let test = "clients_reach_each_other_across_three_workers_with_either_engine";
    let Some(tools) = tools(test) else { return };
    for engine in ["node.engine=auto", "node.engine=mmsg"] {
        let node = Node::start(&["node.workers=3", engine]);
        let arguments = ["-y", "-l", "172", "-m", "40", "-n", "50"];
        let counted = uclient(&tools.uclient, &node, V4, node.port, &arguments);
        assert_nothing_lost(&counted, 2_000);
        assert!(node.metric("sterna_handovers_total", &["result=\"sent\""]) > 0.0);
        node.stop();
    }
}

#[test]
fn the_mmsg_engine_serves_the_same_clients() {
    let test = "the_mmsg_engine_serves_the_same_clients";
    let Some(tools) = tools(test) else { return };
    let node = Node::start(&["node.engine=mmsg"]);
    let peer = EchoPeer::start(&tools.peer, V4);
    let peer_port = peer.port.to_string();
    let arguments = [
        "-l",
        "172",
        "-m",
        "50",
        "-n",
        "100",
        "-e",
        "127.0.0.1",
        "-r",
        &peer_port,
    ];
    let counted = uclient(&tools.uclient, &node, V4, node.port, &arguments);
    assert_nothing_lost(&counted, 5_000);
    node.stop();
}

#[test]
fn a_stun_client_learns_its_own_address() {
    let test = "a_stun_client_learns_its_own_address";
    let Some(stunclient) = tool(test, "turnutils_stunclient", "coturn") else {
        return;
    };
    let node = Node::start(&[]);
    let mut command = Command::new(stunclient);
    command.args(["-p", &node.port.to_string(), "127.0.0.1"]);
    let mut process = Process::start(&mut command).expect("turnutils_stunclient");
    let status = process.wait(SOON);
    let text = process.written();
    assert!(status.success(), "{status}\n{text}");
    assert!(text.contains("UDP reflexive addr: 127.0.0.1:"), "{text}");
    node.stop();
}

#[test]
fn the_totals_of_the_client_are_read_from_its_last_lines() {
    let text = "1: : start_mclient: msz=10, tot_send_msgs=88, tot_recv_msgs=88, tot_send_bytes ~ 15136\n\
        9: : start_mclient: tot_send_msgs=2000, tot_recv_msgs=1998\n\
        9: : Total lost packets 2 (0.100000%), total send dropped 0 (0.000000%)\n";
    let expected = Counted {
        sent: 2000,
        received: 1998,
        lost: 2,
        send_dropped: 0,
    };
    assert_eq!(parse_totals(text), Some(expected));
    assert_eq!(parse_totals("0: : ERROR: Cannot complete Allocation"), None);
}
