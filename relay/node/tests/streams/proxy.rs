//! Clients behind a load balancer, on real sockets: who they are is what the PROXY header says.

use std::net::SocketAddr;

use crate::support::{Bench, ClientHello, LIMITS, binding, eventually, soon, test_tls, tls_over};
use rustls::version::TLS13;
use sterna_relay::stream::{CutReason, Protocols, StreamConfig, StreamLimits};
use sterna_turn::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SERVER: &str = "203.0.113.9:443";

/// Loopback is a load balancer.
fn behind_a_proxy(limits: StreamLimits) -> StreamConfig {
    StreamConfig {
        limits,
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
    }
}

/// A version 2 header with a TLV, as a load balancer sends it.
fn header(client: &str) -> Vec<u8> {
    let (client, server): (SocketAddr, SocketAddr) =
        (client.parse().unwrap(), SERVER.parse().unwrap());
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    for addr in [client, server] {
        let SocketAddr::V4(addr) = addr else {
            panic!("{addr} is no IPv4 address")
        };
        bytes.extend(addr.ip().octets());
    }
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.extend([0xea, 0, 4, 1, 2, 3, 4]);
    bytes
}

async fn ends(mut socket: TcpStream) {
    let mut bytes = Vec::new();
    let _ = soon(socket.read_to_end(&mut bytes)).await;
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn a_client_is_who_the_header_says_however_it_is_cut_on_the_way() {
    let mut bench = Bench::new(behind_a_proxy(LIMITS));
    let mut whole = bench.connect().await;
    whole
        .write_all(&[header("198.51.100.7:4000"), binding(1)].concat())
        .await
        .unwrap();
    let (client, _out) = bench.opened().await;
    assert_eq!(client.transport, Transport::Tcp);
    assert_eq!(client.addr, "198.51.100.7:4000".parse().unwrap());
    assert_eq!(client.server, SERVER.parse().unwrap());
    assert_eq!(bench.frame().await, binding(1));

    let mut in_bits = bench.connect().await;
    in_bits.set_nodelay(true).unwrap();
    let text = b"PROXY TCP6 2001:db8::7 2001:db8::1 4001 3478\r\n".to_vec();
    for byte in [text, binding(2)].concat() {
        in_bits.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (client, _out_too) = bench.opened().await;
    assert_eq!(client.addr, "[2001:db8::7]:4001".parse().unwrap());
    assert_eq!(bench.frame().await, binding(2));
}

#[tokio::test]
async fn tls_and_tcp_are_told_apart_behind_the_header() {
    let tls = test_tls();
    for protocols in [Protocols::TcpAndTls, Protocols::TlsOnly] {
        let config = behind_a_proxy(LIMITS);
        let mut bench = Bench::with(config, protocols, 100, tls.acceptor());
        let mut socket = bench.connect().await;
        socket
            .write_all(&header("198.51.100.7:4000"))
            .await
            .unwrap();
        let hello = ClientHello {
            alpn: &[b"stun.turn"],
            version: &TLS13,
        };
        let mut socket = tls_over(socket, &hello).await.unwrap();
        socket.write_all(&binding(1)).await.unwrap();
        let (client, _out) = bench.opened().await;
        assert_eq!(client.transport, Transport::Tls);
        assert_eq!(client.addr, "198.51.100.7:4000".parse().unwrap());
        assert_eq!(client.server, SERVER.parse().unwrap());
        assert_eq!(bench.frame().await, binding(1));
    }
}

#[tokio::test]
async fn a_proxy_s_own_connection_keeps_the_socket_s_addresses() {
    let mut bench = Bench::new(behind_a_proxy(LIMITS));
    let mut socket = bench.connect().await;
    socket
        .write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0")
        .await
        .unwrap();
    socket.write_all(&binding(1)).await.unwrap();
    let (client, _out) = bench.opened().await;
    assert_eq!(client.addr, socket.local_addr().unwrap());
    assert_eq!(client.server, bench.addr);
}

#[tokio::test]
async fn without_a_valid_header_a_connection_from_a_proxy_is_cut() {
    let bench = Bench::new(behind_a_proxy(LIMITS));
    let strangers = [
        binding(1),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\0".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\xff\xff".to_vec(),
        b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 99999\r\n".to_vec(),
    ];
    for (count, bytes) in (1..).zip(strangers) {
        let mut socket = bench.connect().await;
        socket.write_all(&bytes).await.unwrap();
        ends(socket).await;
        eventually(|| bench.streams.counters().cut(CutReason::ProxyHeader) == count).await;
    }
    assert_eq!(bench.streams.counters().accepted_tcp, 0);
}

#[tokio::test]
async fn a_header_that_does_not_go_on_is_cut_and_one_that_ends_early_is_nobody_s_fault() {
    let bench = Bench::new(behind_a_proxy(StreamLimits {
        handshake_s: 1,
        ..LIMITS
    }));
    let mut slow = bench.connect().await;
    slow.write_all(&header("198.51.100.7:4000")[..20])
        .await
        .unwrap();
    // A load balancer looks whether the port is open.
    drop(bench.connect().await);
    ends(slow).await;
    eventually(|| bench.streams.counters().open == 0).await;
    let cuts: Vec<_> = bench.streams.counters().cuts().collect();
    let all: u64 = cuts.iter().map(|(_, count)| count).sum();
    assert_eq!(all, 1, "{cuts:?}");
    assert_eq!(bench.streams.counters().cut(CutReason::HandshakeTimeout), 1);
}

#[tokio::test]
async fn a_header_from_anywhere_else_is_garbage() {
    let bench = Bench::new(StreamConfig {
        limits: LIMITS,
        proxy_protocol_from: vec!["192.0.2.0/24".parse().unwrap()],
    });
    let text = b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 3478\r\n".to_vec();
    for (count, bytes) in (1..).zip([header("198.51.100.7:4000"), text]) {
        let mut socket = bench.connect().await;
        socket.write_all(&bytes).await.unwrap();
        ends(socket).await;
        eventually(|| bench.streams.counters().cut(CutReason::Garbage) == count).await;
    }
}

#[tokio::test]
async fn what_follows_the_header_must_be_stun_or_tls() {
    let bench = Bench::new(behind_a_proxy(LIMITS));
    let mut socket = bench.connect().await;
    let bytes = [
        header("198.51.100.7:4000"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
    .concat();
    socket.write_all(&bytes).await.unwrap();
    ends(socket).await;
    eventually(|| bench.streams.counters().cut(CutReason::Garbage) == 1).await;
}

#[tokio::test]
async fn the_cap_of_a_prefix_counts_clients_and_not_their_proxy() {
    let mut bench = Bench::new(behind_a_proxy(StreamLimits {
        per_prefix_max: 1,
        ..LIMITS
    }));
    let mut held = Vec::new();
    for client in ["198.51.100.7:4000", "203.0.113.1:4000", "192.0.2.1:4000"] {
        let mut socket = bench.connect().await;
        socket
            .write_all(&[header(client), binding(1)].concat())
            .await
            .unwrap();
        held.push((socket, bench.opened().await));
        bench.frame().await;
    }
    let mut neighbour = bench.connect().await;
    neighbour
        .write_all(&header("198.51.100.8:4000"))
        .await
        .unwrap();
    ends(neighbour).await;
    eventually(|| bench.streams.counters().cut(CutReason::PrefixFull) == 1).await;
    held.remove(0);
    bench.closed().await;
    eventually(|| bench.streams.counters().open == 2).await;
    let mut neighbour = bench.connect().await;
    neighbour
        .write_all(&[header("198.51.100.8:4000"), binding(1)].concat())
        .await
        .unwrap();
    bench.opened().await;
}

#[tokio::test]
async fn a_reload_names_other_proxies_for_new_connections() {
    let mut bench = Bench::new(LIMITS);
    bench.streams.reconfigure(behind_a_proxy(LIMITS));
    let mut socket = bench.connect().await;
    let bytes = [header("198.51.100.7:4000"), binding(1)].concat();
    socket.write_all(&bytes).await.unwrap();
    let (client, _out) = bench.opened().await;
    assert_eq!(client.addr, "198.51.100.7:4000".parse().unwrap());
}
