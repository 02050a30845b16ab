//! What must hold for any bytes: checks for the fuzzer, and for the replay of its corpus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, GroupId, Groups, KeySet, NodeId, RateClass, SigningKey, TenantId,
    Ticket, TicketId,
};
use sterna_flow::device::{self, Session};
use sterna_flow::frame::Frame;
use sterna_flow::limits::{CONTROL_FRAME_BYTES_MAX, PAYLOAD_BYTES_INITIAL};
use sterna_flow::message::{InitPayload, Message, WelcomePayload};
use sterna_flow::{
    Command, Directory, Epoch, Link, Mark, Relay, RelayConfig, Rung, Secret, ShardId, Verdict,
};

/// Reads any bytes as frames and as messages: what is read can be written and read again.
pub fn frames(data: &[u8]) {
    let is_flow = data
        .first()
        .is_some_and(|first| (0x80..=0xBF).contains(first));
    assert!(is_flow || Frame::parse(data).is_err());
    if let Some(message) = Message::parse(data) {
        assert_eq!(Message::parse(&message.to_bytes()), Some(message));
    }
    if let Some(payload) = WelcomePayload::parse(data) {
        assert_eq!(WelcomePayload::parse(&payload.to_bytes()), Some(payload));
    }
    if let Some(payload) = InitPayload::parse(data) {
        assert_eq!(InitPayload::parse(&payload.to_bytes()), Some(payload));
    }
}

/// A node and two devices that go through a script; whatever it says, nobody gets what is not his,
/// and a stranger is never answered at greater length than he asked.
pub fn machines(data: &[u8]) {
    let mut world = World::new();
    let mut script = data.iter().copied();
    while let Some(verb) = script.next() {
        let mut take = || script.next().unwrap_or(0);
        match verb % 8 {
            0 => {
                let (who, peer) = (take(), take());
                let session = &mut world.devices[usize::from(who % 2)].0;
                session.open(world.now, DeviceKey([peer % 3 + 1; 32]));
            }
            1 => {
                let (who, len) = (usize::from(take() % 2), usize::from(take()) * 12);
                world.send(who, len);
            }
            2 => world.pass(Duration::from_millis(u64::from(take()) * 16)),
            3 => {
                let who = usize::from(take() % 2);
                let port = 1000 + u16::from(take());
                world.devices[who].1 = SocketAddr::from(([198, 51, 100, 1], port));
                world.devices[who].0.address_changed(world.now);
            }
            4 => {
                // Bytes of the script's own, from a device's address or a stranger's.
                let (who, len) = (take(), take());
                let bytes: Vec<u8> = (0..len).map(|_| take()).collect();
                world.inject(who, &bytes);
            }
            5 => {
                // A frame that was seen before, with a byte changed or not.
                let (which, who, place, flip) = (take(), take(), take(), take());
                let seen = world.seen.len();
                if let Some(mut frame) = world.seen.get(usize::from(which) % seen.max(1)).cloned() {
                    let len = frame.len();
                    frame[usize::from(place) % len] ^= flip;
                    world.inject(who, &frame);
                }
            }
            6 => {
                let who = usize::from(take() % 2);
                let session = &mut world.devices[who].0;
                if let Some(flow) = session.flow_to(&DeviceKey([take() % 3 + 1; 32])) {
                    session.close_flow(world.now, flow);
                }
            }
            _ => {
                let (who, bytes) = (usize::from(take() % 2), [take(), take()]);
                let max = u16::from_be_bytes(bytes).max(64);
                world.devices[who].0.set_payload_max(world.now, max);
            }
        }
        world.exchange();
    }
    world.pass(Duration::from_secs(60));
}

/// One shard, two devices on `udp`.
struct World {
    now: Instant,
    relay: Relay,
    devices: Vec<(Session, SocketAddr)>,
    seen: Vec<Vec<u8>>,
}

const STRANGER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)),
    1,
);

impl World {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn new() -> Self {
        let now = Instant::now();
        let signer = SigningKey::from_seed(&[1; 32]);
        let keys = KeySet::new([signer.verifying_key()]).expect("one key");
        let fleet = Fleet::new("fuzz").expect("a name");
        let secret = Secret::new([2; 32]);
        let epoch = Epoch {
            instant: now,
            unix_s: 1_000,
        };
        let node_key = secret.public();
        let config = RelayConfig::new(NodeId([3; 32]), secret, fleet, keys, epoch, 1, 1);
        let directory = Arc::new(Directory::new(now, [4; 32]));
        let relay = Relay::new(now, ShardId(0), Arc::new(config), directory, [5; 32]);
        let device = |name: u8| {
            let secret = Secret::new([name + 10; 32]);
            let ticket = Ticket {
                tenant: TenantId(1),
                ticket_id: TicketId(name.into()),
                device_id: DeviceId([name; 16]),
                device_key: DeviceKey([name; 32]),
                relay_key: secret.public(),
                not_before: 1_000,
                expires: 4_600,
                rate: RateClass::default(),
                audience: fleet,
                groups: Groups::new(&[GroupId(1)]).expect("one group"),
            };
            let ticket = ticket.issue(&signer).expect("a lifetime");
            let config = device::Config {
                node_key,
                secret,
                ticket,
            };
            let max = PAYLOAD_BYTES_INITIAL;
            let session = Session::new(now, config, Rung::Udp, None, max, [name; 32]);
            (session, SocketAddr::from(([192, 0, 2, name], 4000)))
        };
        let devices = vec![device(1), device(2)];
        let mut world = Self {
            now,
            relay,
            devices,
            seen: Vec::new(),
        };
        world.exchange();
        world
    }

    /// Lets everything arrive that anybody has to say.
    fn exchange(&mut self) {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        for _ in 0..64 {
            let mut quiet = true;
            for index in 0..self.devices.len() {
                while let Some(len) = self.devices[index].0.poll_transmit(&mut out) {
                    quiet = false;
                    let frame = out[..len].to_vec();
                    self.packet(self.devices[index].1, &frame);
                    self.seen.push(frame);
                }
                while self.devices[index].0.poll_event().is_some() {}
            }
            quiet &= self.obey() == 0;
            if quiet {
                return;
            }
        }
    }

    /// Does what the node wants done; returns how many bytes a stranger got.
    fn obey(&mut self) -> usize {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let mut to_stranger = 0;
        while let Some(command) = self.relay.poll_command(&mut out) {
            if let Command::Send {
                link: Link::Udp { addr, .. },
                len,
            } = command
            {
                to_stranger += if addr == STRANGER { len } else { 0 };
                let frame = out[..len].to_vec();
                self.deliver(addr, &frame);
            }
        }
        to_stranger
    }

    fn packet(&mut self, from: SocketAddr, frame: &[u8]) -> usize {
        let link = Link::Udp {
            listener: 0,
            addr: from,
        };
        match self.relay.handle_packet(self.now, link, frame) {
            Verdict::ToUdp {
                to, head, payload, ..
            } => {
                assert_ne!(from, STRANGER, "a stranger's data goes nowhere");
                let frame = [head.bytes(), &frame[payload]].concat();
                self.deliver(to, &frame);
                0
            }
            Verdict::Handled | Verdict::Drop(_) => self.obey(),
            verdict => panic!("one shard of workers says {verdict:?}"),
        }
    }

    fn deliver(&mut self, to: SocketAddr, frame: &[u8]) {
        assert!(
            frame
                .first()
                .is_some_and(|first| (0x80..=0xBF).contains(first))
        );
        for (session, addr) in &mut self.devices {
            if *addr == to {
                session.handle_packet(self.now, frame);
            }
        }
        self.seen.push(frame.to_vec());
    }

    fn inject(&mut self, who: u8, bytes: &[u8]) {
        match self
            .devices
            .get(usize::from(who % 3))
            .map(|device| device.1)
        {
            Some(addr) => {
                self.packet(addr, bytes);
            }
            None => {
                let answered = self.packet(STRANGER, bytes);
                // REBIND, the one frame that brings more, is sealed by a device.
                assert!(
                    answered <= bytes.len() * 3,
                    "{answered} for {}",
                    bytes.len()
                );
            }
        }
        self.devices[usize::from(who % 2)]
            .0
            .handle_packet(self.now, bytes);
    }

    fn send(&mut self, who: usize, len: usize) {
        let (session, addr) = &mut self.devices[who];
        let addr = *addr;
        let peer = DeviceKey([2 - u8::from(who == 1); 32]);
        let flow = session.open(self.now, peer);
        let packet = vec![7; len];
        if let Ok(frames) = session.send(self.now, flow, Mark::default(), len) {
            for (head, range) in frames.iter() {
                let frame = [head.bytes(), &packet[range]].concat();
                self.packet(addr, &frame);
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        for _ in 0..4096 {
            let devices = self
                .devices
                .iter()
                .filter_map(|device| device.0.poll_timeout());
            let next = devices.chain(self.relay.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.relay.handle_timeout(self.now);
            for device in &mut self.devices {
                device.0.handle_timeout(self.now);
            }
            self.exchange();
        }
        self.now = until;
    }
}
