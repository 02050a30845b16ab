//! What arrives at the node is put to the model, then to the machine, and compared.

use std::net::SocketAddr;

use sterna_stun::{
    attr::{
        AddressErrorCode, AddressFamily, AttributeType, Icmp, Lifetime, MobilityTicket, Nonce,
        PasswordAlgorithms, ReservationToken, XorRelayedAddress,
    },
    data_indication::DataIndication,
    message::Method,
    nonce::Features,
};

use super::{Parcel, World, tuple};
use crate::{
    Client, DropReason, PeerAddr, Verdict, WorkerId,
    sim::model::{Ask, Datum, Route, Signature, Told, Tuple},
    testing::Answer,
};

impl World {
    pub(super) fn arrive(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Request { from, .. } | Parcel::Datum { from, .. }
                if self.closed.contains(&tuple(&from)) => {}
            Parcel::Request {
                from,
                ask,
                by,
                bytes,
            } => self.request_arrives(from, &ask, &by, &bytes),
            Parcel::Datum { from, datum, bytes } => self.datum_arrives(from, datum, &bytes),
            Parcel::FromPeer { relayed, peer, len } => {
                let open = self.node.open.iter().find(|(_, open)| **open == relayed);
                let Some((&port, _)) = open else { return };
                let alloc = self.model.allocs.iter().find(|alloc| alloc.has(relayed));
                let worker = alloc.expect("open, so allocated").worker;
                let expected = self.model.to_client(relayed, peer, len);
                let verdict = self.node.servers[worker].handle_peer(self.node.now, port, peer, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Icmp {
                relayed,
                peer,
                icmp,
            } => self.icmp_arrives(relayed, peer, icmp),
            Parcel::Letter {
                worker,
                to,
                from,
                len,
            } => {
                // The relayed address may be another worker's by now.
                let living = self.model.allocs.iter().find(|alloc| alloc.has(to));
                let expected = if living.is_some_and(|alloc| alloc.worker == worker) {
                    self.model.to_client(to, from, len)
                } else {
                    Route::Drop(DropReason::UnknownRelayedAddress)
                };
                let (to, from) = (PeerAddr(to), PeerAddr(from));
                let verdict =
                    self.node.servers[worker].handle_relayed(self.node.now, to, from, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Answer { client, answer } => self.answer_arrives(client, &answer),
        }
    }

    /// Whoever may get the peer's data may get the error, never by a channel.
    fn icmp_arrives(&mut self, relayed: SocketAddr, peer: SocketAddr, icmp: Icmp) {
        let open = self.node.open.iter().find(|(_, open)| **open == relayed);
        let Some((&port, _)) = open else { return };
        let alloc = self.model.allocs.iter().find(|alloc| alloc.has(relayed));
        let worker = alloc.expect("open, so allocated").worker;
        let types: &[u8] = if peer.is_ipv4() { &[3, 11] } else { &[1, 2, 3] };
        self.node.answers.clear();
        let verdict = self.node.servers[worker].handle_icmp(self.node.now, port, peer, icmp);
        self.node.settle(worker);
        let expected = match self.model.to_client(relayed, peer, 0) {
            _ if !types.contains(&icmp.type_) => Verdict::Drop(DropReason::IcmpType),
            Route::Drop(reason) => Verdict::Drop(reason),
            Route::ToClient { tuple: to, .. } => {
                let told = self.node.answers.pop_front().expect("told");
                let told_of = DataIndication::of(&told.message()).expect("well formed");
                let told_icmp = told_of.icmp.expect("an error");
                assert_eq!((tuple(&told.client), told_of.peer), (to, peer));
                assert_eq!((told_icmp.type_, told_icmp.code), (icmp.type_, icmp.code));
                assert_eq!(told_of.payload, None);
                Verdict::Handled
            }
            route => panic!("{route:?}"),
        };
        assert_eq!(verdict, expected, "{icmp:?} of {peer}");
        assert!(self.node.answers.is_empty());
        let name = match verdict {
            Verdict::Drop(reason) => reason.as_str(),
            _ => "icmp",
        };
        *self.tally.verdicts.entry(name).or_default() += 1;
    }

    /// Hands a packet in, to its client's worker and to the one that has its allocation, if that is
    /// another. None: it got lost between the two.
    fn received(&mut self, from: Client, bytes: &[u8]) -> Option<Verdict> {
        let worker = self.worker_of(&from);
        let verdict = self.node.receive_here(worker, from, bytes);
        if matches!(verdict, Verdict::ToOwner { .. }) {
            self.count("by_another_worker");
            if self.one_in(20) {
                return None;
            }
        }
        Some(self.node.hand_on(verdict, bytes))
    }

    fn datum_arrives(&mut self, from: Client, datum: Datum, bytes: &[u8]) {
        let Some(verdict) = self.received(from, bytes) else {
            return;
        };
        if self.model.data_from(tuple(&from)) {
            self.count("break_made");
        }
        let expected = self.model.route_of(tuple(&from), datum);
        self.compare(&expected, &verdict);
    }

    fn request_arrives(&mut self, from: Client, ask: &Ask, by: &Signature, bytes: &[u8]) {
        let tuple = tuple(&from);
        let worker = self.worker_of(&from);
        self.node.answers.clear();
        let Some(verdict) = self.received(from, bytes) else {
            return;
        };
        assert_eq!(verdict, Verdict::Handled, "{ask:?}");
        let halves = self.halves_of(tuple);
        let expected = self.model.request(self.node.now, tuple, worker, ask, by);
        if halves == 2 && self.halves_of(tuple) == 1 {
            self.count("half_released");
        }
        assert_eq!(self.node.answers.len(), 1);
        let answer = self.node.answers.pop_front().expect("counted");
        assert_eq!(
            (answer.code(), answer.client),
            (expected.code, from),
            "{ask:?} {by:?}"
        );
        *self.tally.codes.entry(expected.code).or_default() += 1;
        self.check_signature(by, &answer);

        if let Some(nonce) = answer.find::<Nonce<'_>>() {
            self.model
                .nonces
                .insert(nonce.0.to_vec(), (from.addr, self.model.minute));
        }
        let relayed = relayed(&answer);
        if !relayed.is_empty() {
            let refused = answer.find::<AddressErrorCode<'_>>();
            let refused =
                refused.map(|refused| (refused.family == AddressFamily::Ipv6, refused.code));
            if relayed.len() == 2 {
                *self.tally.verdicts.entry("dual").or_default() += 1;
            } else if refused.is_some() {
                *self.tally.verdicts.entry("dual_in_part").or_default() += 1;
            }
            let token = answer.find::<ReservationToken>().map(|token| token.0);
            self.model.granted(
                self.node.now,
                tuple,
                worker,
                ask,
                by,
                &relayed,
                refused,
                token,
            );
            let lifetime_s = self.model.of(tuple).map(|alloc| alloc.lifetime_s);
            assert_eq!(answer.find(), lifetime_s.map(Lifetime));
        }
        self.model.told(tuple, &expected.told, ticket_of(&answer));
        match (ask, &expected.told) {
            (Ask::Refresh { .. }, Told::New) => self.count("moved"),
            (Ask::Refresh { .. }, Told::Again(_)) => self.count("moved_again"),
            _ => {}
        }
        let client = self.actors.iter().position(|actor| {
            let mut earlier = actor.earlier.iter();
            actor.caller.client == from || earlier.any(|place| place.client == from)
        });
        if let Some(client) = client {
            self.post(
                Parcel::Answer { client, answer },
                from.transport.is_stream(),
            );
        }
    }

    fn halves_of(&self, tuple: Tuple) -> usize {
        let alloc = self.model.of(tuple);
        alloc.map_or(0, |alloc| alloc.halves.len())
    }

    /// An answer bears the MAC that its request asked for; one that asks for credentials bears none
    /// and makes an offer exactly where its nonce says so.
    fn check_signature(&mut self, by: &Signature, answer: &Answer) {
        let types = answer.types();
        let Some(Nonce(nonce)) = answer.find() else {
            assert!(by.caller.is_answered_by(answer), "{by:?} {types:?}");
            let kind = match by.caller.features() {
                Features::NONE => "by_md5",
                Features {
                    password_algorithms: false,
                    ..
                } => "by_md5_under_a_hash",
                Features {
                    username_anonymity: false,
                    ..
                } => "by_sha256",
                _ => "by_sha256_under_a_hash",
            };
            *self.tally.verdicts.entry(kind).or_default() += 1;
            return;
        };
        assert!(!types.contains(&AttributeType::MESSAGE_INTEGRITY));
        assert!(!types.contains(&AttributeType::MESSAGE_INTEGRITY_SHA256));
        let features = Features::of(nonce).expect("a cookie");
        assert_eq!(
            answer.find::<PasswordAlgorithms<'_>>(),
            features
                .password_algorithms
                .then_some(PasswordAlgorithms::SHA256_MD5)
        );
    }

    fn answer_arrives(&mut self, client: usize, answer: &Answer) {
        let actor = &mut self.actors[client];
        let nonce = answer.find::<Nonce<'_>>().map(|nonce| nonce.0.to_vec());
        if answer.client != actor.caller.client {
            let mut earlier = actor.earlier.iter_mut();
            let place = earlier.find(|place| place.client == answer.client);
            if let (Some(place), Some(nonce)) = (place, nonce) {
                place.nonce = nonce;
            }
            return;
        }
        if let Some(nonce) = nonce {
            actor.caller.nonce = nonce;
        }
        if let Some(ticket) = ticket_of(answer) {
            actor.has_moved = false;
            if !actor.tickets.contains(&ticket) {
                actor.tickets.push(ticket);
            }
        }
        let relayed = relayed(answer);
        if !relayed.is_empty() {
            actor.relayed = relayed;
        } else if answer.code() == 437 && answer.message().method() != Method::ALLOCATE {
            actor.relayed.clear();
            actor.has_moved = false;
        }
        if let Some(ReservationToken(token)) = answer.find() {
            actor.token = Some(token);
        }
    }

    /// Holds the machine's verdict against the model's.
    fn compare(&mut self, expected: &Route, verdict: &Verdict) {
        let (actual, name) = match verdict {
            Verdict::ToPeer {
                port,
                peer,
                payload,
                ..
            } => {
                let relayed = self.node.open[port];
                (
                    Route::ToPeer {
                        relayed,
                        peer: *peer,
                        len: payload.len(),
                    },
                    "to_peer",
                )
            }
            Verdict::ToClient {
                client,
                header,
                payload,
            } => {
                let tuple = tuple(client);
                let len = payload.len();
                let wire = [header.bytes(), &vec![0; len + header.tail()]].concat();
                if header.bytes().len() == 4 {
                    let number = u16::from_be_bytes([wire[0], wire[1]]);
                    let padded = client.transport.is_stream() && len % 4 != 0;
                    assert_eq!(header.tail(), if padded { 4 - len % 4 } else { 0 });
                    assert_eq!(usize::from(wire[3]), len);
                    let Route::ToClient { from, .. } = *expected else {
                        panic!("{expected:?}, not {verdict:?}")
                    };
                    (
                        Route::ToClient {
                            tuple,
                            channel: Some(number),
                            from,
                            len,
                        },
                        "channel",
                    )
                } else {
                    let data = DataIndication::parse(&wire).expect("well formed");
                    assert_eq!(data.payload.map(|payload| payload.len()), Some(len));
                    let from = data.peer;
                    (
                        Route::ToClient {
                            tuple,
                            channel: None,
                            from,
                            len,
                        },
                        "data_indication",
                    )
                }
            }
            Verdict::ToWorker {
                worker: WorkerId(worker),
                to,
                from,
                payload,
            } => {
                let (worker, to, from) = (usize::from(*worker), to.0, from.0);
                let len = payload.len();
                self.post(
                    Parcel::Letter {
                        worker,
                        to,
                        from,
                        len,
                    },
                    false,
                );
                (
                    Route::ToWorker {
                        worker,
                        to,
                        from,
                        len,
                    },
                    "to_worker",
                )
            }
            Verdict::Drop(reason) => (Route::Drop(*reason), reason.as_str()),
            Verdict::ToOwner { .. } => panic!("handed on already"),
            Verdict::Handled => panic!("data is never answered"),
        };
        assert_eq!(actual, *expected);
        *self.tally.verdicts.entry(name).or_default() += 1;
    }
}

/// The ticket in an answer.
fn ticket_of(answer: &Answer) -> Option<Vec<u8>> {
    answer
        .find::<MobilityTicket<'_>>()
        .map(|ticket| ticket.0.to_vec())
}

/// The relayed addresses that an answer names.
fn relayed(answer: &Answer) -> Vec<SocketAddr> {
    let message = answer.message();
    let all = message.find_all::<XorRelayedAddress>();
    all.map(|addr| addr.expect("well formed").0).collect()
}
