//! Bad input and too much of it: never a crash, never a leak, a counter for each, and whoever behaves
//! is served all along.
//!
//! `STERNA_SOAK_S` sets how long each listener is fed nonsense (5 s without it), `STERNA_SEED` repeats
//! a run.
#![forbid(unsafe_code)]

mod common;

use std::io::{ErrorKind, Read as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::client::{Client, Echo, new_transaction};
use common::node::{Node, OTHER_PASSWORD, OTHER_USER, PASSWORD, USER};
use common::nonsense::{nonsense, signed_messages};
use common::tls::Certificate;
use common::{SOON, alone, number, raise_descriptor_limit, report, wait_for};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sterna_stun::attr::{ErrorCode, RequestedTransport};
use sterna_stun::message::{Class, Method};
use sterna_stun::writer::MessageWriter;

const CHANNEL: u16 = 0x4000;

/// Packets that went nowhere, by reason.
const DROPPED: &str = "sterna_packets_dropped_total";

/// Connections that the node ended, by reason.
const CUT: &str = "sterna_stream_cut_total";

/// Memory that the allocator may move about without anything being kept.
const NOISE_BYTES: u64 = 4 * 1024 * 1024;

/// An Allocate to a node that does not know us: header and REQUESTED-TRANSPORT.
const ALLOCATE_BYTES: usize = 28;

/// What a 401 to it may be at most: 3.5 times the request.
const CHALLENGE_BYTES_MAX: usize = ALLOCATE_BYTES * 7 / 2;

fn soak() -> Duration {
    Duration::from_secs(number("STERNA_SOAK_S", 5))
}

/// A client that behaves, with an allocation and a channel to an echo.
struct Bystander {
    client: Client,
    _peer: Echo,
    said: u32,
}

impl Bystander {
    fn new(node: &Node) -> Self {
        let peer = Echo::start(Ipv4Addr::LOCALHOST);
        let client = Client::new(node.v4(), USER, PASSWORD);
        client.allocate().expect("an allocation");
        client
            .bind_channel(CHANNEL, peer.addr())
            .expect("a channel");
        Self {
            client,
            _peer: peer,
            said: 0,
        }
    }

    /// Gets an echo, although a full socket buffer may have lost some on the way.
    fn is_served(&mut self) {
        self.said += 1;
        let message = self.said.to_be_bytes();
        wait_for("an echo for the one who behaves", SOON, || {
            self.client.send(CHANNEL, &message);
            let (_, data) = self.client.receive(Duration::from_millis(500))?;
            (data == message).then_some(())
        });
    }
}

/// Feeds nonsense by `feed` for a while and checks that the node took no harm.
fn withstands(node: &Node, listener: &str, mut feed: impl FnMut(&[u8])) {
    let seed = number("STERNA_SEED", 0x5EED);
    let mut rng = StdRng::seed_from_u64(seed);
    let signed = signed_messages(node);
    let mut bystander = Bystander::new(node);
    // What grows once, in the first moments, is no leak.
    (0..500).for_each(|_| feed(&nonsense(&mut rng, &signed)));
    bystander.is_served();
    let before = node.resident_bytes();

    let until = Instant::now() + soak();
    let mut messages = 0_u64;
    while Instant::now() < until {
        (0..100).for_each(|_| feed(&nonsense(&mut rng, &signed)));
        messages += 100;
        bystander.is_served();
    }
    let grown = node.resident_bytes().saturating_sub(before);
    report(&format!(
        "{messages} pieces of nonsense on the {listener} listener: resident memory {:+} KiB (seed {seed:#x})",
        grown / 1024
    ));
    assert!(
        grown < NOISE_BYTES,
        "{listener}: {grown} bytes more after {messages} messages, seed {seed:#x}"
    );
    let newcomer = Client::new(node.v4(), USER, PASSWORD);
    assert!(
        newcomer.allocate().is_ok(),
        "{listener}: a newcomer is served, seed {seed:#x}"
    );
}

#[test]
fn nonsense_on_the_udp_listener_does_no_harm() {
    let _alone = alone();
    let node = Node::start(&[]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(node.v4()).expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 65_536];
    withstands(&node, "UDP", |message| {
        // A full send buffer is no matter: there is more nonsense where it came from.
        sent += socket.send(message).unwrap_or(0);
        while let Ok(len) = socket.recv(&mut buffer) {
            received += len;
        }
    });
    assert!(received <= 5 * sent, "{received} bytes answered to {sent}");
    for reason in [
        "not_stun",
        "malformed",
        "truncated_channel_data",
        "no_allocation",
    ] {
        node.wait_for_metric(DROPPED, &[&format!("reason=\"{reason}\"")], 1.0);
    }
    node.stop_now();
}

/// Feeds connections: a new one whenever the node has had enough of the last.
fn feed_connections<S: Write>(mut connect: impl FnMut() -> Option<S>) -> impl FnMut(&[u8]) {
    let mut stream = None;
    move |message| {
        if stream.is_none() {
            stream = connect();
        }
        let gone = stream
            .as_mut()
            .is_none_or(|stream| stream.write_all(message).is_err());
        if gone {
            stream = None;
        }
    }
}

fn tcp(to: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(to).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(SOON)).ok()?;
    Some(stream)
}

#[test]
fn nonsense_on_the_tcp_listener_does_no_harm() {
    let _alone = alone();
    let node = Node::start(&[]);
    let to = node.v4();
    withstands(&node, "TCP", feed_connections(|| tcp(to)));
    node.wait_for_metric(CUT, &["reason=\"garbage\""], 1.0);
    node.stop_now();
}

#[test]
fn nonsense_instead_of_tls_does_no_harm() {
    let _alone = alone();
    let node = Node::start(&[]);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));
    withstands(
        &node,
        "TLS (before the handshake)",
        feed_connections(|| tcp(to)),
    );
    node.wait_for_metric(CUT, &["reason=\"handshake_failed\""], 1.0);
    node.stop_now();
}

#[test]
fn nonsense_inside_tls_does_no_harm() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new();
    let (file, key) = certificate.install(folder.path());
    let settings = [
        format!("tls.certificate={file:?}"),
        format!("tls.key={key:?}"),
    ];
    let node = Node::start(&settings.each_ref().map(String::as_str));
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, node.tls_port));
    withstands(&node, "TLS", feed_connections(|| certificate.connect(to)));
    node.wait_for_metric(CUT, &["reason=\"garbage\""], 1.0);
    node.stop_now();
}

#[test]
fn two_thousand_idle_connections_cost_little_and_are_closed_in_time() {
    const CONNECTIONS: usize = 2_000;
    const EACH_BYTES_MAX: u64 = 32 * 1024;
    let _alone = alone();
    raise_descriptor_limit();
    let node = Node::start(&["limits.tcp_unauthenticated_idle_s=10"]);
    let mut bystander = Bystander::new(&node);
    let before = node.resident_bytes();

    let mut idle: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(node.v4()).expect("a connection"))
        .collect();
    bystander.is_served();
    let mut another = tcp(node.v4()).expect("one more connection");
    another.write_all(&binding()).expect("a Binding");
    another.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut answer = [0; 20];
    another.read_exact(&mut answer).expect("an answer over TCP");
    assert_eq!(answer[..2], [0x01, 0x01], "a Binding's success");

    let each = node.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    report(&format!(
        "{CONNECTIONS} idle TCP connections: {each} bytes of resident memory each"
    ));
    assert!(each <= EACH_BYTES_MAX, "{each} bytes a connection");
    assert!(node.metric("sterna_stream_connections", &[]) >= 2_000.0);

    wait_for(
        "the idle connections to be closed",
        SOON + Duration::from_secs(10),
        || {
            idle.retain_mut(|stream| !is_closed(stream));
            idle.is_empty().then_some(())
        },
    );
    bystander.is_served();
    node.wait_for_metric(CUT, &["reason=\"idle\""], 2_000.0);
    node.stop_now();
}

/// Whether the other end has closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn binding() -> Vec<u8> {
    let mut out = vec![0; 20];
    let writer = MessageWriter::new(&mut out, Class::Request, Method::BINDING, new_transaction());
    assert_eq!(writer.expect("a header fits").finish(), 20);
    out
}

fn allocate() -> Vec<u8> {
    let mut out = vec![0; ALLOCATE_BYTES];
    let mut writer = MessageWriter::new(
        &mut out,
        Class::Request,
        Method::ALLOCATE,
        new_transaction(),
    )
    .expect("a header fits");
    writer.attr(&RequestedTransport::UDP).expect("fits");
    assert_eq!(writer.finish(), ALLOCATE_BYTES);
    out
}

#[test]
fn a_flood_of_unauthenticated_allocates_keeps_memory_flat_and_answers_small() {
    const FLOOD: usize = 100_000;
    const SOCKETS: usize = 1_000;
    let _alone = alone();
    raise_descriptor_limit();
    let node = Node::start(&[]);
    let mut bystander = Bystander::new(&node);
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            socket.connect(node.v4()).expect("loopback");
            socket.set_nonblocking(true).expect("a socket");
            socket
        })
        .collect();
    let before = node.resident_bytes();

    let began = Instant::now();
    let (mut sent, mut answers, mut answered_bytes) = (0, 0_u32, 0);
    let mut buffer = [0; 2_048];
    for round in 0..FLOOD / SOCKETS {
        for socket in &sockets {
            sent += usize::from(socket.send(&allocate()).is_ok());
        }
        for socket in &sockets {
            while let Ok(len) = socket.recv(&mut buffer) {
                assert!(
                    len <= CHALLENGE_BYTES_MAX,
                    "an answer of {len} bytes to {ALLOCATE_BYTES}"
                );
                answers += 1;
                answered_bytes += len;
            }
        }
        if round % 10 == 0 {
            bystander.is_served();
        }
    }
    let grown = node.resident_bytes().saturating_sub(before);
    report(&format!(
        "{sent} unauthenticated Allocates from {SOCKETS} ports in {} ms: {answers} answers of {} bytes at \
         most, resident memory {:+} KiB",
        began.elapsed().as_millis(),
        CHALLENGE_BYTES_MAX,
        grown / 1024
    ));
    assert_eq!(sent, FLOOD);
    assert!(answers > 0, "a newcomer must be able to begin");
    assert!(
        answered_bytes * 2 <= sent * ALLOCATE_BYTES * 7,
        "beyond the amplification budget"
    );
    assert!(grown < NOISE_BYTES / 4, "{grown} bytes more");
    node.wait_for_metric(DROPPED, &["reason=\"unauthenticated_rate\""], 1.0);
    node.wait_for_metric("stun_errors_total", &["code=\"401\""], f64::from(answers));
    // Whoever begins now is served as soon as the bucket has something again.
    assert!(Client::new(node.v4(), USER, PASSWORD).allocate().is_ok());
    node.stop_now();
}

#[test]
fn a_full_port_range_is_508_until_somebody_leaves() {
    let node = Node::start(&["turn.relay_ports=31000-31003"]);
    let mut clients = Vec::new();
    let refused = loop {
        let client = Client::new(node.v4(), USER, PASSWORD);
        match client.allocate() {
            Ok(relayed) => assert!((31_000..=31_003).contains(&relayed.port()), "{relayed}"),
            Err(code) => break code,
        }
        clients.push(client);
        assert!(clients.len() <= 4, "more allocations than ports");
    };
    assert_eq!(refused, ErrorCode::INSUFFICIENT_CAPACITY);
    node.wait_for_metric("stun_errors_total", &["code=\"508\""], 1.0);
    // Ports that other programs hold are skipped; all that are free have been given out.
    assert!(!clients.is_empty());
    assert_eq!(clients.pop().expect("one").refresh(0), Ok(0));
    wait_for("the port that became free", SOON, || {
        Client::new(node.v4(), USER, PASSWORD).allocate().ok()
    });
}

#[test]
fn a_user_over_quota_is_refused_with_486_and_others_are_not() {
    let node = Node::start(&["limits.allocations_per_user_max=3"]);
    let allowed: Vec<_> = (0..3)
        .map(|_| {
            let client = Client::new(node.v4(), USER, PASSWORD);
            client.allocate().expect("within the quota");
            client
        })
        .collect();
    let client = Client::new(node.v4(), USER, PASSWORD);
    assert_eq!(client.allocate(), Err(ErrorCode::ALLOCATION_QUOTA_REACHED));
    node.wait_for_metric("turn_quota_rejections_total", &[], 1.0);
    assert!(
        Client::new(node.v4(), OTHER_USER, OTHER_PASSWORD)
            .allocate()
            .is_ok()
    );
    // Whoever gives one back may have another.
    assert_eq!(allowed[0].refresh(0), Ok(0));
    assert!(client.allocate().is_ok());
}

#[test]
fn half_a_message_keeps_a_connection_open_only_so_long() {
    let node = Node::start(&["limits.tcp_unauthenticated_idle_s=2"]);
    let mut stream = tcp(node.v4()).expect("a connection");
    stream.write_all(&binding()[..10]).expect("half a Binding");
    wait_for("the connection to be closed", SOON, || {
        is_closed(&mut stream).then_some(())
    });
    // A connection that was closed by us is no trouble either.
    let stream = tcp(node.v4()).expect("a connection");
    stream.shutdown(Shutdown::Both).expect("closed");
    assert!(Client::new(node.v4(), USER, PASSWORD).allocate().is_ok());
}

/// coturn, until 4.11: what a client calls itself was a format string of the log.
#[test]
fn a_user_name_full_of_directives_is_neither_formatted_nor_a_label() {
    const NAME: &str = "%s%n%x{}{0:?}\"'<b>&";
    let users = format!("auth.users=[{{ name = {NAME:?}, password = {PASSWORD:?} }}]");
    let node = Node::start(&[&users, "log.level=debug"]);
    let client = Client::new(node.v4(), NAME, PASSWORD);
    client.allocate().expect("an allocation");
    let stranger = Client::new(node.v4(), "%n%n%n{}", PASSWORD);
    assert_eq!(stranger.allocate(), Err(ErrorCode::UNAUTHENTICATED));

    let listed = node.get("/allocations").json();
    assert_eq!(listed["allocations"][0]["user"], NAME);
    let page = node.get("/metrics").body;
    assert!(!page.contains("%s%n") && !page.contains("%n%n"), "{page}");
    wait_for("the allocation in the log", SOON, || {
        let written = node.process.written();
        written.contains("%s%n%x{}{0:?}").then_some(())
    });
    assert_eq!(client.refresh(0), Ok(0));
    node.stop();
}
