//! TCP connections to peers (RFC 6062): the driver's side of TCP allocations.
//!
//! | what | where |
//! |---|---|
//! | which listeners and connections there are, and who ends them | here |
//! | a relayed address accepts, and connects | `socket` |
//! | a client's connection and a peer's become one | `splice` |
//! | bytes a second of one allocation | `pace` |
//! | what is counted | `tally` |
//!
//! The worker's machine decides, by commands; what happens is told to it by letters. A connection
//! that waits for its ConnectionBind is not read: what its peer sends early stays in the kernel's
//! buffer, whose room is the window that TCP advertises (RFC 6062 §5.2).

mod pace;
mod socket;
mod splice;
mod tally;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_turn::{BindToken, Meter, NotConnected, PeerConnection, RelayPort};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::mailbox::{Mailbox, StreamLetter};
use pace::Pace;
use tally::Tally;

pub use splice::Joined;
pub use tally::{ConnectResult, PeerCounters, PeerEnd};

/// All TCP listeners on relayed addresses and all connections to peers of a node.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    table: Mutex<Table>,
    limits: Limits,
    tally: Tally,
}

/// What a reload may change under connections that stand.
#[derive(Debug)]
struct Limits {
    idle_s: AtomicU32,
}

#[derive(Debug, Default)]
struct Table {
    listeners: HashMap<RelayPort, Listener>,
    connections: HashMap<PeerConnection, Entry>,
    next: u32,
}

/// A TCP allocation, as the driver knows it.
#[derive(Debug)]
struct Listener {
    session: Arc<Session>,
    /// Dropped when the allocation has ended: its tasks end then.
    _lives: watch::Sender<()>,
}

#[derive(Debug)]
struct Session {
    /// The worker of the allocation.
    worker: Mailbox,
    port: RelayPort,
    /// The relayed address.
    local: SocketAddr,
    meter: Meter,
    pace: Pace,
    ended: watch::Receiver<()>,
}

/// A connection to a peer.
#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    /// Until a client has bound it.
    socket: Option<TcpStream>,
    /// Dropped when the connection is to end.
    stop: Option<oneshot::Sender<()>>,
    stopped: Option<oneshot::Receiver<()>>,
}

impl Peers {
    /// No listener and no connection yet; tasks will run on the runtime that this is called on.
    #[must_use]
    pub fn new(limits: &crate::config::Limits) -> Self {
        let peers = Self(Arc::new(Inner {
            runtime: Handle::current(),
            table: Mutex::default(),
            limits: Limits {
                idle_s: AtomicU32::new(0),
            },
            tally: Tally::default(),
        }));
        peers.reconfigure(limits);
        peers
    }

    /// Applies new limits, also to connections that stand.
    pub fn reconfigure(&self, limits: &crate::config::Limits) {
        let of = &self.0.limits;
        of.idle_s.store(limits.tcp_peer_idle_s, Ordering::Relaxed);
    }

    /// The figures of this moment.
    #[must_use]
    pub fn counters(&self) -> PeerCounters {
        let table = self.0.lock();
        let waiting = |entry: &&Entry| entry.socket.is_some();
        let waiting = table.connections.values().filter(waiting).count();
        let joined = table.connections.len() - waiting;
        drop(table);
        self.0.tally.read(waiting, joined)
    }

    /// Listens on a relayed address for the allocations of a worker.
    ///
    /// # Errors
    /// What the kernel says; `AddrInUse` where somebody else has the port.
    pub fn listen(
        &self,
        worker: &Mailbox,
        local: SocketAddr,
        meter: Meter,
    ) -> io::Result<RelayPort> {
        let socket = socket::listen(local)?;
        let _inside = self.0.runtime.enter();
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let (lives, ended) = watch::channel(());
        let mut table = self.0.lock();
        let port = RelayPort(
            table.next_number(|table, number| table.listeners.contains_key(&RelayPort(number))),
        );
        let session = Arc::new(Session {
            worker: worker.clone(),
            port,
            local,
            meter,
            pace: Pace::default(),
            ended,
        });
        table.listeners.insert(
            port,
            Listener {
                session: Arc::clone(&session),
                _lives: lives,
            },
        );
        drop(table);
        let peers = self.clone();
        self.0
            .runtime
            .spawn(async move { socket::accept(&peers, &session, socket).await });
        Ok(port)
    }

    /// Closes a listener and everything that came or went by it.
    pub fn close_listener(&self, port: RelayPort) {
        let mut table = self.0.lock();
        let listener = table.listeners.remove(&port);
        // Those that are joined learn of it by the end of their `stop`.
        let ended = table
            .connections
            .extract_if(|_, entry| entry.session.port == port);
        let ended: Vec<_> = ended.collect();
        drop(table);
        drop((listener, ended));
    }

    /// Connects to a peer from a listener's address; the answer goes to the listener's worker.
    pub fn connect(&self, token: BindToken, port: RelayPort, peer: SocketAddr) {
        let table = self.0.lock();
        let session = table.listeners.get(&port);
        // It ended a moment ago: the machine has answered the client.
        let Some(session) = session.map(|listener| Arc::clone(&listener.session)) else {
            return;
        };
        drop(table);
        let peers = self.clone();
        self.0.runtime.spawn(async move {
            let mut ended = session.ended.clone();
            let result = tokio::select! {
                connected = socket::connect(session.local, peer) => connected,
                // Nobody waits for the answer.
                _ = ended.changed() => return,
            };
            let (socket, result) = match result {
                Ok(socket) => (Some(socket), ConnectResult::Connected),
                Err(error) => (None, ConnectResult::of(&error)),
            };
            peers.0.tally.connect(result);
            let connection = socket.and_then(|socket| peers.enter(&session, socket));
            let letter = StreamLetter::PeerConnected {
                token,
                result: connection.ok_or(NotConnected),
            };
            // A worker that has ended waits for no answer.
            let _ = session.worker.post_stream(letter).await;
        });
    }

    /// Closes a connection, whether a client has it or not.
    pub fn close(&self, connection: PeerConnection) {
        let entry = self.0.lock().connections.remove(&connection);
        drop(entry);
    }

    /// Hands a connection over to the task of the client's connection; none if it is gone.
    #[must_use]
    pub fn join(&self, connection: PeerConnection) -> Option<Joined> {
        let mut table = self.0.lock();
        let entry = table.connections.get_mut(&connection)?;
        let (socket, stopped) = (entry.socket.take()?, entry.stopped.take()?);
        let session = Arc::clone(&entry.session);
        drop(table);
        Some(Joined::new(
            self.clone(),
            connection,
            session,
            socket,
            stopped,
        ))
    }

    /// Closes everything; the node ends.
    pub fn shutdown(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Enters a connection, unless its listener is closed.
    fn enter(&self, session: &Arc<Session>, socket: TcpStream) -> Option<PeerConnection> {
        let mut table = self.0.lock();
        if !table.listeners.contains_key(&session.port) {
            return None;
        }
        let connection =
            PeerConnection(table.next_number(|table, number| {
                table.connections.contains_key(&PeerConnection(number))
            }));
        let (stop, stopped) = oneshot::channel();
        table.connections.insert(
            connection,
            Entry {
                session: Arc::clone(session),
                socket: Some(socket),
                stop: Some(stop),
                stopped: Some(stopped),
            },
        );
        Some(connection)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics between two consistent states of the table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Numbers follow each other, so that a late letter never means somebody else's; one that is
    /// still in use after four thousand million others is passed over.
    fn next_number(&mut self, taken: impl Fn(&Self, u32) -> bool) -> u32 {
        loop {
            let number = self.next;
            self.next = number.wrapping_add(1);
            // The last one means "no port" elsewhere.
            if number != u32::MAX && !taken(self, number) {
                return number;
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Whoever splices it ends now.
        drop(self.stop.take());
    }
}
