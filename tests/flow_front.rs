//! The `wss` listener towards those who are no devices: health checks, browsers, and load balancers
//! that say who is behind them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::net::SocketAddr;

use flow::{Device, FlowNode, Identity, LOOPBACK, SOON, numbered};
use rustls::pki_types::ServerName;
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{Event, Rung, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// What the listener says to a request, over TLS.
async fn ask(to: SocketAddr, request: &str) -> String {
    let asked = async {
        let socket = TcpStream::connect(to).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(tls::config(b"http/1.1"));
        let mut tls = connector.connect(name, socket).await?;
        tls.write_all(request.as_bytes()).await?;
        let mut said = String::new();
        tls.read_to_string(&mut said).await?;
        std::io::Result::Ok(said)
    };
    timeout(SOON, asked).await.expect("an answer").unwrap()
}

#[tokio::test]
async fn a_health_check_learns_whether_devices_are_taken_and_a_browser_what_it_has_found() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let root = "GET / HTTP/1.1\r\nHost: relay\r\n\r\n";
    let said = ask(node.wss, root).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.contains("Content-Type: text/plain"), "{said}");
    let said = ask(node.wss, "GET /flow HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 426 ") && said.contains("Upgrade: websocket"),
        "{said}"
    );
    let said = ask(node.wss, "GET /favicon.ico HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    node.node
        .wait_for_metric("flow_connections_total", &["result=\"answered\""], 3.0);

    // A device keeps the node there while it drains.
    let who = Identity::new(1);
    let config = who.config(&[&node], &[Rung::Wss]);
    let mut device = Device::start(who.key, config, Timing::default());
    device.connected().await;
    assert!(node.node.post("/drain", "{}").status < 300);
    let said = ask(node.wss, root).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    node.node.stop_now();
}

/// A load balancer that says that whoever comes is this client.
async fn balancer(node: SocketAddr, client: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut device, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut node = TcpStream::connect(node).await?;
                let header = format!("PROXY TCP4 {client} 192.0.2.1 4000 443\r\n");
                node.write_all(header.as_bytes()).await?;
                copy_bidirectional(&mut device, &mut node).await
            });
        }
    });
    addr
}

/// A device that comes by a load balancer, or straight.
fn device(node: &FlowNode, number: u8, via: SocketAddr) -> Device {
    let who = Identity::new(number);
    let mut config = who.config(&[node], &[Rung::Wss]);
    config.nodes[0].wss = vec![via];
    Device::start(who.key, config, Timing::default())
}

/// What comes back on a WebSocket for these bytes, until the node has had enough.
async fn frames(node: &FlowNode, bytes: &[u8]) -> Vec<u8> {
    let exchanged = async {
        let socket = TcpStream::connect(node.wss).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(tls::config(b"http/1.1"));
        let mut tls = connector.connect(name, socket).await.unwrap();
        let request = "GET /flow HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        // Who is cut off while he writes is cut off.
        let _ = tls.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = tls.read_to_end(&mut said).await;
        said
    };
    timeout(SOON, exchanged).await.expect("an end")
}

// RFC 6455 §5.1: "The server MUST close the connection upon receiving a frame that is not masked." §5.5.1: "If
// an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a
// Close frame in response." Whoever sends pings and does not read makes the node keep the answers.
#[tokio::test]
async fn a_websocket_that_breaks_the_rules_or_says_goodbye_or_pings_without_end_is_ended() {
    const PONG: [u8; 2] = [0x8A, 0];
    let node = FlowNode::start(LOOPBACK, &[]);
    let mask = [0; 4];
    let close = [&[0x88, 0x82][..], &mask, &1000_u16.to_be_bytes()].concat();
    assert_eq!(frames(&node, &close).await, [0x88, 2, 0x03, 0xE8]);
    let ping = [&[0x89, 0x80][..], &mask].concat();
    let said = frames(&node, &[&ping[..], &close].concat()).await;
    assert_eq!(said, [&PONG[..], &[0x88, 2, 0x03, 0xE8]].concat());

    assert!(!frames(&node, &[0x82, 1, 0]).await.starts_with(&[0x82]));
    let cut = |least| {
        node.node
            .wait_for_metric("flow_connections_total", &["result=\"cut\""], least);
    };
    let said = frames(&node, &ping.repeat(10_000)).await;
    assert!(said.chunks(2).all(|frame| frame == PONG), "{said:x?}");
    assert!(said.len() / 2 <= 16, "{}", said.len() / 2);
    cut(1.0);
    let text = [&[0x81, 0x80][..], &mask].concat();
    assert!(frames(&node, &text).await.is_empty());
    cut(2.0);
    node.node.stop_now();
}

async fn is_kept_out(device: &mut Device) {
    let heard =
        async { while !matches!(device.events.recv().await, Some(Event::Unreachable { .. })) {} };
    timeout(SOON, heard).await.expect("no way in");
    assert_eq!(device.relay.path(), None);
}

#[tokio::test]
async fn devices_behind_a_load_balancer_count_by_the_address_that_it_names() {
    let node = FlowNode::start(
        LOOPBACK,
        &[
            "tcp.proxy_protocol_from=[\"127.0.0.0/8\"]",
            "limits.flow_connections_per_prefix_max=1",
        ],
    );
    let here = balancer(node.wss, "198.51.100.7").await;
    let there = balancer(node.wss, "203.0.113.7").await;
    let (mut first, mut second) = (device(&node, 1, here), device(&node, 2, there));
    first.connected().await;
    second.connected().await;
    first.exchange(&mut second, &numbered(1, 1_312)).await;
    // The first prefix is full, whoever the balancer is.
    is_kept_out(&mut device(&node, 3, here)).await;
    node.node
        .wait_for_metric("flow_connections_total", &["result=\"refused\""], 1.0);
    // From the balancer's range nobody comes without a header.
    is_kept_out(&mut device(&node, 4, node.wss)).await;
    node.node
        .wait_for_metric("flow_connections_total", &["result=\"failed\""], 1.0);
    node.node.stop_now();
}

#[tokio::test]
async fn a_reload_takes_load_balancers_over() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let mut before = device(&node, 1, node.wss);
    before.connected().await;
    node.node
        .edit_config(|text| text + "[tcp]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n");
    assert_eq!(node.node.post("/reload", "").status, 200);
    let via = balancer(node.wss, "198.51.100.7").await;
    let mut after = device(&node, 2, via);
    after.connected().await;
    after.exchange(&mut before, &numbered(1, 148)).await;
    is_kept_out(&mut device(&node, 3, node.wss)).await;
    // A connection that stood is not asked again.
    assert!(before.relay.path().is_some());
    node.node.stop_now();
}
