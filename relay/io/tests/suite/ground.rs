//! What the suite stands on: engines and plain sockets that can talk to each other, on the
//! loopback or on the virtual network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use sterna_io::mmsg::MmsgEngine;
use sterna_io::sim::{Endpoint, Network, SimEngine};
use sterna_io::sockets::{bind_listener, bind_relay, raise_descriptor_limit};
use sterna_io::uring::UringEngine;
use sterna_io::{Config, Engine, ListenerId, Port, Train};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A plain socket.
pub(crate) trait Peer: Sync {
    fn addr(&self) -> SocketAddr;
    fn send(&self, to: SocketAddr, bytes: &[u8]);
    /// Sends datagrams of one size that are likely to arrive together.
    fn send_train(&self, to: SocketAddr, bytes: &[u8], stride: usize);
    /// Sends one datagram with ECN bits.
    fn send_marked(&self, to: SocketAddr, bytes: &[u8], ecn: u8);
    /// The next datagram, waited for.
    fn receive(&self) -> Option<(Vec<u8>, SocketAddr)>;
    /// Whether nothing is there now.
    fn is_idle(&self) -> bool;
}

/// Makes engines and peers.
pub(crate) trait Ground: Sized {
    type Engine: Engine;
    type Peer: Peer;

    fn new() -> Self;
    fn engine(&self, config: Config) -> Self::Engine;
    fn listen(&self, engine: &mut Self::Engine, addr: SocketAddr) -> (ListenerId, SocketAddr);
    fn peer(&self, addr: SocketAddr) -> Self::Peer;
    /// Whether time is virtual and there is no kernel.
    fn is_simulated(&self) -> bool {
        false
    }
    /// Waits a little for the engine.
    fn turn(&self, engine: &mut Self::Engine);
    /// A loopback address of which no other test takes ports.
    fn private_ip(&self) -> IpAddr {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let [_, _, _, process] = std::process::id().to_be_bytes();
        let [high, low] = NEXT.fetch_add(2, Ordering::Relaxed).to_be_bytes();
        IpAddr::from([127, process | 1, high, low | 1])
    }
    /// An address whose port is free.
    fn free_addr(&self, ip: IpAddr) -> SocketAddr {
        self.peer(SocketAddr::new(ip, 0)).addr()
    }
}

/// An engine of the real network.
pub(crate) trait Real: Engine + Sized {
    fn make(config: Config) -> io::Result<Self>;
}

impl Real for MmsgEngine {
    fn make(config: Config) -> io::Result<Self> {
        Self::new(config)
    }
}

impl Real for UringEngine {
    fn make(config: Config) -> io::Result<Self> {
        Self::new(config)
    }
}

/// The loopback.
pub(crate) struct Loopback<E> {
    engine: std::marker::PhantomData<E>,
}

impl<E: Real> Ground for Loopback<E> {
    type Engine = E;
    type Peer = UdpSocket;

    fn new() -> Self {
        // Tests run side by side, and some have many sockets.
        raise_descriptor_limit().expect("a limit");
        Self {
            engine: std::marker::PhantomData,
        }
    }

    fn engine(&self, config: Config) -> E {
        E::make(config).expect("an engine")
    }

    fn listen(&self, engine: &mut E, addr: SocketAddr) -> (ListenerId, SocketAddr) {
        let socket = bind_listener(addr, true, 4 << 20).expect("a free address");
        let addr = socket.local_addr().expect("bound");
        (engine.add_listener(socket).expect("room"), addr)
    }

    fn peer(&self, addr: SocketAddr) -> UdpSocket {
        let socket = bind_relay(addr, 4 << 20).expect("a free address");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket
    }

    fn turn(&self, engine: &mut E) {
        let deadline = Instant::now() + Duration::from_millis(20);
        engine.turn(Some(deadline)).expect("a turn");
    }
}

impl Peer for UdpSocket {
    fn addr(&self) -> SocketAddr {
        self.local_addr().expect("bound")
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        // A flood to a closed port meets what its own socket heard of it.
        let _ = self.send_to(bytes, to);
    }

    fn send_train(&self, to: SocketAddr, bytes: &[u8], stride: usize) {
        // One call that the kernel segments: the loopback keeps it whole for a socket with UDP_GRO.
        let sent = super::kernel::send_segmented(self, to, bytes, stride);
        assert_eq!(sent.expect("sent"), bytes.len());
    }

    fn send_marked(&self, to: SocketAddr, bytes: &[u8], ecn: u8) {
        super::kernel::send_marked(self, to, bytes, ecn).expect("sent");
    }

    fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buf = vec![0; 65_536];
        let (len, from) = self.recv_from(&mut buf).ok()?;
        buf.truncate(len);
        Some((buf, from))
    }

    fn is_idle(&self) -> bool {
        self.set_nonblocking(true).expect("an option");
        let idle = self.recv_from(&mut [0; 64]).is_err();
        self.set_nonblocking(false).expect("an option");
        idle
    }
}

/// The virtual network.
pub(crate) struct Simulated {
    network: Network,
}

impl Ground for Simulated {
    type Engine = SimEngine;
    type Peer = Endpoint;

    fn new() -> Self {
        let network = Network::new(1);
        let local = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        network.set_local_addresses(&local);
        Self { network }
    }

    fn engine(&self, config: Config) -> SimEngine {
        self.network.engine(config).expect("an engine")
    }

    fn listen(&self, engine: &mut SimEngine, addr: SocketAddr) -> (ListenerId, SocketAddr) {
        let id = engine.listen(addr).expect("a free address");
        (id, engine.addr(Port::Listener(id)).expect("open"))
    }

    fn peer(&self, addr: SocketAddr) -> Endpoint {
        self.network.endpoint(addr)
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn private_ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    fn turn(&self, engine: &mut SimEngine) {
        let deadline = self.network.now() + Duration::from_millis(20);
        engine.turn(Some(deadline)).expect("a turn");
    }
}

impl Peer for Endpoint {
    fn addr(&self) -> SocketAddr {
        Self::addr(self)
    }

    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        Self::send(self, to, bytes);
    }

    fn send_train(&self, to: SocketAddr, bytes: &[u8], stride: usize) {
        for segment in bytes.chunks(stride) {
            Self::send(self, to, segment);
        }
    }

    fn send_marked(&self, to: SocketAddr, bytes: &[u8], ecn: u8) {
        Self::send_marked(self, to, bytes, ecn);
    }

    fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        Self::receive(self).map(|datagram| (datagram.bytes, datagram.from))
    }

    fn is_idle(&self) -> bool {
        Self::receive(self).is_none()
    }
}

/// Turns the engine until it handed out so many datagrams, or patience ends. They are given to
/// `handle` with their train.
pub(crate) fn serve<G: Ground>(
    ground: &G,
    engine: &mut G::Engine,
    datagrams: usize,
    mut handle: impl FnMut(&mut G::Engine, Train, sterna_io::Packet),
) {
    let start = Instant::now();
    let mut served = 0;
    while served < datagrams {
        assert!(
            start.elapsed() < PATIENCE,
            "{served} of {datagrams}: {:?}",
            engine.counters()
        );
        ground.turn(engine);
        while let Some(train) = engine.next_train() {
            for packet in train.segments() {
                served += 1;
                handle(engine, train, packet);
            }
        }
    }
}

pub(crate) fn v4() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn v6() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
}

/// Whether `io_uring` works here.
pub(crate) fn has_uring() -> bool {
    use sterna_io::probe::{EngineChoice, choose};
    static WORKS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WORKS.get_or_init(|| choose(EngineChoice::Uring).is_ok())
}

/// Whether this host has an IPv6 loopback.
pub(crate) fn has_v6() -> bool {
    UdpSocket::bind(v6()).is_ok()
}

/// Bytes that differ everywhere, so that a shift or a swap shows.
pub(crate) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 31 + i / 251 + seed * 97) % 256).expect("a byte"))
        .collect()
}
