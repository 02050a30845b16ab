//! Who sends the mutants, over which transport, and what each checks about the answers.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::RngExt as _;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use sterna_stun::attr::{Nonce, Realm, RequestedTransport};
use sterna_stun::message::{Class, Message, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

use crate::common::SOON;
use crate::common::node::{OTHER_PASSWORD, OTHER_USER};
use crate::common::tls::Certificate;
use crate::mutator::{Credentials, Mutator};

/// What all attackers share.
pub(crate) struct Attack {
    pub(crate) udp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) certificate: Certificate,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) stop: AtomicBool,
    pub(crate) packets: AtomicU64,
    pub(crate) answers: AtomicU64,
}

/// Packets between two looks at the answers: few enough for a socket's buffer.
const BURST: usize = 16;

/// Sockets of the insider, each with an allocation now and then.
const INSIDE_SOCKETS: usize = 8;

/// Bursts after which an insider asks for a new nonce.
const NONCE_BURSTS: usize = 64;

/// Largest answer, and then some.
const BUFFER_BYTES: usize = 65_536;

/// Starts one of each.
pub(crate) fn start(attack: &Arc<Attack>, seed: u64) -> Vec<JoinHandle<()>> {
    let attackers: [fn(&Attack, Mutator); 5] = [stranger, insider, over_tcp, over_tls, balancer];
    let start = |(place, attacker): (u64, fn(&Attack, Mutator))| {
        let attack = Arc::clone(attack);
        let mutator = Mutator::new(
            seed.wrapping_mul(5).wrapping_add(place),
            attack.peers.clone(),
        );
        thread::spawn(move || attacker(&attack, mutator))
    };
    (0..).zip(attackers).map(start).collect()
}

impl Attack {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn sent(&self) {
        self.packets.fetch_add(1, Ordering::Relaxed);
    }
}

fn udp_socket(attack: &Attack) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(attack.udp).expect("loopback");
    socket
}

/// Proves nothing, and is told little.
fn stranger(attack: &Attack, mut mutator: Mutator) {
    let socket = udp_socket(attack);
    socket
        .set_read_timeout(Some(Duration::from_millis(2)))
        .expect("a timeout");
    // Right but for the nonce, which is nobody's.
    let made_up = Credentials {
        user: OTHER_USER,
        password: OTHER_PASSWORD,
        realm: "sterna".to_owned(),
        nonce: b"obMatJos2AAACsome-twenty-letters+".to_vec(),
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    while attack.goes_on() {
        let mut asked = HashMap::new();
        for _ in 0..BURST {
            let signed: bool = mutator.rng().random();
            let packet = mutator.packet(signed.then_some(&made_up));
            if socket.send(&packet).is_ok() {
                attack.sent();
                if let Some(id) = packet.get(8..20) {
                    asked.insert(id.to_vec(), packet);
                }
            }
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            let answer = &buffer[..len];
            attack.answers.fetch_add(1, Ordering::Relaxed);
            // One that comes late was weighed by nobody, and is as small as the others.
            if let Some(packet) = asked.remove(&answer[8..20]) {
                assert_within_budget(&packet, answer);
            }
        }
    }
}

/// The amplification budget: in tenths of the request.
fn assert_within_budget(packet: &[u8], answer: &[u8]) {
    let asked = Message::parse(packet).expect("what is answered is well formed");
    let message = Message::parse(answer).expect("an answer is well formed");
    assert_ne!(message.class(), Class::Request, "{answer:02x?}");
    assert!(
        asked.method() == Method::BINDING || message.class() == Class::Error,
        "a stranger has got something: {answer:02x?}"
    );
    let tenths = match (asked.method(), message.class()) {
        (Method::BINDING, Class::Success) => 20,
        (Method::BINDING, _) => 22,
        (Method::ALLOCATE, _) => 35,
        _ => 50,
    };
    assert!(
        answer.len() * 10 <= packet.len() * tenths,
        "{} bytes answered to {}: {packet:02x?}",
        answer.len(),
        packet.len()
    );
}

/// Has credentials, and uses them from several sockets.
fn insider(attack: &Attack, mut mutator: Mutator) {
    let mut sockets: Vec<_> = (0..INSIDE_SOCKETS)
        .map(|_| {
            let socket = udp_socket(attack);
            let credentials = challenge(&mut Datagrams(&socket));
            socket.set_nonblocking(true).expect("a socket");
            (socket, credentials)
        })
        .collect();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bursts = 0;
    while attack.goes_on() {
        let at = mutator.rng().random_range(0..sockets.len());
        // Now and then with the nonce of another socket.
        let whose = match mutator.rng().random_range(0..16) {
            0 => mutator.rng().random_range(0..sockets.len()),
            _ => at,
        };
        let credentials = sockets[whose].1.clone();
        for _ in 0..BURST {
            let packet = mutator.packet(Some(&credentials));
            attack.sent();
            // One that is too long, or finds the buffer full, is not missed.
            let _ = sockets[at].0.send(&packet);
        }
        while sockets[at].0.recv(&mut buffer).is_ok() {}
        bursts += 1;
        if bursts % NONCE_BURSTS == 0 {
            let (socket, credentials) = &mut sockets[at];
            socket.set_nonblocking(false).expect("a socket");
            *credentials = challenge(&mut Datagrams(socket));
            socket.set_nonblocking(true).expect("a socket");
        }
        thread::park_timeout(Duration::from_micros(300));
    }
}

/// What asks for a challenge.
trait Asks {
    /// Sends and reads until it gets what is asked for.
    fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>>;
}

struct Datagrams<'a>(&'a UdpSocket);

impl Asks for Datagrams<'_> {
    fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.0
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        let mut buffer = vec![0; BUFFER_BYTES];
        self.0.send(request).expect("loopback");
        loop {
            let len = self.0.recv(&mut buffer).ok()?;
            if buffer[..len].get(8..20) == request.get(8..20) {
                return Some(buffer[..len].to_vec());
            }
        }
    }
}

struct Stream<'a, S>(&'a mut S);

impl<S: std::io::Read + Write> Asks for Stream<'_, S> {
    fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.0.write_all(request).ok()?;
        let mut answer = vec![0; 20];
        self.0.read_exact(&mut answer).ok()?;
        let len = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
        answer.resize(20 + len, 0);
        self.0.read_exact(&mut answer[20..]).ok()?;
        Some(answer)
    }
}

/// Gets a nonce as any client does: by a first Allocate. Repeats it, as the node may be busy.
fn challenge(by: &mut impl Asks) -> Credentials {
    for attempt in 0..40_u8 {
        if let Some(credentials) = try_challenge(by, attempt) {
            return credentials;
        }
    }
    panic!("no challenge");
}

fn try_challenge(by: &mut impl Asks, attempt: u8) -> Option<Credentials> {
    let mut out = [0; 64];
    let id = TransactionId([attempt; 12]);
    let mut writer = MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, id).ok()?;
    writer.attr(&RequestedTransport::UDP).ok()?;
    let len = writer.finish();
    let answer = by.ask(&out[..len])?;
    let message = Message::parse(&answer).ok()?;
    let realm = message.find::<Realm<'_>>().ok()??.0.to_owned();
    let nonce = message.find::<Nonce<'_>>().ok()??.0.to_vec();
    Some(Credentials {
        user: OTHER_USER,
        password: OTHER_PASSWORD,
        realm,
        nonce,
    })
}

/// Speaks for as long as it is listened to: frames in a row, cut anywhere.
fn babble<S: Write>(
    attack: &Attack,
    mutator: &mut Mutator,
    stream: &mut S,
    credentials: Option<&Credentials>,
    mut read: impl FnMut(&mut S) -> bool,
) {
    while attack.goes_on() {
        let mut bytes = Vec::new();
        for _ in 0..mutator.rng().random_range(1..5) {
            let packet = mutator.packet(credentials);
            attack.sent();
            bytes.extend(&packet);
            // RFC 8656 §12.5: over streams ChannelData is padded; mostly.
            if packet.first().is_some_and(|first| *first >= 0x40)
                && mutator.rng().random_range(0..8) > 0
            {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = mutator.rng().random_range(1..=rest.len());
            let (now, later) = rest.split_at(cut);
            if stream.write_all(now).and_then(|()| stream.flush()).is_err() {
                return;
            }
            rest = later;
        }
        if !read(stream) {
            return;
        }
    }
}

/// Takes what has come; false when the node has had enough.
fn drain(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4_096];
    stream.set_nonblocking(true).expect("a socket");
    let goes_on = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) => break error.kind() == ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).expect("a socket");
    goes_on
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((from, 0)).into()).ok()?;
    socket.connect(&to.into()).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).ok()?;
    stream.set_write_timeout(Some(SOON)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    Some(stream)
}

fn over_tcp(attack: &Attack, mut mutator: Mutator) {
    while attack.goes_on() {
        let Some(mut stream) = connect(Ipv4Addr::LOCALHOST, attack.udp) else {
            continue;
        };
        let credentials = match mutator.rng().random_range(0..4) {
            0 => None,
            _ => try_challenge(&mut Stream(&mut stream), 0),
        };
        babble(
            attack,
            &mut mutator,
            &mut stream,
            credentials.as_ref(),
            drain,
        );
    }
}

fn over_tls(attack: &Attack, mut mutator: Mutator) {
    while attack.goes_on() {
        let Some(mut stream) = attack.certificate.connect(attack.tls) else {
            continue;
        };
        let patience = Some(Duration::from_secs(2));
        stream.sock.set_read_timeout(patience).expect("a timeout");
        stream
            .sock
            .set_write_timeout(Some(SOON))
            .expect("a timeout");
        let credentials = match mutator.rng().random_range(0..4) {
            0 => None,
            _ => try_challenge(&mut Stream(&mut stream), 0),
        };
        // What is answered waits in the node's queue, which drops the oldest.
        let read = |stream: &mut StreamOwned<ClientConnection, TcpStream>| {
            stream.sock.set_nonblocking(true).expect("a socket");
            let read = stream.conn.read_tls(&mut stream.sock);
            stream.sock.set_nonblocking(false).expect("a socket");
            let goes_on = match read {
                Ok(len) => len > 0 && stream.conn.process_new_packets().is_ok(),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            // The plain text goes, so that the session does not fill up.
            let mut sink = [0; 4_096];
            while stream
                .conn
                .reader()
                .read(&mut sink)
                .is_ok_and(|len| len > 0)
            {}
            goes_on
        };
        babble(
            attack,
            &mut mutator,
            &mut stream,
            credentials.as_ref(),
            read,
        );
    }
}

/// Begins with a PROXY header, as it may from its address.
fn balancer(attack: &Attack, mut mutator: Mutator) {
    while attack.goes_on() {
        let Some(mut stream) = connect(crate::BALANCER, attack.udp) else {
            continue;
        };
        let header = mutator.proxy_header();
        let cut = mutator.rng().random_range(0..=header.len());
        let begun = stream
            .write_all(&header[..cut])
            .and_then(|()| stream.write_all(&header[cut..]));
        if begun.is_err() {
            continue;
        }
        let credentials = match mutator.rng().random_range(0..2) {
            0 => None,
            _ => try_challenge(&mut Stream(&mut stream), 0),
        };
        babble(
            attack,
            &mut mutator,
            &mut stream,
            credentials.as_ref(),
            drain,
        );
    }
}
