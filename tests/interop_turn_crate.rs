//! The `turn` crate's client against the node, unchanged: allocate, permission, echo.
#![forbid(unsafe_code)]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use common::client::Echo;
use common::node::{Node, PASSWORD, USER};
use common::ports::has_ipv6;
use common::{SOON, skip};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn as _;

const MESSAGES: u32 = 200;

async fn client(server: SocketAddr, password: &str) -> Client {
    let socket = UdpSocket::bind((server.ip(), 0)).await.expect("a socket");
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: USER.to_owned(),
        password: password.to_owned(),
        realm: "sterna".to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    };
    let client = Client::new(config).await.expect("a client");
    client.listen().await.expect("listening");
    client
}

async fn echoes_everything(server: SocketAddr, ip: IpAddr) {
    let echo = Echo::start(ip);
    let client = client(server, PASSWORD).await;
    let mapped = client.send_binding_request().await.expect("a Binding");
    assert_eq!(mapped.ip(), ip);

    let relay = client.allocate().await.expect("an allocation");
    assert_eq!(relay.local_addr().expect("a relayed address").ip(), ip);
    let mut buffer = [0; 1_500];
    for number in 0..MESSAGES {
        // The first ones travel in Send indications, the others by the channel that the crate binds.
        let message = number.to_be_bytes();
        relay.send_to(&message, echo.addr()).await.expect("sent");
        let (len, from) = timeout(SOON, relay.recv_from(&mut buffer))
            .await
            .unwrap_or_else(|_| panic!("message {number} did not come back"))
            .expect("received");
        assert_eq!((&buffer[..len], from), (&message[..], echo.addr()));
    }
    relay.close().await.expect("released");
    client.close().await.expect("closed");
}

#[tokio::test]
async fn the_turn_crate_echoes_everything_over_ipv4() {
    let node = Node::start(&[]);
    echoes_everything(node.v4(), Ipv4Addr::LOCALHOST.into()).await;
    node.stop();
}

#[tokio::test]
async fn the_turn_crate_echoes_everything_over_the_mmsg_engine() {
    let node = Node::start(&["node.engine=mmsg"]);
    echoes_everything(node.v4(), Ipv4Addr::LOCALHOST.into()).await;
    node.stop();
}

/// The crate asks for no address family, which means IPv4 wherever it asks from.
#[tokio::test]
async fn the_turn_crate_gets_a_binding_over_ipv6() {
    if !has_ipv6() {
        skip(
            "the_turn_crate_gets_a_binding_over_ipv6",
            "this machine has no ::1",
        );
        return;
    }
    let node = Node::start(&[]);
    let client = client(node.v6(), PASSWORD).await;
    let mapped = client.send_binding_request().await.expect("a Binding");
    assert_eq!(mapped.ip(), Ipv6Addr::LOCALHOST);
    client.close().await.expect("closed");
    node.stop();
}

#[tokio::test]
async fn the_turn_crate_is_refused_with_a_wrong_password() {
    let node = Node::start(&[]);
    let client = client(node.v4(), "wrong").await;
    let refused = client.allocate().await.err().expect("no allocation");
    assert!(refused.to_string().contains("401"), "{refused}");
    client.close().await.expect("closed");
    node.stop();
}
