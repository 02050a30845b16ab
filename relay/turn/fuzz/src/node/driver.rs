//! The driver: does what the node wants done, with sockets that it imagines.

use std::net::SocketAddr;

use sterna_turn::{Command, NotConnected, PortError, RelayPort, limits::REPLY_BYTES_MAX};

use super::{super::forbidden::is_forbidden_to, Node};

impl Node {
    pub(super) fn settle(&mut self, worker: usize) {
        let mut out = [0; REPLY_BYTES_MAX];
        while let Some(command) = self.servers[worker].poll_command(&mut out) {
            match command {
                Command::Reply { client, len } => self.replies.push((client, out[..len].to_vec())),
                Command::BindPort { token, addr } => {
                    // Somebody else holds one of the ports.
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        Ok(self.open(worker, addr))
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::HoldPort { token, addr } => {
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        assert!(self.held.insert(addr), "held twice");
                        Ok(RelayPort(0))
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::AdoptPort { token, addr } => {
                    assert!(self.held.remove(&addr), "adopts what is held");
                    let port = self.open(worker, addr);
                    self.servers[worker].handle_port(self.now, token, Ok(port));
                }
                Command::ListenRelay { token, addr, .. } => {
                    let result = if addr.port() == 50_003 {
                        Err(PortError::InUse)
                    } else {
                        let port = self.open(worker, addr);
                        self.ports.remove(&port);
                        self.listening.insert(port, (worker, addr));
                        Ok(port)
                    };
                    self.servers[worker].handle_port(self.now, token, result);
                }
                Command::CloseListener { port } => {
                    assert!(self.listening.remove(&port).is_some());
                    self.peers.retain(|_, (listener, _)| *listener != port);
                }
                Command::ConnectPeer { token, port, peer } => {
                    let to_relay = self.listening.values().any(|(_, addr)| *addr == peer);
                    let account = self.account_of(self.listening[&port].1);
                    assert!(
                        to_relay || !is_forbidden_to(&account, peer),
                        "{peer} is forbidden to {account}"
                    );
                    assert!(!self.denied, "{peer} is denied");
                    assert_eq!(self.listening[&port].0, worker);
                    // One of the peers listens on every other port only.
                    let result = if peer.port() % 2 == 0 {
                        Ok(self.connection(port))
                    } else {
                        Err(NotConnected)
                    };
                    self.servers[worker].handle_connected(self.now, token, result);
                }
                Command::JoinConnections { client, connection } => {
                    assert!(client.transport.is_stream());
                    let (_, joined) = self.peers.get_mut(&connection).expect("lives");
                    assert!(!std::mem::replace(joined, true), "joined twice");
                }
                Command::CloseConnection { connection } => {
                    assert!(self.peers.remove(&connection).is_some(), "closed twice");
                }
                Command::DropHeldPort { addr } => assert!(self.held.remove(&addr)),
                Command::ReleasePort { port } => assert!(self.ports.remove(&port).is_some()),
                Command::CloseStream { client } | Command::Detach { client } => {
                    assert!(client.transport.is_stream());
                }
                Command::TellClosed { worker, client } => {
                    let worker = usize::from(worker.0);
                    self.servers[worker].handle_stream_closed(self.now, client);
                    self.settle(worker);
                }
                Command::Event(_) => {}
            }
        }
    }

    fn open(&mut self, worker: usize, addr: SocketAddr) -> RelayPort {
        assert!(!self.held.contains(&addr));
        assert!(
            self.ports
                .values()
                .chain(self.listening.values())
                .all(|(_, open)| *open != addr),
            "opened twice"
        );
        let port = RelayPort(self.next_port);
        self.next_port += 1;
        self.ports.insert(port, (worker, addr));
        port
    }
}
