//! What the tests of the flow relay share: nodes that serve every rung, tickets, devices, and homes
//! behind routers in network namespaces.
//!
//! ```text
//!   home n 10.n.0.2 ── 10.n.0.1 router n 192.0.2.x ── the test's own namespace: 198.51.100.1 … nodes
//! ```
// Each test binary compiles all of this and uses its own part of it.
#![allow(dead_code, unreachable_pub)]

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sterna_client::relay::limits::Timing;
use sterna_client::relay::{self, Event, Mark, Packet, Path, Reason, Relay, Rung, Secret};
use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, GroupId, Groups, NodeId, RateClass, RelayKey, SigningKey, TenantId,
    Ticket, TicketId, relay_map,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::common::namespace::shell;
use crate::common::node::Node;
use crate::common::ports::free_port;

/// Within this, what should take milliseconds has happened also on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// Where nodes of tests without a namespace listen.
pub const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
/// The distance of packets that show when a path works again.
pub const TICK: Duration = Duration::from_millis(10);

/// The key that signs the tickets of every test.
pub fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

/// A node that serves all three rungs.
pub struct FlowNode {
    pub node: Node,
    pub udp: SocketAddr,
    pub quic: SocketAddr,
    pub wss: SocketAddr,
}

impl FlowNode {
    /// Starts a node that listens at a host's address, with `settings` besides.
    pub fn start(host: [u8; 4], settings: &[&str]) -> Self {
        let at = |port| SocketAddr::from((host, port));
        let (udp, quic, wss) = (at(free_port()), at(free_port()), at(free_port()));
        let own = [
            format!("turn.listen=[\"{udp}\"]"),
            format!("flow.ticket_keys=[\"{}\"]", signing_key().verifying_key()),
            format!("flow.quic_listen=[\"{quic}\"]"),
            format!("flow.wss_listen=[\"{wss}\"]"),
            // A later setting of the same key counts.
            "node.workers=2".to_owned(),
        ];
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
            .collect();
        let node = Node::start(&all);
        Self {
            node,
            udp,
            quic,
            wss,
        }
    }

    /// The node, as a relay map would describe it.
    pub fn described(&self) -> relay_map::Node {
        let flows = self.flows();
        let text = |name: &str| flows[name].as_str().unwrap().to_owned();
        relay_map::Node {
            name: "test".to_owned(),
            identity: text("node").parse::<NodeId>().unwrap(),
            noise_key: text("noise_key").parse::<RelayKey>().unwrap(),
            state: relay_map::NodeState::Ready,
            load: 0,
            stun: Vec::new(),
            udp: vec![self.udp],
            quic: vec![self.quic],
            wss: vec![self.wss],
            host: String::new(),
            pins: Vec::new(),
        }
    }

    /// What `GET /flows` says.
    pub fn flows(&self) -> serde_json::Value {
        let answer = self.node.get("/flows");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Refusals by code so far.
    pub fn refusals(&self, code: &str) -> f64 {
        let label = format!("code=\"{code}\"");
        self.node.metric("flow_refusals_total", &[&label])
    }
}

/// Who a device is: all of it from its number.
#[derive(Clone)]
pub struct Identity {
    pub key: DeviceKey,
    pub secret: Secret,
    pub ticket: Ticket,
}

impl Identity {
    pub fn new(number: u8) -> Self {
        let key = DeviceKey([number; 32]);
        let secret = Secret::new([number ^ 0x55; 32]);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let ticket = Ticket {
            tenant: TenantId(1),
            ticket_id: TicketId(number.into()),
            device_id: DeviceId([number; 16]),
            device_key: key,
            relay_key: secret.public(),
            not_before: now - 5,
            expires: now + 600,
            rate: RateClass::default(),
            audience: Fleet::new("sterna").unwrap(),
            groups: Groups::new(&[GroupId(1)]).unwrap(),
        };
        Self {
            key,
            secret,
            ticket,
        }
    }

    pub fn config(&self, nodes: &[&FlowNode], rungs: &[Rung]) -> relay::Config {
        relay::Config {
            secret: self.secret.clone(),
            ticket: self.ticket.issue(&signing_key()).unwrap(),
            nodes: nodes.iter().map(|node| node.described()).collect(),
            rungs: rungs.to_vec(),
        }
    }
}

/// A running device.
pub struct Device {
    pub key: DeviceKey,
    pub relay: Relay,
    pub packets: mpsc::Receiver<Packet>,
    pub events: mpsc::Receiver<Event>,
}

impl Device {
    /// Starts a device on the runtime of the caller.
    pub fn start(key: DeviceKey, config: relay::Config, timing: Timing) -> Self {
        let (relay, packets, events) = Relay::start_with(config, timing);
        Self {
            key,
            relay,
            packets,
            events,
        }
    }

    pub async fn connected(&mut self) -> Path {
        match timeout(SOON, self.relay.connected()).await {
            Ok(path) => path,
            Err(_) => panic!("no path; {:?}", self.events.try_recv()),
        }
    }

    /// Waits until peers are reached over this rung.
    pub async fn on_rung(&mut self, rung: Rung, within: Duration) -> Path {
        let waited = async {
            loop {
                match self.relay.path() {
                    Some(path) if path.rung == rung => return path,
                    _ => self.events.recv().await.expect("the relay runs"),
                };
            }
        };
        match timeout(within, waited).await {
            Ok(path) => path,
            Err(_) => panic!(
                "not on {rung:?} within {within:?}, but {:?}",
                self.relay.path()
            ),
        }
    }

    /// Sends until the peer has it: the first packets may go before the peer's session stands.
    pub async fn reach(&mut self, to: &mut Self, payload: &Bytes, within: Duration) -> Packet {
        let begun = Instant::now();
        while begun.elapsed() < within {
            let _ = self.relay.send(to.key, Mark::default(), payload);
            while let Ok(Some(packet)) = timeout(TICK, to.packets.recv()).await {
                if packet.peer == self.key && packet.payload == *payload {
                    return packet;
                }
            }
        }
        panic!(
            "no packet of {} bytes has arrived; {:?} to {:?}; {:?}",
            payload.len(),
            self.relay.path(),
            to.relay.path(),
            self.events.try_recv(),
        );
    }

    /// Both ways, with a payload that nothing before had.
    pub async fn exchange(&mut self, with: &mut Self, payload: &Bytes) {
        self.reach(with, payload, SOON).await;
        with.reach(self, payload, SOON).await;
    }

    /// The paths that the device has told of since the last look.
    pub fn paths_told(&mut self) -> Vec<(Rung, Reason)> {
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let Event::Path { rung, reason, .. } = event {
                told.push((rung, reason));
            }
        }
        told
    }
}

/// A payload that starts with a number.
pub fn numbered(number: u64, len: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(len.max(8), 0x5A);
    bytes.into()
}

/// The number that a payload starts with.
pub fn number_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(payload.get(..8)?.try_into().ok()?))
}

/// What came of a conversation in which both sides send all the time.
#[derive(Debug, Default)]
pub struct Talk {
    /// The longest time without a packet, at the first and at the second.
    pub gaps: [Duration; 2],
    /// The longest time by which the test itself came late: a machine that is busy with other things
    /// stops devices and nodes as well.
    pub stall: Duration,
    pub sent: [u64; 2],
    pub received: [u64; 2],
    /// The first packets that did not arrive, from the first and from the second.
    pub missing: [Vec<u64>; 2],
}

impl Talk {
    /// Whether neither side was without a packet for so long, but for what the machine itself took.
    pub fn was_heard_within(&self, bound: Duration) -> bool {
        self.gaps
            .iter()
            .all(|gap| gap.saturating_sub(self.stall) < bound)
    }

    /// The greatest share of packets that a side has lost, in parts of a thousand.
    pub fn lost_permille(&self) -> f64 {
        let lost = |from: usize, to: usize| {
            let lost = self.sent[from].saturating_sub(self.received[to]);
            #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
            {
                lost as f64 * 1000.0 / self.sent[from] as f64
            }
        };
        lost(0, 1).max(lost(1, 0))
    }
}

/// What each side sends every [`TICK`].
#[derive(Copy, Clone, Debug)]
pub struct Load {
    pub len: usize,
    pub burst: u64,
}

/// Both send every [`TICK`], until `done` says so of what came so far and each
/// direction has heard something since; `None` when it never does within `within`. A duplicate counts
/// once.
pub async fn talk(
    first: &mut Device,
    second: &mut Device,
    load: Load,
    within: Duration,
    mut done: impl FnMut(&Device, &Device, &Talk) -> bool,
) -> Talk {
    let begun = Instant::now();
    let mut talk = Talk::default();
    let mut heard = [begun; 2];
    let mut seen = [
        std::collections::HashSet::new(),
        std::collections::HashSet::new(),
    ];
    let base = u64::from(rand_base());
    let mut tick = tokio::time::interval(TICK);
    let mut ticked = begun;
    let mut last = false;
    let mut end: Option<Instant> = None;
    loop {
        let arrived = tokio::select! {
            _ = tick.tick() => {
                talk.stall = talk.stall.max(ticked.elapsed().saturating_sub(TICK));
                ticked = Instant::now();
                if !last {
                    for (side, (from, to)) in [(&*first, &*second), (&*second, &*first)].into_iter().enumerate() {
                        for _ in 0..load.burst {
                            let payload = numbered(base << 32 | talk.sent[side], load.len);
                            talk.sent[side] += 1;
                            let _ = from.relay.send(to.key, Mark::default(), &payload);
                        }
                    }
                    last = done(first, second, &talk);
                }
                None
            }
            Some(packet) = first.packets.recv() => Some((0, packet)),
            Some(packet) = second.packets.recv() => Some((1, packet)),
        };
        if let Some((side, packet)) = arrived {
            let number = number_of(&packet.payload).unwrap_or(0);
            if number >> 32 == base && seen[side].insert(number) {
                talk.received[side] += 1;
                let now = Instant::now();
                talk.gaps[side] = talk.gaps[side].max(now - heard[side]);
                heard[side] = now;
            }
        }
        if last {
            // What is on its way still counts.
            let end = *end.get_or_insert(Instant::now() + Duration::from_secs(1));
            let all = talk.received[1] >= talk.sent[0] && talk.received[0] >= talk.sent[1];
            if all || Instant::now() >= end {
                for (missing, (sent, seen)) in talk
                    .missing
                    .iter_mut()
                    .zip(talk.sent.iter().zip(seen.iter().rev()))
                {
                    let lost = (0..*sent).filter(|number| !seen.contains(&(base << 32 | number)));
                    *missing = lost.take(40).collect();
                }
                return talk;
            }
        } else {
            for (gap, heard) in talk.gaps.iter_mut().zip(&heard) {
                *gap = (*gap).max(heard.elapsed());
            }
        }
        assert!(begun.elapsed() < within, "not within {within:?}: {talk:?}");
    }
}

fn rand_base() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Waits until each node has so many sessions.
pub async fn wait_for_sessions(nodes: &[&FlowNode], sessions: u64) {
    let begun = Instant::now();
    for node in nodes {
        while node.flows()["sessions_total"].as_u64() < Some(sessions) {
            assert!(begun.elapsed() < SOON, "{}", node.flows());
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Waits until each device has a session at each node, and flows there.
pub async fn warm(nodes: &[&FlowNode], sessions: u64) {
    let begun = Instant::now();
    for node in nodes {
        while node.flows()["sessions_total"].as_u64() < Some(sessions)
            || node.flows()["flows"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|flow| flow["state"] == "online")
                .count()
                < 2
        {
            assert!(begun.elapsed() < SOON, "{}", node.flows());
            tokio::time::sleep(TICK).await;
        }
    }
}

/// What the lab needs of the machine.
pub const LAB_TOOLS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];
pub const LAB_NEEDS: &str =
    "mount -t tmpfs tests /run && ip link set lo up && ip netns add one && nft list ruleset";

/// The public side: this namespace, where nodes listen at these addresses.
pub fn public_side(hosts: &[&str]) {
    shell("mount -t tmpfs tests /run; ip link set lo up");
    for host in hosts {
        shell(&format!("ip addr add {host}/32 dev lo"));
    }
}

/// A home behind a router.
pub struct Home {
    number: u8,
    runtime: tokio::runtime::Handle,
    /// Ends the thread of the home's programs.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Home {
    /// Makes the home, its router, and the link between router and public side, whose far end carries
    /// packets of `mtu` bytes: what is longer is dropped there, from the public side without a word.
    pub fn new(number: u8, mtu: u16) -> Self {
        let n = number;
        let (near, far) = (u16::from(n) * 4 + 1, u16::from(n) * 4 + 2);
        shell(&format!(
            "ip netns add home{n}
             ip netns add router{n}
             ip link add link{n} type veth peer name wan netns router{n}
             ip link add lan netns router{n} type veth peer name uplink netns home{n}
             ip addr add 192.0.2.{near}/30 dev link{n}
             ip link set link{n} up
             ip -n router{n} link set lo up
             ip -n router{n} addr add 192.0.2.{far}/30 dev wan
             ip -n router{n} addr add 10.{n}.0.1/24 dev lan
             ip -n router{n} link set wan mtu {mtu} up
             ip -n router{n} link set lan up
             ip -n router{n} route add default via 192.0.2.{near}
             ip -n home{n} link set lo up
             ip -n home{n} addr add 10.{n}.0.2/24 dev uplink
             ip -n home{n} link set uplink up
             ip -n home{n} route add default via 10.{n}.0.1
             ip netns exec router{n} sysctl -qw net.ipv4.ip_forward=1"
        ));
        let home = Self::enter(number);
        home.nft(
            "table ip nat_of_the_test {
               chain prerouting { type nat hook prerouting priority -100; }
               chain postrouting { type nat hook postrouting priority 100; oifname wan masquerade; }
               chain forward {
                 type filter hook forward priority 0;
                 iifname wan ct state established,related accept
                 iifname wan drop
               }
               chain input {
                 type filter hook input priority 0;
                 iifname wan ct state established,related accept
                 iifname wan drop
               }
             }",
        );
        home
    }

    /// A thread with a runtime inside the home: sockets that are made there are the home's.
    fn enter(number: u8) -> Self {
        let (handle_in, handle) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let namespace = File::open(format!("/run/netns/home{number}")).expect("a namespace");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root of the namespace");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            handle_in
                .send(runtime.handle().clone())
                .expect("the test waits");
            // Either way the home is over.
            let _ = runtime.block_on(ended);
        });
        Self {
            number,
            runtime: handle.recv().expect("the home's thread"),
            _end: end,
        }
    }

    /// Gives rules to the home's router.
    pub fn nft(&self, rules: &str) {
        let n = self.number;
        shell(&format!(
            "ip netns exec router{n} nft -f - <<'RULES'\n{rules}\nRULES"
        ));
    }

    /// The router drops all UDP that it forwards.
    pub fn block_udp(&self) {
        self.nft(
            "table ip blocked {
               chain forward { type filter hook forward priority -10; meta l4proto udp drop; }
             }",
        );
    }

    /// It lets UDP pass again.
    pub fn allow_udp(&self) {
        self.nft("delete table ip blocked");
    }

    /// No router says that a packet was too long.
    pub fn drop_icmp(&self) {
        self.nft(
            "table ip silent {
               chain output { type filter hook output priority 0; meta l4proto icmp drop; }
               chain forward { type filter hook forward priority -10; meta l4proto icmp drop; }
             }",
        );
    }

    /// The home's host gets another address, and loses the one before.
    pub fn change_address(&self, from: u8, to: u8) {
        let n = self.number;
        shell(&format!(
            "ip -n home{n} addr del 10.{n}.0.{from}/24 dev uplink
             ip -n home{n} addr add 10.{n}.0.{to}/24 dev uplink
             ip -n home{n} route replace default via 10.{n}.0.1"
        ));
    }

    /// Starts a device at home.
    pub async fn device(&self, who: &Identity, config: relay::Config, timing: Timing) -> Device {
        let key = who.key;
        self.runtime
            .spawn(async move { Device::start(key, config, timing) })
            .await
            .expect("the device starts")
    }
}
