//! A trial run of an engine on the loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::engine::{Config, Engine, Port};
use crate::sockets::bind_listener;

/// What passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Offloads {
    pub(super) gro: bool,
    pub(super) gso: bool,
}

// The loopback answers within microseconds; a busy machine within this.
const PATIENCE: Duration = Duration::from_secs(1);
const SEGMENT_BYTES: usize = 1_200;
const SEGMENTS: usize = 9;

/// An engine with little memory.
pub(super) fn config(gro: bool, gso: bool) -> Config {
    Config {
        buffers: 16,
        gro,
        gso,
        relay_sockets_max: 16,
        ..Config::default()
    }
}

/// Tries all offloads, then fewer, and says which passed. An error: not even plain packets pass.
pub(super) fn trial<E: Engine>(make: impl Fn(Config) -> io::Result<E>) -> io::Result<Offloads> {
    let attempt = |gro, gso| run(make(config(gro, gso))?, gro, gso);
    if attempt(true, true).is_ok() {
        return Ok(Offloads {
            gro: true,
            gso: true,
        });
    }
    // Where not even these pass, nothing more has to be waited for.
    attempt(false, false)?;
    for (gro, gso) in [(false, true), (true, false)] {
        if attempt(gro, gso).is_ok() {
            return Ok(Offloads { gro, gso });
        }
    }
    Ok(Offloads {
        gro: false,
        gso: false,
    })
}

/// Sends a train from one listener to another and to a plain socket, and looks at every byte.
fn run<E: Engine>(mut engine: E, gro: bool, gso: bool) -> io::Result<()> {
    let (first, _) = listener().or_else(|_| listener_v6())?;
    let (second, to) = if first.local_addr()?.is_ipv4() {
        listener()?
    } else {
        listener_v6()?
    };
    let plain = UdpSocket::bind(SocketAddr::new(to.ip(), 0))?;
    plain.set_read_timeout(Some(PATIENCE))?;
    let via = Port::Listener(engine.add_listener(first)?);
    let into = Port::Listener(engine.add_listener(second)?);
    engine.turn(Some(Instant::now()))?;

    // Empty datagrams first: each ends a multishot receive, which must go on all the same.
    engine.send_copy(via, to, &[], &[], 0);
    expect(&mut engine, into, &[Vec::new()])?;
    let train: Vec<_> = (0..SEGMENTS).map(segment).collect();
    for datagram in &train {
        let (header, payload) = datagram.split_at(4);
        engine.send_copy(via, to, header, payload, 0);
    }
    expect(&mut engine, into, &train)?;

    for datagram in &train {
        engine.send_copy(via, plain.local_addr()?, &[], datagram, 0);
    }
    engine.turn(Some(Instant::now()))?;
    let mut buf = [0; 2 * SEGMENT_BYTES];
    for datagram in &train {
        let len = plain.recv(&mut buf)?;
        if &buf[..len] != datagram.as_slice() {
            return Err(mangled());
        }
    }
    let counters = engine.counters();
    let grouped = counters.gso_groups > 0 && counters.gso_fallbacks == 0;
    let coalesced = counters.trains_in < counters.packets_in;
    if (gso && !grouped) || (gso && gro && !coalesced) || counters.send_errors() > 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}

/// Turns the engine until these datagrams have come.
fn expect<E: Engine>(engine: &mut E, into: Port, datagrams: &[Vec<u8>]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut expected = datagrams.iter();
    while expected.len() > 0 {
        engine.turn(Some(deadline))?;
        while let Some(train) = engine.next_train() {
            for packet in train.segments() {
                let same = expected
                    .next()
                    .is_some_and(|bytes| engine.bytes(packet) == bytes);
                if train.port != into || !same {
                    return Err(mangled());
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// The last segment is shorter, as it may be.
fn segment(index: usize) -> Vec<u8> {
    let len = if index + 1 == SEGMENTS {
        SEGMENT_BYTES / 3
    } else {
        SEGMENT_BYTES
    };
    (0..len)
        .map(|i| u8::try_from((i * 7 + i / 256 + index * 31) % 256).unwrap_or(0))
        .collect()
}

fn mangled() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn listener() -> io::Result<(UdpSocket, SocketAddr)> {
    bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn listener_v6() -> io::Result<(UdpSocket, SocketAddr)> {
    bound(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)))
}

fn bound(addr: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = bind_listener(addr, false, 1 << 20)?;
    let addr = socket.local_addr()?;
    Ok((socket, addr))
}
