//! TLS on real sockets: beside TCP on one port, alone, and with a certificate that changes.

use crate::support::{
    Bench, ClientHello, LIMITS, binding, eventually, soon, test_tls, tls_connect,
};
use rustls::version::{TLS12, TLS13};
use sterna_relay::config;
use sterna_relay::stream::{CutReason, Protocols, StreamLimits};
use sterna_relay::tls::Certificates;
use sterna_turn::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn tls_is_told_from_tcp_on_one_port_in_both_versions_with_and_without_alpn() {
    let mut bench = Bench::new(LIMITS);
    let alpns: [&[&[u8]]; 3] = [&[], &[b"stun.turn"], &[b"h2", b"stun.nat-discovery"]];
    let mut count = 0;
    for version in [&TLS12, &TLS13] {
        for alpn in alpns {
            let mut socket = tls_connect(bench.addr, &ClientHello { alpn, version })
                .await
                .unwrap();
            assert_eq!(socket.get_ref().1.alpn_protocol(), alpn.last().copied());
            socket.write_all(&binding(1)).await.unwrap();
            let (client, out) = bench.opened().await;
            assert_eq!(client.transport, Transport::Tls);
            assert_eq!(bench.frame().await, binding(1));
            out.push(&[], b"answer", 0);
            let mut answer = [0; 6];
            soon(socket.read_exact(&mut answer)).await.unwrap();
            assert_eq!(&answer, b"answer");
            drop(socket);
            bench.closed().await;
            count += 1;
        }
    }
    assert_eq!(bench.streams.counters().accepted_tls, count);
}

#[tokio::test]
async fn a_client_that_wants_another_protocol_is_refused() {
    let bench = Bench::new(LIMITS);
    assert!(
        tls_connect(
            bench.addr,
            &ClientHello {
                alpn: &[b"h2"],
                version: &TLS13
            }
        )
        .await
        .is_err()
    );
    eventually(|| bench.streams.counters().cut(CutReason::HandshakeFailed) == 1).await;
}

#[tokio::test]
async fn a_listener_for_tls_alone_cuts_plain_stun() {
    let mut bench = Bench::with(LIMITS, Protocols::TlsOnly, 10, test_tls().acceptor());
    let mut plain = bench.connect().await;
    plain.write_all(&binding(1)).await.unwrap();
    let _ = soon(plain.read_to_end(&mut Vec::new())).await;
    eventually(|| bench.streams.counters().cut(CutReason::Garbage) == 1).await;
    let mut socket = tls_connect(
        bench.addr,
        &ClientHello {
            alpn: &[],
            version: &TLS13,
        },
    )
    .await
    .unwrap();
    socket.write_all(&binding(2)).await.unwrap();
    let (_, _out) = bench.opened().await;
    assert_eq!(bench.frame().await, binding(2));
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_cut() {
    let bench = Bench::new(StreamLimits {
        handshake_s: 1,
        ..LIMITS
    });
    let mut socket = bench.connect().await;
    socket.write_all(&[22, 3, 1]).await.unwrap();
    let _ = soon(socket.read_to_end(&mut Vec::new())).await;
    eventually(|| bench.streams.counters().cut(CutReason::HandshakeTimeout) == 1).await;
}

#[tokio::test]
async fn a_broken_handshake_is_cut() {
    let bench = Bench::new(LIMITS);
    let mut socket = bench.connect().await;
    socket
        .write_all(b"\x16\x03\x01\x00\x05hello")
        .await
        .unwrap();
    let _ = soon(socket.read_to_end(&mut Vec::new())).await;
    eventually(|| bench.streams.counters().cut(CutReason::HandshakeFailed) == 1).await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_leaves_the_old_ones_alone() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let none = config::Tls::default();
    let tls = Certificates::load(&none, dirs[0].path(), "one").unwrap();
    let mut bench = Bench::with(LIMITS, Protocols::TcpAndTls, 10, tls.acceptor());
    let hello = ClientHello {
        alpn: &[b"stun.turn"],
        version: &TLS13,
    };
    let mut old = tls_connect(bench.addr, &hello).await.unwrap();
    old.write_all(&binding(1)).await.unwrap();
    let (_, out) = bench.opened().await;
    bench.frame().await;
    tls.reload(&none, dirs[1].path()).unwrap();
    let new = tls_connect(bench.addr, &hello).await.unwrap();
    let (_, _new_out) = bench.opened().await;
    assert_ne!(
        old.get_ref().1.peer_certificates(),
        new.get_ref().1.peer_certificates()
    );
    old.write_all(&binding(2)).await.unwrap();
    assert_eq!(bench.frame().await, binding(2));
    out.push(&[], b"still here", 0);
    let mut answer = [0; 10];
    soon(old.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"still here");
}

/// RFC 8737 §3: an authority gets an answer while an order is open, and never a stream of STUN.
#[tokio::test]
async fn an_acme_authority_that_nobody_asked_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let acme = config::Tls {
        acme: Some(config::Acme {
            domains: vec!["localhost".to_owned()],
            ..config::Acme::default()
        }),
        ..config::Tls::default()
    };
    let tls = Certificates::load(&acme, dir.path(), "one").unwrap();
    let mut bench = Bench::with(LIMITS, Protocols::TcpAndTls, 10, tls.acceptor());
    let hello = |alpn| ClientHello {
        alpn,
        version: &TLS13,
    };
    assert!(
        tls_connect(bench.addr, &hello(&[b"acme-tls/1"]))
            .await
            .is_err()
    );
    eventually(|| bench.streams.counters().cut(CutReason::HandshakeFailed) == 1).await;
    // Whoever can speak STUN too is a client like any other.
    let both = hello(&[b"acme-tls/1", b"stun.turn"]);
    let socket = tls_connect(bench.addr, &both).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"stun.turn"[..]));
    bench.opened().await;
}

#[tokio::test]
async fn half_open_handshakes_count_for_the_caps_and_are_let_go_in_time() {
    let bench = Bench::new(StreamLimits {
        connections_max: 2,
        handshake_s: 1,
        ..LIMITS
    });
    let mut halves = [bench.connect().await, bench.connect().await];
    for half in &mut halves {
        half.write_all(&[22, 3, 1]).await.unwrap();
    }
    eventually(|| bench.streams.counters().open == 2).await;
    let mut third = bench.connect().await;
    let _ = soon(third.read_to_end(&mut Vec::new())).await;
    assert_eq!(bench.streams.counters().cut(CutReason::NodeFull), 1);
    // A byte now and then buys no time.
    let _ = halves[0].write_all(&[1]).await;
    eventually(|| bench.streams.counters().cut(CutReason::HandshakeTimeout) == 2).await;
    eventually(|| bench.streams.counters().open == 0).await;
}
