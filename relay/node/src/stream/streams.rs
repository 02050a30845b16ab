//! The stream side as a whole: starts listeners, applies new limits, ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sterna_turn::{Client, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::admission::Admission;
use super::connection::{Context, End};
use super::counters::{StreamCounters, Tally, add};
use super::listener::{Protocols, StreamListener, prepare};
use super::{StreamLimits, StreamSink};
use crate::log::{Redacted, Repeated};

/// How long a listener rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static ACCEPT_ERRORS: Repeated = Repeated::new();
static REFUSALS: Repeated = Repeated::new();

/// The running stream listeners and their connections.
#[derive(Debug)]
pub struct Streams {
    admission: Arc<Admission>,
    tally: Arc<Tally>,
    limits: Arc<ArcSwap<StreamLimits>>,
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
    limits: Arc<ArcSwap<StreamLimits>>,
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
        limits: StreamLimits,
        tls: TlsAcceptor,
        sink: Arc<S>,
    ) -> io::Result<Self> {
        let (closing, closed) = watch::channel(false);
        let mut streams = Self {
            admission: Arc::default(),
            tally: Arc::default(),
            limits: Arc::new(ArcSwap::from_pointee(limits)),
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
                limits: Arc::clone(&streams.limits),
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
        self.tally.read(self.admission.open())
    }

    /// Applies new limits to connections that are accepted from now on.
    pub fn reconfigure(&self, limits: StreamLimits) {
        self.limits.store(Arc::new(limits));
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
        let limits = **self.limits.load();
        let place = match self.admission.admit(
            from.ip(),
            limits.connections_max,
            limits.per_prefix_max,
        ) {
            Ok(place) => place,
            Err(reason) => {
                self.tally.cut(reason);
                if let Some(times) = REFUSALS.due() {
                    warn!(reason = reason.as_str(), from = %Redacted(from), times, "TCP connections refused");
                }
                return;
            }
        };
        // The client may be gone already.
        let Ok(server) = socket
            .local_addr()
            .and_then(|server| prepare(&socket).map(|()| server))
        else {
            return;
        };
        let client = Client {
            transport: Transport::Tcp,
            route: place.id,
            addr: canonical(from),
            server: canonical(server),
        };
        let context = Context {
            sink: Arc::clone(&self.sink),
            tally: Arc::clone(&self.tally),
            limits,
            tls: self.tls.clone(),
            protocols: self.protocols,
            closing: self.closing.clone(),
        };
        tokio::spawn(async move {
            let tally = Arc::clone(&context.tally);
            if let End::Cut(reason) = context.serve(socket, client).await {
                tally.cut(reason);
                debug!(reason = reason.as_str(), client = %from, "TCP connection cut");
            }
            drop(place);
        });
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
