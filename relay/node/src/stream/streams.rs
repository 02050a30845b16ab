//! The stream side as a whole: starts listeners, applies new limits, ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sterna_daemon::log::Repeated;
use sterna_turn::{Client, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::admission::Admission;
use super::budget::QueueBudget;
use super::connection::{Context, End};
use super::counters::{CutReason, StreamCounters, Tally, add};
use super::listener::{Protocols, StreamListener, prepare};
use super::{StreamConfig, StreamSink};
use crate::log::Redacted;

/// How long a listener rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static ACCEPT_ERRORS: Repeated = Repeated::new();
static REFUSALS: Repeated = Repeated::new();
static BAD_HEADERS: Repeated = Repeated::new();

/// The running stream listeners and their connections.
#[derive(Debug)]
pub struct Streams {
    admission: Arc<Admission>,
    tally: Arc<Tally>,
    budget: Arc<QueueBudget>,
    config: watch::Sender<StreamConfig>,
    /// Tells every task to end; each holds a receiver until it has.
    closing: watch::Sender<bool>,
    addrs: Vec<SocketAddr>,
}

struct Acceptor<S> {
    listener: TcpListener,
    protocols: Protocols,
    sink: Arc<S>,
    tls: TlsAcceptor,
    admission: Arc<Admission>,
    tally: Arc<Tally>,
    budget: Arc<QueueBudget>,
    config: watch::Receiver<StreamConfig>,
    closing: watch::Receiver<bool>,
}

impl Streams {
    /// Accepts from the listeners on the runtime that this is called on.
    ///
    /// # Errors
    /// What the kernel says when a socket cannot be registered.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the tasks' clones are what is kept"
    )]
    pub fn start<S: StreamSink>(
        listeners: Vec<StreamListener>,
        config: impl Into<StreamConfig>,
        tls: TlsAcceptor,
        sink: Arc<S>,
    ) -> io::Result<Self> {
        let config = config.into();
        let (closing, closed) = watch::channel(false);
        let mut streams = Self {
            admission: Arc::default(),
            tally: Arc::default(),
            budget: Arc::new(QueueBudget::new(&config.limits)),
            config: watch::Sender::new(config),
            closing,
            addrs: Vec::new(),
        };
        for listener in listeners {
            streams.addrs.push(listener.local_addr()?);
            let acceptor = Acceptor {
                listener: TcpListener::from_std(listener.socket)?,
                protocols: listener.protocols,
                sink: Arc::clone(&sink),
                tls: tls.clone(),
                admission: Arc::clone(&streams.admission),
                tally: Arc::clone(&streams.tally),
                budget: Arc::clone(&streams.budget),
                config: streams.config.subscribe(),
                closing: closed.clone(),
            };
            tokio::spawn(acceptor.run());
        }
        Ok(streams)
    }

    /// Where connections are accepted, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The figures of this moment.
    pub fn counters(&self) -> StreamCounters {
        self.tally.read(self.admission.open(), &self.budget)
    }

    /// Applies new limits, also to connections that stand: times from when they began, queues at
    /// their next frame. Caps and prefixes of proxies are those of new connections.
    pub fn reconfigure(&self, config: impl Into<StreamConfig>) {
        let config = config.into();
        self.budget.reconfigure(&config.limits);
        self.config.send_replace(config);
    }

    /// Accepts no more, sends what is queued, closes every connection, and waits for all that.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}

impl<S: StreamSink> Acceptor<S> {
    async fn run(mut self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.closing.wait_for(|closing| *closing) => return,
            };
            match accepted {
                Ok((socket, from)) => self.admit(socket, from),
                Err(error) => {
                    add(&self.tally.accept_errors, 1);
                    if let Some(times) = ACCEPT_ERRORS.due() {
                        warn!(%error, times, "cannot accept a TCP connection; when out of descriptors, raise the limit");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, from: SocketAddr) {
        let config = self.config.borrow();
        let (limits, proxied) = (config.limits, config.is_proxy(from.ip()));
        drop(config);
        // Behind a proxy, the client and its prefix are known after the header.
        let admitted = self
            .admission
            .admit(limits.connections_max)
            .and_then(|mut place| {
                if !proxied {
                    place.claim(from.ip(), limits.per_prefix_max)?;
                }
                Ok(place)
            });
        let place = match admitted {
            Ok(place) => place,
            Err(reason) => return refuse(&self.tally, reason, from),
        };
        // The client may be gone already.
        let Ok(server) = socket
            .local_addr()
            .and_then(|server| prepare(&socket).map(|()| server))
        else {
            return;
        };
        let mut client = Client {
            transport: Transport::Tcp,
            route: place.id,
            addr: canonical(from),
            server: canonical(server),
        };
        let context = Context {
            sink: Arc::clone(&self.sink),
            tally: Arc::clone(&self.tally),
            budget: Arc::clone(&self.budget),
            config: self.config.clone(),
            tls: self.tls.clone(),
            protocols: self.protocols,
            closing: self.closing.clone(),
            place,
            proxied,
        };
        let tally = Arc::clone(&self.tally);
        tokio::spawn(async move {
            if let End::Cut(reason) = context.serve(socket, &mut client).await {
                if reason == CutReason::PrefixFull {
                    return refuse(&tally, reason, client.addr);
                }
                tally.cut(reason);
                debug!(reason = reason.as_str(), client = %client.addr, "TCP connection cut");
                if reason == CutReason::ProxyHeader
                    && let Some(times) = BAD_HEADERS.due()
                {
                    warn!(proxy = %from, times, "a connection from tcp.proxy_protocol_from began without a valid PROXY header \
                           and was cut; let the load balancer send one (version 2), or take it off that list");
                }
            }
        });
    }
}

fn refuse(tally: &Tally, reason: CutReason, from: SocketAddr) {
    tally.cut(reason);
    if let Some(times) = REFUSALS.due() {
        warn!(reason = reason.as_str(), from = %Redacted(from), times, "TCP connections refused");
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
