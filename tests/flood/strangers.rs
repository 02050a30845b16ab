//! Who floods: packets with made-up source addresses, written by hand onto a raw socket.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use socket2::{Domain, Protocol, Socket, Type};
use sterna_stun::attr::{Nonce, Realm, RequestedTransport, Username};
use sterna_stun::integrity::Key;
use sterna_stun::message::{Class, Method, TransactionId};
use sterna_stun::writer::MessageWriter;

use crate::common::node::USER;

/// Where the strangers are: benchmark addresses, which no host has (RFC 2544).
pub(crate) const NETWORK: &str = "198.18.0.0/15";

pub(crate) const SOURCES: u32 = 10_000;

/// Hosts that share a /24, and so what is answered to strangers.
const PREFIX_HOSTS: u32 = 250;

pub(crate) const PREFIXES: f64 = (SOURCES / PREFIX_HOSTS) as f64;

/// Packets between two looks at the clock.
const BURST: u64 = 32;

const TARGET: &str = "STERNA_FLOOD_TARGET";
const RATE: &str = "STERNA_FLOOD_RATE";
const MILLISECONDS: &str = "STERNA_FLOOD_MS";

const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;

/// Where a STUN message has its transaction id.
const TRANSACTION: std::ops::Range<usize> = 8..20;

/// What the process in the other namespace is told.
pub(crate) struct Orders {
    target: SocketAddrV4,
    rate: u64,
    duration: Duration,
}

impl Orders {
    pub(crate) fn from_environment() -> Option<Self> {
        let number = |name| std::env::var(name).ok()?.parse().ok();
        Some(Self {
            target: std::env::var(TARGET).ok()?.parse().ok()?,
            rate: number(RATE)?,
            duration: Duration::from_millis(number(MILLISECONDS)?),
        })
    }
}

/// Lets the strangers loose in their namespace; how many packets they have sent.
pub(crate) fn send(target: &str, rate: u64, duration: Duration) -> u64 {
    let output = Command::new("ip")
        .args(["netns", "exec", "strangers"])
        .arg(std::env::current_exe().expect("a test binary"))
        .args([
            "strangers_send_what_they_are_told_to",
            "--exact",
            "--nocapture",
        ])
        .env(TARGET, target)
        .env(RATE, rate.to_string())
        .env(MILLISECONDS, duration.as_millis().to_string())
        .output()
        .expect("ip");
    let text = String::from_utf8_lossy(&output.stdout);
    let sent = text
        .split("sent ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    sent.and_then(|sent| sent.parse().ok())
        .unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Sends for as long as was said; how many.
pub(crate) fn flood(orders: &Orders) -> u64 {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("a raw socket");
    socket
        .set_header_included_v4(true)
        .expect("our own headers");
    // What is answered would fill it; nobody reads.
    socket.shutdown(std::net::Shutdown::Read).ok();
    let target = SocketAddr::from(orders.target).into();
    let mut packets = messages().map(|message| packet(orders.target, &message));
    let mut rng = StdRng::seed_from_u64(0xF100D);
    let (mut kind, mut source) = (0, 0);
    let (began, mut sent, mut attempts) = (Instant::now(), 0, 0_u64);
    while began.elapsed() < orders.duration {
        let due = began.elapsed().as_micros() * u128::from(orders.rate) / 1_000_000;
        if u128::from(attempts) > due {
            std::thread::park_timeout(Duration::from_micros(200));
            continue;
        }
        for _ in 0..BURST {
            kind = (kind + 1) % packets.len();
            source = (source + 1) % SOURCES;
            attempts += 1;
            let packet = &mut packets[kind];
            disguise(packet, source, &mut rng);
            sent += u64::from(socket.send_to(packet, &target).is_ok());
        }
    }
    sent
}

/// An unauthenticated Allocate, one with a MAC by another password, and a Binding.
fn messages() -> [Vec<u8>; 3] {
    let write = |method, attributes: &dyn Fn(&mut MessageWriter<'_>)| {
        let mut out = vec![0; 256];
        let id = TransactionId([0; 12]);
        let mut writer =
            MessageWriter::new(&mut out, Class::Request, method, id).expect("a header fits");
        attributes(&mut writer);
        let len = writer.finish();
        out.truncate(len);
        out
    };
    [
        write(Method::ALLOCATE, &|writer| {
            writer.attr(&RequestedTransport::UDP).expect("fits");
        }),
        write(Method::ALLOCATE, &|writer| {
            writer.attr(&RequestedTransport::UDP).expect("fits");
            writer.attr(&Username(USER)).expect("fits");
            writer.attr(&Realm("sterna")).expect("fits");
            writer
                .attr(&Nonce(b"obMatJos2AAACsome-twenty-letters+"))
                .expect("fits");
            let key = Key::new(b"a wrong password");
            writer.integrity_sha1(&key.sha1()).expect("fits");
        }),
        write(Method::BINDING, &|_| {}),
    ]
}

/// Bytes of a message on average, without headers.
pub(crate) const MEAN_BYTES: f64 = (28 + 124 + 20) as f64 / 3.0;

/// IP and UDP headers before a message; the kernel fills in the length and the checksum of IP, and
/// UDP over IPv4 may go without its own (RFC 768).
fn packet(target: SocketAddrV4, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(UDP_BYTES + message.len()).expect("a short message");
    let mut packet = vec![0; IP_BYTES];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = 17;
    packet[16..20].copy_from_slice(&target.ip().octets());
    packet.extend([0, 0]);
    packet.extend(target.port().to_be_bytes());
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}

/// Another source, another transaction.
fn disguise(packet: &mut [u8], source: u32, rng: &mut StdRng) {
    let prefix = Ipv4Addr::new(198, 18, 0, 0).to_bits() + source / PREFIX_HOSTS * 256;
    let host = Ipv4Addr::from_bits(prefix + 1 + source % PREFIX_HOSTS);
    packet[12..16].copy_from_slice(&host.octets());
    let port: u16 = rng.random_range(1_024..=u16::MAX);
    packet[IP_BYTES..IP_BYTES + 2].copy_from_slice(&port.to_be_bytes());
    let message = IP_BYTES + UDP_BYTES;
    rng.fill_bytes(&mut packet[message + TRANSACTION.start..message + TRANSACTION.end]);
}
