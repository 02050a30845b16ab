//! What an operator orders reaches nodes at once, however seldom they report, and is done there:
//! revocations, cordons, caps.
#![forbid(unsafe_code)]

mod common;
mod fleet;

use std::time::{Duration, Instant};

use common::client::Client;
use common::{SOON, report};
use fleet::{FleetNode, Phone, Service, until};
use sterna_client::control::Account;
use sterna_client::relay::{Event, Relay, Rung};
use sterna_control_api::credentials::TurnRequest;
use sterna_control_api::node::NodeStatus;
use sterna_flow::Refusal;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nodes report so seldom here that nothing which happens in time is a heartbeat's doing.
const SELDOM: Duration = Duration::from_secs(300);

/// How long an order may take on a machine that is busy with other things: far less than a heartbeat.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A service, a node that it knows to be ready, and the key that lets devices in.
async fn one_node() -> (Service, FleetNode, String) {
    let service = Service::start_with(SELDOM);
    let token = service.join_token("default").await;
    let node = FleetNode::start(service.addr, "default", &token, "n1");
    let key = service.enrolment_key().await;
    until("the node to be ready", SOON, || async {
        let nodes = service.nodes().await;
        nodes.iter().any(|node| node.status == NodeStatus::Ready)
    })
    .await;
    (service, node, key)
}

/// A device at the node that does not follow the control service: what happens to it is the node's
/// doing.
struct Visitor {
    relay: Relay,
    events: mpsc::Receiver<Event>,
}

impl Visitor {
    fn knocks(account: &Account) -> Self {
        let config = account.relay_config(vec![Rung::Udp]).expect("nodes");
        let (relay, _packets, events) = Relay::start(config);
        Self { relay, events }
    }

    async fn enters(account: &Account) -> Self {
        let visitor = Self::knocks(account);
        let entered = timeout(SOON, visitor.relay.connected()).await;
        assert!(entered.is_ok(), "the node does not let it in");
        visitor
    }

    /// What the node says to its next attempt.
    async fn is_refused(&mut self) -> Option<Refusal> {
        let refused = async {
            loop {
                match self.events.recv().await {
                    Some(Event::Refused { refusal, .. }) => return refusal,
                    Some(_) => {}
                    None => panic!("it tries no more"),
                }
            }
        };
        timeout(SOON, refused).await.expect("a refusal")
    }
}

fn sessions(node: &FleetNode) -> u64 {
    let flows = node.get("/flows").json();
    flows["sessions_total"].as_u64().expect("a number")
}

fn orders(node: &FleetNode) -> u64 {
    let control = node.get("/control").json();
    control["orders"]["version"].as_u64().expect("a version")
}

/// Waits until the node follows other orders than these; how long that took.
async fn follows_other_than(node: &FleetNode, before: u64) -> Duration {
    until("the node to be told", AT_ONCE, || async {
        orders(node) > before
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_live_session_long_before_the_next_heartbeat() {
    let (service, node, key) = one_node().await;
    let stolen = service.account(&key, "stolen").await;
    let kept = service.account(&key, "kept").await;
    let mut thief = Visitor::enters(&stolen).await;
    let owner = Visitor::enters(&kept).await;
    until("both sessions", SOON, || async { sessions(&node) == 2 }).await;
    let heard = node.metric("sterna_control_heartbeat_age_seconds");

    let began = Instant::now();
    service
        .client
        .revoke_device(&stolen.id())
        .await
        .expect("revoked");
    let asked = began.elapsed();
    let took = until("its session to end", AT_ONCE, || async {
        sessions(&node) == 1
    })
    .await;
    report(&format!(
        "revoked: answered after {} ms, ended {} ms later; heartbeats every {} s, the last {heard:.1} s before",
        asked.as_millis(),
        took.as_millis(),
        SELDOM.as_secs(),
    ));
    assert_eq!(thief.is_refused().await, Some(Refusal::Revoked));
    assert!(owner.relay.path().is_some(), "nobody else is touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_node_keeps_what_it_has_and_takes_nothing_new() {
    let (service, node, key) = one_node().await;
    let mut phones = Vec::new();
    for name in ["a", "b"] {
        phones.push(Phone::start(&service.account(&key, name).await));
    }
    let [a, b] = &mut phones[..] else {
        panic!("two")
    };
    a.exchange(b, "before").await;
    let late = service.account(&key, "late").await;
    let user = turn_user(&late).await;
    let here = Client::new(node.turn, &user.0, &user.1);
    here.allocate().expect("an allocation");

    let before = orders(&node);
    service.sterna(&["nodes", "cordon", "n1"]);
    let took = follows_other_than(&node, before).await;
    report(&format!("cordoned after {} ms", took.as_millis()));
    assert_eq!(
        Client::new(node.turn, &user.0, &user.1).allocate(),
        Err(508)
    );
    let mut visitor = Visitor::knocks(&late);
    assert_eq!(visitor.is_refused().await, Some(Refusal::Draining));
    here.refresh(600).expect("what it has, it keeps");
    a.exchange(b, "cordoned").await;

    let before = orders(&node);
    service.sterna(&["nodes", "activate", "n1"]);
    follows_other_than(&node, before).await;
    Visitor::enters(&late).await;
    let again = Client::new(node.turn, &user.0, &user.1).allocate();
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_no_more_than_its_operator_lets_it() {
    let (service, node, key) = one_node().await;
    let device = service.account(&key, "first").await;
    let user = turn_user(&device).await;
    let before = orders(&node);
    service.sterna(&[
        "nodes",
        "limits",
        "n1",
        "--allocations",
        "1",
        "--flow-sessions",
        "1",
    ]);
    follows_other_than(&node, before).await;
    let first = Client::new(node.turn, &user.0, &user.1);
    first.allocate().expect("the one that it may have");
    assert_eq!(
        Client::new(node.turn, &user.0, &user.1).allocate(),
        Err(508)
    );
    let inside = Visitor::enters(&device).await;
    let second = service.account(&key, "second").await;
    let mut outside = Visitor::knocks(&second);
    assert_eq!(outside.is_refused().await, Some(Refusal::Busy));
    assert!(inside.relay.path().is_some());

    let before = orders(&node);
    service.sterna(&[
        "nodes",
        "limits",
        "n1",
        "--allocations",
        "0",
        "--flow-sessions",
        "0",
    ]);
    follows_other_than(&node, before).await;
    let more = Client::new(node.turn, &user.0, &user.1).allocate();
    assert!(more.is_ok(), "{more:?}");
    Visitor::enters(&second).await;
}

async fn turn_user(account: &Account) -> (String, String) {
    let given = account.turn_credentials(&TurnRequest::default()).await;
    let servers = given.expect("credentials").ice_servers;
    let user = |server: sterna_control_api::credentials::IceServer| {
        Some((server.username?, server.credential?))
    };
    servers.into_iter().find_map(user).expect("a user")
}
