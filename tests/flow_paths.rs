//! Two devices behind NATs keep talking through the flow relay while their networks change under
//! them: UDP is blocked and allowed again, an address changes, a node is killed.
//!
//! Each test runs itself again in namespaces of its own; `flow` draws them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::time::Duration;

use common::{namespace, report};
use flow::{
    Device, FlowNode, Home, Identity, LAB_NEEDS, LAB_TOOLS, Load, SOON, numbered, public_side,
    talk, warm,
};
use rustix::process::Signal;
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{Reason, Rung};
use tokio::time::Instant;

const PACKET: Load = Load { len: 148, burst: 1 };

fn enter(test: &str) -> bool {
    namespace::enter(test, &LAB_TOOLS, LAB_NEEDS)
}

/// Two devices behind a NAT each, with flows open and packets exchanged.
async fn two(nodes: &[&FlowNode], rungs: [&[Rung]; 2], timing: Timing) -> ([Home; 2], [Device; 2]) {
    let homes = [Home::new(1, 1500), Home::new(2, 1500)];
    let devices = pair(&homes, nodes, rungs, timing, 1).await;
    (homes, devices)
}

async fn pair(
    homes: &[Home; 2],
    nodes: &[&FlowNode],
    rungs: [&[Rung]; 2],
    timing: Timing,
    number: u8,
) -> [Device; 2] {
    let who = [Identity::new(number), Identity::new(number + 1)];
    let mut first = homes[0]
        .device(&who[0], who[0].config(nodes, rungs[0]), timing)
        .await;
    let mut second = homes[1]
        .device(&who[1], who[1].config(nodes, rungs[1]), timing)
        .await;
    first.connected().await;
    second.connected().await;
    first.relay.open(second.key).await;
    second.relay.open(first.key).await;
    first
        .exchange(&mut second, &numbered(u64::from(number), PACKET.len))
        .await;
    [first, second]
}

#[tokio::test]
async fn behind_nats_devices_meet_on_every_pair_of_rungs() {
    if !enter("behind_nats_devices_meet_on_every_pair_of_rungs") {
        return;
    }
    public_side(&["198.51.100.1"]);
    let node = FlowNode::start([198, 51, 100, 1], &[]);
    let homes = [Home::new(1, 1500), Home::new(2, 1500)];
    let mut number = 1;
    for from in Rung::ALL {
        for to in Rung::ALL {
            let rungs: [&[Rung]; 2] = [&[from], &[to]];
            let [mut first, mut second] =
                pair(&homes, &[&node], rungs, Timing::default(), number).await;
            number += 2;
            first.exchange(&mut second, &numbered(99, 1_312)).await;
            assert_eq!(first.connected().await.rung, from);
            assert_eq!(second.connected().await.rung, to);
        }
    }
    node.node.stop_now();
}

#[tokio::test]
async fn udp_that_is_blocked_costs_two_seconds_and_is_used_again_when_it_passes() {
    if !enter("udp_that_is_blocked_costs_two_seconds_and_is_used_again_when_it_passes") {
        return;
    }
    public_side(&["198.51.100.1"]);
    let node = FlowNode::start([198, 51, 100, 1], &[]);
    let timing = Timing {
        climb_every: Duration::from_secs(3),
    };
    let (homes, [mut first, mut second]) = two(&[&node], [&Rung::ALL; 2], timing).await;
    first.on_rung(Rung::Udp, SOON).await;
    second.on_rung(Rung::Udp, SOON).await;
    second.paths_told();

    homes[0].block_udp();
    let blocked = Instant::now();
    let mut after = 0;
    let fell = talk(&mut first, &mut second, PACKET, SOON, |first, _, _| {
        if first
            .relay
            .path()
            .is_some_and(|path| path.rung == Rung::Wss)
        {
            after += 1;
        }
        after > 50
    })
    .await;
    report(&format!(
        "udp blocked: on wss, no packet for {:?} at the blocked side and {:?} at the other; {:?} in all",
        fell.gaps[0],
        fell.gaps[1],
        blocked.elapsed()
    ));
    assert!(fell.was_heard_within(Duration::from_secs(2)), "{fell:?}");

    homes[0].allow_udp();
    let allowed = Instant::now();
    let mut after = 0;
    let climbed = talk(&mut first, &mut second, PACKET, SOON, |first, _, _| {
        after += u32::from(
            first
                .relay
                .path()
                .is_some_and(|path| path.rung == Rung::Udp),
        );
        after > 50
    })
    .await;
    report(&format!(
        "udp allowed: climbed after {:?} with a climb every {:?}; {climbed:?}",
        allowed.elapsed(),
        timing.climb_every
    ));
    // The climb itself is not what loses packets; a busy machine may lose some.
    assert!(climbed.lost_permille() < 10.0, "{climbed:?}");
    assert_eq!(second.paths_told(), [], "the other side notices nothing");
    node.node.stop_now();
}

async fn address_changes(rung: Rung) {
    public_side(&["198.51.100.1"]);
    let node = FlowNode::start([198, 51, 100, 1], &[]);
    let (homes, [mut first, mut second]) =
        two(&[&node], [&[rung], &[Rung::Udp]], Timing::default()).await;
    homes[0].change_address(2, 3);
    let moved = talk(&mut first, &mut second, PACKET, SOON, |_, _, talk| {
        talk.sent[0] > 250
    })
    .await;
    report(&format!(
        "{rung:?}: address changed: no packet for {:?} and {:?}",
        moved.gaps[0], moved.gaps[1]
    ));
    assert!(moved.was_heard_within(Duration::from_secs(1)), "{moved:?}");
    node.node.stop_now();
}

#[tokio::test]
async fn an_address_that_changes_costs_less_than_a_second_on_udp() {
    if enter("an_address_that_changes_costs_less_than_a_second_on_udp") {
        address_changes(Rung::Udp).await;
    }
}

#[tokio::test]
async fn an_address_that_changes_costs_less_than_a_second_on_quic() {
    if enter("an_address_that_changes_costs_less_than_a_second_on_quic") {
        address_changes(Rung::Quic).await;
    }
}

#[tokio::test]
async fn an_address_that_changes_costs_less_than_a_second_on_wss() {
    if enter("an_address_that_changes_costs_less_than_a_second_on_wss") {
        address_changes(Rung::Wss).await;
    }
}

async fn node_dies(rung: Rung) {
    public_side(&["198.51.100.1", "198.51.100.2"]);
    let home = FlowNode::start([198, 51, 100, 1], &[]);
    let spare = FlowNode::start([198, 51, 100, 2], &[]);
    let both = [&home, &spare];
    let (_homes, [mut first, mut second]) = two(&both, [&[rung], &[rung]], Timing::default()).await;
    warm(&both, 2).await;
    let spare_id = spare.described().identity;
    home.node.process.signal(Signal::KILL);
    let mut after = 0;
    let lost = talk(&mut first, &mut second, PACKET, SOON, |first, second, _| {
        let moved = [first, second].iter().all(|device| {
            device
                .relay
                .path()
                .is_some_and(|path| path.node == spare_id)
        });
        after += u32::from(moved);
        after > 50
    })
    .await;
    report(&format!(
        "{rung:?}: node killed: no packet for {:?} and {:?}, {:.1} per mille lost",
        lost.gaps[0],
        lost.gaps[1],
        lost.lost_permille()
    ));
    assert!(lost.was_heard_within(Duration::from_secs(2)), "{lost:?}");
    assert!(
        first
            .paths_told()
            .iter()
            .any(|(_, reason)| *reason == Reason::Failed)
    );
    spare.node.stop_now();
}

#[tokio::test]
async fn a_node_that_is_killed_costs_less_than_two_seconds_on_udp() {
    if enter("a_node_that_is_killed_costs_less_than_two_seconds_on_udp") {
        node_dies(Rung::Udp).await;
    }
}

#[tokio::test]
async fn a_node_that_is_killed_costs_less_than_two_seconds_on_quic() {
    if enter("a_node_that_is_killed_costs_less_than_two_seconds_on_quic") {
        node_dies(Rung::Quic).await;
    }
}

#[tokio::test]
async fn a_node_that_is_killed_costs_less_than_two_seconds_on_wss() {
    if enter("a_node_that_is_killed_costs_less_than_two_seconds_on_wss") {
        node_dies(Rung::Wss).await;
    }
}

/// Full-size WireGuard packets over a path on which no router says what it drops.
#[tokio::test]
async fn full_size_packets_cross_narrow_paths_whose_routers_are_silent() {
    if !enter("full_size_packets_cross_narrow_paths_whose_routers_are_silent") {
        return;
    }
    public_side(&["198.51.100.1"]);
    let node = FlowNode::start([198, 51, 100, 1], &[]);
    let load = Load {
        len: 1_312,
        burst: 1,
    };
    let mut number = 1;
    for (place, mtu) in [1_500, 1_400, 1_380, 1_280].into_iter().enumerate() {
        let place = u8::try_from(place).unwrap() * 2 + 1;
        let homes = [Home::new(place, mtu), Home::new(place + 1, mtu)];
        homes.iter().for_each(Home::drop_icmp);
        for rung in Rung::ALL {
            let [mut first, mut second] =
                pair(&homes, &[&node], [&[rung]; 2], Timing::default(), number).await;
            number += 2;
            let before = relayed(&node);
            let talked = talk(&mut first, &mut second, load, SOON, |_, _, talk| {
                talk.sent[0] >= 300
            })
            .await;
            let flows = node.flows();
            let session = &flows["sessions"].as_array().unwrap()[0];
            report(&format!(
                "mtu {mtu} {rung:?}: {:?} of {:?} packets of 1312 arrived in {} frames; payload max {}",
                talked.received,
                talked.sent,
                relayed(&node) - before,
                session["payload_max"],
            ));
            assert_eq!(
                talked.received,
                [talked.sent[1], talked.sent[0]],
                "mtu {mtu} {rung:?}"
            );
        }
    }
    assert_eq!(node.node.metric("flow_oversize_total", &[]), 0.0);
    node.node.stop_now();
}

fn relayed(node: &FlowNode) -> f64 {
    node.node
        .metric("flow_packets_total", &["direction=\"in\""])
}
