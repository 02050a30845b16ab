//! Three workers of one node on the simulated network: the loop, the mailboxes and the machine together.
//!
//! Everything runs on one thread and one virtual clock, so that a seed replays exactly.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sterna_io::sim::{Endpoint, Faults, Network, SimEngine};
use sterna_io::{Config, Engine};
use sterna_relay::mailbox::{Control, Letter, Mailboxes, mailbox};
use sterna_relay::worker::Worker;
use sterna_stun::attr::{OtherAddress, ResponseOrigin};
use sterna_stun::message::Message;
use sterna_stun::nonce::{NonceKey, NonceKeys};
use sterna_turn::client::{
    AllocateOptions, ClientConfig, Credentials, Event, Link, Received, TurnClient,
};
use sterna_turn::{
    Discovery, DiscoverySocket, Epoch, Policy, PolicyConfig, Registry, Server, ServerConfig, Users,
    WorkerId,
};

const WORKERS: u8 = 3;
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A node of three workers, each with a listener of its own, so that a test knows who serves whom.
struct Node {
    network: Network,
    workers: Vec<Worker<SimEngine>>,
    listeners: Vec<SocketAddr>,
    registry: Arc<Registry>,
    mailboxes: Mailboxes,
}

struct Device {
    endpoint: Endpoint,
    server: SocketAddr,
    machine: TurnClient,
    events: Vec<Event>,
    arrived: Vec<(SocketAddr, Vec<u8>)>,
    /// Asks for a ticket to move with.
    mobile: bool,
}

impl Node {
    fn new(seed: u64) -> Self {
        let network = Network::new(seed);
        let registry = Arc::new(Registry::new());
        // The system deals out ports that are free; the network only takes their numbers over.
        let sockets: Vec<UdpSocket> = (0..WORKERS)
            .map(|_| UdpSocket::bind((NODE, 0)).unwrap())
            .collect();
        let listeners: Vec<SocketAddr> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect();
        let config = Arc::new(server_config(&listeners, network.now()));
        let io = Config {
            buffers: 64,
            gro: false,
            relay_sockets_max: 64,
            ..Config::default()
        };
        let engines: Vec<SimEngine> = (0..WORKERS).map(|_| network.engine(io).unwrap()).collect();
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            engines.iter().map(|engine| mailbox(engine.waker())).unzip();
        let mailboxes = Mailboxes::new(mailboxes);
        let parts = (0..WORKERS).zip(engines).zip(inboxes).zip(sockets);
        let workers = parts
            .map(|(((id, engine), inbox), socket)| {
                let (config, registry) = (Arc::clone(&config), Arc::clone(&registry));
                let mut seeds = [id; 32];
                seeds[..8].copy_from_slice(&seed.to_be_bytes());
                let server = Server::new(network.now(), WorkerId(id), config, registry, seeds);
                Worker::new(
                    WorkerId(id),
                    engine,
                    server,
                    inbox,
                    mailboxes.clone(),
                    Arc::default(),
                    vec![socket],
                )
                .unwrap()
            })
            .collect();
        Self {
            network,
            workers,
            listeners,
            registry,
            mailboxes,
        }
    }

    fn device(&self, worker: u8, number: u8) -> Device {
        let credentials = Credentials {
            username: "alice".into(),
            password: "secret".into(),
        };
        Device {
            endpoint: self
                .network
                .endpoint(SocketAddr::from(([192, 0, 2, number], 4000))),
            server: self.listeners[usize::from(worker)],
            machine: TurnClient::new(
                ClientConfig::new(Link::Datagram, Some(credentials)),
                [number; 32],
            ),
            events: Vec::new(),
            arrived: Vec::new(),
            mobile: false,
        }
    }

    /// Lets a device come to another worker's listener from another port, and ask to be served there.
    fn moves(&self, device: &mut Device, worker: u8, port: u16) {
        let addr = SocketAddr::new(device.endpoint.addr().ip(), port);
        device.endpoint = self.network.endpoint(addr);
        device.server = self.listeners[usize::from(worker)];
        let now = self.network.now();
        device.machine.moved(now, Link::Datagram).unwrap();
    }

    /// Runs everything until `done`, or until `limit` of virtual time has passed.
    fn run(
        &mut self,
        devices: &mut [Device],
        limit: Duration,
        done: impl Fn(&[Device]) -> bool,
    ) -> bool {
        let end = self.network.now() + limit;
        while self.network.now() < end {
            for worker in &mut self.workers {
                worker.step().unwrap();
            }
            let now = self.network.now();
            for device in devices.iter_mut() {
                device.turn(now);
            }
            if done(devices) {
                return true;
            }
            self.network.advance(Duration::from_millis(5));
        }
        false
    }

    /// Lets what is on its way arrive.
    fn settle(&mut self, devices: &mut [Device]) {
        self.run(devices, Duration::from_millis(300), |_| false);
    }

    /// Gives each device an allocation and a channel to each other.
    fn connect(&mut self, devices: &mut [Device]) {
        let patience = Duration::from_secs(60);
        let now = self.network.now();
        for device in devices.iter_mut() {
            let options = AllocateOptions {
                mobile: device.mobile,
                ..AllocateOptions::default()
            };
            device.machine.allocate(now, options).unwrap();
        }
        assert!(self.run(devices, patience, |all| {
            all.iter()
                .all(|device| device.machine.relayed_addr().is_some())
        }));
        let relayed: Vec<SocketAddr> = devices
            .iter()
            .map(|device| device.machine.relayed_addr().unwrap())
            .collect();
        let now = self.network.now();
        for (index, device) in devices.iter_mut().enumerate() {
            for peer in relayed
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, peer)| *peer)
            {
                device.machine.bind_channel(now, peer).unwrap();
            }
        }
        let channels = devices.len() - 1;
        assert!(self.run(devices, patience, |all| {
            all.iter().all(|device| device.channels() == channels)
        }));
    }
}

impl Device {
    fn turn(&mut self, now: Instant) {
        while let Some(datagram) = self.endpoint.receive() {
            if let Received::Data { peer, payload, .. } =
                self.machine.handle_packet(now, &datagram.bytes)
            {
                self.arrived.push((peer, datagram.bytes[payload].to_vec()));
            }
        }
        if self
            .machine
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.machine.handle_timeout(now);
        }
        while let Some(bytes) = self.machine.poll_transmit() {
            self.endpoint.send(self.server, bytes);
        }
        while let Some(event) = self.machine.poll_event() {
            self.events.push(event);
        }
    }

    fn moves(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, Event::Moved { .. }))
            .count()
    }

    fn channels(&self) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, Event::ChannelBound { .. }))
            .count()
    }

    fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let prefix = self.machine.prefix(peer, payload.len()).unwrap();
        self.endpoint
            .send(self.server, &[prefix.bytes(), payload].concat());
    }
}

fn server_config(listeners: &[SocketAddr], now: Instant) -> ServerConfig {
    let policy = PolicyConfig {
        allow: vec!["192.0.2.0/24".parse::<IpNet>().unwrap()],
        own_pairs: listeners.to_vec(),
        relay_addresses: vec![NODE],
        ..PolicyConfig::default()
    };
    let nonce_keys = NonceKeys::new(NonceKey::new(1, &[7; 32]), None);
    let epoch = Epoch {
        instant: now,
        unix_s: 1_800_000_000,
    };
    ServerConfig {
        software: "Sterna".into(),
        listeners: listeners.to_vec(),
        users: Arc::new(Users::new("sterna", [("alice", "secret")])),
        policy: Arc::new(Policy::new(&policy)),
        ..ServerConfig::new("sterna", nonce_keys, epoch)
    }
}

/// Devices on each of the three workers send to each other; what a device gets comes from the sender's
/// relayed address, whole and unchanged, whichever worker owns either.
#[test]
fn packets_between_clients_cross_workers_and_never_the_network() {
    let mut node = Node::new(1);
    let mut devices: Vec<Device> = (0..6).map(|n| node.device(n % WORKERS, n + 1)).collect();
    node.connect(&mut devices);
    let relayed: Vec<SocketAddr> = devices
        .iter()
        .map(|device| device.machine.relayed_addr().unwrap())
        .collect();
    let before = node.network.tally();
    for from in 0..devices.len() {
        for to in (0..devices.len()).filter(|to| *to != from) {
            devices[from].send(relayed[to], format!("{from} to {to}").as_bytes());
        }
    }
    node.settle(&mut devices);
    for (to, device) in devices.iter().enumerate() {
        assert_eq!(device.arrived.len(), 5, "device {to}");
        for (peer, payload) in &device.arrived {
            let from = relayed
                .iter()
                .position(|relayed| relayed == peer)
                .expect("a relayed address of another device");
            assert_eq!(payload, format!("{from} to {to}").as_bytes());
        }
    }
    // 30 from clients to the node and 30 from the node to clients: nothing between two relay ports.
    assert_eq!(node.network.tally().sent - before.sent, 60);
}

#[test]
fn a_plain_peer_is_reached_and_answers_while_a_stranger_is_not_heard() {
    let mut node = Node::new(2);
    let mut devices = vec![node.device(1, 1)];
    node.connect(&mut devices);
    let peer = node.network.endpoint("192.0.2.200:5000".parse().unwrap());
    let stranger = node.network.endpoint("192.0.2.201:5000".parse().unwrap());
    devices[0]
        .machine
        .bind_channel(node.network.now(), peer.addr())
        .unwrap();
    assert!(node.run(
        &mut devices,
        Duration::from_secs(5),
        |all| all[0].channels() == 1
    ));
    devices[0].send(peer.addr(), b"ping");
    node.settle(&mut devices);
    let relayed = devices[0].machine.relayed_addr().unwrap();
    let ping = peer.receive().expect("the ping");
    assert_eq!((ping.from, &ping.bytes[..]), (relayed, &b"ping"[..]));
    peer.send(relayed, b"pong");
    stranger.send(relayed, b"let me in");
    node.settle(&mut devices);
    assert_eq!(devices[0].arrived, [(peer.addr(), b"pong".to_vec())]);
}

/// Loss, duplication and reordering on every link, over many seeds: allocations come to be all the
/// same, and nothing is left when they have ended.
#[test]
fn on_bad_links_everything_is_set_up_and_nothing_is_left_over() {
    for seed in 0..20 {
        let mut node = Node::new(seed);
        node.network.set_faults(Faults {
            loss: 0.1,
            duplication: 0.05,
            reorder: 0.1,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(20),
            ..Faults::NONE
        });
        let mut devices: Vec<Device> = (0..4).map(|n| node.device(n % WORKERS, n + 1)).collect();
        node.connect(&mut devices);
        assert_eq!(node.registry.usage().allocations, 4, "seed {seed}");
        let now = node.network.now();
        for device in &mut devices {
            device.machine.release(now).unwrap();
        }
        let all_ended = |all: &[Device]| {
            all.iter().all(|device| {
                device
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::Ended(_)))
            })
        };
        assert!(
            node.run(&mut devices, Duration::from_secs(60), all_ended),
            "seed {seed}"
        );
        node.settle(&mut devices);
        let usage = node.registry.usage();
        assert_eq!(
            (usage.allocations, usage.ports, usage.reservations),
            (0, 0, 0),
            "seed {seed}: {usage:?}"
        );
        assert_eq!(
            (usage.users, usage.prefixes),
            (0, 0),
            "seed {seed}: {usage:?}"
        );
    }
}

/// RFC 8016: the allocation stays on its worker, whichever one the client's packets come to.
#[test]
fn a_client_that_moves_comes_to_every_worker_and_is_served_by_its_own() {
    for seed in 0..5 {
        let mut node = Node::new(seed);
        let mut devices: Vec<Device> = (0..2).map(|n| node.device(n, n + 1)).collect();
        devices[0].mobile = true;
        node.connect(&mut devices);
        node.network.set_faults(Faults {
            loss: 0.05,
            duplication: 0.05,
            reorder: 0.1,
            delay: Duration::from_millis(10),
            ..Faults::NONE
        });
        let relayed: Vec<SocketAddr> = devices
            .iter()
            .map(|device| device.machine.relayed_addr().unwrap())
            .collect();
        for (done, worker) in (1..=20).zip([1, 2, 0, 2, 1, 1, 0, 0, 2].into_iter().cycle()) {
            let port = 4000 + u16::try_from(done).unwrap();
            node.moves(&mut devices[0], worker, port);
            let patience = Duration::from_secs(60);
            assert!(node.run(&mut devices, patience, |all| all[0].moves() == done));
            // Lost now and then, as anything is here: said until it is heard, both ways.
            let (there, back) = (format!("there {done}"), format!("back {done}"));
            let heard = |device: &Device, from: SocketAddr, text: &str| {
                let expected = (from, text.as_bytes().to_vec());
                device.arrived.contains(&expected)
            };
            for _ in 0..20 {
                devices[0].send(relayed[1], there.as_bytes());
                devices[1].send(relayed[0], back.as_bytes());
                node.settle(&mut devices);
                if heard(&devices[1], relayed[0], &there) && heard(&devices[0], relayed[1], &back) {
                    break;
                }
            }
            assert!(
                heard(&devices[1], relayed[0], &there),
                "seed {seed}: {there}"
            );
            assert!(heard(&devices[0], relayed[1], &back), "seed {seed}: {back}");
            let usage = node.registry.usage();
            let counted = (usage.allocations, usage.users, usage.ports, usage.tickets);
            assert_eq!(counted, (2, 1, 2, 2), "seed {seed}: {usage:?}");
        }
        node.network.set_faults(Faults::NONE);
        let now = node.network.now();
        for device in &mut devices {
            device.machine.release(now).unwrap();
        }
        node.settle(&mut devices);
        let usage = node.registry.usage();
        let left = (
            usage.allocations,
            usage.prefixes,
            usage.ports,
            usage.tickets,
        );
        assert_eq!(left, (0, 0, 0, 0), "seed {seed}: {usage:?}");
    }
}

/// What is handed on is dropped where the inbox is full, as on a network: the client asks again.
#[tokio::test]
async fn a_move_that_finds_an_inbox_full_is_asked_for_again() {
    let mut node = Node::new(4);
    let mut devices: Vec<Device> = (0..2).map(|n| node.device(n, n + 1)).collect();
    devices[0].mobile = true;
    node.connect(&mut devices);
    node.moves(&mut devices[0], 2, 4001);
    devices[0].turn(node.network.now());
    // The owner does nothing for a moment, and others have filled its inbox.
    let nobody = sterna_turn::Client {
        transport: sterna_turn::Transport::Tcp,
        route: u32::MAX,
        addr: SocketAddr::from(([192, 0, 2, 99], 1)),
        server: node.listeners[2],
    };
    let inbox = node.mailboxes.of(WorkerId(0)).unwrap();
    while inbox.post(Letter::Closed(nobody)) {}
    // In this time it is told a nonce for its new address, and asks again once.
    for _ in 0..20 {
        node.network.advance(Duration::from_millis(5));
        node.workers[2].step().unwrap();
        devices[0].turn(node.network.now());
    }
    let (ask, answer) = tokio::sync::oneshot::channel();
    let mailbox = node.mailboxes.of(WorkerId(2)).unwrap();
    mailbox.post_control(Control::Snapshot(ask)).await.unwrap();
    node.workers[2].step().unwrap();
    assert_eq!(answer.await.unwrap().own.mailbox_full, 1);
    assert_eq!(devices[0].moves(), 0);
    let patience = Duration::from_secs(60);
    assert!(node.run(&mut devices, patience, |all| all[0].moves() == 1));
    let peer = devices[1].machine.relayed_addr().unwrap();
    devices[0].send(peer, b"here I am");
    node.settle(&mut devices);
    assert_eq!(devices[1].arrived.len(), 1);
}

#[tokio::test]
async fn a_worker_that_drains_refuses_and_one_that_serves_again_takes() {
    let mut node = Node::new(3);
    let mut devices = vec![node.device(0, 1)];
    let drained = |all: &[Device]| {
        all[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Failed { .. }))
    };
    node.mailboxes
        .of(WorkerId(0))
        .unwrap()
        .post_control(Control::Drain(true))
        .await
        .unwrap();
    devices[0]
        .machine
        .allocate(node.network.now(), AllocateOptions::default())
        .unwrap();
    assert!(node.run(&mut devices, Duration::from_secs(5), drained));
    node.mailboxes
        .of(WorkerId(0))
        .unwrap()
        .post_control(Control::Drain(false))
        .await
        .unwrap();
    node.connect(&mut devices);
}

/// One worker with the four sockets of discovery: the answer leaves by the one that the client asked
/// for, and the client is told what it is.
#[test]
fn a_change_request_is_answered_by_another_listener_of_the_worker() {
    let network = Network::new(1);
    let bind = |ip: [u8; 4], port: u16| UdpSocket::bind((Ipv4Addr::from(ip), port)).unwrap();
    // Two ports that are free on both addresses.
    let sockets = (0..100).find_map(|_| {
        let mut sockets = vec![bind([127, 0, 0, 1], 0), bind([127, 0, 0, 1], 0)];
        for at in 0..2 {
            let port = sockets[at].local_addr().unwrap().port();
            sockets.push(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), port)).ok()?);
        }
        Some(sockets)
    });
    let sockets = sockets.expect("free ports");
    let addrs: Vec<SocketAddr> = sockets.iter().map(|of| of.local_addr().unwrap()).collect();
    let mut config = server_config(&addrs, network.now());
    config.discovery = vec![Discovery::new([0, 1, 2, 3].map(|route: u32| {
        let local = addrs[route as usize];
        DiscoverySocket {
            route,
            local,
            public: local,
        }
    }))];
    let io = Config {
        buffers: 8,
        gro: false,
        relay_sockets_max: 8,
        ..Config::default()
    };
    let engine = network.engine(io).unwrap();
    let (mailbox, inbox) = mailbox(engine.waker());
    let mut worker = Worker::new(
        WorkerId(0),
        engine,
        Server::new(
            network.now(),
            WorkerId(0),
            Arc::new(config),
            Arc::new(Registry::new()),
            [0; 32],
        ),
        inbox,
        Mailboxes::new(vec![mailbox]),
        Arc::default(),
        sockets,
    )
    .unwrap();

    let client = network.endpoint("192.0.2.1:4000".parse().unwrap());
    for to in 0..4 {
        for flags in 0..4_usize {
            // RFC 5780 §7.2: bit 2 changes the address, bit 1 the port.
            let mut request = vec![0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42];
            request.extend([7; 12]);
            request.extend([0, 3, 0, 4, 0, 0, 0, u8::try_from(flags << 1).unwrap()]);
            client.send(addrs[to], &request);
            let answer = (0..100).find_map(|_| {
                network.advance(Duration::from_millis(5));
                worker.step().unwrap();
                client.receive()
            });
            let answer = answer.expect("an answer");
            assert_eq!(answer.from, addrs[to ^ flags]);
            let message = Message::parse(&answer.bytes).unwrap();
            let origin = message.find::<ResponseOrigin>().unwrap();
            assert_eq!(origin, Some(ResponseOrigin(addrs[to ^ flags])));
            let other = message.find::<OtherAddress>().unwrap();
            assert_eq!(other, Some(OtherAddress(addrs[to ^ 3])));
        }
    }
}
