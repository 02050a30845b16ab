//! Somebody on the way between a device and its node: he captures, holds back and sends again, from
//! the device's own address and from others, through a node on real sockets. Nothing comes of it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flow::{Device, FlowNode, Identity, LOOPBACK, SOON, TICK, numbered};
use serde_json::Value;
use sterna_client::relay::Rung;
use sterna_client::relay::limits::Timing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// He stands between devices and node, as a NAT does: each of a device's addresses has one of his
/// own towards the node.
struct Tap {
    addr: SocketAddr,
    captured: Arc<Mutex<Vec<Vec<u8>>>>,
    upstream: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
    /// From addresses that he has not seen yet, nothing passes.
    holds: Arc<AtomicBool>,
    held: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    async fn start(node: SocketAddr) -> Self {
        let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let tap = Self {
            addr: inside.local_addr().unwrap(),
            captured: Arc::default(),
            upstream: Arc::default(),
            holds: Arc::default(),
            held: Arc::default(),
        };
        let (captured, upstream) = (Arc::clone(&tap.captured), Arc::clone(&tap.upstream));
        let (holds, held) = (Arc::clone(&tap.holds), Arc::clone(&tap.held));
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = inside.recv_from(&mut buffer).await {
                let frame = buffer[..len].to_vec();
                let known = upstream.lock().unwrap().get(&from).cloned();
                if known.is_none() && holds.load(Ordering::SeqCst) {
                    held.lock().unwrap().push(frame);
                    continue;
                }
                let out = match known {
                    Some(out) => out,
                    None => {
                        let out = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                        upstream.lock().unwrap().insert(from, Arc::clone(&out));
                        tokio::spawn(back(Arc::clone(&out), Arc::clone(&inside), from));
                        out
                    }
                };
                captured.lock().unwrap().push(frame.clone());
                let _ = out.send_to(&frame, node).await;
            }
        });
        tap
    }

    /// What he has seen that is a handshake or control, in order.
    fn control(&self) -> Vec<Vec<u8>> {
        let captured = self.captured.lock().unwrap();
        let frames = captured.iter();
        frames
            .filter(|frame| frame.first().is_some_and(|first| *first >= 0xA0))
            .cloned()
            .collect()
    }

    /// His address towards the node for the newest of the device's.
    fn outside(&self) -> Vec<Arc<UdpSocket>> {
        self.upstream.lock().unwrap().values().cloned().collect()
    }
}

async fn back(out: Arc<UdpSocket>, inside: Arc<UdpSocket>, device: SocketAddr) {
    let mut buffer = vec![0; 65_536];
    while let Ok(len) = out.recv(&mut buffer).await {
        let _ = inside.send_to(&buffer[..len], device).await;
    }
}

/// What an attacker would want to change: who is here, from where, and which flows there are.
fn standing(node: &FlowNode) -> Vec<String> {
    let flows = node.flows();
    let list = |name: &str, fields: &[&str]| -> Vec<String> {
        let all = flows[name].as_array().unwrap().iter();
        all.map(|one| {
            let values = fields.iter().map(|field| one[*field].to_string());
            values.collect::<Vec<_>>().join(" ")
        })
        .collect()
    };
    let mut all = list("sessions", &["id", "device", "addr", "active", "rung"]);
    all.extend(list("flows", &["number", "device", "peer", "state"]));
    all.sort();
    all
}

/// Counters that must not move: sessions begun and moved, flows opened.
fn deeds(node: &FlowNode) -> [f64; 2] {
    ["flow_sessions_total", "flow_sessions_moved_total"].map(|name| node.node.metric(name, &[]))
}

/// Two devices that talk, the first of them through whoever stands between.
async fn two(node: &FlowNode, rung: Rung, via: SocketAddr) -> [Device; 2] {
    let who = [Identity::new(1), Identity::new(2)];
    let mut config = who[0].config(&[node], &[rung]);
    let described = &mut config.nodes[0];
    for addrs in [&mut described.udp, &mut described.quic, &mut described.wss] {
        *addrs = vec![via];
    }
    let mut first = Device::start(who[0].key, config, Timing::default());
    let config = who[1].config(&[node], &[Rung::Udp]);
    let mut second = Device::start(who[1].key, config, Timing::default());
    first.connected().await;
    second.connected().await;
    first.exchange(&mut second, &numbered(1, 148)).await;
    [first, second]
}

#[tokio::test]
async fn captured_handshakes_and_control_frames_change_nothing_from_whatever_address_on_udp() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let tap = Tap::start(node.udp).await;
    let [mut first, mut second] = two(&node, Rung::Udp, tap.addr).await;
    // Something of every kind: another flow, a rebind.
    first.relay.open(Identity::new(9).key).await;
    first.relay.address_changed().await;
    wait_for_moved(&node, 1.0).await;
    first.exchange(&mut second, &numbered(2, 1_312)).await;
    settled(&node).await;

    let (before, done) = (standing(&node), deeds(&node));
    let captured = tap.control();
    assert!(captured.len() > 6, "{}", captured.len());
    let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sent = 0;
    for frame in &captured {
        for own in tap.outside() {
            own.send_to(frame, node.udp).await.unwrap();
        }
        elsewhere.send_to(frame, node.udp).await.unwrap();
        sent += frame.len();
    }
    node.node
        .wait_for_metric("flow_packets_dropped_total", &["reason=\"replay\""], 3.0);
    // He is answered no more than he sends.
    let mut answered = 0;
    let mut buffer = vec![0; 65_536];
    while let Ok(Ok(len)) = timeout(TICK * 20, elsewhere.recv(&mut buffer)).await {
        answered += len;
    }
    assert!(answered <= sent, "{answered} bytes for {sent}");
    assert_eq!(standing(&node), before);
    assert_eq!(deeds(&node), done);
    first.exchange(&mut second, &numbered(3, 1_312)).await;
    assert_eq!(first.paths_told().len(), 1, "the device notices nothing");
    node.node.stop_now();
}

#[tokio::test]
async fn captured_datagrams_change_nothing_from_whatever_address_on_quic() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let tap = Tap::start(node.quic).await;
    let [mut first, mut second] = two(&node, Rung::Quic, tap.addr).await;
    settled(&node).await;
    let (before, done) = (standing(&node), deeds(&node));
    let captured = tap.captured.lock().unwrap().clone();
    let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for frame in &captured {
        for own in tap.outside() {
            own.send_to(frame, node.quic).await.unwrap();
        }
        elsewhere.send_to(frame, node.quic).await.unwrap();
    }
    first.exchange(&mut second, &numbered(3, 1_312)).await;
    settled(&node).await;
    assert_eq!(standing(&node), before);
    assert_eq!(deeds(&node), done);
    node.node.stop_now();
}

#[tokio::test]
async fn a_captured_connection_opens_nothing_a_second_time_on_wss() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = listener.local_addr().unwrap();
    let captured: Arc<Mutex<Vec<u8>>> = Arc::default();
    let (taps, wss) = (Arc::clone(&captured), node.wss);
    tokio::spawn(async move {
        let (device, _) = listener.accept().await.unwrap();
        let (mut from_device, mut to_device) = device.into_split();
        let (mut from_node, mut to_node) = TcpStream::connect(wss).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_device).await });
        let mut buffer = vec![0; 65_536];
        while let Ok(len @ 1..) = from_device.read(&mut buffer).await {
            taps.lock().unwrap().extend(&buffer[..len]);
            to_node.write_all(&buffer[..len]).await.unwrap();
        }
    });
    let [mut first, mut second] = two(&node, Rung::Wss, via).await;
    settled(&node).await;
    let (before, done) = (standing(&node), deeds(&node));
    let again = captured.lock().unwrap().clone();
    let mut socket = TcpStream::connect(node.wss).await.unwrap();
    socket.write_all(&again).await.unwrap();
    // TLS has other keys this time: it ends.
    let mut said = Vec::new();
    let _ = timeout(SOON, socket.read_to_end(&mut said))
        .await
        .expect("its end");
    first.exchange(&mut second, &numbered(3, 1_312)).await;
    assert_eq!(standing(&node), before);
    assert_eq!(deeds(&node), done);
    node.node
        .wait_for_metric("flow_connections_total", &["result=\"failed\""], 1.0);
    node.node.stop_now();
}

#[tokio::test]
async fn a_rebind_that_is_held_back_and_sent_from_the_attacker_s_address_moves_nobody() {
    let node = FlowNode::start(LOOPBACK, &[]);
    let tap = Tap::start(node.udp).await;
    let [mut first, mut second] = two(&node, Rung::Udp, tap.addr).await;
    settled(&node).await;
    let (before, done) = (standing(&node), deeds(&node));

    // The device moves, and nothing passes from where it is now.
    tap.holds.store(true, Ordering::SeqCst);
    first.relay.address_changed().await;
    let rebind = held(&tap).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    attacker.send_to(&rebind, node.udp).await.unwrap();
    let mut challenge = vec![0; 2_000];
    let challenged = timeout(SOON, attacker.recv(&mut challenge)).await;
    let len = challenged.expect("a challenge").unwrap();
    assert!(len <= 3 * rebind.len());
    // He can answer nothing himself, and what he has is no answer.
    for frame in [&challenge[..len], &rebind] {
        attacker.send_to(frame, node.udp).await.unwrap();
    }
    node.node
        .wait_for_metric("flow_packets_dropped_total", &["reason=\"replay\""], 1.0);
    assert_eq!(standing(&node), before);
    assert_eq!(deeds(&node), done);

    // The device asks again, and is served where it is.
    tap.holds.store(false, Ordering::SeqCst);
    wait_for_moved(&node, 1.0).await;
    first.exchange(&mut second, &numbered(2, 1_312)).await;
    let own = attacker.local_addr().unwrap().to_string();
    assert!(standing(&node).iter().all(|line| !line.contains(&own)));
    let mut buffer = vec![0; 2_000];
    assert!(
        timeout(TICK, attacker.recv(&mut buffer)).await.is_err(),
        "nothing of the device's has come to him"
    );
    node.node.stop_now();
}

/// The first control frame that he holds back.
async fn held(tap: &Tap) -> Vec<u8> {
    let waited = async {
        loop {
            let held = tap
                .held
                .lock()
                .unwrap()
                .iter()
                .find(|frame| frame[0] == 0xA0)
                .cloned();
            match held {
                Some(frame) => return frame,
                None => tokio::time::sleep(TICK).await,
            }
        }
    };
    timeout(SOON, waited).await.expect("a rebind")
}

/// Waits until so many sessions have moved to another address; the devices live on this thread.
async fn wait_for_moved(node: &FlowNode, moved: f64) {
    let waited = async {
        while node
            .node
            .metric("flow_sessions_moved_total", &["kind=\"rebound\""])
            < moved
        {
            tokio::time::sleep(TICK).await;
        }
    };
    timeout(SOON, waited).await.expect("the session moves");
}

/// Waits until the node's view has stood still for a while: probes, flows and notices are done.
async fn settled(node: &FlowNode) {
    let waited = async {
        let (mut last, mut still) = (Value::Null, 0);
        while still < 10 {
            tokio::time::sleep(5 * TICK).await;
            let now = Value::from(standing(node));
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
    };
    timeout(SOON, waited).await.expect("peace");
}
