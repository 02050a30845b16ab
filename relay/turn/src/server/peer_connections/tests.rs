//! The machine against a reference model: whatever clients, peers and the driver do, in whatever
//! order, both know the same connections.

#![allow(clippy::unwrap_used)]
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use proptest::prelude::*;
use sterna_stun::attr::ConnectionId;

use crate::{
    PeerConnection, Transport,
    testing::{Caller, Node, edited},
};

const PEERS: [&str; 4] = [
    "8.8.8.8:5000",
    "8.8.8.8:5001",
    "8.8.4.4:5000",
    "9.9.9.9:5000",
];
const PER_ALLOCATION: u32 = 3;
const IN_ALL: u32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Connect {
        who: usize,
        peer: usize,
    },
    Answer {
        success: bool,
    },
    Permit {
        who: usize,
        peer: usize,
    },
    Attempt {
        who: usize,
        peer: usize,
    },
    Bind {
        by: usize,
        which: usize,
        worker: usize,
    },
    Close {
        which: usize,
    },
    Pass {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (who, peer) = (0_usize..2, 0..PEERS.len());
    prop_oneof![
        4 => (who.clone(), peer.clone()).prop_map(|(who, peer)| Step::Connect { who, peer }),
        4 => prop::bool::weighted(0.8).prop_map(|success| Step::Answer { success }),
        2 => (who.clone(), peer.clone()).prop_map(|(who, peer)| Step::Permit { who, peer }),
        3 => (who.clone(), peer).prop_map(|(who, peer)| Step::Attempt { who, peer }),
        4 => (who, 0_usize..8, 0_usize..3)
            .prop_map(|(by, which, worker)| Step::Bind { by, which, worker }),
        2 => (0_usize..8).prop_map(|which| Step::Close { which }),
        2 => (0_u64..40).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What the model knows of a connection.
#[derive(Clone, Debug)]
struct Known {
    who: usize,
    peer: SocketAddr,
    id: u32,
    bound: bool,
    /// In seconds since the start.
    made_s: u64,
}

struct Bench {
    node: Node,
    callers: [Caller; 2],
    relayed: [SocketAddr; 2],
    now_s: u64,
    connecting: Vec<(usize, SocketAddr)>,
    known: BTreeMap<PeerConnection, Known>,
    /// By user and address without its port, until when.
    permitted: BTreeMap<(usize, std::net::IpAddr), u64>,
    routes: u32,
}

impl Bench {
    fn new() -> Self {
        let config = edited(|config| {
            config.tcp_allocations = true;
            config.limits.tcp_peer_connections_per_allocation_max = PER_ALLOCATION;
            config.limits.tcp_peer_connections_max = IN_ALL;
            config.limits.new_peers_per_allocation_per_s = 0;
            config.lifetime_max_s = 1_000_000;
        });
        let mut node = Node::new(3, config);
        let mut callers = [
            Caller::alice().over(Transport::Tcp, 0),
            Caller::bob().over(Transport::Tls, 1).on_worker(1),
        ];
        let relayed = [0, 1].map(|who: usize| node.allocate_tcp(&mut callers[who]).unwrap());
        for caller in &mut callers {
            node.refresh(caller, 1_000_000).unwrap();
        }
        Self {
            node,
            callers,
            relayed,
            now_s: 0,
            connecting: Vec::new(),
            known: BTreeMap::new(),
            permitted: BTreeMap::new(),
            routes: 100,
        }
    }

    fn has_room(&self, who: usize) -> bool {
        let own = self.connecting.iter().filter(|(of, _)| *of == who).count()
            + self.known.values().filter(|known| known.who == who).count();
        own < PER_ALLOCATION as usize && self.connecting.len() + self.known.len() < IN_ALL as usize
    }

    fn learn(&mut self, handle: PeerConnection, who: usize, peer: SocketAddr, id: u32) {
        let known = Known {
            who,
            peer,
            id,
            bound: false,
            made_s: self.now_s,
        };
        assert!(
            self.known.values().all(|other| other.id != id),
            "an id is unique"
        );
        self.known.insert(handle, known);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Connect { who, peer } => {
                let addr: SocketAddr = PEERS[peer].parse().unwrap();
                let twice = self.connecting.contains(&(who, addr))
                    || self
                        .known
                        .values()
                        .any(|it| it.who == who && it.peer == addr);
                let expected = match (twice, self.has_room(who)) {
                    (true, _) => 446,
                    (false, false) => 508,
                    (false, true) => {
                        self.connecting.push((who, addr));
                        0
                    }
                };
                let code = self.node.connect(&mut self.callers[who], PEERS[peer]);
                assert_eq!(code, expected);
            }
            Step::Answer { success } => {
                if self.connecting.is_empty() {
                    return;
                }
                let (who, peer) = self.connecting.remove(0);
                let (handle, result) = self.node.connected(success);
                assert_eq!(result.is_ok(), success);
                match result {
                    Ok(id) => self.learn(handle, who, peer, id),
                    Err(code) => assert_eq!(code, 447),
                }
            }
            Step::Permit { who, peer } => {
                assert_eq!(self.node.permit(&mut self.callers[who], PEERS[peer]), 0);
                let addr: SocketAddr = PEERS[peer].parse().unwrap();
                self.permitted.insert((who, addr.ip()), self.now_s + 300);
            }
            Step::Attempt { who, peer } => {
                let addr: SocketAddr = PEERS[peer].parse().unwrap();
                let until_s = self.permitted.get(&(who, addr.ip())).copied();
                let wanted =
                    until_s.is_some_and(|until_s| until_s > self.now_s) && self.has_room(who);
                let (handle, indication) = self.node.attempt(who, self.relayed[who], PEERS[peer]);
                assert_eq!(indication.is_some(), wanted);
                if let Some(indication) = indication {
                    assert_eq!(indication.client, self.callers[who].client);
                    let ConnectionId(id) = indication.find().unwrap();
                    self.learn(handle, who, addr, id);
                }
            }
            Step::Bind { by, which, worker } => {
                let chosen = self.known.iter().nth(which);
                let (handle, known) = match chosen {
                    Some((handle, known)) => (Some(*handle), known.clone()),
                    None => return,
                };
                self.routes += 1;
                let mut data = self.callers[by].again(self.routes, worker);
                let expected = match (known.bound, known.who == by) {
                    (true, _) => 400,
                    (false, false) => 441,
                    (false, true) => 0,
                };
                assert_eq!(self.node.bind_connection(&mut data, known.id), expected);
                if expected == 0 {
                    let handle = handle.unwrap();
                    assert_eq!(self.node.joined.pop(), Some((data.client, handle)));
                    self.known.get_mut(&handle).unwrap().bound = true;
                }
                assert!(self.node.joined.is_empty());
            }
            Step::Close { which } => {
                let chosen = self.known.iter().nth(which);
                if let Some((handle, who)) = chosen.map(|(handle, known)| (*handle, known.who)) {
                    self.known.remove(&handle);
                    self.node.connection_closes(who, handle);
                }
            }
            Step::Pass { seconds } => {
                self.now_s += seconds;
                self.node.pass(Duration::from_secs(seconds));
                let now_s = self.now_s;
                self.known
                    .retain(|_, known| known.bound || known.made_s + 30 > now_s);
            }
        }
        self.compare();
    }

    fn compare(&self) {
        let connecting = self.node.connecting.len();
        assert_eq!(connecting, self.connecting.len());
        assert!(
            self.node.peers.keys().eq(self.known.keys()),
            "the same connections"
        );
        let usage = self.node.registry.usage();
        let all = connecting + self.known.len();
        assert_eq!(usage.peer_connections, all as u64);
        let unbound = self.known.values().filter(|known| !known.bound).count();
        assert_eq!(usage.unbound_connections, unbound);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_machine_knows_the_connections_that_a_model_knows(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        let mut bench = Bench::new();
        for step in steps {
            bench.take(&step);
        }
        for (worker, caller) in bench.callers.clone().into_iter().enumerate() {
            bench.node.servers[worker].handle_stream_closed(bench.node.now, caller.client);
            bench.node.settle(worker);
        }
        bench.node.assert_nothing_is_left();
    }
}
