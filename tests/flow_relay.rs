//! Devices exchange packets through a node's flow relay, on every pair of rungs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use bytes::Bytes;
use flow::{Device, FlowNode, Identity, LOOPBACK, SOON};
use sterna_client::relay::Rung;
use sterna_client::relay::limits::Timing;

async fn every_pair(engine: &str) {
    let engine = format!("node.engine={engine}");
    // Three workers: frames find theirs among them, and two of three packets cross.
    let node = FlowNode::start(LOOPBACK, &[&engine, "node.workers=3"]);
    let device = |number, rung| {
        let who = Identity::new(number);
        Device::start(who.key, who.config(&[&node], &[rung]), Timing::default())
    };
    let mut number = 0;
    for from in Rung::ALL {
        for to in Rung::ALL {
            number += 2;
            let mut sender = device(number, from);
            let mut receiver = device(number + 1, to);
            assert_eq!(sender.connected().await.rung, from);
            assert_eq!(receiver.connected().await.rung, to);
            for len in [1, 148, 1_158, 1_312, 2_000] {
                let there = Bytes::from(vec![number; len]);
                let packet = sender.reach(&mut receiver, &there, SOON).await;
                assert_eq!((packet.peer, packet.rung), (sender.key, to));
                let back = Bytes::from(vec![number + 1; len]);
                let packet = receiver.reach(&mut sender, &back, SOON).await;
                assert_eq!((packet.peer, packet.rung), (receiver.key, from));
            }
        }
    }
    let flows = node.flows();
    assert!(flows["sessions_total"].as_u64().unwrap() >= 2, "{flows}");
    node.node.stop_now();
}

#[tokio::test]
async fn devices_meet_on_every_pair_of_rungs_over_io_uring() {
    every_pair("auto").await;
}

#[tokio::test]
async fn devices_meet_on_every_pair_of_rungs_over_mmsg() {
    every_pair("mmsg").await;
}
