//! `sterna bench baseline`: the forwarding loop alone, on other people's runtimes.
//!
//! It strips ChannelData headers towards the peer and adds them towards the clients, for flows that
//! are installed from the command line, and does nothing else: no requests, no permissions, no
//! timers. So it is what a relay on that runtime could reach at best, and a yardstick for the choice
//! of our own engines. It must not be reachable by strangers: it relays for whoever is installed.

mod on_tokio;
mod on_tokio_uring;

use std::collections::HashMap;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use crate::BenchError;
use crate::engine::bind_udp;

/// Largest datagram that a baseline forwards.
const PACKET_BYTES_MAX: usize = 2048;

/// Arguments of `sterna bench baseline`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  sterna bench baseline --runtime tokio --listen 10.77.0.1:3478 --client 10.77.0.2:20000 \\
      --relay-port 30000 --peer 10.77.0.2:9000 --flows 100
  sterna bench turn --server 10.77.0.1:3478 --preinstalled 20000,30000 --peer 10.77.0.2:9000 \\
      --allocations 100")]
pub struct BaselineArgs {
    /// What the loop runs on.
    #[arg(long, value_enum)]
    pub runtime: Runtime,

    /// Where clients send to.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: SocketAddr,

    /// The first client; the others have the ports that follow.
    #[arg(long, value_name = "IP:PORT")]
    pub client: SocketAddr,

    /// The first relay port, on the listener's address; the others follow.
    #[arg(long, value_name = "PORT")]
    pub relay_port: u16,

    /// The peer of all clients.
    #[arg(long, value_name = "IP:PORT")]
    pub peer: SocketAddr,

    /// How many flows there are.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub flows: u16,
}

/// What a baseline runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// tokio: epoll, one system call a packet.
    Tokio,
    /// tokio-uring: io_uring, one operation a packet.
    TokioUring,
}

/// Forwards until the process is ended.
///
/// # Errors
/// When a socket cannot be bound, or the runtime cannot be started.
pub fn run(args: &BaselineArgs) -> Result<(), BenchError> {
    let sockets = Sockets::bind(args)?;
    match args.runtime {
        Runtime::Tokio => on_tokio::run(sockets),
        Runtime::TokioUring => on_tokio_uring::run(sockets),
    }
}

/// The bound sockets of a baseline, and who is whom.
struct Sockets {
    listener: std::net::UdpSocket,
    relays: Vec<std::net::UdpSocket>,
    /// Clients in the order of the relay sockets.
    clients: Vec<SocketAddr>,
    peer: SocketAddr,
}

impl Sockets {
    fn bind(args: &BaselineArgs) -> Result<Self, BenchError> {
        let too_many = BenchError::Usage("the ports of the flows go beyond 65535");
        let fits = |first: u16| first.checked_add(args.flows).is_some();
        if !fits(args.client.port()) || !fits(args.relay_port) {
            return Err(too_many);
        }
        let with_port = |addr: SocketAddr, port| SocketAddr::new(addr.ip(), port);
        let relays =
            (0..args.flows).map(|flow| bind_udp(with_port(args.listen, args.relay_port + flow)));
        let clients = (0..args.flows).map(|flow| with_port(args.client, args.client.port() + flow));
        Ok(Self {
            listener: bind_udp(args.listen)?,
            relays: relays.collect::<Result<_, _>>()?,
            clients: clients.collect(),
            peer: args.peer,
        })
    }
}

/// The flows of a baseline.
#[derive(Debug)]
struct Flows {
    by_client: HashMap<SocketAddr, usize, foldhash::fast::RandomState>,
    clients: Vec<SocketAddr>,
    peer: SocketAddr,
}

impl Flows {
    fn new(clients: Vec<SocketAddr>, peer: SocketAddr) -> Self {
        let by_client = clients.iter().copied().zip(0..).collect();
        Self {
            by_client,
            clients,
            peer,
        }
    }
}
