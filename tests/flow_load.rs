//! The flow relay under load: a device that stops reading costs nobody but itself, and one that
//! sends more than its rate class gets its rate, without a queue and without losing its handshakes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
mod flow;

use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::report;
use flow::{Device, FlowNode, Identity, LOOPBACK, SOON, TICK, numbered};
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{Mark, Rung};
use sterna_control_api::DeviceKey;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Inner packets of 1,280 bytes, as WireGuard makes them.
const PACKET: usize = 1_312;
/// How often a run is repeated that the machine itself has held up.
const TRIES: u32 = 3;
/// A test that came so late itself says nothing about delays.
const HELD_UP: Duration = Duration::from_millis(50);

fn too_busy(rung: Rung) {
    let test = format!("load on {}", rung.as_str());
    common::skip(&test, "the machine is too busy to judge delays");
}

/// A device on a thread of its own that can be stopped, as a process is that the system has stopped:
/// its sockets stay open, and nobody reads them.
struct Stopping {
    stop: std_mpsc::Sender<Duration>,
    _thread: thread::JoinHandle<()>,
}

impl Stopping {
    fn start(who: &Identity, config: sterna_client::relay::Config) -> Self {
        let (stop, stops) = std_mpsc::channel::<Duration>();
        let (ready, is_ready) = std_mpsc::channel();
        let key = who.key;
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let mut device = runtime.block_on(async {
                let mut device = Device::start(key, config, Timing::default());
                device.connected().await;
                device
            });
            ready.send(()).unwrap();
            loop {
                match stops.try_recv() {
                    Ok(time) => thread::sleep(time),
                    Err(std_mpsc::TryRecvError::Empty) => {}
                    Err(std_mpsc::TryRecvError::Disconnected) => return,
                }
                runtime.block_on(async {
                    // What comes is taken, and of no interest.
                    let _ = tokio::time::timeout(TICK, device.packets.recv()).await;
                });
            }
        });
        is_ready.recv_timeout(SOON).expect("a path");
        Self {
            stop,
            _thread: thread,
        }
    }
}

/// What came of packets that were sent at an even pace.
#[derive(Debug, Default)]
struct Heard {
    sent: u64,
    delays: Vec<Duration>,
    /// The longest time by which the test itself came late.
    stall: Duration,
}

impl Heard {
    fn p99(&self) -> Duration {
        let mut sorted = self.delays.clone();
        sorted.sort();
        sorted
            .get(sorted.len() * 99 / 100)
            .copied()
            .unwrap_or_default()
    }

    fn lost(&self) -> u64 {
        self.sent - self.delays.len() as u64
    }
}

/// A payload that says when it left.
fn stamped(begun: Instant, len: usize) -> Bytes {
    let now = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    numbered(now, len)
}

/// Sends a packet to each of `to` every [`TICK`], and eight to `greedy`; says what the first of `to`
/// heard.
async fn pace(sender: &mut Device, to: &mut Device, greedy: DeviceKey, epoch: Instant) -> Heard {
    let time = Duration::from_secs(3);
    let (begun, from) = (Instant::now(), epoch.elapsed());
    let mut heard = Heard::default();
    let mut tick = tokio::time::interval(TICK);
    let mut ticked = begun;
    let take = |heard: &mut Heard, packet: sterna_client::relay::Packet| {
        let sent = Duration::from_nanos(flow::number_of(&packet.payload).unwrap_or(0));
        // One of an earlier measurement is not of this one.
        let delay = epoch.elapsed().checked_sub(sent).filter(|_| sent >= from);
        heard.delays.extend(delay);
    };
    while begun.elapsed() < time {
        tokio::select! {
            _ = tick.tick() => {
                heard.stall = heard.stall.max(ticked.elapsed().saturating_sub(TICK));
                ticked = Instant::now();
                for _ in 0..8 {
                    let packet = stamped(epoch, PACKET);
                    let _ = sender.relay.send(greedy, Mark::default(), &packet);
                }
                heard.sent += 1;
                let packet = stamped(epoch, PACKET);
                sender.relay.send(to.key, Mark::default(), &packet).unwrap();
            }
            Some(packet) = to.packets.recv() => take(&mut heard, packet),
        }
    }
    while let Ok(Some(packet)) = tokio::time::timeout(TICK * 10, to.packets.recv()).await {
        take(&mut heard, packet);
    }
    heard
}

async fn a_receiver_stops(rung: Rung) {
    for left in (0..TRIES).rev() {
        let node = FlowNode::start(LOOPBACK, &[]);
        let who = [1, 2, 3].map(Identity::new);
        let config = |place: usize| who[place].config(&[&node], &[rung]);
        let start = |place: usize| Device::start(who[place].key, config(place), Timing::default());
        let (mut sender, mut reader) = (start(0), start(1));
        sender.connected().await;
        reader.connected().await;
        let stopping = Stopping::start(&who[2], config(2));
        let (greedy, epoch) = (who[2].key, Instant::now());
        sender.relay.open(who[2].key).await;
        sender.exchange(&mut reader, &numbered(1, PACKET)).await;

        let before = pace(&mut sender, &mut reader, greedy, epoch).await;
        stopping.stop.send(Duration::from_secs(6)).unwrap();
        tokio::time::sleep(10 * TICK).await;
        let during = pace(&mut sender, &mut reader, greedy, epoch).await;
        report(&format!(
            "{rung:?}: with a peer that reads {} of {} lost, p99 {:?}; with one that does not {} of {}, p99 {:?}",
            before.lost(),
            before.sent,
            before.p99(),
            during.lost(),
            during.sent,
            during.p99(),
        ));
        assert_eq!(sender.paths_told().len(), 1, "the sender keeps its path");
        if rung != Rung::Udp {
            // Its own queue, and nobody else's.
            let dropped = |reason: &str| {
                let label = format!("reason=\"{reason}\"");
                node.node.metric("flow_packets_dropped_total", &[&label])
            };
            common::wait_for("drops", SOON, || {
                (dropped("queue_full") + dropped("queue_sojourn") > 0.0).then_some(())
            });
        }
        node.node.stop_now();
        // A machine that is busy with other things holds up packets as well as the test.
        let stall = during.stall.max(before.stall);
        let bound = before.p99().max(Duration::from_millis(20)) * 2 + stall;
        if during.lost() <= before.lost() && during.p99() < bound {
            return;
        }
        let is_held_up = stall > HELD_UP;
        assert!(is_held_up, "{} lost, p99 {:?}", during.lost(), during.p99());
        if left == 0 {
            return too_busy(rung);
        }
    }
}

#[tokio::test]
async fn a_udp_device_that_stops_reading_costs_the_sender_s_other_peers_nothing() {
    a_receiver_stops(Rung::Udp).await;
}

#[tokio::test]
async fn a_quic_device_that_stops_reading_costs_the_sender_s_other_peers_nothing() {
    a_receiver_stops(Rung::Quic).await;
}

#[tokio::test]
async fn a_wss_device_that_stops_reading_costs_the_sender_s_other_peers_nothing() {
    a_receiver_stops(Rung::Wss).await;
}

/// Waits until every end of so many flows takes full-size packets in one frame.
async fn whole(node: &FlowNode, ends: usize) {
    let waited = async {
        loop {
            let flows = node.flows();
            let all = flows["flows"].as_array().unwrap().iter();
            let whole = all.filter(|flow| flow["payload_max"].as_u64() >= Some(PACKET as u64));
            if whole.count() == ends {
                return;
            }
            tokio::time::sleep(5 * TICK).await;
        }
    };
    tokio::time::timeout(SOON, waited)
        .await
        .expect("whole packets");
}

/// Bytes a second of a rate class, and how much of it is sent.
const CLASS: u64 = 1_000_000;
const OFFERED_PERCENT: u64 = 150;

async fn more_than_its_class(rung: Rung) {
    for left in (0..TRIES).rev() {
        let node = FlowNode::start(LOOPBACK, &[]);
        let mut limited = Identity::new(1);
        limited.ticket.rate.bytes_per_s = CLASS;
        let other = Identity::new(2);
        let start = |who: &Identity| {
            Device::start(who.key, who.config(&[&node], &[rung]), Timing::default())
        };
        let (mut sender, mut receiver) = (start(&limited), start(&other));
        sender.connected().await;
        receiver.connected().await;
        sender.exchange(&mut receiver, &numbered(1, 148)).await;
        // A packet is one frame from then on, so that drops can be counted.
        whole(&node, 2).await;

        let begun = Instant::now();
        let time = Duration::from_secs(4);
        let (mut bulk, mut handshakes) = (Heard::default(), Heard::default());
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut ticked = begun;
        let urgent = Mark::new(0, true);
        loop {
            let arrived = tokio::select! {
                _ = tick.tick(), if begun.elapsed() < time => {
                    bulk.stall = bulk.stall.max(ticked.elapsed().saturating_sub(Duration::from_millis(5)));
                    ticked = Instant::now();
                    let due = u64::try_from(begun.elapsed().as_millis()).unwrap() * CLASS
                        * OFFERED_PERCENT / 100_000 / PACKET as u64;
                    while bulk.sent < due {
                        bulk.sent += 1;
                        let _ = sender.relay.send(other.key, Mark::default(), &stamped(begun, PACKET));
                    }
                    // A WireGuard initiation fifty times a second: well within the strict tenth.
                    if handshakes.sent * 20 < u64::try_from(begun.elapsed().as_millis()).unwrap() {
                        handshakes.sent += 1;
                        let _ = sender.relay.send(other.key, urgent, &stamped(begun, 148));
                    }
                    None
                }
                packet = receiver.packets.recv() => packet,
                () = tokio::time::sleep(Duration::from_millis(300)), if begun.elapsed() >= time => break,
            };
            if let Some(packet) = arrived {
                let sent = Duration::from_nanos(flow::number_of(&packet.payload).unwrap());
                let class = if packet.mark.is_priority() {
                    &mut handshakes
                } else {
                    &mut bulk
                };
                class.delays.push(begun.elapsed().saturating_sub(sent));
            }
        }
        let dropped = |reason: &str| {
            let label = format!("reason=\"{reason}\"");
            node.node.metric("flow_packets_dropped_total", &[&label])
        };
        let by_rate = dropped("byte_rate");
        let goodput = bulk.delays.len() as u64 * PACKET as u64 * 1_000
            / u64::try_from(time.as_millis()).unwrap();
        report(&format!(
            "{rung:?}: {OFFERED_PERCENT} % of {CLASS} bytes a second: {goodput} arrive, p99 {:?}; \
             {} of {} handshakes lost, p99 {:?}; {by_rate} packets dropped by rate",
            bulk.p99(),
            handshakes.lost(),
            handshakes.sent,
            handshakes.p99(),
        ));
        node.node.stop_now();
        // What was dropped was dropped for its rate, and counted.
        assert!(by_rate > 0.0);
        #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
        let unexplained = bulk.lost() as f64 - by_rate;
        // The rate, and once the bucket's quarter of a second.
        let is_rate = (CLASS * 95 / 100..CLASS * 110 / 100).contains(&goodput);
        let bound = Duration::from_millis(50) + bulk.stall;
        let is_short = bulk.p99() < bound && handshakes.p99() < bound;
        if is_rate && is_short && handshakes.lost() == 0 && unexplained == 0.0 {
            return;
        }
        assert!(
            bulk.stall > HELD_UP,
            "{goodput}, {unexplained} lost besides, stalled {:?}",
            bulk.stall
        );
        if left == 0 {
            return too_busy(rung);
        }
    }
}

#[tokio::test]
async fn half_more_than_its_class_gets_a_udp_device_its_class_without_a_queue() {
    more_than_its_class(Rung::Udp).await;
}

#[tokio::test]
async fn half_more_than_its_class_gets_a_quic_device_its_class_without_a_queue() {
    more_than_its_class(Rung::Quic).await;
}

#[tokio::test]
async fn half_more_than_its_class_gets_a_wss_device_its_class_without_a_queue() {
    more_than_its_class(Rung::Wss).await;
}
