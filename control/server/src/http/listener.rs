//! Takes connections: with TLS or without, so many at a time, and says farewell to them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sterna_daemon::metrics::Page;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::limits::{FAREWELL, HANDSHAKE_MAX, HEAD_BYTES_MAX, HEAD_MAX};
use crate::metrics::CONNECTIONS_REFUSED;

/// How long the service waits after it could not take a connection, most often for want of
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What each request knows of its connection.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Who has connected.
    pub(crate) peer: SocketAddr,
    /// The connection's place among all; a WebSocket keeps it.
    pub(crate) place: Arc<Place>,
}

/// A place among the connections, given back when the last holder goes.
pub(crate) struct Place {
    open: Arc<AtomicU64>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener that serves.
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on the runtime that this is called on.
    pub(crate) fn serve(
        socket: TcpListener,
        tls: Option<TlsAcceptor>,
        connections_max: u32,
        router: Router,
        metrics: Arc<Page>,
        open: Arc<AtomicU64>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let accepting = Accepting {
            places: Arc::new(Semaphore::new(connections_max as usize)),
            router,
            tls,
            metrics,
            open,
        };
        let task = tokio::spawn(accepting.run(socket, stopped));
        Self { stop, task }
    }

    /// Takes no more connections, and waits a little for the requests that run.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// What a connection's task has of the listener.
struct Life {
    stopped: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

#[derive(Clone)]
struct Accepting {
    places: Arc<Semaphore>,
    router: Router,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Page>,
    open: Arc<AtomicU64>,
}

impl Accepting {
    async fn run(self, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
        // Closed when the last connection is gone.
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stopped.changed() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let life = Life {
                        stopped: stopped.clone(),
                        _alive: alive.clone(),
                    };
                    self.take(stream, peer, life);
                }
                Err(error) => self.not_accepted(&error).await,
            }
        }
        drop((socket, alive));
        let _ = tokio::time::timeout(FAREWELL, all_gone.recv()).await;
    }

    async fn not_accepted(&self, error: &io::Error) {
        self.metrics.count(CONNECTIONS_REFUSED, &["accept"]);
        warn!(%error, "a connection could not be taken; raise the limit of open files where that is what lacks");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, life: Life) {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.metrics.count(CONNECTIONS_REFUSED, &["full"]);
        };
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place {
            open: Arc::clone(&self.open),
            _permit: permit,
        });
        // Answers are written whole; there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let connection = Connection { peer, place };
        let router = self.router.clone();
        let Some(tls) = self.tls.clone() else {
            tokio::spawn(serve(stream, connection, router, life));
            return;
        };
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                Ok(Ok(stream)) => serve(stream, connection, router, life).await,
                Ok(Err(_)) | Err(_) => metrics.count(CONNECTIONS_REFUSED, &["tls"]),
            }
        });
    }
}

async fn serve<S>(stream: S, connection: Connection, router: Router, mut life: Life)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    // A connection that breaks is its peer's business.
    tokio::select! {
        _ = served.as_mut() => {}
        _ = life.stopped.changed() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}
