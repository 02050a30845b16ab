//! coturn's own client moves (RFC 8016) with `-M`: it makes an allocation with a ticket, opens another
//! socket or connection, closes the old one before or after that, and sends the Refresh with the
//! ticket twice, of which it wants two answers. Then it goes on over the new one.
//!
//! It does so twice for each client, the first time to see whether it is sent to another server.
//!
//! Over UDP its sockets have whatever port the system gives them, now and then one that it has closed
//! a moment ago. The node still has an allocation for that 5-tuple and has to answer 437, or 400 where
//! it is the very one that is to be moved (RFC 8656 §7.2, RFC 8016 §3.2.2); the tool then leaves a
//! move out, or ends. Such a run says nothing about moving, so another takes its place.
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use common::node::Node;
use common::report;
use common::tools::{Counted, EchoPeer, parse_totals, run_uclient, tool};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ENGINES: [&str; 2] = ["node.engine=auto", "node.engine=mmsg"];
const CLIENTS: u32 = 20;
const MESSAGES: u32 = 50;
/// Of twenty clients, about one run in twelve meets a port that it had before.
const TRIES: u32 = 5;

/// coturn's client and its echo peer.
fn tools(test: &str) -> Option<(PathBuf, PathBuf)> {
    let client = tool(test, "turnutils_uclient", "coturn")?;
    Some((client, tool(test, "turnutils_peer", "coturn")?))
}

/// What the tool counts when nothing is lost.
fn all_of(messages: u32) -> Counted {
    Counted {
        sent: messages.into(),
        received: messages.into(),
        lost: 0,
        send_dropped: 0,
    }
}

/// So many clients moved at least, each Refresh was answered twice or, where the tool had to wait and
/// sent it again, more often, and none was refused.
fn assert_moved(test: &str, node: &Node, clients: u32) {
    let moves = |result| node.metric("turn_moves_total", &[&format!("result=\"{result}\"")]);
    let [granted, repeated, completed] = ["granted", "repeated", "completed"].map(moves);
    let handed = node.metric("sterna_handovers_total", &["result=\"moved\""]);
    report(&format!(
        "{test}: {granted} moves, {completed} completed, {handed} packets by another worker"
    ));
    assert!(granted >= f64::from(2 * clients), "{granted}");
    assert!(completed >= f64::from(clients), "{completed}");
    assert!(repeated >= granted, "{repeated} of {granted}");
    assert_eq!(moves("refused"), 0.0);
    // The new socket comes to another of three workers two times of three.
    assert!(handed > 0.0);
}

/// Each client moves, and every message of each comes back.
fn move_and_echo(test: &str, options: &[&str]) {
    let Some((client, peer)) = tools(test) else {
        return;
    };
    for engine in ENGINES {
        let peer = EchoPeer::start(&peer, V4);
        let peer_port = peer.port.to_string();
        let (clients, messages) = (CLIENTS.to_string(), MESSAGES.to_string());
        let mut arguments = vec!["-M", "-c", "-l", "172", "-m", &clients, "-n", &messages];
        arguments.extend(["-e", "127.0.0.1", "-r", &peer_port]);
        arguments.extend(options);
        let (node, text) = run_without_a_port_again(test, &client, engine, &arguments);
        let all = all_of(CLIENTS * MESSAGES);
        assert_eq!(parse_totals(&text), Some(all), "{engine}\n{text}");
        assert_moved(test, &node, CLIENTS);
        // The first of the two is left behind.
        node.stop_now();
    }
}

/// What the tool writes in a run in which none of its sockets gets a port that it had before, and the
/// node of that run.
fn run_without_a_port_again(
    test: &str,
    client: &Path,
    engine: &str,
    arguments: &[&str],
) -> (Node, String) {
    for _ in 0..TRIES {
        let node = Node::start(&["node.workers=3", engine]);
        let ran = run_uclient(client, &node, V4, node.port, arguments);
        let (Ok(text) | Err(text)) = &ran;
        if ["error 437", "error 400"]
            .iter()
            .any(|end| text.contains(end))
        {
            report(&format!("{test}: a socket got a port again; once more"));
            node.stop_now();
            continue;
        }
        return (node, ran.unwrap_or_else(|text| panic!("{engine}: {text}")));
    }
    panic!("{test}: {TRIES} runs in a row met an allocation of their own");
}

#[test]
fn every_client_moves_over_udp() {
    move_and_echo("every_client_moves_over_udp", &[]);
}

#[test]
fn every_client_moves_and_sends_by_indications() {
    move_and_echo("every_client_moves_and_sends_by_indications", &["-s"]);
}

#[test]
fn every_client_moves_over_tcp() {
    move_and_echo("every_client_moves_over_tcp", &["-t"]);
}

/// One client at a time: in one of four moves over TLS the tool frees its old connection twice, by
/// which it ends its new one or itself.
#[test]
fn clients_move_over_tls() {
    const RUNS: u32 = 3;
    const TRIES_OVER_TLS: u32 = 40;
    let test = "clients_move_over_tls";
    let Some((client, peer)) = tools(test) else {
        return;
    };
    let node = Node::start(&["node.workers=3"]);
    let peer = EchoPeer::start(&peer, V4);
    let peer_port = peer.port.to_string();
    let mut arguments = vec!["-M", "-c", "-t", "-S", "-l", "172", "-m", "1", "-n", "20"];
    arguments.extend(["-e", "127.0.0.1", "-r", &peer_port]);
    let (mut good, mut tries) = (0, 0);
    while good < RUNS {
        tries += 1;
        match run_uclient(&client, &node, V4, node.tls_port, &arguments) {
            Ok(text) => {
                assert_eq!(parse_totals(&text), Some(all_of(20)), "{text}");
                good += 1;
            }
            Err(text) => {
                let by_itself = ["send: ", "signal: "].iter().any(|end| text.contains(end));
                assert!(by_itself && tries < TRIES_OVER_TLS, "{text}");
            }
        }
    }
    report(&format!("{test}: {good} of {tries} runs of the tool"));
    let granted = node.metric("turn_moves_total", &["result=\"granted\""]);
    assert!(granted >= f64::from(2 * RUNS), "{granted}");
    assert_eq!(
        node.metric("turn_moves_total", &["result=\"refused\""]),
        0.0
    );
    node.stop_now();
}
