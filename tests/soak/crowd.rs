//! The clients of the soak, whom they talk to, and what they have seen.
//!
//! | module | what it is about |
//! |---|---|
//! | [`life`] | a session after the other, each of random kind and with a random end |
//! | [`party`] | one end of a conversation: its allocation, its permissions and channels |
//! | [`acts`] | what a client does meanwhile, and the bytes that come back |
//! | [`moves`] | taking the allocation along to another socket or connection (RFC 8016) |
//! | [`connections`] | TCP connections to and from peers (RFC 6062) |

mod acts;
mod connections;
mod life;
mod moves;
mod party;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_bench::{BenchError, Left, Route, Transport, Trust};
use sterna_turn::client::PortWish;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::connections::EchoListener;
use self::party::{connect, options};
use crate::common::client::Echo;
use crate::common::node::{self, Node};
use crate::common::ports::has_ipv6;

/// Of the users below.
pub(crate) const PASSWORD: &str = "staple-horse";

/// Its sessions may be ended by the operator at any time, and nobody minds.
pub(crate) const CUT_USER: &str = "carol";

/// Its sessions are left behind without a word, and end by themselves after ten minutes.
pub(crate) const LEFT_USER: &str = "dave";

/// No session takes this long, not even one whose requests go unanswered.
const SESSION_MAX: Duration = Duration::from_secs(90);

/// How long an allocation lives of which nobody takes care: its lifetime, and a little.
const LEFT_LIVE: Duration = Duration::from_secs(610);

/// All clients, and the peers that they talk to.
pub(crate) struct Crowd {
    runtime: Runtime,
    world: Arc<World>,
    lives: Mutex<Vec<JoinHandle<()>>>,
}

/// One of the node's listeners, and how it is reached.
struct Way {
    server: SocketAddr,
    route: Route,
    transport: Transport,
}

struct World {
    /// UDP, TCP and TLS to each address of the node.
    ways: Vec<Way>,
    peers: Vec<Echo>,
    /// Peers over TCP, of both families.
    listeners: Vec<EchoListener>,
    stop: AtomicBool,
    may_forget: AtomicBool,
    next_tag: AtomicU64,
    sessions: AtomicU64,
    begun_anew: AtomicU64,
    moved: AtomicU64,
    connections: AtomicU64,
    left: AtomicU64,
    cut: AtomicU64,
    sent: AtomicU64,
    verified: AtomicU64,
    lost: AtomicU64,
    failure: Mutex<Option<String>>,
    /// Of whom, and since when.
    left_behind: Mutex<Vec<(&'static str, Instant, Left)>>,
}

/// What the clients have seen so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    sessions: u64,
    begun_anew: u64,
    pub(crate) moved: u64,
    pub(crate) connections: u64,
    left: u64,
    cut: u64,
    pub(crate) sent: u64,
    pub(crate) verified: u64,
    pub(crate) lost: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions ({} begun anew elsewhere, {} left without a word, {} cut by the operator), {} moves, \
             {} TCP connections with peers, {} packets sent, {} verified, {} lost",
            self.sessions,
            self.begun_anew,
            self.left,
            self.cut,
            self.moved,
            self.connections,
            self.sent,
            self.verified,
            self.lost
        )
    }
}

impl Crowd {
    pub(crate) fn new(node: &Node, seed: u64) -> Self {
        let mut ips = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        if has_ipv6() {
            ips.push(Ipv6Addr::LOCALHOST.into());
        }
        let mut ways = Vec::new();
        for ip in &ips {
            for (transport, port) in [
                (Transport::Udp, node.port),
                (Transport::Udp, node.port),
                (Transport::Tcp, node.port),
                (Transport::Tls, node.tls_port),
            ] {
                let server = SocketAddr::new(*ip, port);
                let route = Route::new(server, transport, &Trust::Anybody, "localhost");
                ways.push(Way {
                    server,
                    route: route.expect("a route"),
                    transport,
                });
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listeners = runtime.block_on(connections::listen(&ips));
        let world = World {
            ways,
            peers: ips.into_iter().map(Echo::start).collect(),
            listeners,
            stop: AtomicBool::new(false),
            may_forget: AtomicBool::new(false),
            // Payloads of two runs differ.
            next_tag: AtomicU64::new(seed << 32),
            sessions: AtomicU64::new(0),
            begun_anew: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            left: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failure: Mutex::new(None),
            left_behind: Mutex::default(),
        };
        Self {
            runtime,
            world: Arc::new(world),
            lives: Mutex::new(Vec::new()),
        }
    }

    /// Makes many allocations, holds them all at once, and gives them back.
    pub(crate) fn hold(&self, count: usize) {
        self.runtime.block_on(async {
            let mut held = Vec::with_capacity(count);
            for number in 0..count {
                let Way { server, route, .. } = &self.world.ways[number % self.world.ways.len()];
                let made = async {
                    let mut session = connect(route, node::USER).await?;
                    session
                        .allocate_with(options(*server, PortWish::Any))
                        .await?;
                    let peer = self.world.peer(*server);
                    session.bind_channel(peer).await?;
                    Ok::<_, BenchError>(session)
                };
                held.push(made.await.expect("an allocation of many"));
            }
            for mut session in held {
                session.release().await.expect("the end of one of many");
            }
        });
    }

    /// Lets so many clients loose.
    pub(crate) fn start(&self, seed: u64, clients: u64) {
        self.world.stop.store(false, Ordering::Relaxed);
        let lives = (0..clients).map(|client| {
            let rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9).wrapping_add(client));
            self.runtime.spawn(life::life(Arc::clone(&self.world), rng))
        });
        let mut running = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        running.extend(lives);
    }

    /// Waits until each has ended its session.
    pub(crate) fn stop(&self) {
        self.world.stop.store(true, Ordering::Relaxed);
        let lives = std::mem::take(&mut *self.lives.lock().unwrap_or_else(PoisonError::into_inner));
        self.runtime.block_on(async {
            for life in lives {
                timeout(SESSION_MAX, life)
                    .await
                    .expect("a client does not come to an end")
                    .expect("a client");
            }
        });
    }

    /// Whether ports may be reserved that nobody comes for.
    pub(crate) fn may_forget(&self, may: bool) {
        self.world.may_forget.store(may, Ordering::Relaxed);
    }

    /// The first thing that should not have happened.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.world.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something that ends what clients have left behind, and then closes their sockets: a port
    /// that came back sooner would be taken for the old client.
    pub(crate) fn bury(&self, ended: &str, end: impl FnOnce()) {
        let is_dead = |(user, since, _): &mut (&str, Instant, Left)| {
            *user == ended || since.elapsed() > LEFT_LIVE
        };
        let mut all = self.world.left_behind.lock().expect("no panic");
        let dead: Vec<_> = all.extract_if(.., is_dead).collect();
        drop(all);
        end();
        drop(dead);
    }

    /// How many allocations may live that clients have left behind.
    pub(crate) fn left_behind(&self) -> usize {
        self.world.left_behind.lock().expect("no panic").len()
    }

    pub(crate) fn seen(&self) -> Seen {
        let world = &self.world;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            sessions: count(&world.sessions),
            begun_anew: count(&world.begun_anew),
            moved: count(&world.moved),
            connections: count(&world.connections),
            left: count(&world.left),
            cut: count(&world.cut),
            sent: count(&world.sent),
            verified: count(&world.verified),
            lost: count(&world.lost),
        }
    }
}

impl World {
    /// The echo in the family of the node's address.
    fn peer(&self, server: SocketAddr) -> SocketAddr {
        let mut peers = self.peers.iter().map(Echo::addr);
        let peer = peers.find(|peer| peer.is_ipv4() == server.is_ipv4());
        peer.expect("an echo in each family")
    }

    /// One of the ways to the same address of the node that fits.
    fn way_beside(&self, way: usize, rng: &mut StdRng, fits: impl Fn(Transport) -> bool) -> usize {
        let ip = self.ways[way].server.ip();
        let of_address = |other: &usize| {
            let other = &self.ways[*other];
            other.server.ip() == ip && fits(other.transport)
        };
        let ways: Vec<usize> = (0..self.ways.len()).filter(of_address).collect();
        *ways.choose(rng).expect("each address has all of them")
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that is left behind is closed, and known to be.
    fn leave(&self, user: &'static str, way: usize, left: Left) {
        if self.ways[way].transport != Transport::Udp {
            return;
        }
        let entry = (user, Instant::now(), left);
        let mut all = self.left_behind.lock();
        all.as_mut().expect("no panic").push(entry);
    }

    fn fail(&self, what: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(what);
    }
}
