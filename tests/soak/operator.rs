//! Who interferes: reloads, ends sessions, and sends what no client sends.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::node::{Node, OTHER_USER, USER};
use crate::common::nonsense::{nonsense, signed_messages};
use crate::common::{SOON, http};
use crate::crowd::{CUT_USER, Crowd, LEFT_USER, PASSWORD};

/// Messages of nonsense a burst, and the pause between two bursts: a few hundred a second.
const NONSENSE_BURST: usize = 16;
const NONSENSE_PAUSE: Duration = Duration::from_millis(60);

/// Between two acts.
const ACT_MS_MAX: u64 = 3_000;

/// How long a user is unknown who is taken out of the configuration.
const UNKNOWN: Duration = Duration::from_millis(150);

/// More than so many clients that are gone without a word are not left to linger, so that the node
/// never holds more than it did before anything was measured.
const LEFT_MAX: usize = 200;

/// The user whose sessions may be ended at any time, in the configuration's words.
fn cut_user() -> String {
    format!("{{ name = {CUT_USER:?}, password = {PASSWORD:?} }},\n")
}

/// Adds the soak's own users to those that every test's node has.
pub(crate) fn add_users(node: &Node) {
    let left = format!("{{ name = {LEFT_USER:?}, password = {PASSWORD:?} }},\n");
    node.edit_config(|text| {
        text.replace("users = [\n", &format!("users = [\n{left}{}", cut_user()))
    });
    reload(node);
}

/// Ends whatever lives.
pub(crate) fn end_all(node: &Node, crowd: &Crowd) {
    for user in [USER, OTHER_USER, CUT_USER, LEFT_USER] {
        crowd.bury(user, || end(node, user));
    }
}

fn end(node: &Node, user: &str) {
    let path = format!("/users/{user}/allocations");
    let answer = http::request(node.admin, "DELETE", &path, "").expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn reload(node: &Node) {
    let answer = node.post("/reload", "");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// An operator who is never content, and a stranger.
pub(crate) struct Operator {
    rng: StdRng,
    next_act: Instant,
    knows_cut_user: bool,
    stop: Arc<AtomicBool>,
    stranger: Option<JoinHandle<()>>,
}

impl Operator {
    pub(crate) fn start(node: &Node, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let signed = signed_messages(node);
        let (udp, tls) = (
            node.v4(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port)),
        );
        let stopped = Arc::clone(&stop);
        let rng = StdRng::seed_from_u64(seed ^ 0xBAD);
        let stranger = std::thread::spawn(move || annoy(udp, tls, &signed, rng, &stopped));
        Self {
            rng: StdRng::seed_from_u64(seed ^ 0x0E),
            next_act: Instant::now(),
            knows_cut_user: true,
            stop,
            stranger: Some(stranger),
        }
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, node: &Node, crowd: &Crowd) {
        if crowd.left_behind() > LEFT_MAX {
            crowd.bury(CUT_USER, || end(node, CUT_USER));
        }
        if Instant::now() < self.next_act {
            return;
        }
        if !self.knows_cut_user {
            return self.toggle_user(node);
        }
        self.next_act =
            Instant::now() + Duration::from_millis(self.rng.random_range(0..ACT_MS_MAX));
        match self.rng.random_range(0..4) {
            0 => crowd.bury(CUT_USER, || end(node, CUT_USER)),
            1 => self.toggle_user(node),
            2 => self.toggle_policy(node),
            _ => {
                let listed = node.get("/allocations?limit=1000");
                assert_eq!(listed.status, 200);
            }
        }
    }

    fn toggle_user(&mut self, node: &Node) {
        let user = cut_user();
        let knows = self.knows_cut_user;
        node.edit_config(|text| match knows {
            true => text.replace(&user, ""),
            false => text.replace("users = [\n", &format!("users = [\n{user}")),
        });
        self.knows_cut_user = !knows;
        if knows {
            self.next_act = Instant::now() + UNKNOWN;
        }
        reload(node);
    }

    fn toggle_policy(&mut self, node: &Node) {
        let (open, closed) = ("deny = []", "deny = [\"192.0.2.0/24\"]");
        node.edit_config(|text| {
            if text.contains(open) {
                text.replace(open, closed)
            } else {
                text.replace(closed, open)
            }
        });
        reload(node);
    }

    /// Sends the stranger home, and knows every user again.
    pub(crate) fn stop(mut self, node: &Node) {
        if !self.knows_cut_user {
            self.toggle_user(node);
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(stranger) = self.stranger.take() {
            stranger.join().expect("the stranger");
        }
    }
}

/// Nonsense to the UDP, the TCP and the TLS listener.
fn annoy(
    udp: SocketAddr,
    tls: SocketAddr,
    signed: &[Vec<u8>],
    mut rng: StdRng,
    stopped: &AtomicBool,
) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(udp).expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    let connect = |to| {
        let stream = TcpStream::connect(to).ok()?;
        stream.set_write_timeout(Some(SOON)).ok()?;
        Some(stream)
    };
    let mut streams = [(udp, None), (tls, None)];
    while !stopped.load(Ordering::Relaxed) {
        for _ in 0..NONSENSE_BURST {
            let message = nonsense(&mut rng, signed);
            // What does not fit into the socket's buffer is not missed.
            let _ = socket.send(&message);
            for (to, stream) in &mut streams {
                if stream.is_none() {
                    *stream = connect(*to);
                }
                let gone = stream
                    .as_mut()
                    .is_none_or(|stream: &mut TcpStream| stream.write_all(&message).is_err());
                if gone {
                    *stream = None;
                }
            }
        }
        let mut buffer = [0; 2_048];
        while socket.recv(&mut buffer).is_ok() {}
        std::thread::park_timeout(NONSENSE_PAUSE);
    }
}
