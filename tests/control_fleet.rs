//! A fleet: nodes register with the control service, devices find them through it, and both go on
//! without it.
#![forbid(unsafe_code)]

mod common;
mod fleet;

use std::fs;
use std::time::Duration;

use common::client::Client;
use common::{SOON, report};
use fleet::{FleetNode, Gate, INTERVAL, Phone, Service, until};
use rustix::process::Signal;
use sterna_client::control::Account;
use sterna_client::relay::{Relay, Rung};
use sterna_control_api::credentials::TurnRequest;
use sterna_control_api::node::NodeStatus;
use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotateKeys, RotationStep};
use sterna_control_client::Filter;
use tokio::time::timeout;

/// How soon a node that has started is in the relay map.
const APPEARS_WITHIN: Duration = Duration::from_secs(2);

/// The service counts in whole seconds, and publishes what it has counted.
const ROUNDING: Duration = Duration::from_secs(3);

async fn is_on_the_map(observer: &mut Account, name: &str) -> bool {
    observer.refresh_map().await.expect("a map");
    let regions = &observer.relay_map().regions;
    regions
        .iter()
        .flat_map(|region| &region.nodes)
        .any(|node| node.name == name)
}

/// Waits until a device sees the node on its map, or not.
async fn sees(observer: &mut Account, name: &str, wanted: bool, within: Duration) -> Duration {
    let began = std::time::Instant::now();
    while is_on_the_map(observer, name).await != wanted {
        assert!(
            began.elapsed() < within,
            "{name} on the map: not {wanted} within {within:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_appear_are_drained_and_lost_and_their_devices_move() {
    let service = Service::start();
    for region in ["eu", "us"] {
        service.add_region(region).await;
    }
    let key = service.enrolment_key().await;
    let mut observer = service.account(&key, "observer").await;
    let mut nodes = Vec::new();
    for (name, region) in [("eu-1", "eu"), ("eu-2", "eu"), ("us-1", "us")] {
        let token = service.join_token(region).await;
        nodes.push(FleetNode::start(service.addr, region, &token, name));
        let took = sees(&mut observer, name, true, APPEARS_WITHIN).await;
        report(&format!(
            "{name} is on the map {} ms after it was ready",
            took.as_millis()
        ));
    }
    assert_eq!(observer.relay_map().regions.len(), 2);

    let mut phones = Vec::new();
    for name in ["a", "b"] {
        phones.push(Phone::start(&service.account(&key, name).await));
    }
    let [a, b] = &mut phones[..] else {
        panic!("two")
    };
    a.exchange(b, "at home").await;
    let home = a.home().await;
    assert_eq!(home, b.home().await, "devices of a tenant choose alike");

    // The operator drains the devices' home by its name: it leaves the map, they move, it ends.
    let place = nodes
        .iter()
        .position(|node| node.id() == home)
        .expect("one of ours");
    let mut drained = nodes.remove(place);
    let said = service.sterna(&["nodes", "drain", &drained.name]);
    assert!(said.contains("is draining"), "{said}");
    let took = sees(&mut observer, &drained.name, false, SOON).await;
    report(&format!(
        "drained: off the map after {} ms",
        took.as_millis()
    ));
    until("both devices on another node", SOON, || async {
        let node = |phone: &Phone| phone.relay.path().map(|path| path.node);
        let (a, b) = (node(a), node(b));
        a == b && a.is_some_and(|node| node != home)
    })
    .await;
    a.exchange(b, "moved").await;
    let status = drained.process.wait(SOON);
    assert!(status.success(), "{}", drained.process.written());

    // A node that is killed leaves the map after three missed heartbeats.
    let killed = nodes.pop().expect("two are left");
    killed.process.signal(Signal::KILL);
    let took = sees(&mut observer, &killed.name, false, 3 * INTERVAL + ROUNDING).await;
    report(&format!(
        "killed: off the map after {} ms",
        took.as_millis()
    ));
    assert!(took >= 2 * INTERVAL, "it was given up after {took:?}");
    a.exchange(b, "on the last one").await;
}

/// A device that comes anew: its ticket, its handshake.
async fn comes(account: &Account) {
    let config = account.relay_config(vec![Rung::Udp]).expect("nodes");
    let (relay, _packets, _events) = Relay::start(config);
    let came = timeout(SOON, relay.connected()).await;
    assert!(came.is_ok(), "the node does not take the ticket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_serves_by_what_it_knows_and_comes_back_by_itself() {
    let service = Service::start();
    let gate = Gate::to(service.addr).await;
    let token = service.join_token("default").await;
    let mut node = FleetNode::start(gate.addr, "default", &token, "n1");
    let key = service.enrolment_key().await;
    let mut observer = service.account(&key, "observer").await;
    sees(&mut observer, "n1", true, SOON).await;
    let mut phones = Vec::new();
    for name in ["a", "b"] {
        phones.push(Phone::start(&service.account(&key, name).await));
    }
    let [a, b] = &mut phones[..] else {
        panic!("two")
    };
    a.exchange(b, "before").await;
    let knows = service.account(&key, "late").await;
    let credentials = turn_user(&knows).await;

    gate.set_open(false);
    let lost = || async { service.nodes().await[0].status == NodeStatus::Lost };
    until("the service to miss the node", SOON, lost).await;
    until("ten intervals without the service", SOON, || async {
        node.metric("sterna_control_heartbeat_age_seconds") >= 10.0 * INTERVAL.as_secs_f64()
    })
    .await;
    assert!(node.metric("sterna_control_registered") < 0.5);
    assert!(node.get("/control").json()["trouble"].is_string());
    assert_eq!(node.get("/readyz").status, 200);
    a.exchange(b, "cut off").await;
    comes(&knows).await;

    // A restart without the service: keys, secrets and the fleet's name are on the disk.
    node.restart();
    comes(&knows).await;
    assert!(
        Client::new(node.turn, &credentials.0, &credentials.1)
            .allocate()
            .is_ok()
    );
    a.exchange(b, "cut off, after a restart").await;

    // A damaged file is ignored, and nobody is let in by mistake.
    let orders = fs::read_to_string(node.orders_file()).expect("the orders");
    fs::write(node.orders_file(), &orders[..orders.len() / 2]).expect("half of them");
    node.restart();
    assert!(
        node.process.written().contains("orders.json"),
        "{}",
        node.process.written()
    );
    let refused = Client::new(node.turn, &credentials.0, &credentials.1).allocate();
    assert_eq!(refused, Err(401));

    gate.set_open(true);
    sees(&mut observer, "n1", true, 2 * SOON).await;
    a.exchange(b, "back").await;
    let healed = fs::read_to_string(node.orders_file()).expect("the orders");
    assert!(
        serde_json::from_str::<serde_json::Value>(&healed).is_ok(),
        "{healed}"
    );
    assert!(node.metric("sterna_control_registered") > 0.5);
}

async fn turn_user(account: &Account) -> (String, String) {
    let given = account.turn_credentials(&TurnRequest::default()).await;
    let servers = given.expect("credentials").ice_servers;
    let user = |server: sterna_control_api::credentials::IceServer| {
        Some((server.username?, server.credential?))
    };
    servers.into_iter().find_map(user).expect("a user")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_secrets_are_rotated_while_devices_connect_and_nobody_is_refused() {
    let service = Service::start();
    let token = service.join_token("default").await;
    let node = FleetNode::start(service.addr, "default", &token, "n1");
    let key = service.enrolment_key().await;
    let mut device = service.account(&key, "device").await;
    sees(&mut device, "n1", true, SOON).await;
    let allocate = |user: &(String, String)| {
        let allocated = Client::new(node.turn, &user.0, &user.1).allocate();
        assert!(allocated.is_ok(), "{allocated:?}");
    };
    for purpose in [KeyPurpose::Signing, KeyPurpose::Turn] {
        let old = device.clone();
        let old_user = turn_user(&device).await;
        for step in [RotationStep::Prepare, RotationStep::Promote] {
            let wanted = RotateKeys {
                purpose,
                step,
                force: false,
            };
            service.client.rotate_keys(&wanted).await.expect("a step");
            // What was given before and what is given now both count, at every moment.
            for _ in 0..5 {
                device.renew_ticket().await.expect("a ticket");
                device.refresh_map().await.expect("a map");
                comes(&old).await;
                comes(&device).await;
                allocate(&old_user);
                allocate(&turn_user(&device).await);
            }
            until("every node to know the key", SOON, || async {
                let keys = service.client.keys(&Filter::default()).await.expect("keys");
                let of = keys.items.iter().filter(|key| key.purpose == purpose);
                of.clone()
                    .all(|key| key.stage == KeyStage::Retired || key.known_by == key.nodes)
            })
            .await;
        }
        // Everybody has the new one by now: the old one goes, and only it.
        let wanted = RotateKeys {
            purpose,
            step: RotationStep::Retire,
            force: true,
        };
        service.client.rotate_keys(&wanted).await.expect("a step");
        let version = node.metric("sterna_control_orders_version");
        until("the node to hear of it", SOON, || async {
            node.metric("sterna_control_orders_version") > version
                || node.get("/control").json()["orders"]["version"].as_f64() > Some(version)
                || Client::new(node.turn, &old_user.0, &old_user.1)
                    .allocate()
                    .is_err()
                || purpose == KeyPurpose::Signing
        })
        .await;
        comes(&device).await;
        allocate(&turn_user(&device).await);
    }
    // What the operator revokes ends at once, and does not come back.
    let phone = Phone::start(&device);
    phone.home().await;
    service
        .client
        .revoke_device(&device.id())
        .await
        .expect("revoked");
    until("the session to end", SOON, || async {
        node.get("/flows").json()["sessions_total"] == 0
    })
    .await;
}
