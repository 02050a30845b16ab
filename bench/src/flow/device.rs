//! Devices of our own: each with a key, a ticket, and the library that any other device would use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use sterna_client::relay::{self, Event, Node, Packet, PeerState, Relay, Rung, Secret};
use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, GroupId, Groups, RateClass, SigningKey, TenantId, Ticket, TicketId,
};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::BenchError;

/// How long our tickets are good for: less than the longest that nodes take, since they begin a
/// moment ago.
const TICKET_LIFETIME: Duration = Duration::from_secs(3500);
/// How long ago they begin.
const TICKET_BEGAN: Duration = Duration::from_secs(60);

/// Makes devices for one node.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The node.
    pub node: Node,
    /// Where their tickets come from.
    pub tickets: Tickets,
}

/// Where devices have their tickets from.
#[derive(Clone, Debug)]
pub enum Tickets {
    /// From us.
    Signed {
        /// The fleet that the node belongs to (`flow.fleet`).
        fleet: Fleet,
        /// A key whose tickets the node takes (`flow.ticket_keys`).
        key: Box<SigningKey>,
    },
    /// From a control service: one device each, until there is none left.
    Given(Arc<Mutex<Vec<Admission>>>),
}

/// What lets one device in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The name by which its peers know it.
    pub key: DeviceKey,
    /// The private half of its relay key.
    pub secret: Secret,
    /// Its ticket.
    pub ticket: Vec<u8>,
}

/// A device of our own.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) key: DeviceKey,
    pub(super) rung: Rung,
    pub(super) relay: Relay,
    pub(super) packets: mpsc::Receiver<Packet>,
    events: mpsc::Receiver<Event>,
}

impl Issuer {
    /// The rungs that the node serves.
    pub(super) fn rungs(&self) -> Vec<Rung> {
        let serves = |rung: &Rung| !self.addrs(*rung).is_empty();
        Rung::ALL.into_iter().filter(serves).collect()
    }

    /// Where the node serves a rung.
    pub(super) fn addrs(&self, rung: Rung) -> &[std::net::SocketAddr] {
        match rung {
            Rung::Udp => &self.node.udp,
            Rung::Quic => &self.node.quic,
            Rung::Wss => &self.node.wss,
        }
    }

    /// Starts a device that uses one rung only. All devices of an issuer may talk to each other.
    ///
    /// # Errors
    /// When the system's clock is no clock, or no ticket is left.
    pub(super) fn start(&self, rung: Rung) -> Result<Device, BenchError> {
        let Admission {
            key,
            secret,
            ticket,
        } = match &self.tickets {
            Tickets::Signed { fleet, key } => sign(*fleet, key)?,
            Tickets::Given(admissions) => {
                let mut left = admissions.lock().unwrap_or_else(PoisonError::into_inner);
                left.pop()
                    .ok_or(BenchError::Usage("there are fewer tickets than devices"))?
            }
        };
        let (relay, packets, events) = Relay::start(relay::Config {
            secret,
            ticket,
            nodes: vec![self.node.clone()],
            rungs: vec![rung],
        });
        Ok(Device {
            key,
            rung,
            relay,
            packets,
            events,
        })
    }
}

/// Makes a device, and a ticket for it.
fn sign(fleet: Fleet, signer: &SigningKey) -> Result<Admission, BenchError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| BenchError::Usage("the system's clock is before 1970; set it"))?;
    let not_before = now.saturating_sub(TICKET_BEGAN).as_secs();
    let mut rng = rand::rng();
    let key = DeviceKey(rng.random());
    let secret = Secret::new(rng.random());
    let ticket = Ticket {
        tenant: TenantId(1),
        ticket_id: TicketId(rng.random()),
        device_id: DeviceId(rng.random()),
        device_key: key,
        relay_key: secret.public(),
        not_before,
        expires: not_before + TICKET_LIFETIME.as_secs(),
        rate: RateClass::default(),
        audience: fleet,
        groups: Groups::new(&[GroupId(1)]).expect("invariant: one group fits"),
    };
    let ticket = ticket
        .issue(signer)
        .expect("invariant: the lifetime is one that nodes take");
    Ok(Admission {
        key,
        secret,
        ticket,
    })
}

impl Device {
    /// Waits until the device has its path.
    ///
    /// # Errors
    /// [`BenchError::NoFlowPath`] with the last that was said, at the deadline or when the node
    /// refuses the device.
    pub(super) async fn connected(&mut self, deadline: Instant) -> Result<(), BenchError> {
        let mut said = "no answer in time".to_owned();
        loop {
            let event = tokio::select! {
                _ = self.relay.connected() => return Ok(()),
                event = timeout_at(deadline.into(), self.events.recv()) => event,
            };
            let is_over = match event {
                Ok(Some(Event::Unreachable { error, .. })) => {
                    said = error;
                    false
                }
                Ok(Some(Event::Refused { text, .. })) => {
                    said = format!("the node refuses the device: {text}");
                    true
                }
                Ok(Some(_)) => false,
                Ok(None) | Err(_) => true,
            };
            if is_over {
                return Err(BenchError::NoFlowPath {
                    rung: self.rung.as_str(),
                    why: said,
                });
            }
        }
    }

    /// Opens flows to peers and waits until they stand.
    ///
    /// # Errors
    /// [`BenchError::TooSlow`] at the deadline.
    pub(super) async fn open(
        &mut self,
        peers: &[DeviceKey],
        deadline: Instant,
    ) -> Result<(), BenchError> {
        let mut missing = peers.to_vec();
        for peer in peers {
            self.relay.open(*peer).await;
        }
        while !missing.is_empty() {
            match timeout_at(deadline.into(), self.events.recv()).await {
                Ok(Some(Event::Peer {
                    peer,
                    state: PeerState::Online,
                    ..
                })) => missing.retain(|wanted| *wanted != peer),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(BenchError::TooSlow {
                        what: "opening the flows",
                    });
                }
            }
        }
        Ok(())
    }
}
