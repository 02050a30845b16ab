//! The seeded simulation: many devices on three rungs, a network that loses, repeats and reorders,
//! and a reference model of who may talk to whom.
//!
//! While it runs, every packet that arrives must be one that its claimed sender has sent to this
//! very receiver, whole and not more often than the network has repeated it. When the network has
//! calmed down, everybody reaches whom he may reach, and nobody else; when everybody has gone,
//! nothing is left. A failure names the seed that repeats it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sterna_control_api::{DeviceKey, GroupId, Groups};

use crate::device::SendError;
use crate::testing::{Flight, SHARDS, World, device_key, signing_key, ticket};
use crate::{Link, PeerState, Rung};

const PEOPLE: u8 = 9;
const STEPS: u32 = 1500;

/// The groups of a device: those of every other one, of every third one.
fn groups(name: u8) -> Vec<u32> {
    let mut groups = vec![if name.is_multiple_of(2) { 20 } else { 21 }];
    groups.extend(name.is_multiple_of(3).then_some(30));
    groups
}

/// The model: two devices may talk when they share a group.
fn may_talk(one: u8, other: u8) -> bool {
    one != other
        && groups(one)
            .iter()
            .any(|group| groups(other).contains(group))
}

#[derive(Debug)]
struct Person {
    name: u8,
    /// The device of its newest session.
    device: usize,
    /// Dead without a word, or not.
    gone: bool,
}

struct Sim {
    seed: u64,
    rng: ChaCha12Rng,
    world: World,
    people: Vec<Person>,
    flying: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
    calm: bool,
    dead: BTreeSet<usize>,
    /// Packets that were sent, how often the network may show them, and how often they came.
    sent: BTreeMap<u32, (u8, u8, usize, u32)>,
    packets: u32,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut sim = Self {
            seed,
            rng: ChaCha12Rng::seed_from_u64(seed),
            world: World::new(),
            people: Vec::new(),
            flying: BTreeMap::new(),
            sequence: 0,
            calm: false,
            dead: BTreeSet::new(),
            sent: BTreeMap::new(),
            packets: 0,
        };
        for name in 1..=PEOPLE {
            let device = sim.connect(name);
            sim.people.push(Person {
                name,
                device,
                gone: false,
            });
        }
        sim
    }

    fn connect(&mut self, name: u8) -> usize {
        let mut ticket = ticket(name);
        let groups: Vec<GroupId> = groups(name).into_iter().map(GroupId).collect();
        ticket.groups = Groups::new(&groups).unwrap();
        let rung = Rung::ALL[self.rng.random_range(0..3)];
        let device = self
            .world
            .device_with(name, rung, ticket.issue(&signing_key()).unwrap());
        self.launch();
        device
    }

    /// Gives everything in the air its way through the network.
    fn launch(&mut self) {
        while let Some(flight) = self.world.air.pop_front() {
            if let Flight::Up { device, .. } = &flight
                && self.dead.contains(device)
            {
                continue;
            }
            let is_udp = matches!(
                &flight,
                Flight::Up {
                    link: Link::Udp { .. },
                    ..
                } | Flight::Down {
                    link: Link::Udp { .. },
                    ..
                }
            );
            if !is_udp {
                // In order and whole: connections, and what goes between threads.
                let delay = match &flight {
                    Flight::Up { .. } | Flight::Down { .. } => Duration::from_millis(20),
                    _ => Duration::from_micros(50),
                };
                self.fly(delay, flight);
                continue;
            }
            if !self.calm && self.rng.random_bool(0.1) {
                continue;
            }
            let copies = if !self.calm && self.rng.random_bool(0.05) {
                2
            } else {
                1
            };
            for _ in 0..copies {
                let ms = if self.calm {
                    20
                } else {
                    self.rng.random_range(5..60)
                };
                self.fly(Duration::from_millis(ms), flight.clone());
            }
        }
    }

    fn fly(&mut self, delay: Duration, flight: Flight) {
        self.sequence += 1;
        self.flying
            .insert((self.world.now + delay, self.sequence), flight);
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.world.now + duration;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let next = [arrival, self.next_timer()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.world.now = self.world.now.max(next);
            if arrival == Some(next) {
                let (_, flight) = self.flying.pop_first().unwrap();
                self.world.arrive(flight);
            } else {
                self.fire();
            }
            self.launch();
            self.check();
        }
        self.world.now = until;
    }

    /// The dead have no timers.
    fn next_timer(&self) -> Option<Instant> {
        let relays = self
            .world
            .relays
            .iter()
            .filter_map(crate::Relay::poll_timeout);
        let devices = self.world.devices.iter().enumerate();
        let living = devices.filter(|(index, _)| !self.dead.contains(index));
        relays
            .chain(living.filter_map(|(_, device)| device.session.poll_timeout()))
            .min()
    }

    fn fire(&mut self) {
        let now = self.world.now;
        for shard in 0..SHARDS {
            if self.world.relays[shard]
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                self.world.relays[shard].handle_timeout(now);
                self.world.obey(shard);
            }
        }
        for index in 0..self.world.devices.len() {
            let session = &mut self.world.devices[index].session;
            if !self.dead.contains(&index) && session.poll_timeout().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
                self.world.collect(index);
            }
        }
    }

    /// Every packet that has come is one that was sent so.
    fn check(&mut self) {
        for index in 0..self.world.devices.len() {
            for (from, packet) in self.world.got(index) {
                let number = u32::from_be_bytes(packet[..4].try_into().unwrap());
                let (sender, receiver, len, shown) = self.sent.get_mut(&number).unwrap();
                assert_eq!(from, device_key(*sender), "seed {}", self.seed);
                assert_eq!(packet.len(), *len, "seed {}", self.seed);
                assert!(
                    packet[4..].iter().all(|byte| byte == sender),
                    "seed {}",
                    self.seed
                );
                assert!(may_talk(*sender, *receiver), "seed {}", self.seed);
                // At most doubled on each of two ways.
                *shown += 1;
                assert!(
                    *shown <= 4,
                    "seed {}: {number} came {shown} times",
                    self.seed
                );
            }
        }
    }

    fn send(&mut self, from: usize, to: u8) -> Result<u32, SendError> {
        let (name, device) = (self.people[from].name, self.people[from].device);
        let flow = self.world.open(device, to);
        let len = self.rng.random_range(4..1400);
        let mut packet = vec![name; len];
        packet[..4].copy_from_slice(&self.packets.to_be_bytes());
        let outcome = self.world.send(device, flow, &packet);
        if outcome.is_ok() {
            self.sent.insert(self.packets, (name, to, len, 0));
            self.packets += 1;
        }
        self.launch();
        outcome.map(|_| self.packets - 1)
    }

    fn step(&mut self) {
        let person = self.rng.random_range(0..self.people.len());
        let device = self.people[person].device;
        let is_up = self.world.devices[device].session.is_up() && !self.people[person].gone;
        match self.rng.random_range(0..100) {
            0..3 => {
                // To another rung: the next session stands beside the old one for a while.
                let name = self.people[person].name;
                let old = device;
                self.people[person].device = self.connect(name);
                self.people[person].gone = false;
                if self.rng.random_bool(0.5) {
                    self.pass(Duration::from_millis(300));
                    self.world.devices[old].session.close(self.world.now);
                    self.world.collect(old);
                    self.launch();
                    self.dead.insert(old);
                }
            }
            3..5 if is_up => {
                self.dead.insert(device);
                self.people[person].gone = true;
            }
            5..8 if is_up && self.world.devices[device].session.rung() == Rung::Udp => {
                let port = self.rng.random_range(10_000..60_000);
                let addr = SocketAddr::from(([198, 51, 100, self.people[person].name], port));
                self.world.move_device(device, addr);
                // Its datagrams may hash to another worker now, where nothing steers them.
                self.world.devices[device].shard = self.rng.random_range(0..2);
            }
            8..60 if is_up => {
                let to = self.rng.random_range(1..=PEOPLE);
                let _ = self.send(person, to);
            }
            _ => {
                let ms = self.rng.random_range(1..100);
                self.pass(Duration::from_millis(ms));
            }
        }
    }

    /// Everybody who may is reached; nobody else is.
    fn all_reach_all(&mut self) {
        self.calm = true;
        self.pass(Duration::from_secs(60));
        for person in 0..self.people.len() {
            let device = self.people[person].device;
            let is_up = self.world.devices[device].session.is_up();
            if !is_up || self.people[person].gone {
                self.dead.insert(device);
                self.people[person].device = self.connect(self.people[person].name);
                self.people[person].gone = false;
            }
        }
        self.pass(Duration::from_secs(5));
        for person in 0..self.people.len() {
            for to in 1..=PEOPLE {
                let device = self.people[person].device;
                self.world.open(device, to);
                self.launch();
            }
        }
        self.pass(Duration::from_secs(5));
        for person in 0..self.people.len() {
            for to in 1..=PEOPLE {
                let name = self.people[person].name;
                let context = format!("seed {}: {name} to {to}", self.seed);
                match self.send(person, to) {
                    Ok(number) => {
                        self.pass(Duration::from_secs(1));
                        assert!(may_talk(name, to), "{context}");
                        assert_eq!(self.sent[&number].3, 1, "{context}");
                    }
                    Err(SendError::PeerAbsent) => assert!(!may_talk(name, to), "{context}"),
                    Err(error) => {
                        let device = &self.world.devices[self.people[person].device];
                        let last: Vec<_> = device.events.iter().rev().take(5).collect();
                        panic!("{context}: {error}, after {last:?}")
                    }
                }
            }
        }
        self.agree();
    }

    /// What the node's parts know of each other agrees.
    fn agree(&self) {
        let world = &self.world;
        let gauges: u32 = Rung::ALL
            .iter()
            .map(|rung| world.directory.sessions(*rung))
            .sum();
        assert_eq!(gauges as usize, world.sessions(), "seed {}", self.seed);
        let mut ends: BTreeMap<DeviceKey, BTreeSet<DeviceKey>> = BTreeMap::new();
        for flow in world.relays.iter().flat_map(crate::Relay::flows) {
            if flow.state == PeerState::Online {
                ends.entry(flow.device).or_default().insert(flow.peer);
            }
        }
        for (device, peers) in &ends {
            for peer in peers {
                assert!(
                    ends.get(peer).is_some_and(|back| back.contains(device)),
                    "seed {}",
                    self.seed
                );
            }
        }
    }

    /// When everybody has gone, nothing is left.
    fn all_leave(&mut self) {
        for index in 0..self.world.devices.len() {
            if !self.dead.contains(&index) {
                self.world.devices[index].session.close(self.world.now);
                self.world.collect(index);
                self.launch();
                self.dead.insert(index);
            }
        }
        self.pass(Duration::from_secs(120));
        assert_eq!(
            (self.world.sessions(), self.world.flows()),
            (0, 0),
            "seed {}",
            self.seed
        );
        assert!(self.world.directory.is_empty(), "seed {}", self.seed);
        assert!(
            self.world.next_timer_of_relays().is_none(),
            "seed {}",
            self.seed
        );
    }
}

fn run(seed: u64) {
    let mut sim = Sim::new(seed);
    sim.pass(Duration::from_secs(1));
    for _ in 0..STEPS {
        sim.step();
    }
    sim.all_reach_all();
    sim.all_leave();
}

#[test]
fn many_devices_on_three_rungs_reach_whom_they_may_and_nobody_else() {
    for seed in 0..8 {
        run(seed);
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let log = || {
        let mut sim = Sim::new(99);
        for _ in 0..200 {
            sim.step();
        }
        let frames: Vec<Vec<u8>> = sim
            .world
            .log
            .into_iter()
            .map(|(_, _, frame)| frame)
            .collect();
        frames
    };
    assert_eq!(log(), log());
}
