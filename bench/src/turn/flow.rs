//! One allocation of a UDP run.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt as _;
use sterna_io::RelaySlot;
use sterna_stun::channel_data;
use sterna_turn::client::{AllocateOptions, ClientConfig, Credentials, Link, TurnClient};

use super::Method;
use crate::BenchError;

/// The channel of a forwarding loop whose flows are installed beforehand.
const PREINSTALLED_CHANNEL: u16 = 0x4000;

/// One allocation and its client socket.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) slot: RelaySlot,
    pub(super) client: TurnClient,
    pub(super) phase: Phase,
    /// Where peers reach the client.
    pub(super) relayed: Option<SocketAddr>,
    /// Whom the client sends to and hears from.
    pub(super) peer: Option<SocketAddr>,
    /// Header of ChannelData to that peer.
    pub(super) channel_header: [u8; 4],
    /// The time for which an alarm is set.
    pub(super) alarm: Option<Instant>,
}

/// How far an allocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was sent yet.
    Idle,
    /// The Allocate is on its way.
    Allocating,
    /// It has a relayed address, and no way to its peer yet.
    Allocated,
    /// The ChannelBind or CreatePermission is on its way.
    Opening,
    /// Data can pass.
    Ready,
    /// The last Refresh is on its way.
    Closing,
    /// Nothing is left of it.
    Closed,
}

impl Flow {
    pub(super) fn new(slot: RelaySlot, credentials: Option<Credentials>) -> Self {
        let config = ClientConfig::new(Link::Datagram, credentials);
        Self {
            slot,
            client: TurnClient::new(config, rand::rng().random()),
            phase: Phase::Idle,
            relayed: None,
            peer: None,
            channel_header: [0; 4],
            alarm: None,
        }
    }

    /// Takes the flow as standing, without a word to the server.
    pub(super) fn install(&mut self, relayed: SocketAddr, peer: SocketAddr, packet_size: u16) {
        self.relayed = Some(relayed);
        self.peer = Some(peer);
        self.channel_header = channel_data::header(PREINSTALLED_CHANNEL, packet_size);
        self.phase = Phase::Ready;
    }

    pub(super) fn allocate(&mut self, now: Instant) -> Result<(), BenchError> {
        self.phase = Phase::Allocating;
        let asked = self.client.allocate(now, AllocateOptions::default());
        asked.map_err(|error| BenchError::Refused {
            what: "Allocate",
            error,
        })
    }

    /// Opens the way to `peer`.
    pub(super) fn open(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        method: Method,
        packet_size: u16,
    ) -> Result<(), BenchError> {
        self.phase = Phase::Opening;
        self.peer = Some(peer);
        match method {
            Method::Channel => {
                let number = self.client.bind_channel(now, peer);
                let number = number.map_err(|error| BenchError::Refused {
                    what: "ChannelBind",
                    error,
                })?;
                self.channel_header = channel_data::header(number, packet_size);
            }
            Method::Indication => {
                let asked = self.client.permit(now, &[peer.ip()]);
                asked.map_err(|error| BenchError::Refused {
                    what: "CreatePermission",
                    error,
                })?;
            }
        }
        Ok(())
    }

    /// Asks for the end of the allocation; false when it has none.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        self.phase = Phase::Closing;
        self.client.release(now).is_ok()
    }
}
