//! What clients, peers and the operator do.

use std::{net::SocketAddr, time::Duration};

use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressFamily, ChannelNumber, Data, EvenPort, Icmp, Lifetime,
        MobilityTicket, RequestedAddressFamily, RequestedTransport, ReservationToken,
        XorPeerAddress,
    },
    message::Method,
};

use super::{Parcel, World};
use crate::{
    Revoke,
    sim::model::{Ask, Datum, Signature},
    testing::Caller,
};

impl World {
    fn peer(&mut self) -> SocketAddr {
        // Mostly one that will do, so that there is something to relay.
        if self.one_in(2) {
            return "8.8.8.8:5000".parse().expect("an address");
        }
        let some = self.below(self.actors.len());
        let living = self.actors[some].relayed.len();
        if living > 0 && self.one_in(2) {
            let half = self.below(living);
            return self.actors[some].relayed[half];
        }
        const PEERS: [&str; 16] = [
            "8.8.8.8:5000",
            "8.8.8.8:5000",
            "8.8.8.8:5000",
            "8.8.8.8:5001",
            "8.8.4.4:5000",
            "8.8.4.4:5000",
            "[2606:4700::1]:5000",
            "[2606:4700::1]:5000",
            "1.1.1.1:53",
            "10.0.0.1:5000",
            "127.0.0.1:5000",
            "198.51.100.1:50013",
            "198.51.100.1:3478",
            "[::1]:5000",
            "[64:ff9b::7f00:1]:5000",
            "[::ffff:8.8.8.8]:5000",
        ];
        PEERS[self.below(PEERS.len())].parse().expect("an address")
    }

    fn channel(&mut self) -> u16 {
        if self.one_in(2) {
            return 0x4000;
        }
        const NUMBERS: [u16; 8] = [
            0x4000, 0x4000, 0x4001, 0x4001, 0x4002, 0x4fff, 0x5000, 0x3fff,
        ];
        NUMBERS[self.below(NUMBERS.len())]
    }

    pub(super) fn client_acts(&mut self) {
        let index = self.below(self.actors.len());
        match self.below(100) {
            0..=1 => self.move_client(index),
            // Whoever has moved makes himself known first.
            2..=60 if !self.actors[index].has_moved || self.one_in(4) => self.send_data(index),
            _ => self.send_request(index),
        }
    }

    fn send_data(&mut self, index: usize) {
        let len = self.below(9);
        let peer = self.peer();
        let datum = if self.one_in(2) {
            // Numbers that are no channel's are not ChannelData, and are tested elsewhere.
            Datum::Channel(self.channel().clamp(0x4000, 0x4fff), len)
        } else {
            Datum::Send(peer, len)
        };
        let (from, _) = self.place_of(index);
        let caller = &mut self.actors[index].caller;
        let payload = vec![0xAB; len];
        let bytes = match datum {
            Datum::Send(peer, _) => caller.indication(Method::SEND, |writer| {
                writer.attr(&XorPeerAddress(peer))?;
                writer.attr(&Data(&payload))
            }),
            Datum::Channel(number, _) => {
                let head = [
                    number.to_be_bytes(),
                    u16::try_from(len).expect("short").to_be_bytes(),
                ];
                [&head.concat()[..], &payload].concat()
            }
        };
        let parcel = Parcel::Datum { from, datum, bytes };
        self.post(parcel, from.transport.is_stream());
    }

    fn send_request(&mut self, index: usize) {
        let ask = self.think_of(index);
        let (wrong_password, wrong_name) = (self.one_in(40), self.one_in(40));
        let mut caller = self.actors[index].caller.clone();
        (caller.client, caller.nonce) = self.place_of(index);
        if wrong_name {
            // Somebody who is known, but maybe not here.
            caller.name = "bob".into();
            caller.set_password("bob's");
        }
        if wrong_password {
            caller.set_password("guessed");
        }
        let bytes = encode(&mut caller, &ask);
        self.actors[index].caller.next_transaction = caller.next_transaction;
        let from = caller.client;
        let by = Signature {
            name: caller.name.clone(),
            right: !wrong_password,
            nonce: caller.nonce.clone(),
            transaction: caller.next_transaction,
            caller: Box::new(caller),
        };
        let is_stream = from.transport.is_stream();
        let moves = matches!(
            ask,
            Ask::Refresh {
                ticket: Some(_),
                ..
            }
        );
        let parcel = Parcel::Request {
            from,
            ask,
            by,
            bytes,
        };
        // Whose answer is late asks again.
        if moves && !is_stream && self.one_in(2) {
            let pause = Duration::from_millis(500 + self.below(4_000) as u64);
            self.post_after(pause, parcel.clone());
        }
        self.post(parcel, is_stream);
    }

    fn think_of(&mut self, index: usize) -> Ask {
        let has_moved = self.actors[index].has_moved && !self.one_in(3);
        if has_moved || self.one_in(7) {
            return self.think_of_moving(index);
        }
        let homeless = self.actors[index].relayed.is_empty();
        let wants_a_home = homeless && !self.one_in(5);
        match self.below(if wants_a_home { 3 } else { 10 }) {
            0..=2 => {
                let token = self.actors[index]
                    .token
                    .or_else(|| self.actors[(index + 2) % 7].token);
                let shows_token = token.is_some() && self.one_in(3);
                let dual = self.one_in(if shows_token { 9 } else { 3 });
                // What no client should ask for is asked for now and then.
                let odd = self.one_in(15);
                Ask::Allocate {
                    v6: if dual {
                        odd
                    } else {
                        self.one_in(if shows_token { 9 } else { 6 })
                    },
                    dual,
                    even: [None, None, Some(false), Some(true)][self.below(4)]
                        .filter(|even| !(shows_token || dual && *even && !odd)),
                    token: token.filter(|_| shows_token),
                    lifetime_s: [None, Some(0), Some(700), Some(9999)][self.below(4)],
                    mobile: !self.one_in(4),
                }
            }
            3 => Ask::Refresh {
                ticket: None,
                v6: [None, None, Some(false), Some(true)][self.below(4)],
                lifetime_s: [0, 1, 600, 600, 600, 1200, 9999][self.below(7)],
            },
            4..=6 => {
                let count = [0, 1, 1, 1, 1, 2, 3][self.below(7)];
                Ask::Permit((0..count).map(|_| self.peer()).collect())
            }
            _ => Ask::Bind(self.channel(), self.peer()),
        }
    }

    /// A peer sends to some relayed address, living or not.
    pub(super) fn peer_sends(&mut self) {
        let open: Vec<SocketAddr> = self.node.open.values().copied().collect();
        if open.is_empty() {
            return;
        }
        let relayed = open[self.below(open.len())];
        let (mut peer, len) = (self.peer(), self.below(9));
        if self.one_in(2) {
            peer = "8.8.8.8:5000".parse().expect("an address");
        }
        if peer.ip() == relayed.ip() {
            return;
        }
        if self.one_in(4) {
            // A router's, or a forger's of any type.
            let type_ = if self.one_in(4) {
                u8::try_from(self.below(16)).expect("small")
            } else {
                [1, 2, 3, 11][self.below(4)]
            };
            let icmp = Icmp {
                type_,
                code: u16::try_from(self.below(6)).expect("small"),
                data: [0, 0, 5, 0],
            };
            let parcel = Parcel::Icmp {
                relayed,
                peer,
                icmp,
            };
            self.post(parcel, false);
        } else {
            self.post(Parcel::FromPeer { relayed, peer, len }, false);
        }
    }

    /// The operator changes the policy, drains, or throws somebody out.
    pub(super) fn operate(&mut self) {
        match self.below(6) {
            5 => {
                let forbids = !self.model.forbids_mobility && self.one_in(5);
                self.model.forbids_mobility = forbids;
                self.node.reconfigure(|config| config.mobility = !forbids);
            }
            3 => self.node.reconfigure(|config| {
                config.password_algorithms = !config.password_algorithms;
            }),
            4 => self.node.reconfigure(|config| {
                // Names are hashed while there are no secrets.
                config.secrets = match config.secrets.is_empty() {
                    true => vec!["north".into()],
                    false => Vec::new(),
                };
            }),
            0 => {
                let deny = !self.model.deny_dns;
                self.node.replace_policy(|policy| {
                    if deny {
                        let nets = ["8.8.4.0/24", "2606:4700::/32"];
                        policy.deny = nets.map(|net| net.parse().expect("ok")).into();
                    }
                });
                self.model.deny_dns(deny);
            }
            1 => {
                self.model.draining = !self.model.draining && self.one_in(4);
                for server in &mut self.node.servers {
                    server.drain(self.model.draining);
                }
            }
            _ => {
                let revoke = Revoke::User("bob".into());
                let mut revoked = 0;
                for worker in 0..self.node.servers.len() {
                    revoked += self.node.servers[worker].revoke(self.node.now, &revoke);
                    self.node.settle(worker);
                }
                assert_eq!(revoked, self.model.revoke("bob"));
            }
        }
    }
}

fn encode(caller: &mut Caller, ask: &Ask) -> Vec<u8> {
    let family = |v6| {
        RequestedAddressFamily(if v6 {
            AddressFamily::Ipv6
        } else {
            AddressFamily::Ipv4
        })
    };
    match ask {
        Ask::Allocate {
            v6,
            dual,
            even,
            token,
            lifetime_s,
            mobile,
        } => caller.signed(Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            if *v6 {
                writer.attr(&family(true))?;
            }
            if *dual {
                writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))?;
            }
            if let Some(reserve_next) = *even {
                writer.attr(&EvenPort { reserve_next })?;
            }
            if let Some(token) = *token {
                writer.attr(&ReservationToken(token))?;
            }
            if *mobile {
                writer.attr(&MobilityTicket(b""))?;
            }
            lifetime_s.map_or(Ok(()), |lifetime_s| writer.attr(&Lifetime(lifetime_s)))
        }),
        Ask::Refresh {
            ticket,
            v6,
            lifetime_s,
        } => caller.signed(Method::REFRESH, |writer| {
            if let Some(ticket) = ticket {
                writer.attr(&MobilityTicket(ticket))?;
            }
            if let Some(v6) = *v6 {
                writer.attr(&family(v6))?;
            }
            writer.attr(&Lifetime(*lifetime_s))
        }),
        Ask::Permit(peers) => caller.signed(Method::CREATE_PERMISSION, |writer| {
            peers
                .iter()
                .try_for_each(|peer| writer.attr(&XorPeerAddress(*peer)))
        }),
        Ask::Bind(number, peer) => caller.signed(Method::CHANNEL_BIND, |writer| {
            writer.attr(&ChannelNumber(*number))?;
            writer.attr(&XorPeerAddress(*peer))
        }),
    }
}
