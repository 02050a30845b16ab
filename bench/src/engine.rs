//! The generator's own way to the network: the node's engines, with each client socket in the
//! place of a relay port.

use std::net::{SocketAddr, UdpSocket};

use clap::ValueEnum;
use sterna_io::mmsg::MmsgEngine;
use sterna_io::probe::{self, EngineChoice};
use sterna_io::uring::UringEngine;
use sterna_io::{Config, Engine, EngineKind, sockets};

use crate::BenchError;

/// How the generator's own UDP sockets are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// io_uring where the kernel allows it, else mmsg.
    Auto,
    /// io_uring.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

/// Asked for as send and receive buffer of each socket: half a second of what one flow can be sent.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// An engine for so many client sockets.
pub(crate) fn build(engine: EngineArg, clients: u32) -> Result<Box<dyn Engine>, BenchError> {
    sockets::raise_descriptor_limit()?;
    let wanted = match engine {
        EngineArg::Auto => EngineChoice::Auto,
        EngineArg::Uring => EngineChoice::Uring,
        EngineArg::Mmsg => EngineChoice::Mmsg,
    };
    let choice = probe::choose(wanted)?;
    let config = choice.apply(Config {
        // Slots of closed sockets are free one turn later.
        relay_sockets_max: clients + clients / 4 + 256,
        socket_buffer_bytes: SOCKET_BUFFER_BYTES,
        ..Config::default()
    });
    Ok(match choice.engine {
        EngineKind::Uring => Box::new(UringEngine::new(config)?),
        EngineKind::Mmsg | EngineKind::Sim => Box::new(MmsgEngine::new(config)?),
    })
}

/// A socket for the generator's use.
pub(crate) fn bind_udp(addr: SocketAddr) -> Result<UdpSocket, BenchError> {
    Ok(sockets::bind_relay(addr, SOCKET_BUFFER_BYTES)?)
}
