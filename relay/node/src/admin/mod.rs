//! The admin listener: health, metrics, administration. Nothing of it is on a TURN port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sterna_daemon::log::Repeated;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::config;
use crate::metrics::MetricsPage;

mod control;
mod flows;
mod guard;
mod handle;
mod problem;
mod routes;
mod views;

pub use handle::{Answer, FlowIdentity, NodeHandle, NodeState, Reloaded};

/// Connections at a time: probes, scrapers and an operator or two.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to send a request's head, the wait for the next one included.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// How long running requests get when the node ends.
const FAREWELL: Duration = Duration::from_secs(2);

static ACCEPT_ERRORS: Repeated = Repeated::new();

/// A bound admin listener that serves nothing yet.
#[derive(Debug)]
pub struct AdminListener {
    socket: TcpListener,
    addr: SocketAddr,
}

/// A running admin listener.
#[derive(Debug)]
pub struct AdminServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Why the admin listener could not be bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// It could be reached from other hosts, and there is no token.
    #[error(
        "admin.listen: {0} can be reached from other hosts, and there is no admin.token; set one, or listen on loopback"
    )]
    NoToken(SocketAddr),
    /// Another process has the port.
    #[error(
        "admin.listen: {0} is in use by another process (`ss -ltnp sport = :{port}` names it); stop it, or choose another \
         port with --set admin.listen=…", port = .0.port()
    )]
    InUse(SocketAddr),
    /// Anything else that the kernel says.
    #[error(
        "admin.listen: {0} cannot be listened on: {1}; name an address of this host with --set admin.listen=…"
    )]
    Other(SocketAddr, #[source] io::Error),
}

/// What every request gets.
#[derive(Clone)]
struct Admin {
    node: Arc<dyn NodeHandle>,
    page: Arc<MetricsPage>,
    listen: SocketAddr,
}

impl AdminListener {
    /// Binds early, so that a port which is taken is reported before anything starts.
    ///
    /// # Errors
    /// What the kernel says, with the remedy; and an address beyond loopback without a token.
    pub fn bind(admin: &config::Admin) -> Result<Self, AdminError> {
        if admin.token.is_none() && !admin.listen.ip().is_loopback() {
            return Err(AdminError::NoToken(admin.listen));
        }
        let other = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => AdminError::InUse(admin.listen),
            _ => AdminError::Other(admin.listen, error),
        };
        let socket = TcpListener::bind(admin.listen).map_err(other)?;
        socket.set_nonblocking(true).map_err(other)?;
        let addr = socket.local_addr().map_err(other)?;
        Ok(Self { socket, addr })
    }

    /// Where it listens, with the port that the kernel chose where none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves on the runtime that this is called on.
    ///
    /// # Errors
    /// What the kernel says when the socket cannot be registered.
    pub fn serve(self, node: Arc<dyn NodeHandle>) -> io::Result<AdminServer> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let admin = Admin {
            node,
            page: Arc::new(MetricsPage::new()),
            listen: self.addr,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(socket, admin, stopped));
        Ok(AdminServer { stop, task })
    }
}

impl AdminServer {
    /// Accepts no more and lets running requests finish, for a moment.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// The description of the API, as it is committed in docs/.
pub fn openapi() -> String {
    routes::document()
}

async fn accept(socket: tokio::net::TcpListener, admin: Admin, mut stopped: oneshot::Receiver<()>) {
    let service = TowerToHyperService::new(routes::router(admin));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("invariant: never closed");
                socket.accept().await.map(|(socket, _from)| (socket, place))
            } => accepted,
            _ = &mut stopped => break,
        };
        let (socket, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(times) = ACCEPT_ERRORS.due() {
                    warn!(%error, times, "cannot accept an admin connection");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        let connection =
            connections.watch(http.serve_connection(TokioIo::new(socket), service.clone()));
        tokio::spawn(async move {
            // What goes wrong with one connection is its client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_openapi_is_current() {
        sterna_daemon::documents::assert_current("openapi-node.json", &openapi());
    }
}
