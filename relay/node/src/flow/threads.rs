//! The threads that serve `quic` and `wss`, and the sockets that they listen on.
//!
//! Each thread has a UDP socket of its own on every QUIC address (SO_REUSEPORT; connection ids steer
//! a client that moves back to its thread), and takes its turn at accepting TCP.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use sterna_flow::Relay;
use sterna_io::{limits::LISTENER_BUFFER_BYTES, sockets};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tracing::{error, warn};

use super::mailbox::{FlowInbox, FlowMailboxes};
use super::plan::{FlowPlan, Proxies};
use super::shard::Shard;
use super::{quic, udp, wss};
use crate::config::Config;
use crate::listeners::ListenError;
use crate::stream::{self, Admission, CutReason, Place};
use crate::tls::Certificates;

/// The bound sockets of both rungs.
#[derive(Debug, Default)]
pub(crate) struct FlowListeners {
    /// One socket a thread for each address.
    quic: Vec<Vec<UdpSocket>>,
    wss: Vec<TcpListener>,
    /// Where QUIC is listened for.
    pub(crate) quic_addrs: Vec<SocketAddr>,
    /// Where WebSockets are.
    pub(crate) wss_addrs: Vec<SocketAddr>,
}

/// What connections are served with; the same for every thread.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) tls_quic: Arc<ServerConfig>,
    pub(super) tls_wss: Arc<ServerConfig>,
    pub(super) admission: Arc<Admission>,
    /// Load balancers, whose connections begin with a PROXY header.
    proxies: Proxies,
    pub(super) connections_max: u32,
    pub(super) connections_per_prefix_max: u32,
}

impl Service {
    /// Takes a place for a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn admit(&self, addr: IpAddr) -> Result<Place, CutReason> {
        let mut place = self.admit_unknown()?;
        self.claim(&mut place, addr)?;
        Ok(place)
    }

    /// Takes a place for a connection of somebody who has yet to say who he is.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn admit_unknown(&self) -> Result<Place, CutReason> {
        self.admission.admit(self.connections_max)
    }

    /// Counts a connection for a device's prefix.
    ///
    /// # Errors
    /// When that is full.
    pub(super) fn claim(&self, place: &mut Place, addr: IpAddr) -> Result<(), CutReason> {
        place.claim(addr, self.connections_per_prefix_max)
    }

    /// Whether a connection from an address begins with a PROXY header.
    pub(super) fn is_proxy(&self, addr: IpAddr) -> bool {
        stream::is_among(&self.proxies.load(), addr)
    }
}

/// The running threads.
#[derive(Debug)]
pub(crate) struct FlowThreads(Vec<JoinHandle<()>>);

impl FlowListeners {
    /// Binds every address of `[flow]`, for so many threads.
    ///
    /// # Errors
    /// [`ListenError`] for the first address that cannot be had.
    pub(crate) fn bind(config: &Config, threads: usize) -> Result<Self, ListenError> {
        let mut listeners = Self::default();
        for &addr in &config.flow.quic_listen {
            let group = quic_group(addr, threads)
                .map_err(|error| ListenError::from_io("quic", addr, "flow.quic_listen", error))?;
            if let Some(bound) = group.first().and_then(|socket| socket.local_addr().ok()) {
                listeners.quic_addrs.push(bound);
            }
            listeners.quic.push(group);
        }
        for &addr in &config.flow.wss_listen {
            let listener = stream::listen(addr)
                .map_err(|error| ListenError::from_io("wss", addr, "flow.wss_listen", error))?;
            listeners.wss_addrs.extend(listener.local_addr().ok());
            listeners.wss.push(listener);
        }
        Ok(listeners)
    }
}

/// Binds one SO_REUSEPORT group. A first bind alone finds out whether another process is there.
fn quic_group(mut addr: SocketAddr, threads: usize) -> io::Result<Vec<UdpSocket>> {
    let alone = sockets::bind_listener(addr, false, LISTENER_BUFFER_BYTES)?;
    addr = alone.local_addr()?;
    drop(alone);
    let group = (0..threads)
        .map(|_| sockets::bind_listener(addr, true, LISTENER_BUFFER_BYTES))
        .collect::<io::Result<Vec<_>>>()?;
    if let Some(first) = group.first()
        && let Err(error) = quic::steering(threads).attach(first)
    {
        warn!(%error, "QUIC clients that change their address will have to connect anew");
    }
    Ok(group)
}

impl FlowThreads {
    /// Starts a thread for each of `inboxes`, which are the shards behind the workers.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub(crate) fn start(
        plan: &FlowPlan,
        listeners: FlowListeners,
        inboxes: Vec<(FlowInbox, Arc<Notify>)>,
        shards: &FlowMailboxes,
        certificates: &Certificates,
        config: &Config,
    ) -> io::Result<Self> {
        let service = Service {
            tls_quic: certificates.tls13(sterna_flow::frame::ALPN),
            tls_wss: certificates.tls13(b"http/1.1"),
            admission: Arc::default(),
            proxies: Arc::clone(&plan.proxies),
            connections_max: config.limits.flow_connections_max,
            connections_per_prefix_max: config.limits.flow_connections_per_prefix_max,
        };
        let mut quic: Vec<_> = listeners.quic.into_iter().map(Vec::into_iter).collect();
        let mut threads = Vec::with_capacity(inboxes.len());
        for (place, (inbox, bell)) in inboxes.into_iter().enumerate() {
            let start = Start {
                id: plan.thread(place),
                place,
                count: plan.threads,
                quic: quic.iter_mut().filter_map(Iterator::next).collect(),
                wss: listeners
                    .wss
                    .iter()
                    .map(TcpListener::try_clone)
                    .collect::<io::Result<_>>()?,
                shards: shards.clone(),
                service: service.clone(),
                plan: plan.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("flow-{place}"))
                .spawn(move || start.live(inbox, bell))?;
            threads.push(thread);
        }
        Ok(Self(threads))
    }

    /// Waits for the threads, which have been told to end.
    pub(crate) async fn join(self) {
        for thread in self.0 {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                error!("a thread of the flow relay panicked; this is a bug in Sterna");
            }
        }
    }
}

/// What a thread begins with.
struct Start {
    id: sterna_flow::ShardId,
    place: usize,
    count: usize,
    quic: Vec<UdpSocket>,
    wss: Vec<TcpListener>,
    shards: FlowMailboxes,
    service: Service,
    plan: FlowPlan,
}

impl Start {
    /// A thread's whole life.
    fn live(self, inbox: FlowInbox, bell: Arc<Notify>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                error!(%error, "a thread of the flow relay cannot start");
                return;
            }
        };
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let relay: Relay = udp::relay(&self.plan, std::time::Instant::now(), self.id);
            let shard = Rc::new(Shard::new(relay, self.id, self.shards));
            for socket in self.quic {
                match quic::endpoint(socket, &self.service, self.place, self.count) {
                    Ok(endpoint) => {
                        let (shard, service) = (Rc::clone(&shard), self.service.clone());
                        tokio::task::spawn_local(quic::accept(endpoint, shard, service));
                    }
                    Err(error) => error!(%error, "cannot serve QUIC"),
                }
            }
            for listener in self.wss {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let (shard, service) = (Rc::clone(&shard), self.service.clone());
                        tokio::task::spawn_local(wss::accept(listener, shard, service));
                    }
                    Err(error) => error!(%error, "cannot serve WebSockets"),
                }
            }
            shard.run(inbox, bell).await;
        });
    }
}
