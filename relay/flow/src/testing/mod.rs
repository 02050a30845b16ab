//! A node of several shards and its devices, on a virtual clock, for the tests of both machines.
//!
//! Frames travel at once and in order unless a test takes them out of [`World::air`]; the seeded
//! simulation (`sim`) adds loss, delay and reordering on top of the same world.

mod fixtures;
mod transit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use fixtures::*;
use sterna_control_api::{DeviceKey, KeySet, NodeId};
pub(crate) use transit::NO_STEERING;

use crate::device::{self, Event, FlowId, Session};
use crate::limits::{CONTROL_FRAME_BYTES_MAX, PAYLOAD_BYTES_INITIAL};
use crate::queue::SessionQueue;
use crate::{
    Command, Counters, Directory, DropReason, Epoch, FlowNumber, Letter, Link, Mark, Relay,
    RelayConfig, Rung, ShardId, StreamId, Target,
};

/// Workers of the node.
pub(crate) const WORKERS: u8 = 2;
/// Shards of the node: two workers, two for connections.
pub(crate) const SHARDS: usize = 4;

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn some_instant() -> Instant {
    Instant::now() + Duration::from_secs(1_000_000)
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(crate) enum Flight {
    /// From a device to a shard.
    Up {
        device: usize,
        link: Link,
        shard: usize,
        frame: Vec<u8>,
    },
    /// From the node along a link.
    Down {
        link: Link,
        shard: usize,
        frame: Vec<u8>,
    },
    /// Between shards: a payload.
    Across {
        shard: usize,
        target: Target,
        payload: Vec<u8>,
    },
    /// Between shards: a letter.
    Letter { shard: usize, letter: Letter },
    /// Between workers: a whole packet.
    Passed {
        shard: usize,
        link: Link,
        frame: Vec<u8>,
    },
}

/// A device with one session.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) session: Session,
    pub(crate) link: Link,
    /// Where its frames arrive: a worker, or the shard that has its connection.
    pub(crate) shard: usize,
    pub(crate) got: Vec<(DeviceKey, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) drops: Vec<DropReason>,
    /// The node has closed its connection.
    pub(crate) link_closed: bool,
    /// What one datagram of its path carries.
    pub(crate) path_bytes: usize,
}

/// The node, its devices, and what is between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) config: Arc<RelayConfig>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) devices: Vec<Device>,
    pub(crate) air: VecDeque<Flight>,
    pub(crate) events: Vec<crate::Event>,
    /// Bytes that came from and went to each UDP address, and frames.
    pub(crate) log: Vec<(SocketAddr, bool, Vec<u8>)>,
    pub(crate) queues: Vec<(StreamId, usize, SessionQueue<Vec<u8>>)>,
    next_stream: u32,
    seeds: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose node's configuration a test has changed.
    pub(crate) fn with(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let now = some_instant();
        let keys = KeySet::new([signing_key().verifying_key()]).expect("one key");
        let epoch = Epoch {
            instant: now,
            unix_s: UNIX_S,
        };
        let mut config = RelayConfig::new(
            NodeId([9; 32]),
            node_secret(),
            fleet(),
            keys,
            epoch,
            WORKERS,
            SHARDS,
        );
        change(&mut config);
        let config = Arc::new(config);
        let directory = Arc::new(Directory::new(now, [3; 32]));
        let relay = |shard: usize| {
            let shard = u8::try_from(shard).expect("few shards");
            let (config, directory) = (config.clone(), directory.clone());
            Relay::new(now, ShardId(shard), config, directory, [shard; 32])
        };
        Self {
            now,
            relays: (0..SHARDS).map(relay).collect(),
            config: config.clone(),
            directory: directory.clone(),
            devices: Vec::new(),
            air: VecDeque::new(),
            events: Vec::new(),
            log: Vec::new(),
            queues: Vec::new(),
            next_stream: 0,
            seeds: 0,
        }
    }

    /// Adds a device with a ticket of the usual kind; it begins its handshake.
    pub(crate) fn device(&mut self, name: u8, rung: Rung) -> usize {
        self.device_with(
            name,
            rung,
            ticket(name).issue(&signing_key()).expect("a lifetime"),
        )
    }

    /// Adds a device that shows this ticket.
    pub(crate) fn device_with(&mut self, name: u8, rung: Rung, ticket: Vec<u8>) -> usize {
        let index = self.devices.len();
        let number = u16::try_from(index).expect("few devices");
        let addr = SocketAddr::from(([192, 0, 2, name], 4000 + number));
        self.seeds += 1;
        let seed = [self.seeds; 32];
        let config = device::Config {
            node_key: node_secret().public(),
            secret: device_secret(name),
            ticket,
        };
        let (link, shard, exporter) = if rung == Rung::Udp {
            (
                Link::Udp { listener: 0, addr },
                index % usize::from(WORKERS),
                None,
            )
        } else {
            let stream = StreamId(self.next_stream);
            self.next_stream += 1;
            let shard = usize::from(WORKERS) + index % (SHARDS - usize::from(WORKERS));
            let exporter = [self.seeds; 32];
            let max = if rung == Rung::Quic {
                PAYLOAD_BYTES_INITIAL
            } else {
                16_000
            };
            self.relays[shard].handle_stream_opened(self.now, stream, rung, addr, exporter, max);
            self.queues
                .push((stream, shard, SessionQueue::new(self.now, 0, 1)));
            (Link::Stream(stream), shard, Some(exporter))
        };
        let max = if rung == Rung::Wss {
            16_000
        } else {
            PAYLOAD_BYTES_INITIAL
        };
        let session = Session::new(self.now, config, rung, exporter, max, seed);
        self.devices.push(Device {
            session,
            link,
            shard,
            got: Vec::new(),
            events: Vec::new(),
            drops: Vec::new(),
            link_closed: false,
            path_bytes: 1472,
        });
        self.collect(index);
        index
    }

    /// Moves a device to another address; it does not know.
    pub(crate) fn move_device(&mut self, device: usize, addr: SocketAddr) {
        self.devices[device].link = Link::Udp { listener: 0, addr };
    }

    /// Puts what a device wants to send into the air.
    pub(crate) fn collect(&mut self, index: usize) {
        let device = &mut self.devices[index];
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        while let Some(len) = device.session.poll_transmit(&mut out) {
            let (link, shard) = (device.link, device.shard);
            let frame = out[..len].to_vec();
            self.air.push_back(Flight::Up {
                device: index,
                link,
                shard,
                frame,
            });
        }
        while let Some(event) = device.session.poll_event() {
            device.events.push(event);
        }
    }

    /// Puts what a shard wants to be done into the air.
    pub(crate) fn obey(&mut self, shard: usize) {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        while let Some(command) = self.relays[shard].poll_command(&mut out) {
            match command {
                Command::Send { link, len } => {
                    let frame = out[..len].to_vec();
                    self.air.push_back(Flight::Down { link, shard, frame });
                }
                Command::Post { shard, letter } => {
                    self.air.push_back(Flight::Letter {
                        shard: shard.0.into(),
                        letter,
                    });
                }
                Command::CloseStream { stream } => self.close_stream(stream, shard),
                Command::Event(event) => self.events.push(event),
            }
        }
    }

    fn close_stream(&mut self, stream: StreamId, shard: usize) {
        for device in &mut self.devices {
            if device.link == Link::Stream(stream) && device.shard == shard {
                device.link_closed = true;
            }
        }
        self.relays[shard].handle_stream_closed(self.now, stream);
    }

    /// Lets everything arrive that is in the air, and what follows from it.
    pub(crate) fn settle(&mut self) {
        let mut steps = 0;
        while let Some(flight) = self.air.pop_front() {
            self.arrive(flight);
            steps += 1;
            assert!(steps < 1_000_000, "frames beget frames without end");
        }
    }

    /// Lets time pass, everything at once and in order.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.settle();
        while let Some(next) = self.next_timer().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.fire();
            self.settle();
        }
        self.now = until;
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let relays = self.relays.iter().filter_map(Relay::poll_timeout);
        let devices = self
            .devices
            .iter()
            .filter_map(|device| device.session.poll_timeout());
        relays.chain(devices).min()
    }

    pub(crate) fn next_timer_of_relays(&self) -> Option<Instant> {
        self.relays.iter().filter_map(Relay::poll_timeout).min()
    }

    /// Runs every timer that is due.
    pub(crate) fn fire(&mut self) {
        let now = self.now;
        for shard in 0..SHARDS {
            if self.relays[shard]
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                self.relays[shard].handle_timeout(now);
                self.obey(shard);
            }
        }
        for index in 0..self.devices.len() {
            if self.devices[index]
                .session
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                self.devices[index].session.handle_timeout(now);
                self.collect(index);
            }
        }
    }

    /// Two devices that are up and have opened a flow.
    pub(crate) fn pair(&mut self, one: Rung, other: Rung) -> (usize, usize, FlowId) {
        let (a, b) = (self.device(1, one), self.device(2, other));
        self.pass(Duration::from_secs(2));
        let flow = self.open(a, 2);
        self.pass(Duration::from_millis(100));
        (a, b, flow)
    }

    pub(crate) fn open(&mut self, device: usize, peer: u8) -> FlowId {
        let flow = self.devices[device]
            .session
            .open(self.now, device_key(peer));
        self.collect(device);
        flow
    }

    /// Sends a packet; says whether it was split.
    pub(crate) fn send(
        &mut self,
        device: usize,
        flow: FlowId,
        packet: &[u8],
    ) -> Result<bool, device::SendError> {
        self.send_marked(device, flow, Mark::default(), packet)
    }

    pub(crate) fn send_marked(
        &mut self,
        index: usize,
        flow: FlowId,
        mark: Mark,
        packet: &[u8],
    ) -> Result<bool, device::SendError> {
        let now = self.now;
        let device = &mut self.devices[index];
        let frames = device.session.send(now, flow, mark, packet.len())?;
        for (head, range) in frames.iter() {
            let frame = [head.bytes(), &packet[range]].concat();
            let (link, shard) = (device.link, device.shard);
            self.air.push_back(Flight::Up {
                device: index,
                link,
                shard,
                frame,
            });
        }
        Ok(frames.is_split())
    }

    /// What a device has received since the last call.
    pub(crate) fn got(&mut self, device: usize) -> Vec<(DeviceKey, Vec<u8>)> {
        std::mem::take(&mut self.devices[device].got)
    }

    /// What a device has been told since the last call.
    pub(crate) fn told(&mut self, device: usize) -> Vec<Event> {
        std::mem::take(&mut self.devices[device].events)
    }

    /// One counter over all shards.
    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.relays
            .iter()
            .map(|relay| counter(relay.counters()))
            .sum()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.count(|counters| counters.dropped(reason))
    }

    pub(crate) fn sessions(&self) -> usize {
        self.relays.iter().map(Relay::session_count).sum()
    }

    pub(crate) fn flows(&self) -> usize {
        self.relays.iter().map(Relay::flow_count).sum()
    }

    /// The frame of DATA that a device would send now.
    pub(crate) fn data_frame(&mut self, device: usize, flow: FlowId, packet: &[u8]) -> Vec<u8> {
        self.send(device, flow, packet).expect("the flow is open");
        match self.air.pop_back() {
            Some(Flight::Up { frame, .. }) => frame,
            other => panic!("{other:?}"),
        }
    }
}

/// Whether a number is one that a node may give.
pub(crate) fn is_number(flow: FlowNumber) -> bool {
    flow != FlowNumber::NONE && flow.0 < 1 << 24
}
