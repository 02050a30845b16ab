//! More than one session of a device: two processes with the same key, and a node that is drained
//! while its devices talk.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::time::Duration;

use common::{http, report};
use flow::{Device, FlowNode, Identity, LOOPBACK, Load, SOON, TICK, Talk, numbered, talk};
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{Event, Mark, Reason, Rung};
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout};

/// Sends from one device until another has the packet, whichever process of that key it is.
async fn arrives(from: &Device, at: &mut Device, number: u64) {
    let begun = Instant::now();
    let payload = numbered(number, 148);
    while begun.elapsed() < SOON {
        let _ = from.relay.send(at.key, Mark::default(), &payload);
        while let Ok(Some(packet)) = timeout(TICK, at.packets.recv()).await {
            if packet.payload == payload {
                return;
            }
        }
    }
    panic!("nothing arrives; {:?}", at.relay.path());
}

fn drained(device: &mut Device) -> usize {
    let mut packets = 0;
    while device.packets.try_recv().is_ok() {
        packets += 1;
    }
    packets
}

/// Two processes with one key; the newer one ends by `death`, and the older one takes over.
async fn same_key(rung: Rung, goodbye: bool) {
    let node = FlowNode::start(LOOPBACK, &[]);
    let (who, other) = (Identity::new(1), Identity::new(2));
    let start =
        |who: &Identity| Device::start(who.key, who.config(&[&node], &[rung]), Timing::default());
    let mut peer = start(&other);
    let mut older = start(&who);
    older.connected().await;
    peer.connected().await;
    arrives(&peer, &mut older, 1).await;

    // A process of its own, as the network sees it: its sockets end with its runtime.
    let mut process = Some(Runtime::new().unwrap());
    let config = who.config(&[&node], &[rung]);
    let key = who.key;
    let mut newer = process
        .as_ref()
        .unwrap()
        .spawn(async move { Device::start(key, config, Timing::default()) })
        .await
        .unwrap();
    newer.connected().await;
    arrives(&peer, &mut newer, 2).await;
    let begun = node.node.metric("flow_sessions_total", &[]);
    drained(&mut older);
    let both = Instant::now();
    let mut number = 10;
    while both.elapsed() < Duration::from_secs(2) {
        arrives(&peer, &mut newer, number).await;
        number += 1;
    }
    assert_eq!(drained(&mut older), 0, "the newer one is active");
    assert_eq!(
        node.node.metric("flow_sessions_total", &[]),
        begun,
        "no war: nobody comes again"
    );
    // The older one may still send, and keeps its path.
    assert_eq!(older.paths_told().len(), 1);
    arrives(&older, &mut peer, 3).await;

    let dead = Instant::now();
    if goodbye {
        drop(newer);
    } else {
        process.take().unwrap().shutdown_background();
    }
    arrives(&peer, &mut older, 4).await;
    if let Some(process) = process {
        process.shutdown_background();
    }
    // Long before the idle time: a second of silence, and three pings.
    assert!(dead.elapsed() < Duration::from_secs(10));
    report(&format!(
        "{rung:?}: the older process took over after {:?}",
        dead.elapsed()
    ));
    node.node.stop_now();
}

#[tokio::test]
async fn of_two_processes_with_one_key_the_newer_is_active_until_it_says_goodbye_on_udp() {
    same_key(Rung::Udp, true).await;
}

#[tokio::test]
async fn of_two_processes_with_one_key_the_newer_is_active_until_it_dies_on_wss() {
    same_key(Rung::Wss, false).await;
}

#[tokio::test]
async fn of_two_processes_with_one_key_the_newer_is_active_until_it_dies_on_udp() {
    same_key(Rung::Udp, false).await;
}

#[tokio::test]
async fn of_two_processes_with_one_key_the_newer_is_active_until_it_dies_on_quic() {
    same_key(Rung::Quic, false).await;
}

/// What is lost while the test itself is stopped by a busy machine says nothing of the drain: then it
/// is tried again.
async fn drain(rungs: [Rung; 2]) {
    for left in (0..3).rev() {
        let talked = drain_once(rungs).await;
        if talked.lost_permille() <= 1.0 {
            return;
        }
        assert!(
            left > 0 && talked.stall > Duration::from_millis(100),
            "{talked:?}"
        );
    }
}

async fn drain_once(rungs: [Rung; 2]) -> Talk {
    let mut home = FlowNode::start(LOOPBACK, &[]);
    let spare = FlowNode::start(LOOPBACK, &[]);
    let both = [&home, &spare];
    let who = [Identity::new(1), Identity::new(2)];
    let start = |place: usize| {
        let config = who[place].config(&both, &[rungs[place]]);
        Device::start(who[place].key, config, Timing::default())
    };
    let (mut first, mut second) = (start(0), start(1));
    first.connected().await;
    second.connected().await;
    first.exchange(&mut second, &numbered(1, 148)).await;
    flow::warm(&both, 2).await;
    let admin = home.node.admin;
    let mut ended_at = None;
    let begun = Instant::now();
    let load = Load {
        len: 1_312,
        burst: 2,
    };
    let mut after = 0;
    let mut told = false;
    let talked = talk(&mut first, &mut second, load, SOON, |_, _, talk| {
        if talk.sent[0] > 250 && !told {
            told = true;
            let answer = http::request(admin, "POST", "/drain", "{}").expect("an answer");
            assert!(answer.status < 300, "{}", answer.body);
        }
        if ended_at.is_none()
            && home
                .node
                .process
                .ended()
                .is_some_and(|status| status.success())
        {
            ended_at = Some(begun.elapsed());
        }
        after += u32::from(ended_at.is_some());
        after > 50
    })
    .await;
    report(&format!(
        "drain {rungs:?}: {:.2} per mille lost of {:?}, longest gaps {:?}, the node ended {ended_at:?} after the first packet",
        talked.lost_permille(),
        talked.sent,
        talked.gaps
    ));
    for device in [&mut first, &mut second] {
        assert!(
            device
                .paths_told()
                .iter()
                .any(|(_, reason)| *reason == Reason::Restarting)
        );
    }
    spare.node.stop_now();
    talked
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing_on_udp_and_the_node_ends_by_itself() {
    drain([Rung::Udp, Rung::Udp]).await;
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing_between_quic_and_wss_and_the_node_ends_by_itself() {
    drain([Rung::Quic, Rung::Wss]).await;
}

#[tokio::test]
async fn a_device_moves_to_the_nodes_of_a_newer_map_and_its_peers_do_not_notice() {
    let (old, new) = (
        FlowNode::start(LOOPBACK, &[]),
        FlowNode::start(LOOPBACK, &[]),
    );
    let who = [Identity::new(1), Identity::new(2)];
    let start = |who: &Identity, rung| {
        Device::start(who.key, who.config(&[&old], &[rung]), Timing::default())
    };
    let (mut first, mut second) = (start(&who[0], Rung::Udp), start(&who[1], Rung::Wss));
    first.exchange(&mut second, &numbered(1, 148)).await;
    // Both nodes for the one, as while a map spreads; the new one only for the other.
    first
        .relay
        .set_nodes(vec![new.described(), old.described()])
        .await;
    second.relay.set_nodes(vec![new.described()]).await;
    for device in [&mut first, &mut second] {
        let moved = async {
            while device.relay.path().map(|path| path.node) != Some(new.described().identity) {
                device.events.recv().await.expect("the relay runs");
            }
        };
        timeout(SOON, moved).await.expect("on the new node");
    }
    first.exchange(&mut second, &numbered(2, 148)).await;
    // Nothing is left of the old node but links on their way out.
    old.node.stop_now();
    first.exchange(&mut second, &numbered(3, 148)).await;
    first.relay.set_nodes(Vec::new()).await;
    first.exchange(&mut second, &numbered(4, 148)).await;
    new.node.stop_now();
}

/// How long after the drain each device was on its way elsewhere.
async fn moved_after(devices: &mut [Device], drained: Instant) -> Vec<Duration> {
    let mut moved = Vec::new();
    for device in devices {
        let told = async {
            loop {
                let event = device.events.recv().await.expect("the relay runs");
                if matches!(event, Event::Path { reason, .. } if reason == Reason::Restarting) {
                    return;
                }
            }
        };
        timeout(SOON, told).await.expect("the device moves");
        moved.push(drained.elapsed());
    }
    moved
}

#[tokio::test]
async fn devices_of_a_drained_node_do_not_move_all_at_once() {
    let home = FlowNode::start(LOOPBACK, &[]);
    let spare = FlowNode::start(LOOPBACK, &[]);
    let mut devices = Vec::new();
    for number in 1..=16 {
        let who = Identity::new(number);
        let config = who.config(&[&home, &spare], &[Rung::Udp]);
        devices.push(Device::start(who.key, config, Timing::default()));
    }
    for device in &mut devices {
        device.connected().await;
    }
    flow::wait_for_sessions(&[&home, &spare], 16).await;
    let drained = Instant::now();
    assert!(home.node.post("/drain", "{}").status < 300);
    // In order of the devices: each waits for the ones before, so the largest so far counts.
    let moved = moved_after(&mut devices, drained).await;
    report(&format!("16 devices left a drained node after {moved:?}"));
    let last = moved.last().expect("devices");
    // Of sixteen times within two seconds, not all are in the first tenth of it.
    assert!(*last > Duration::from_millis(200), "{moved:?}");
    spare.node.stop_now();
}

#[tokio::test]
async fn without_a_spare_devices_go_to_the_alternate_that_a_drained_node_names() {
    let alternate = FlowNode::start(LOOPBACK, &[]);
    let gone = FlowNode::start(LOOPBACK, &[]);
    let named = format!("flow.alternates=[\"{}\"]", alternate.described().identity);
    let mut home = FlowNode::start(LOOPBACK, &[&named]);
    let who = [Identity::new(1), Identity::new(2)];
    let rungs = [Rung::Udp, Rung::Wss];
    let mut devices = [0, 1].map(|place: usize| {
        let config = who[place].config(&[&home, &gone, &alternate], &[rungs[place]]);
        (who[place].key, config)
    });
    let identity = alternate.described().identity;
    gone.node.stop();
    let [first, second] = devices
        .each_mut()
        .map(|(key, config)| Device::start(*key, config.clone(), Timing::default()));
    let mut devices = [first, second];
    for device in &mut devices {
        device.connected().await;
    }
    let [first, second] = &mut devices;
    first.exchange(second, &numbered(1, 1_312)).await;
    assert!(home.node.post("/drain", "{}").status < 300);
    moved_after(&mut devices, Instant::now()).await;
    let [first, second] = &mut devices;
    first.exchange(second, &numbered(2, 1_312)).await;
    for device in [&*first, &*second] {
        assert_eq!(device.relay.path().map(|path| path.node), Some(identity));
    }
    // The devices live on this thread, so it must not block.
    let ended = async {
        loop {
            match home.node.process.ended() {
                Some(status) => return status,
                None => tokio::time::sleep(TICK).await,
            }
        }
    };
    let status = timeout(SOON, ended).await.expect("it ends by itself");
    assert!(status.success(), "{status}");
    alternate.node.stop_now();
}
