//! The client against a scripted server, under virtual time.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sterna_stun::attr::{
    ChannelNumber, Data, ErrorCode, EvenPort, Lifetime, Nonce, Realm, RequestedTransport,
    ReservationToken, Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use sterna_stun::credentials::long_term_key_md5;
use sterna_stun::integrity::KeyedSha1;
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

use super::*;

mod algorithms;
mod connections;
mod data;
mod dual;
mod exchange;
mod redirect;
mod upkeep;

const USER: &str = "alice";
const REALM: &str = "sterna.test";
const MAPPED: &str = "198.51.100.7:4000";
const RELAYED: &str = "203.0.113.1:50000";
const PEER: &str = "192.0.2.9:9000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key() -> KeyedSha1 {
    long_term_key_md5(USER, REALM, "secret").sha1()
}

/// A client, the time, and what the server would see.
struct Bench {
    now: Instant,
    start: Instant,
    client: TurnClient,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    bytes: Vec<u8>,
}

impl Seen {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).unwrap()
    }

    fn id(&self) -> TransactionId {
        self.message().transaction_id()
    }

    fn method(&self) -> Method {
        self.message().method()
    }

    fn is_signed(&self) -> bool {
        key().verify(&self.message()).is_ok()
    }

    /// Writes an answer by `fill`, signed or not.
    fn answer(&self, class: Class, signed: bool, fill: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut out = [0; 1024];
        let mut writer = MessageWriter::new(&mut out, class, self.method(), self.id()).unwrap();
        fill(&mut writer);
        if signed {
            writer.integrity_sha1(&key()).unwrap();
        }
        let len = writer.finish();
        out[..len].to_vec()
    }

    fn error(&self, code: u16, nonce: Option<&str>) -> Vec<u8> {
        self.answer(Class::Error, nonce.is_none(), |writer| {
            writer.attr(&ErrorCode { code, reason: "" }).unwrap();
            if let Some(nonce) = nonce {
                writer.attr(&Realm(REALM)).unwrap();
                writer.attr(&Nonce(nonce.as_bytes())).unwrap();
            }
        })
    }

    /// The success that an honest server gives.
    fn success(&self, lifetime_s: u32) -> Vec<u8> {
        self.answer(Class::Success, self.is_signed(), |writer| {
            match self.method() {
                Method::BINDING => writer.attr(&XorMappedAddress(addr(MAPPED))).unwrap(),
                Method::ALLOCATE => {
                    writer.attr(&XorRelayedAddress(addr(RELAYED))).unwrap();
                    writer.attr(&XorMappedAddress(addr(MAPPED))).unwrap();
                    writer.attr(&Lifetime(lifetime_s)).unwrap();
                    if self.message().find::<EvenPort>().unwrap().is_some() {
                        writer.attr(&ReservationToken(*b"tokentok")).unwrap();
                    }
                }
                Method::REFRESH => {
                    let asked = self.message().find::<Lifetime>().unwrap();
                    let ended = asked == Some(Lifetime(0));
                    writer
                        .attr(&Lifetime(if ended { 0 } else { lifetime_s }))
                        .unwrap();
                }
                _ => {}
            }
        })
    }
}

impl Bench {
    fn new() -> Self {
        Self::with_link(Link::Datagram)
    }

    fn with_link(link: Link) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
        let now = Instant::now();
        let credentials = Credentials {
            username: USER.into(),
            password: "secret".into(),
        };
        let client = TurnClient::new(ClientConfig::new(link, Some(credentials)), [7; 32]);
        Self {
            now,
            start: now,
            client,
        }
    }

    /// What the client has sent since the last call.
    fn sent(&mut self) -> Vec<Seen> {
        let mut sent = Vec::new();
        while let Some(bytes) = self.client.poll_transmit() {
            sent.push(Seen {
                bytes: bytes.to_vec(),
            });
        }
        sent
    }

    /// The only request that the client has sent since the last call.
    fn sent_one(&mut self) -> Seen {
        let [seen] = self.sent().try_into().expect("one request");
        seen
    }

    fn give(&mut self, packet: &[u8]) -> Received {
        self.client.handle_packet(self.now, packet)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Lets time pass up to the client's next deadline; returns it in seconds since the start.
    fn sleep(&mut self) -> f64 {
        self.now = self.client.poll_timeout().expect("a deadline");
        self.client.handle_timeout(self.now);
        (self.now - self.start).as_secs_f64()
    }

    /// Answers everything as an honest server would for so long; returns the methods asked for.
    fn serve_for(&mut self, seconds: u64) -> Vec<Method> {
        let end = self.now + Duration::from_secs(seconds);
        let mut asked = Vec::new();
        loop {
            for request in self.sent() {
                asked.push(request.method());
                assert_eq!(self.give(&request.success(600)), Received::Answer);
            }
            match self.client.poll_timeout() {
                Some(at) if at <= end => self.sleep(),
                _ => break,
            };
        }
        self.now = end;
        asked
    }

    fn allocated(mut self) -> Self {
        self.client
            .allocate(self.now, AllocateOptions::default())
            .unwrap();
        let challenged = self.sent_one();
        self.give(&challenged.error(401, Some("nonce-1")));
        let signed = self.sent_one();
        self.give(&signed.success(600));
        assert!(matches!(self.events()[..], [Event::Allocated(_)]));
        self
    }

    fn with_channel(self) -> Self {
        let mut bench = self.allocated();
        assert_eq!(bench.client.bind_channel(bench.now, addr(PEER)), Ok(0x4000));
        let request = bench.sent_one();
        bench.give(&request.success(600));
        assert_eq!(
            bench.events(),
            [Event::ChannelBound {
                number: 0x4000,
                peer: addr(PEER)
            }]
        );
        bench
    }
}
