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

#[test]
fn a_binding_tells_the_mapped_address() {
    let mut bench = Bench::new();
    bench.client.binding(bench.now).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        (request.method(), request.bytes.len()),
        (Method::BINDING, 20)
    );
    assert_eq!(bench.give(&request.success(0)), Received::Answer);
    assert_eq!(bench.events(), [Event::Mapped { addr: addr(MAPPED) }]);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_401_is_answered_by_the_same_request_signed() {
    let mut bench = Bench::new();
    bench
        .client
        .allocate(bench.now, AllocateOptions::default())
        .unwrap();
    let first = bench.sent_one();
    assert!(!first.is_signed());
    assert_eq!(
        first.message().find().unwrap(),
        Some(RequestedTransport::UDP)
    );
    bench.give(&first.error(401, Some("nonce-1")));

    let second = bench.sent_one();
    assert!(second.is_signed());
    assert_ne!(first.id(), second.id());
    assert_eq!(second.message().find().unwrap(), Some(Username(USER)));
    assert_eq!(second.message().find().unwrap(), Some(Nonce(b"nonce-1")));
    bench.give(&second.success(600));
    let allocated = Allocated {
        relayed: addr(RELAYED),
        mapped: addr(MAPPED),
        lifetime: Duration::from_secs(600),
        reservation_token: None,
    };
    assert_eq!(bench.events(), [Event::Allocated(allocated)]);
    assert_eq!(bench.client.relayed_addr(), Some(addr(RELAYED)));
}

#[test]
fn a_second_401_means_that_the_credentials_are_wrong() {
    let mut bench = Bench::new();
    bench
        .client
        .allocate(bench.now, AllocateOptions::default())
        .unwrap();
    for _ in 0..2 {
        let request = bench.sent_one();
        bench.give(&request.error(401, Some("nonce-1")));
    }
    let request = Request::Allocate(AllocateOptions::default());
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::Unauthorized
        }]
    );
    assert_eq!((bench.sent().len(), bench.client.poll_timeout()), (0, None));
}

#[test]
fn a_438_is_answered_with_the_new_nonce_but_not_for_ever() {
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    for nonce in ["nonce-2", "nonce-3", "nonce-4"] {
        let request = bench.sent_one();
        bench.give(&request.error(438, Some(nonce)));
    }
    let request = bench.sent_one();
    assert_eq!(request.message().find().unwrap(), Some(Nonce(b"nonce-4")));
    bench.give(&request.error(438, Some("nonce-5")));
    let request = Request::Refresh { lifetime: None };
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::StaleNonces
        }]
    );
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn an_answer_that_does_not_prove_itself_is_ignored() {
    // RFC 8489 §9.2.5: "If the integrity check fails, or if both MESSAGE-INTEGRITY and
    // MESSAGE-INTEGRITY-SHA256 are absent, the processing depends on the transport protocol …
    // the response MUST be discarded, as if it had never been received."
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    let request = bench.sent_one();
    let forged = request.answer(Class::Success, false, |writer| {
        writer.attr(&Lifetime(9)).unwrap();
    });
    assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
    let forged = request.answer(Class::Error, false, |writer| {
        writer
            .attr(&ErrorCode {
                code: 437,
                reason: "",
            })
            .unwrap();
    });
    assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
    assert_eq!(bench.give(&request.success(600)), Received::Answer);
    assert_eq!(
        bench.events(),
        [Event::Refreshed {
            lifetime: Duration::from_secs(600)
        }]
    );
}

#[test]
fn a_lost_request_is_repeated_bit_for_bit() {
    let mut bench = Bench::new();
    bench.client.binding(bench.now).unwrap();
    let first = bench.sent_one();
    assert!((bench.sleep() - 0.5).abs() < 1e-6);
    assert!((bench.sleep() - 1.5).abs() < 1e-6);
    assert_eq!(bench.sent_one().bytes, first.bytes);
    bench.give(&first.success(0));
    assert_eq!(bench.events(), [Event::Mapped { addr: addr(MAPPED) }]);
    // The answer to the repetition: nobody waits for it any more.
    assert_eq!(
        bench.give(&first.success(0)),
        Received::Ignored(Ignored::UnknownTransaction)
    );
    assert_eq!(bench.events(), []);
}

#[test]
fn a_request_that_is_never_answered_fails_after_39_5_seconds() {
    for link in [Link::Datagram, Link::Stream] {
        let mut bench = Bench::with_link(link);
        bench.client.binding(bench.now).unwrap();
        let mut sends = bench.sent().len();
        let mut last = 0.0;
        while bench.client.poll_timeout().is_some() {
            last = bench.sleep();
            sends += bench.sent().len();
        }
        assert!((last - 39.5).abs() < 1e-6);
        assert_eq!(sends, if link == Link::Stream { 1 } else { 7 });
        let request = Request::Binding;
        assert_eq!(
            bench.events(),
            [Event::Failed {
                request,
                error: ClientError::TimedOut
            }]
        );
    }
}

#[test]
fn answers_may_come_in_any_order() {
    let mut bench = Bench::new().allocated();
    let peers = [ip("192.0.2.1"), ip("192.0.2.2")];
    bench.client.permit(bench.now, &peers[..1]).unwrap();
    bench.client.bind_channel(bench.now, addr(PEER)).unwrap();
    bench.client.permit(bench.now, &peers[1..]).unwrap();
    let mut requests = bench.sent();
    requests.reverse();
    for request in &requests {
        assert_eq!(bench.give(&request.success(0)), Received::Answer);
    }
    assert_eq!(
        bench.events(),
        [
            Event::Permitted {
                peers: [peers[1]].into()
            },
            Event::ChannelBound {
                number: 0x4000,
                peer: addr(PEER)
            },
            Event::Permitted {
                peers: [peers[0]].into()
            },
        ]
    );
}

#[test]
fn a_challenge_that_overtakes_another_does_no_harm() {
    let mut bench = Bench::new().allocated();
    bench.client.permit(bench.now, &[ip("192.0.2.1")]).unwrap();
    bench.client.permit(bench.now, &[ip("192.0.2.2")]).unwrap();
    let [first, second] = bench.sent().try_into().unwrap();
    bench.give(&second.error(438, Some("nonce-3")));
    bench.give(&first.error(438, Some("nonce-2")));
    for request in bench.sent() {
        bench.give(&request.success(0));
    }
    assert_eq!(bench.events().len(), 2);
}

#[test]
fn allocation_permission_and_channel_are_kept_for_as_long_as_time_is_given() {
    let mut bench = Bench::new().with_channel();
    bench.client.permit(bench.now, &[ip("192.0.2.77")]).unwrap();
    let asked = bench.serve_for(3600);
    let count = |method| asked.iter().filter(|asked| **asked == method).count();
    // Every 540 s, and every 240 s.
    assert_eq!(count(Method::REFRESH), 6);
    assert_eq!(count(Method::CHANNEL_BIND), 15);
    assert_eq!(count(Method::CREATE_PERMISSION), 1 + 15);
    let mut events = bench.events();
    events.retain(|event| !matches!(event, Event::Refreshed { .. }));
    assert_eq!(
        events,
        [Event::Permitted {
            peers: [ip("192.0.2.77")].into()
        }]
    );
    assert!(bench.client.channel_prefix(0x4000, 5).is_ok());
}

#[test]
fn an_unanswered_refresh_is_tried_again_until_the_allocation_ends() {
    let mut bench = Bench::new().allocated();
    let mut ended_at = 0.0;
    while bench.client.poll_timeout().is_some() {
        ended_at = bench.sleep();
        bench.sent();
    }
    assert!((ended_at - 600.0).abs() < 1e-6);
    let request = Request::Refresh { lifetime: None };
    assert_eq!(
        bench.events(),
        [
            Event::Failed {
                request,
                error: ClientError::TimedOut
            },
            Event::Ended(EndReason::Expired)
        ]
    );
    assert_eq!(bench.client.relayed_addr(), None);
}

#[test]
fn a_server_that_has_forgotten_the_allocation_ends_it() {
    let mut bench = Bench::new().with_channel();
    bench.client.permit(bench.now, &[ip("192.0.2.1")]).unwrap();
    let request = bench.sent_one();
    bench.give(&request.error(437, None));
    let [failed, ended] = bench.events().try_into().unwrap();
    assert!(matches!(
        failed,
        Event::Failed {
            error: ClientError::Refused(437),
            ..
        }
    ));
    assert_eq!(ended, Event::Ended(EndReason::Lost));
    assert_eq!(
        bench.client.channel_prefix(0x4000, 5),
        Err(ClientError::NoAllocation)
    );
    assert!(
        bench
            .client
            .allocate(bench.now, AllocateOptions::default())
            .is_ok()
    );
}

#[test]
fn a_release_ends_the_allocation_and_its_upkeep() {
    let mut bench = Bench::new().with_channel();
    bench.client.release(bench.now).unwrap();
    let request = bench.sent_one();
    assert_eq!(request.message().find().unwrap(), Some(Lifetime(0)));
    assert_eq!(
        bench.client.release(bench.now),
        Err(ClientError::NoAllocation)
    );
    bench.give(&request.success(0));
    assert_eq!(bench.events(), [Event::Ended(EndReason::Released)]);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn what_is_being_given_back_is_not_kept_up() {
    let mut bench = Bench::new().with_channel();
    bench.serve_for(230);
    bench.client.release(bench.now).unwrap();
    // The channel would be due in ten seconds; nothing but the release is asked for.
    let mut asked = Vec::new();
    while bench.client.poll_timeout().is_some() {
        asked.extend(bench.sent().iter().map(Seen::method));
        bench.sleep();
    }
    assert!(asked.iter().all(|method| *method == Method::REFRESH));
    assert_eq!(
        bench.events().last(),
        Some(&Event::Ended(EndReason::Released))
    );
}

#[test]
fn a_refused_channel_is_not_used() {
    let mut bench = Bench::new().allocated();
    let number = bench.client.bind_channel(bench.now, addr(PEER)).unwrap();
    assert_eq!(
        bench.client.channel_prefix(number, 5),
        Err(ClientError::NotPermitted)
    );
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(ChannelNumber(number))
    );
    assert_eq!(
        request.message().find().unwrap(),
        Some(XorPeerAddress(addr(PEER)))
    );
    bench.give(&request.error(403, None));
    let request = Request::ChannelBind {
        number,
        peer: addr(PEER),
    };
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::Refused(403)
        }]
    );
    assert_eq!(
        bench.client.channel_prefix(number, 5),
        Err(ClientError::NotPermitted)
    );
    assert_eq!(
        bench.client.prefix(addr(PEER), 5),
        Err(ClientError::NotPermitted)
    );
}

#[test]
fn data_goes_out_by_the_channel_padded_on_streams_only() {
    for (link, tail) in [(Link::Datagram, 0), (Link::Stream, 3)] {
        let mut bench = Bench::with_link(link).with_channel();
        let prefix = bench.client.prefix(addr(PEER), 5).unwrap();
        assert_eq!(
            (prefix.bytes(), prefix.tail()),
            (&[0x40, 0, 0, 5][..], tail)
        );
    }
}

#[test]
fn data_goes_out_in_an_indication_where_there_is_no_channel() {
    let mut bench = Bench::new().allocated();
    let peer = addr(PEER);
    assert_eq!(bench.client.prefix(peer, 5), Err(ClientError::NotPermitted));
    bench.client.permit(bench.now, &[peer.ip()]).unwrap();
    let request = bench.sent_one();
    bench.give(&request.success(0));
    let prefix = bench.client.prefix(peer, 5).unwrap();
    let bytes = [prefix.bytes(), b"hello", &[0; 3][..prefix.tail()]].concat();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::SEND)
    );
    assert_eq!(message.find().unwrap(), Some(XorPeerAddress(peer)));
    assert_eq!(message.find().unwrap(), Some(Data(b"hello")));
    assert_eq!(bench.client.prefix(peer, 65_536), Err(ClientError::TooLong));
}

#[test]
fn data_comes_in_where_it_lies() {
    let mut bench = Bench::new().with_channel();
    let (peer, carrier) = (addr(PEER), Carrier::Channel);
    let data = Received::Data {
        peer,
        payload: 4..9,
        carrier,
    };
    assert_eq!(bench.give(b"\x40\x00\x00\x05hello"), data);
    assert_eq!(bench.give(b"\x40\x00\x00\x05hello\0\0\0"), data);
    assert_eq!(
        bench.give(b"\x40\x01\x00\x05hello"),
        Received::Ignored(Ignored::UnknownChannel)
    );
    assert_eq!(
        bench.give(b"\x40\x00\x00\x05hell"),
        Received::Ignored(Ignored::Malformed)
    );
    assert_eq!(bench.give(b""), Received::Ignored(Ignored::Malformed));

    let indication = |peer| {
        let mut out = [0; 128];
        let id = TransactionId([9; 12]);
        let mut writer = MessageWriter::new(&mut out, Class::Indication, Method::DATA, id).unwrap();
        writer.attr(&XorPeerAddress(peer)).unwrap();
        writer.attr(&Data(b"hello")).unwrap();
        let len = writer.finish();
        out[..len].to_vec()
    };
    let carrier = Carrier::Indication;
    assert_eq!(
        bench.give(&indication(peer)),
        Received::Data {
            peer,
            payload: 36..41,
            carrier
        }
    );
    let stranger = addr("192.0.2.10:9000");
    assert_eq!(
        bench.give(&indication(stranger)),
        Received::Ignored(Ignored::UnknownPeer)
    );
}

#[test]
fn an_even_port_with_its_neighbour_returns_a_token_and_the_token_is_used_alone() {
    let mut bench = Bench::new();
    let port = PortWish::EvenAndNext;
    let options = AllocateOptions {
        port,
        ..AllocateOptions::default()
    };
    bench.client.allocate(bench.now, options).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(EvenPort { reserve_next: true })
    );
    bench.give(&request.success(600));
    let [Event::Allocated(allocated)] = bench.events()[..] else {
        panic!("an allocation");
    };
    let token = allocated.reservation_token.unwrap();

    let mut bench = Bench::new();
    let port = PortWish::Reserved(token);
    let options = AllocateOptions {
        port,
        ..AllocateOptions::default()
    };
    bench.client.allocate(bench.now, options).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(ReservationToken(token))
    );
    assert_eq!(request.message().find::<EvenPort>().unwrap(), None);
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut bench = Bench::new();
    let now = bench.now;
    assert_eq!(bench.client.refresh(now), Err(ClientError::NoAllocation));
    assert_eq!(
        bench.client.permit(now, &[]),
        Err(ClientError::NoAllocation)
    );
    assert_eq!(
        bench.client.bind_channel(now, addr(PEER)),
        Err(ClientError::NoAllocation)
    );
    bench
        .client
        .allocate(now, AllocateOptions::default())
        .unwrap();
    let again = bench.client.allocate(now, AllocateOptions::default());
    assert_eq!(again, Err(ClientError::AlreadyAllocated));

    let mut bench = Bench::new().allocated();
    let many = vec![ip("192.0.2.1"); PEERS_PER_REQUEST_MAX + 1];
    assert_eq!(bench.client.permit(now, &many), Err(ClientError::Busy));
    for _ in 0..PENDING_REQUESTS_MAX {
        bench.client.binding(now).unwrap();
    }
    assert_eq!(bench.client.binding(now), Err(ClientError::Busy));
}

#[test]
fn no_packet_of_random_bytes_makes_it_stumble() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut bench = Bench::new().with_channel();
    for _ in 0..20_000 {
        let mut packet = [0u8; 64];
        rng.fill(&mut packet[..]);
        packet[0] &= 0x43;
        let len = rng.random_range(0..64);
        bench.give(&packet[..len]);
    }
    assert_eq!(bench.events(), []);
}
