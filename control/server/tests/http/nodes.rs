//! Nodes: joining, reporting, orders, the map.

use std::time::Duration;

use sterna_control_api::limits::HEARTBEAT_WAIT_MS_MAX;
use sterna_control_api::node::{DesiredState, HeartbeatAnswer, NodeStatus, PatchNode, Revocations};
use sterna_control_api::problem::Code;
use sterna_control_api::region::Region;
use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotateKeys, RotationStep};
use sterna_control_api::{KeySet, TicketId};
use sterna_control_client::{Caller, Filter};

use crate::scene::{POLL, Place, SOON, beat, code, orders_of, register_node};

pub(crate) async fn a_node_joins_reports_and_is_on_the_map(place: Place) {
    let scene = place.start().await;
    let (node, id, registered) = scene.node(1).await;
    assert_eq!(registered.heartbeat_interval_s, crate::scene::HEARTBEAT_S);
    let keys = KeySet::new(registered.keys.clone()).unwrap();
    let orders = registered.orders.verify(&keys, &id, 0).unwrap();
    assert_eq!(orders.state, DesiredState::Ready);
    assert_eq!(orders.turn_secrets.len(), 1);
    // Not before its own probe has come back.
    let answer = node
        .heartbeat(&id, &beat(orders.version, false))
        .await
        .unwrap();
    assert_eq!(answer.orders, None, "it follows the newest");
    let before = scene.map_with(0).await;
    node.heartbeat(&id, &beat(orders.version, true))
        .await
        .unwrap();
    let map = scene.map_with(1).await;
    assert!(map.version > before.version);
    assert_eq!(map.nodes().next().unwrap().identity, id);
    // 304 for who has it.
    let known = scene.admin.relay_map(Some(map.version)).await.unwrap();
    assert_eq!(known, None);
    // Idempotent by its key, also without a token.
    let again = node
        .register_node(&register_node(id, 1, "default"), None)
        .await
        .unwrap();
    assert_eq!(again.fleet, registered.fleet);
    let page = scene.admin.nodes(&Filter::default()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].status, NodeStatus::Ready);
    // A restart knows it all again, and the map keeps its version.
    scene.control.stop().await;
    let scene = place.start().await;
    assert_eq!(scene.map_with(1).await.version, map.version);
    scene.control.stop().await;
}

pub(crate) async fn a_node_that_falls_silent_leaves_the_map_and_comes_back(place: Place) {
    let mut config = place.config();
    config.heartbeat.interval_s = 2;
    let scene = place.start_with(config).await;
    let (node, id, _) = scene.ready_node(1).await;
    let there = scene.map_with(1).await;
    let gone = scene.map_with(0).await;
    let shown = scene.admin.node(&id).await.unwrap();
    assert_eq!(shown.status, NodeStatus::Lost);
    node.heartbeat(&id, &beat(u64::MAX, true)).await.unwrap();
    let back = scene.map_with(1).await;
    assert!(there.version < gone.version && gone.version < back.version);
    scene.control.stop().await;
}

pub(crate) async fn a_heartbeat_is_held_until_there_is_something_to_say(place: Place) {
    let scene = place.start().await;
    let (node, id, registered) = scene.node(1).await;
    let (other, other_id, of_other) = scene.node(2).await;
    let mut known = orders_of(&registered, &id).version;
    let mut known_by_other = orders_of(&of_other, &other_id).version;
    let keys = KeySet::new(registered.keys).unwrap();
    let told = |answer: HeartbeatAnswer, id, known| {
        let orders = answer.orders.expect("new orders");
        orders.verify(&keys, &id, known).unwrap()
    };
    // What concerns one node is said to that one, what concerns all to all: long before their time.
    let mut held = scene.held(&node, &id, known).await;
    let of_other = scene.held(&other, &other_id, known_by_other).await;
    let patch = PatchNode {
        state: Some(DesiredState::Cordoned),
        limits: None,
    };
    scene.admin.patch_node(&id, &patch).await.unwrap();
    let orders = told(soon(held).await.unwrap(), id, known);
    assert_eq!(orders.state, DesiredState::Cordoned);
    assert!(!of_other.is_finished(), "it is none of its business");
    known = orders.version;
    held = scene.held(&node, &id, known).await;
    let revoked = Revocations {
        tickets: vec![TicketId(7)],
        ..Revocations::default()
    };
    scene.admin.revoke(&revoked).await.unwrap();
    let orders = told(soon(held).await.unwrap(), id, known);
    assert_eq!(orders.revocations, revoked);
    known = orders.version;
    let orders = told(soon(of_other).await.unwrap(), other_id, known_by_other);
    assert_eq!(orders.revocations, revoked);
    known_by_other = orders.version;
    // Who follows older orders is told at once, and a newer heartbeat takes the older one's place.
    let wait = SOON;
    let late = node.heartbeat_held(&id, &beat(known - 1, true), wait).await;
    assert!(late.unwrap().orders.is_some());
    held = scene.held(&other, &other_id, known_by_other).await;
    let report = beat(known_by_other, true);
    let at_once = other.heartbeat(&other_id, &report);
    assert_eq!(at_once.await.unwrap().orders, None);
    let wait = Duration::from_millis(100);
    let newer = other.heartbeat_held(&other_id, &report, wait);
    assert_eq!(newer.await.unwrap().orders, None, "its time is over");
    assert_eq!(soon(held).await.unwrap().orders, None);
    // One who is forgotten hears of it, and too long is too long.
    held = scene.held(&node, &id, known).await;
    scene.admin.forget_node(&id).await.unwrap();
    assert_eq!(code(soon(held).await), Code::Gone);
    let wait = Duration::from_millis(u64::from(HEARTBEAT_WAIT_MS_MAX) + 1);
    let refused = other.heartbeat_held(&other_id, &report, wait);
    assert_eq!(code(refused.await), Code::Malformed);
    // Nobody who gives up keeps a place.
    held = scene.held(&other, &other_id, known_by_other).await;
    held.abort();
    let deadline = tokio::time::Instant::now() + SOON;
    while scene.metric("control_heartbeats_held ").await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "its place is kept");
        tokio::time::sleep(POLL).await;
    }
    // A service that ends keeps nobody waiting.
    held = scene.held(&other, &other_id, known_by_other).await;
    scene.control.stop().await;
    assert_eq!(soon(held).await.unwrap().orders, None);
}

/// The answer to a heartbeat that is held, long before its time.
async fn soon<T>(held: tokio::task::JoinHandle<T>) -> T {
    let answered = tokio::time::timeout(SOON, held).await;
    answered.expect("an answer").unwrap()
}

pub(crate) async fn an_operator_drains_a_node_and_its_orders_say_so(place: Place) {
    let scene = place.start().await;
    let (node, id, registered) = scene.ready_node(1).await;
    scene.map_with(1).await;
    let patch = PatchNode {
        state: Some(DesiredState::Draining),
        limits: None,
    };
    let patched = scene.admin.patch_node(&id, &patch).await.unwrap();
    assert_eq!(patched.status, NodeStatus::Draining);
    let keys = KeySet::new(registered.keys).unwrap();
    let before = registered.orders.verify(&keys, &id, 0).unwrap();
    let answer = node
        .heartbeat(&id, &beat(before.version, true))
        .await
        .unwrap();
    let orders = answer
        .orders
        .expect("new orders")
        .verify(&keys, &id, before.version)
        .unwrap();
    assert_eq!(orders.state, DesiredState::Draining);
    assert!(orders.version > before.version);
    scene.map_with(0).await;
    scene.admin.forget_node(&id).await.unwrap();
    assert_eq!(code(node.heartbeat(&id, &beat(0, true)).await), Code::Gone);
    assert_eq!(code(scene.admin.node(&id).await), Code::NotFound);
    scene.control.stop().await;
}

pub(crate) async fn a_token_of_another_region_or_a_spent_one_lets_nobody_in(place: Place) {
    let scene = place.start().await;
    let region = Region {
        code: "eu".to_owned(),
        name: "Europe".to_owned(),
        location: None,
        weight: 1,
    };
    scene.admin.add_region(&region).await.unwrap();
    let token = scene.join_token("eu", 1).await;
    let (one, id) = scene.stranger(1);
    let refused = one
        .register_node(&register_node(id, 1, "default"), Some(&token))
        .await;
    assert_eq!(code(refused), Code::Unauthorized);
    one.register_node(&register_node(id, 1, "eu"), Some(&token))
        .await
        .unwrap();
    let (two, other) = scene.stranger(2);
    let refused = two
        .register_node(&register_node(other, 2, "eu"), Some(&token))
        .await;
    assert_eq!(code(refused), Code::Unauthorized);
    assert_eq!(
        scene
            .admin
            .nodes(&Filter::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    // Another node's name is taken.
    let token = scene.join_token("eu", 1).await;
    let mut same_name = register_node(other, 2, "eu");
    same_name.name = "node-1".to_owned();
    assert_eq!(
        code(two.register_node(&same_name, Some(&token)).await),
        Code::Conflict
    );
    let spent = scene
        .metric("control_auth_failures_total{reason=\"spent_token\"}")
        .await;
    assert!(spent >= 2, "{spent}");
    scene.control.stop().await;
}

pub(crate) async fn keys_rotate_when_every_node_knows_the_next_one(place: Place) {
    let scene = place.start().await;
    let (node, id, registered) = scene.ready_node(1).await;
    let keys = KeySet::new(registered.keys).unwrap();
    let version = registered.orders.verify(&keys, &id, 0).unwrap().version;
    node.heartbeat(&id, &beat(version, true)).await.unwrap();
    let step = |step| RotateKeys {
        purpose: KeyPurpose::Signing,
        step,
        force: false,
    };
    scene
        .admin
        .rotate_keys(&step(RotationStep::Prepare))
        .await
        .unwrap();
    let refused = scene.admin.rotate_keys(&step(RotationStep::Promote)).await;
    assert_eq!(
        code(refused),
        Code::Conflict,
        "the node does not know it yet"
    );
    let answer = node.heartbeat(&id, &beat(version, true)).await.unwrap();
    let orders = answer
        .orders
        .expect("the next key")
        .verify(&keys, &id, version)
        .unwrap();
    assert_eq!(orders.keys.len(), 2);
    node.heartbeat(&id, &beat(orders.version, true))
        .await
        .unwrap();
    scene
        .admin
        .rotate_keys(&step(RotationStep::Promote))
        .await
        .unwrap();
    // What is signed now is signed with the new key, which the node has known before.
    let both = KeySet::new(orders.keys.clone()).unwrap();
    let answer = node
        .heartbeat(&id, &beat(orders.version, true))
        .await
        .unwrap();
    let promoted = answer.orders.expect("orders");
    promoted.verify(&both, &id, orders.version).unwrap();
    let listed = scene.admin.keys(&Filter::default()).await.unwrap();
    let stages: Vec<_> = listed
        .items
        .iter()
        .filter(|key| key.purpose == KeyPurpose::Signing)
        .map(|key| key.stage)
        .collect();
    assert_eq!(stages, [KeyStage::Current, KeyStage::Previous]);
    assert!(
        listed
            .items
            .iter()
            .any(|key| key.id == promoted.key_id && key.stage == KeyStage::Current)
    );
    // What the previous one signed still counts: it is not retired.
    assert_eq!(
        code(scene.admin.rotate_keys(&step(RotationStep::Retire)).await),
        Code::Conflict
    );
    scene
        .admin
        .rotate_keys(&step(RotationStep::Rollback))
        .await
        .unwrap();
    let nobody = scene.client(Caller::Anonymous);
    assert_eq!(
        code(nobody.keys(&Filter::default()).await),
        Code::Unauthorized
    );
    scene.control.stop().await;
}
