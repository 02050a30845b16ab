//! One connection to a node over one rung: a session of the machine, on a carrier.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use sterna_control_api::DeviceKey;
use sterna_control_api::relay_map::Node;
use sterna_flow::device::{self, FlowId, Received, Session};
use sterna_flow::limits::CONTROL_FRAME_BYTES_MAX;
use sterna_flow::{Mark, Rung};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use super::carrier::{self, Carrier, Receiver, Sender};
use super::limits::{ADDRESS_LOOK, COMMANDS_MAX, CONNECT_MAX};
use super::{Config, Packet};

/// What a link is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Sends a packet to a peer, whose flow is opened where it is not.
    Send {
        peer: DeviceKey,
        mark: Mark,
        payload: Bytes,
    },
    /// Asks for a flow to a peer.
    Open(DeviceKey),
    /// Shows a newer ticket.
    Renew(Vec<u8>),
    /// The device's own address may be another one.
    AddressChanged,
    /// The path may have gone silent: an answer is expected.
    Check,
}

/// What a link tells its keeper.
#[derive(Debug)]
pub(super) enum Report {
    /// The session says.
    Event(device::Event),
    /// The link is gone.
    Down(io::Error),
}

/// The keeper's names for its links.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinkId(pub(super) u64);

/// Where packets of peers go.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    pub(super) packets: mpsc::Sender<Packet>,
    pub(super) dropped: Arc<AtomicU64>,
}

/// Starts a link after `delay`. It ends, with a goodbye, when the returned sender is dropped.
pub(super) fn start(
    id: LinkId,
    node: Node,
    rung: Rung,
    config: &Config,
    delay: Duration,
    inbound: Inbound,
    reports: mpsc::Sender<(LinkId, Report)>,
) -> mpsc::Sender<Command> {
    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let device = device::Config {
        node_key: node.noise_key,
        secret: config.secret.clone(),
        ticket: config.ticket.clone(),
    };
    tokio::spawn(async move {
        let life = live(id, node, rung, device, delay, inbound, &reports, commands);
        let error = life.await.err();
        let error = error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
        debug!(?id, rung = rung.as_str(), %error, "link ended");
        // The keeper may have ended before.
        let _ = reports.send((id, Report::Down(error))).await;
    });
    commands_in
}

/// A link's whole life; `Ok` when nobody wants it any more.
#[expect(
    clippy::too_many_arguments,
    reason = "one caller, which has just collected them"
)]
async fn live(
    id: LinkId,
    node: Node,
    rung: Rung,
    device: device::Config,
    delay: Duration,
    inbound: Inbound,
    reports: &mpsc::Sender<(LinkId, Report)>,
    mut commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let connected = async {
        tokio::time::sleep(delay).await;
        timeout(CONNECT_MAX, carrier::connect(&node, rung)).await
    };
    let carrier = tokio::select! {
        carrier = connected => carrier.map_err(io::Error::from)??,
        () = unwanted(&mut commands) => return Ok(()),
    };
    let mut link = Link::new(device, rung, carrier, inbound);
    let mut look = tokio::time::interval(ADDRESS_LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        link.pump()?;
        while let Some(event) = link.session.poll_event() {
            let over = is_end(&event);
            if reports.send((id, Report::Event(event))).await.is_err() || over {
                return Ok(());
            }
        }
        let due = link.session.poll_timeout();
        let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
        tokio::select! {
            frame = link.receiver.receive() => link.take(&frame?),
            command = commands.recv() => match command {
                Some(command) => link.obey(command, &node).await?,
                None => {
                    link.session.close(Instant::now());
                    return link.pump();
                }
            },
            () = sleep_until(due.into()) => link.session.handle_timeout(Instant::now()),
            _ = look.tick() => link.look(&node).await?,
        }
    }
}

/// Waits until the keeper has dropped the link; what it says to one that does not stand is lost.
async fn unwanted(commands: &mut mpsc::Receiver<Command>) {
    while commands.recv().await.is_some() {}
}

fn is_end(event: &device::Event) -> bool {
    use device::Event as E;
    matches!(event, E::Refused { .. } | E::Failed | E::Closed { .. })
}

/// A session and what carries it.
struct Link {
    session: Session,
    rung: Rung,
    sender: Sender,
    receiver: Receiver,
    inbound: Inbound,
    flows: HashMap<DeviceKey, FlowId>,
    /// The node's address, and the device's own towards it.
    addr: SocketAddr,
    local: Option<IpAddr>,
}

impl Link {
    fn new(device: device::Config, rung: Rung, carrier: Carrier, inbound: Inbound) -> Self {
        let session = Session::new(
            Instant::now(),
            device,
            rung,
            carrier.exporter,
            carrier.payload_max,
            rand::random(),
        );
        Self {
            session,
            rung,
            sender: carrier.sender,
            receiver: carrier.receiver,
            inbound,
            flows: HashMap::new(),
            addr: carrier.addr,
            local: carrier::local_towards(carrier.addr),
        }
    }

    /// Sends what the session has to say.
    fn pump(&mut self) -> io::Result<()> {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        while let Some(len) = self.session.poll_transmit(&mut out) {
            self.sender.control(Bytes::copy_from_slice(&out[..len]))?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Bytes) {
        let received = self.session.handle_packet(Instant::now(), frame);
        let (peer, mark, payload) = match received {
            Received::Data {
                peer,
                mark,
                payload,
                ..
            } => (peer, mark, frame.slice(payload)),
            Received::Whole {
                peer,
                mark,
                message,
                ..
            } => (peer, mark, message.into()),
            Received::Handled | Received::Drop(_) => return,
        };
        let packet = Packet {
            peer,
            mark,
            payload,
            rung: self.rung,
        };
        if self.inbound.packets.try_send(packet).is_err() {
            self.inbound.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn obey(&mut self, command: Command, node: &Node) -> io::Result<()> {
        let now = Instant::now();
        match command {
            Command::Send {
                peer,
                mark,
                payload,
            } => self.send(now, peer, mark, &payload),
            Command::Open(peer) => {
                self.flow(now, peer);
            }
            Command::Renew(ticket) => self.session.renew(now, ticket),
            Command::AddressChanged => self.move_on(node).await?,
            Command::Check => self.session.ping_now(now),
        }
        Ok(())
    }

    fn flow(&mut self, now: Instant, peer: DeviceKey) -> FlowId {
        if let Some(&flow) = self.flows.get(&peer)
            && self
                .session
                .flow(flow)
                .is_some_and(|info| info.peer == peer)
        {
            return flow;
        }
        let flow = self.session.open(now, peer);
        self.flows.insert(peer, flow);
        flow
    }

    fn send(&mut self, now: Instant, peer: DeviceKey, mark: Mark, payload: &Bytes) {
        let flow = self.flow(now, peer);
        match self.session.send(now, flow, mark, payload.len()) {
            Ok(frames) => {
                for (head, range) in frames.iter() {
                    let mut frame = BytesMut::with_capacity(head.bytes().len() + range.len());
                    frame.put_slice(head.bytes());
                    frame.put_slice(&payload[range]);
                    // A carrier without room drops, as any network does.
                    self.sender.data(frame.freeze());
                }
            }
            Err(error) => debug!(%error, "a packet could not be sent"),
        }
    }

    /// Looks whether the path or the device's own address has changed.
    async fn look(&mut self, node: &Node) -> io::Result<()> {
        if let Some(payload_max) = self.sender.payload_max() {
            self.session.set_payload_max(Instant::now(), payload_max);
        }
        // None: nothing leads there at the moment, and what there is stays.
        let local = carrier::local_towards(self.addr);
        if local.is_some() && local != self.local {
            self.move_on(node).await?;
        }
        Ok(())
    }

    /// Goes on from whatever address leads to the node now.
    async fn move_on(&mut self, node: &Node) -> io::Result<()> {
        match &mut self.receiver {
            Receiver::Udp(socket, _) => {
                // While nothing leads there, the old socket stays.
                let Ok(fresh) = carrier::udp_socket(self.addr).await else {
                    return Ok(());
                };
                let fresh = Arc::new(fresh);
                *socket = Arc::clone(&fresh);
                self.sender = Sender::Udp(fresh);
                self.local = carrier::local_towards(self.addr);
                debug!(node = %node.identity, "the device's address has changed");
                self.session.address_changed(Instant::now());
                Ok(())
            }
            // QUIC moves by itself (RFC 9000 §9); what is sent shows whether it has.
            Receiver::Quic { .. } => {
                self.local = carrier::local_towards(self.addr);
                self.session.expect_data(Instant::now());
                Ok(())
            }
            // A TCP connection cannot: the next one is made at once, not after its timeout.
            Receiver::Wss(_) if carrier::local_towards(self.addr) != self.local => {
                Err(io::ErrorKind::AddrNotAvailable.into())
            }
            Receiver::Wss(_) => {
                self.session.expect_data(Instant::now());
                Ok(())
            }
        }
    }
}
