//! ALTERNATE-SERVER between two real nodes: the client machine goes where it is sent, over UDP, TCP
//! and TLS, and sessions that live are left alone.
#![forbid(unsafe_code)]

mod common;

use std::net::SocketAddr;

use common::client::Echo;
use common::node::{Node, PASSWORD, USER};
use sterna_bench::{BenchError, Credentials, Route, Session, Transport, Trust};
use sterna_turn::client::{ClientError, Timers};

async fn session(server: SocketAddr, transport: Transport) -> Session {
    let route = Route::new(server, transport, &Trust::Anybody, "localhost").expect("a route");
    let credentials = Credentials {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    Session::connect(&route, Some(credentials), Timers::default())
        .await
        .expect("a connection")
}

async fn echoes(session: &mut Session, echo: &Echo) {
    session
        .permit(echo.addr().ip())
        .await
        .expect("a permission");
    session
        .send(echo.addr(), b"there and back")
        .await
        .expect("sent");
    let deadline = std::time::Instant::now() + common::SOON;
    let data = session.receive_until(deadline).await.expect("alive");
    assert_eq!(&data.expect("an echo").payload[..], b"there and back");
}

#[tokio::test]
async fn a_draining_node_sends_newcomers_to_the_other_one_and_serves_those_it_has() {
    let other = Node::start(&[]);
    let draining = Node::start(&[
        &format!("turn.alternate_server=[\"{}\"]", other.v4()),
        &format!(
            "turn.alternate_tls_server=[\"127.0.0.1:{}\"]",
            other.tls_port
        ),
        "turn.alternate_domain=localhost",
    ]);
    let echo = Echo::start([127, 0, 0, 1]);
    let mut earlier = session(draining.v4(), Transport::Udp).await;
    earlier.allocate().await.expect("an allocation");
    assert_eq!(earlier.server(), draining.v4());

    draining.post("/drain", "{}");
    let tls = |node: &Node| SocketAddr::from(([127, 0, 0, 1], node.tls_port));
    for (transport, from, to) in [
        (Transport::Udp, draining.v4(), other.v4()),
        (Transport::Tcp, draining.v4(), other.v4()),
        (Transport::Tls, tls(&draining), tls(&other)),
    ] {
        let mut newcomer = session(from, transport).await;
        newcomer.allocate().await.expect("an allocation elsewhere");
        assert_eq!(newcomer.server(), to);
        echoes(&mut newcomer, &echo).await;
        newcomer.release().await.expect("released");
    }
    draining.wait_for_metric("turn_allocations_total", &["result=\"redirected\""], 3.0);
    echoes(&mut earlier, &echo).await;
    earlier.refresh().await.expect("it lives on");
    earlier.release().await.expect("released");
    draining.stop_now();
    other.stop_now();
}

#[tokio::test]
async fn two_nodes_that_name_each_other_do_not_send_a_client_in_circles() {
    let (one, two) = (common::ports::free_port(), common::ports::free_port());
    let node = |own: u16, other: u16| {
        Node::start(&[
            &format!("turn.listen=[\"127.0.0.1:{own}\"]"),
            &format!("turn.alternate_server=[\"127.0.0.1:{other}\"]"),
            "turn.alternate_when=always",
        ])
    };
    let nodes = [node(one, two), node(two, one)];
    let mut client = session(SocketAddr::from(([127, 0, 0, 1], one)), Transport::Udp).await;
    let refused = client.allocate().await.expect_err("nobody takes it");
    let BenchError::Refused { error, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!(error, ClientError::RedirectedInCircles);
    for node in nodes {
        node.stop();
    }
}
