//! The cold work that the machine names, and what is said of it.

use std::net::SocketAddr;
use std::time::Instant;

use sterna_io::limits::SOCKET_BUFFER_BYTES;
use sterna_io::{Engine, OpenError, RelaySlot, sockets};
use sterna_turn::{
    BindToken, Client, Command, Event, Meter, PeerConnection, PortError, RelayPort, Transport,
};
use tracing::{debug, warn};

use super::{Worker, listener_of};
use crate::stream::Bound;

impl<E: Engine> Worker<E> {
    /// Does the cold work that the machine named since the last call.
    pub(super) fn obey_commands(&mut self, now: Instant) {
        while let Some(command) = self.server.poll_command(&mut self.reply[..]) {
            match command {
                Command::Reply { client, len } => self.reply_to(client, len),
                Command::BindPort { token, addr } => {
                    let opened = self.engine.open_relay(addr);
                    self.answer_port(now, token, opened);
                }
                Command::HoldPort { token, addr } => self.hold_port(now, token, addr),
                Command::AdoptPort { token, addr } => {
                    let adopted = match self.held.take(addr) {
                        Some(socket) => self.engine.adopt_relay(socket),
                        None => Err(OpenError::InUse),
                    };
                    self.answer_port(now, token, adopted);
                }
                Command::DropHeldPort { addr } => drop(self.held.take(addr)),
                Command::ReleasePort { port } => self.engine.close_relay(RelaySlot(port.0)),
                Command::ListenRelay { token, addr, meter } => {
                    self.listen_relay(now, token, addr, meter);
                }
                Command::CloseListener { port } => {
                    if let Some(peers) = &self.peers {
                        peers.close_listener(port);
                    }
                }
                Command::ConnectPeer { token, port, peer } => {
                    if let Some(peers) = &self.peers {
                        peers.connect(token, port, peer);
                    }
                }
                Command::JoinConnections { connection, .. } => self.joined = Some(connection),
                Command::CloseConnection { connection } => self.close_peer(connection),
                Command::CloseStream { client } => {
                    if let Some(out) = self.streams.get(client) {
                        out.close();
                    }
                }
                Command::Detach { client } => self.streams.detach(client),
                Command::TellClosed { worker, client } => self.tell_closed(worker, client),
                Command::Event(event) => self.note(&event),
            }
        }
    }

    /// Logs a step in an allocation's life, and tells its stream whether it has one.
    fn note(&self, event: &Event) {
        let (client, alive) = match event {
            Event::Allocated { client, .. } => (client, true),
            Event::Ended { client, .. } => (client, false),
            Event::Moved { to, .. } => (to, true),
            Event::Refreshed { .. } => {
                debug!(worker = self.id.0, ?event, "allocation refreshed");
                return;
            }
            Event::HalfEnded { .. } => {
                debug!(worker = self.id.0, ?event, "half of an allocation ended");
                return;
            }
        };
        debug!(
            worker = self.id.0,
            ?event,
            "{}",
            match event {
                Event::Moved { .. } => "allocation moved",
                _ if alive => "allocation made",
                _ => "allocation ended",
            }
        );
        if client.transport.is_stream()
            && let Some(out) = self.streams.get(*client)
        {
            out.set_session(alive);
        }
    }

    fn reply_to(&mut self, client: Client, len: usize) {
        match client.transport {
            Transport::Udp => {
                self.engine
                    .send_copy(listener_of(client), client.addr, &[], &self.reply[..len], 0);
            }
            Transport::Tcp | Transport::Tls => match self.streams.get(client) {
                Some(out) => out.push(&[], &self.reply[..len], 0),
                None => self.counters.stream_gone += 1,
            },
        }
    }

    fn hold_port(&mut self, now: Instant, token: BindToken, addr: SocketAddr) {
        let answer = match sockets::bind_relay(addr, SOCKET_BUFFER_BYTES).map_err(OpenError::from) {
            Ok(socket) => {
                self.held.hold(addr, socket);
                Ok(NO_PORT)
            }
            Err(error) => Err(self.port_error(error)),
        };
        self.server.handle_port(now, token, answer);
    }

    /// Listens on a relayed address for the connections of peers.
    fn listen_relay(&mut self, now: Instant, token: BindToken, addr: SocketAddr, meter: Meter) {
        let own = self.workers.of(self.id);
        let opened = match (&self.peers, own) {
            (Some(peers), Some(own)) => peers.listen(own, addr, meter).map_err(OpenError::from),
            _ => Err(OpenError::TableFull),
        };
        let answer = opened.map_err(|error| self.port_error(error));
        self.server.handle_port(now, token, answer);
    }

    /// What the ConnectionBind that was just handled was joined with.
    pub(super) fn bound(&mut self) -> Bound {
        let Some(connection) = self.joined.take() else {
            return Bound::No;
        };
        let joined = self.peers.as_ref().and_then(|peers| peers.join(connection));
        joined.map_or(Bound::Gone, |joined| Bound::Joined(Box::new(joined)))
    }

    fn close_peer(&self, connection: PeerConnection) {
        if let Some(peers) = &self.peers {
            peers.close(connection);
        }
    }

    fn answer_port(
        &mut self,
        now: Instant,
        token: BindToken,
        opened: Result<RelaySlot, OpenError>,
    ) {
        let answer = match opened {
            Ok(slot) => Ok(RelayPort(slot.0)),
            Err(error) => Err(self.port_error(error)),
        };
        self.server.handle_port(now, token, answer);
    }

    fn port_error(&mut self, error: OpenError) -> PortError {
        match error {
            OpenError::InUse => {
                self.counters.ports_held_elsewhere += 1;
                PortError::InUse
            }
            OpenError::OutOfDescriptors | OpenError::TableFull => {
                self.counters.ports_exhausted += 1;
                PortError::Exhausted
            }
            error => {
                warn!(worker = self.id.0, %error, "cannot open a relay port");
                PortError::Other
            }
        }
    }
}

/// The machine asks for no handle of a port that is held and not open.
const NO_PORT: RelayPort = RelayPort(u32::MAX);
