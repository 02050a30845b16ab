//! A client whose server, or whoever can write to its socket, says anything.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use sterna_stun::{
    attr::AttributeType,
    credentials::long_term_key_md5,
    integrity::KeyedSha1,
    message::{Class, Message, Method, TransactionId},
    writer::MessageWriter,
};
use sterna_turn::client::{
    AllocateOptions, ClientConfig, Credentials, FamilyWish, Link, Received, TurnClient,
};

const REALM: &str = "sterna.test";

/// Messages that may come out of one call: a request for each that may be under way, and some.
const TRANSMITS_MAX: usize = 1000;

/// A client, the clock, and what it has asked for last.
struct World {
    now: Instant,
    client: TurnClient,
    asked: Vec<(Method, TransactionId)>,
    mac: KeyedSha1,
}

/// Lets a client act and be answered by a script of `kind, argument, length, data`.
pub fn run(bytes: &[u8]) {
    let mut world = World::new();
    let mut script = bytes;
    while let [kind, argument, len, rest @ ..] = script {
        let (data, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        script = rest;
        match kind % 6 {
            0 => world.hear(data),
            1 => world.answer(*argument, data),
            2 => world.indicate(*argument, data),
            3 => world.act(*argument, data),
            _ => world.pass(Duration::from_millis(u64::from(*argument) * 250)),
        }
        world.listen();
    }
    world.pass(Duration::from_secs(2_000));
}

impl World {
    #[allow(clippy::disallowed_methods)] // the one moment that all virtual time is counted from
    fn new() -> Self {
        let credentials = Credentials {
            username: "alice".into(),
            password: "a".into(),
        };
        let config = ClientConfig::new(Link::Datagram, Some(credentials));
        Self {
            now: Instant::now(),
            client: TurnClient::new(config, [7; 32]),
            asked: Vec::new(),
            mac: long_term_key_md5("alice", REALM, "a").sha1(),
        }
    }

    fn hear(&mut self, packet: &[u8]) {
        if let Received::Data { payload, .. } = self.client.handle_packet(self.now, packet) {
            assert!(payload.start <= payload.end && payload.end <= packet.len());
        }
    }

    /// Answers one of the last requests with attributes of the script's, signed or not.
    fn answer(&mut self, argument: u8, attributes: &[u8]) {
        let back = usize::from(argument >> 3) % 4;
        let Some(&(method, id)) = self.asked.iter().rev().nth(back) else {
            return;
        };
        let class = if argument.is_multiple_of(2) {
            Class::Success
        } else {
            Class::Error
        };
        let packet = self.message(class, method, id, attributes, argument & 2 != 0);
        self.hear(&packet);
    }

    fn indicate(&mut self, argument: u8, attributes: &[u8]) {
        let methods = [Method::DATA, Method::CONNECTION_ATTEMPT, Method::BINDING];
        let method = methods[usize::from(argument) % 3];
        let id = TransactionId([argument; 12]);
        let packet = self.message(Class::Indication, method, id, attributes, false);
        self.hear(&packet);
    }

    /// A message with attributes `type, type, length, value`, as far as they fit.
    fn message(
        &self,
        class: Class,
        method: Method,
        id: TransactionId,
        mut attributes: &[u8],
        signed: bool,
    ) -> Vec<u8> {
        let mut out = [0; 2048];
        let mut writer = MessageWriter::new(&mut out, class, method, id).expect("fits");
        while let [high, low, len, rest @ ..] = attributes {
            let (value, rest) = rest.split_at(usize::from(*len).min(rest.len()));
            attributes = rest;
            let type_ = AttributeType(u16::from_be_bytes([*high, *low]));
            let is_last = [
                AttributeType::MESSAGE_INTEGRITY,
                AttributeType::MESSAGE_INTEGRITY_SHA256,
                AttributeType::FINGERPRINT,
            ];
            if !is_last.contains(&type_) && writer.raw(type_, value).is_err() {
                break;
            }
        }
        if signed {
            let _ = writer.integrity_sha1(&self.mac);
        }
        let len = writer.finish();
        out[..len].to_vec()
    }

    fn act(&mut self, argument: u8, data: &[u8]) {
        let (now, client) = (self.now, &mut self.client);
        let ip = IpAddr::from([8, 8, 8, *data.first().unwrap_or(&8)]);
        let peer = SocketAddr::new(ip, 5000);
        // What cannot be done now is refused, which is the caller's affair.
        let _ = match argument % 8 {
            0 => client.binding(now),
            1 => client.allocate(now, AllocateOptions::default()),
            2 => client.allocate(
                now,
                AllocateOptions {
                    family: FamilyWish::Both,
                    mobile: true,
                    ..AllocateOptions::default()
                },
            ),
            3 => client.refresh(now),
            4 => client.permit(now, &[ip]),
            5 => client.bind_channel(now, peer).map(drop),
            6 => client.prefix(peer, data.len()).map(drop),
            _ => client.release(now),
        };
    }

    /// Takes what the client has to say and to tell.
    fn listen(&mut self) {
        let mut count = 0;
        while let Some(packet) = self.client.poll_transmit() {
            let message = Message::parse(packet).expect("a whole message");
            if message.class() == Class::Request {
                self.asked
                    .push((message.method(), message.transaction_id()));
            }
            count += 1;
            assert!(count < TRANSMITS_MAX, "it talks without end");
        }
        let keep = self.asked.len().saturating_sub(64);
        self.asked.drain(..keep);
        while self.client.poll_event().is_some() {}
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.client.poll_timeout().filter(|due| *due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < TRANSMITS_MAX, "its timers stand still");
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            self.listen();
        }
        self.now = end;
    }
}
