//! TCP allocations (RFC 6062) on real sockets: Connect, ConnectionBind on any worker, peers that
//! connect, TLS, slow readers, and coturn's client in its TCP mode.
#![forbid(unsafe_code)]

mod common;
mod tcp;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::node::Node;
use common::ports::free_port;
use common::tls::Certificate;
use common::tools::{Counted, EchoPeer, tool};
use common::{SOON, http, wait_for};
use rustix::process::Signal;
use sterna_stun::attr::Lifetime;
use sterna_stun::message::Method;
use tcp::{Stream, accept, connected, is_closed, peer};

const ON: &str = "turn.tcp_allocations=true";

#[test]
fn tcp_is_relayed_only_where_it_was_switched_on() {
    let node = Node::start(&[]);
    assert_eq!(Stream::to(&node).allocate(), Err(442));
    node.stop_now();
}

#[test]
fn bytes_pass_both_ways_whichever_worker_the_data_connection_reaches() {
    both_ways("node.engine=auto");
}

#[test]
fn bytes_pass_both_ways_with_the_engine_of_last_resort() {
    both_ways("node.engine=mmsg");
}

fn both_ways(engine: &str) {
    let node = Node::start(&[ON, "node.workers=3", engine]);
    let mut control = Stream::to(&node);
    let relayed = control.allocate().expect("an allocation");
    // Connections are dealt out to the workers in turn.
    for round in 0..6_u8 {
        let (listener, addr) = peer();
        let id = control.connect(addr).expect("a peer");
        let (mut socket, from) = accept(&listener);
        assert_eq!(from, relayed, "from the relayed address and port");
        let mut data = Stream::to(&node);
        data.bind(id).expect("a data connection");
        data.send(&[round; 5]);
        let mut got = [0; 5];
        socket.read_exact(&mut got).expect("the client's bytes");
        assert_eq!(got, [round; 5]);
        socket.write_all(b"answer").expect("the node reads");
        assert_eq!(data.receive(6), b"answer");
        drop(socket);
        assert!(data.is_closed(), "with its peer");
    }
    wait_for("the last connection's bytes in the books", SOON, || {
        let view = node.get("/allocations").body;
        let to_peers = "\"to_peers\":{\"packets\":0,\"bytes\":30}";
        view.contains(to_peers).then_some(())
    });
    node.stop_now();
}

#[test]
fn what_a_peer_sends_before_the_bind_comes_first_and_a_flood_waits_in_its_own_kernel() {
    let node = Node::start(&[ON]);
    let mut control = Stream::to(&node);
    control.allocate().expect("an allocation");
    let (listener, addr) = peer();
    let id = control.connect(addr).expect("a peer");
    let (mut socket, _) = accept(&listener);
    let before = node.resident_bytes();
    // Eight MiB, counted as they go: far more than may wait for a client that has not come.
    let flood = thread::spawn(move || {
        let chunk: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
        for _ in 0..128 {
            socket.write_all(&chunk).expect("somebody reads in the end");
        }
        socket.shutdown(Shutdown::Write).expect("open");
        socket
    });
    wait_for("the peer's window to close", SOON, || {
        let waiting = node.metric("sterna_tcp_peer_connections", &["state=\"waiting\""]);
        (waiting == 1.0).then_some(())
    });
    assert!(!flood.is_finished());
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 4_000_000, "{grown} bytes more");
    let mut data = Stream::to(&node);
    data.bind(id).expect("a data connection");
    let got = data.receive(8 << 20);
    assert!(
        got.chunks(256)
            .all(|chunk| chunk.iter().copied().eq(0..=255))
    );
    drop(data);
    flood.join().expect("the peer");
    node.stop_now();
}

#[test]
fn a_client_that_does_not_read_stops_its_own_peer_and_nobody_else() {
    let node = Node::start(&[ON]);
    let (mut control, stuck, mut flooding) = connected(&node);
    let before = node.resident_bytes();
    flooding
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let chunk = vec![7; 64 * 1024];
    let mut taken = 0;
    while let Ok(len) = flooding.write(&chunk) {
        taken += len;
        assert!(taken < 64 << 20, "somewhere {taken} bytes wait");
    }
    let (listener, addr) = peer();
    let id = control.connect(addr).expect("a peer");
    let (mut socket, _) = accept(&listener);
    let mut data = Stream::to(&node);
    data.bind(id).expect("a data connection");
    for round in 0..100_u8 {
        data.send(&[round; 1000]);
        let mut got = [0; 1000];
        socket.read_exact(&mut got).expect("the client's bytes");
        assert!(got.iter().all(|byte| *byte == round));
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 4_000_000, "{grown} bytes more");
    drop(stuck);
    node.stop_now();
}

#[test]
fn a_permitted_peer_is_announced_and_another_one_is_closed() {
    let node = Node::start(&[ON]);
    let mut control = Stream::to(&node);
    let relayed = control.allocate().expect("an allocation");
    let mut stranger = TcpStream::connect(relayed).expect("the relayed address accepts");
    stranger.set_read_timeout(Some(SOON)).expect("a timeout");
    assert!(is_closed(&mut stranger));
    control.permit(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let mut socket = TcpStream::connect(relayed).expect("the relayed address accepts");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket.write_all(b"early").expect("open");
    let (from, id) = control.attempt();
    assert_eq!(from, socket.local_addr().expect("bound"));
    let mut other = Stream::to(&node).other_user();
    assert_eq!(other.bind(id), Err(441));
    let mut data = Stream::to(&node);
    data.bind(id).expect("a data connection");
    assert_eq!(data.receive(5), b"early");
    data.send(b"late");
    let mut got = [0; 4];
    socket.read_exact(&mut got).expect("the client's bytes");
    assert_eq!(&got, b"late");
    assert_eq!(Stream::to(&node).bind(id), Err(400), "an id serves once");
    node.stop_now();
}

#[test]
fn either_end_ends_the_other_and_the_allocation_ends_all() {
    let node = Node::start(&[ON]);
    let (_control, data, mut socket) = connected(&node);
    drop(data);
    assert!(is_closed(&mut socket), "the peer with the client");

    let (mut control, mut data, mut socket) = connected(&node);
    control
        .request(Method::REFRESH, &|writer| writer.attr(&Lifetime(0)))
        .expect("released");
    assert!(
        data.is_closed() && is_closed(&mut socket),
        "both with the allocation"
    );

    let (control, mut data, mut socket) = connected(&node);
    drop(control);
    assert!(
        data.is_closed() && is_closed(&mut socket),
        "both with the control connection"
    );

    let (_control, mut data, mut socket) = connected(&node);
    let path = format!("/users/{}/allocations", node.user());
    let answer = http::request(node.admin, "DELETE", &path, "").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        data.is_closed() && is_closed(&mut socket),
        "both with their user"
    );
    wait_for("nothing to be left", SOON, || {
        let left = ["waiting", "joined"].map(|state| {
            node.metric(
                "sterna_tcp_peer_connections",
                &[&format!("state=\"{state}\"")],
            )
        });
        (left == [0.0; 2] && node.metric("turn_ports_in_use", &[]) == 0.0).then_some(())
    });
    node.stop_now();
}

#[test]
fn a_half_that_is_closed_lets_the_other_one_finish() {
    let node = Node::start(&[ON]);
    let (_control, mut data, mut socket) = connected(&node);
    data.send(b"question");
    data.wire.tcp().shutdown(Shutdown::Write).expect("open");
    let mut got = Vec::new();
    socket.read_to_end(&mut got).expect("to its end");
    assert_eq!(got, b"question");
    socket.write_all(b"answer").expect("open");
    drop(socket);
    assert_eq!(data.receive(6), b"answer");
    assert!(data.is_closed());
    node.stop_now();
}

#[test]
fn nobody_listens_is_447_and_twice_the_same_peer_is_446() {
    let node = Node::start(&[ON]);
    let mut control = Stream::to(&node);
    control.allocate().expect("an allocation");
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    assert_eq!(control.connect(nobody), Err(447));
    let (listener, addr) = peer();
    control.connect(addr).expect("a peer");
    let _held = accept(&listener);
    assert_eq!(control.connect(addr), Err(446));
    assert_eq!(
        control.connect(node.v4()),
        Err(403),
        "the node's own listener"
    );
    let refused = node.metric("sterna_tcp_peer_connects_total", &["result=\"refused\""]);
    assert_eq!(refused, 1.0);
    node.stop_now();
}

#[test]
fn a_peer_that_a_reload_denies_is_disconnected() {
    let node = Node::start(&[ON]);
    let (mut control, mut data, mut socket) = connected(&node);
    let addr = socket.local_addr().expect("bound");
    node.edit_config(|config| config.replace("deny = []", "deny = [\"127.0.0.1/32\"]"));
    node.process.signal(Signal::HUP);
    assert!(data.is_closed() && is_closed(&mut socket));
    assert_eq!(control.connect(addr), Err(403));
    node.stop_now();
}

/// How long half a megabyte of a peer takes to a data connection; the peer stays.
fn half_a_megabyte(data: &mut Stream, mut socket: TcpStream) -> (Duration, TcpStream) {
    let began = Instant::now();
    let sender = thread::spawn(move || {
        socket.write_all(&vec![1; 500_000]).expect("the node reads");
        socket
    });
    data.receive(500_000);
    let took = began.elapsed();
    (took, sender.join().expect("the peer"))
}

#[test]
fn an_account_has_a_bandwidth_of_its_own_and_what_stands_counts() {
    let node = Node::start(&[
        ON,
        "limits.session_bytes_per_s=1000",
        "peers.users=[{ name = \"alice\", session_bytes_per_s = 200000 }]",
    ]);
    let (control, mut data, socket) = connected(&node);
    let (took, socket) = half_a_megabyte(&mut data, socket);
    // At the node's rate it would be minutes.
    assert!(took > Duration::from_millis(1_300), "{took:?}");
    wait_for("what has passed in the books", SOON, || {
        let view = node.get("/allocations").body;
        view.contains("\"bytes\":500000").then_some(())
    });
    drop((control, socket));
    node.stop_now();
}

#[test]
fn an_idle_pair_is_closed_and_the_bandwidth_of_a_session_is_kept() {
    let node = Node::start(&[
        ON,
        "limits.tcp_peer_idle_s=1",
        "limits.session_bytes_per_s=200000",
    ]);
    let (_control, mut data, socket) = connected(&node);
    let (took, mut socket) = half_a_megabyte(&mut data, socket);
    // A second's worth at once, the rest at the rate.
    assert!(took > Duration::from_millis(1_300), "{took:?}");
    assert!(data.is_closed() && is_closed(&mut socket));
    let idle = node.metric("sterna_tcp_peer_ended_total", &["reason=\"idle\""]);
    assert_eq!(idle, 1.0);
    node.stop_now();
}

#[test]
fn tls_carries_control_and_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new();
    let (file, key) = certificate.install(folder.path());
    let node = Node::start(&[
        ON,
        &format!("tls.certificate={}", file.display()),
        &format!("tls.key={}", key.display()),
    ]);
    let stream = || {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));
        Stream::over(Box::new(certificate.connect(to).expect("TLS")))
    };
    let mut control = stream();
    control.allocate().expect("an allocation");
    let (listener, addr) = peer();
    let id = control.connect(addr).expect("a peer");
    let (mut socket, _) = accept(&listener);
    let mut data = stream();
    data.bind(id).expect("a data connection");
    let sent: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let expected = sent.clone();
    let echo = thread::spawn(move || {
        let mut got = vec![0; 1 << 20];
        socket.read_exact(&mut got).expect("the client's bytes");
        socket.write_all(&got).expect("the node reads");
        socket
    });
    data.send(&sent);
    assert!(data.receive(1 << 20) == expected);
    drop(echo.join());
    node.stop_now();
}

/// coturn's client in its TCP mode: two clients that connect to a peer, and two that connect to
/// each other's relayed addresses. It waits for n (n - 1) connections, which two clients have.
fn coturn(test: &str, tls: bool) {
    let Some(uclient) = tool(test, "turnutils_uclient", "coturn") else {
        return;
    };
    // The same package brings both.
    let Some(peer) = tool(test, "turnutils_peer", "coturn") else {
        return;
    };
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let node = Node::start(&[ON]);
    let peer = EchoPeer::start(&peer, localhost);
    let port = if tls { node.tls_port } else { node.port };
    let (peer_addr, peer_port) = (peer.addr.to_string(), peer.port.to_string());
    for to in [&["-y"][..], &["-e", &peer_addr, "-r", &peer_port]] {
        let mut arguments = vec!["-T", "-l", "172", "-m", "2", "-n", "20"];
        arguments.extend(tls.then_some("-S"));
        arguments.extend(to);
        let counted = common::tools::uclient(&uclient, &node, localhost, port, &arguments);
        let expected = Counted {
            sent: 40,
            received: 40,
            lost: 0,
            send_dropped: 0,
        };
        assert_eq!(counted, expected, "{to:?}");
    }
    let bound = node.metric("turn_tcp_peer_connections_total", &["result=\"bound\""]);
    assert!(bound >= 4.0, "{bound}");
    node.stop_now();
}

#[test]
fn coturn_s_client_relays_tcp_over_tcp() {
    coturn("coturn_s_client_relays_tcp_over_tcp", false);
}

#[test]
fn coturn_s_client_relays_tcp_over_tls() {
    coturn("coturn_s_client_relays_tcp_over_tls", true);
}
