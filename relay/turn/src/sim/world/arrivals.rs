//! What arrives at the node is put to the model, then to the machine, and compared.

use sterna_stun::{
    attr::{
        AttributeType, Lifetime, Nonce, PasswordAlgorithms, ReservationToken, XorRelayedAddress,
    },
    data_indication::DataIndication,
    message::Method,
    nonce::Features,
};

use super::{Parcel, World, tuple};
use crate::{
    Client, PeerAddr, Verdict, WorkerId,
    sim::model::{Ask, Route, Signature},
    testing::Answer,
};

impl World {
    pub(super) fn arrive(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Request {
                from,
                worker,
                ask,
                by,
                bytes,
            } => {
                self.request_arrives(from, worker, &ask, &by, &bytes);
            }
            Parcel::Datum {
                from,
                worker,
                datum,
                bytes,
            } => {
                let expected = self.model.route_of(tuple(&from), datum);
                let verdict = self.node.receive(worker, from, &bytes);
                self.compare(&expected, &verdict);
            }
            Parcel::FromPeer { relayed, peer, len } => {
                let open = self.node.open.iter().find(|(_, open)| **open == relayed);
                let Some((&port, _)) = open else { return };
                let tuple = self
                    .model
                    .allocs
                    .values()
                    .find(|alloc| alloc.relayed == relayed);
                let worker = tuple.expect("open, so allocated").worker;
                let expected = self.model.to_client(relayed, peer, len);
                let verdict = self.node.servers[worker].handle_peer(self.node.now, port, peer, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Letter {
                worker,
                to,
                from,
                len,
            } => {
                // The relayed address may be another worker's by now.
                let living = self.model.allocs.values().find(|alloc| alloc.relayed == to);
                let expected = if living.is_some_and(|alloc| alloc.worker == worker) {
                    self.model.to_client(to, from, len)
                } else {
                    Route::Drop(crate::DropReason::UnknownRelayedAddress)
                };
                let (to, from) = (PeerAddr(to), PeerAddr(from));
                let verdict =
                    self.node.servers[worker].handle_relayed(self.node.now, to, from, len);
                self.compare(&expected, &verdict);
            }
            Parcel::Answer { client, answer } => self.answer_arrives(client, &answer),
        }
    }

    fn request_arrives(
        &mut self,
        from: Client,
        worker: usize,
        ask: &Ask,
        by: &Signature,
        bytes: &[u8],
    ) {
        let tuple = tuple(&from);
        // A retransmission that comes late may find another worker, as it may on a real host; the
        // model has one table, so here a 5-tuple keeps its worker.
        let worker = self
            .model
            .allocs
            .get(&tuple)
            .map_or(worker, |alloc| alloc.worker);
        let expected = self.model.request(self.node.now, tuple, ask, by);
        self.node.answers.clear();
        let verdict = self.node.receive(worker, from, bytes);
        assert_eq!(verdict, Verdict::Handled, "{ask:?}");
        assert_eq!(self.node.answers.len(), 1);
        let answer = self.node.answers.pop_front().expect("counted");
        assert_eq!(
            (answer.code(), answer.client),
            (expected, from),
            "{ask:?} {by:?}"
        );
        *self.tally.codes.entry(expected).or_default() += 1;
        self.check_signature(by, &answer);

        if let Some(nonce) = answer.find::<Nonce<'_>>() {
            self.model
                .nonces
                .insert(nonce.0.to_vec(), (from.addr, self.model.minute));
        }
        if let Some(XorRelayedAddress(relayed)) = answer.find() {
            let token = answer.find::<ReservationToken>().map(|token| token.0);
            self.model
                .granted(self.node.now, tuple, worker, ask, by, relayed, token);
            let lifetime_s = self.model.allocs[&tuple].lifetime_s;
            assert_eq!(answer.find(), Some(Lifetime(lifetime_s)));
        }
        let client = self
            .actors
            .iter()
            .position(|actor| actor.caller.client == from);
        if let Some(client) = client {
            self.post(
                Parcel::Answer { client, answer },
                from.transport.is_stream(),
            );
        }
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
        if answer.client != actor.caller.client {
            return;
        }
        if let Some(nonce) = answer.find::<Nonce<'_>>() {
            actor.caller.nonce = nonce.0.to_vec();
        }
        if let Some(XorRelayedAddress(relayed)) = answer.find() {
            actor.relayed = Some(relayed);
        } else if answer.code() == 437 && answer.message().method() != Method::ALLOCATE {
            actor.relayed = None;
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
            Verdict::Handled => panic!("data is never answered"),
        };
        assert_eq!(actual, *expected);
        *self.tally.verdicts.entry(name).or_default() += 1;
    }
}
