//! A service that runs: from its configuration to its farewell.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sterna_daemon::private_file;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::{Config, ConfigError};
use crate::http;
use crate::http::listener::Server;
use crate::limits::FAREWELL;
use crate::service::Service;
use crate::service::first_start::{self, FirstStartError};
use crate::store::{OpenError, StoreError, open};
use crate::tls::{self, TlsError};

/// Connections that wait to be taken.
const BACKLOG: u32 = 4096;

/// A control service that runs.
pub struct Control {
    addr: SocketAddr,
    data_dir: PathBuf,
    service: Arc<Service>,
    server: Server,
    tasks: JoinSet<()>,
}

/// Why a service does not start: sentences for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error("control.data_dir: {0} cannot be made: {1}")]
    DataDir(PathBuf, #[source] io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another process has the port.
    #[error(
        "control.listen: {0} is in use by another process (`ss -ltnp sport = :{port}` names it); stop it, or choose \
         another port with --set control.listen=…", port = .0.port()
    )]
    InUse(SocketAddr),
    /// Anything else that the kernel says.
    #[error("control.listen: {0} cannot be listened on: {1}; name an address of this host")]
    Listen(SocketAddr, #[source] io::Error),
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What the database says.
    #[error("the database: {0}")]
    Store(#[from] StoreError),
    /// The file of the first administrator's token.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The relay map cannot be made.
    #[error("the service cannot begin: {0}")]
    First(String),
}

impl From<FirstStartError> for StartError {
    fn from(error: FirstStartError) -> Self {
        match error {
            FirstStartError::Store(error) => Self::Store(error),
            FirstStartError::File { path, error } => Self::File(path, error),
        }
    }
}

impl Control {
    /// Starts a service on the runtime that this is called on.
    ///
    /// # Errors
    /// What the operator has to do first.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let data_dir = config.control.data_dir.clone();
        private_file::make_dir(&data_dir)
            .map_err(|error| StartError::DataDir(data_dir.clone(), error))?;
        let files = config
            .control
            .tls_certificate
            .as_ref()
            .zip(config.control.tls_key.as_ref());
        let tls = files.map(|(certificate, key)| tls::acceptor(certificate, key));
        let tls = tls.transpose()?;
        // Early, so that a port which is taken is reported before anything is made.
        let socket = bind(config.control.listen)?;
        let addr = socket
            .local_addr()
            .map_err(|error| StartError::Listen(config.control.listen, error))?;
        let store = open(&config.store()).await?;
        // From here on nothing is missed.
        let feed = store.subscribe();
        first_start::prepare(&*store, &data_dir).await?;
        let connections_max = config.limits.connections_max;
        let fleet = config.control.fleet;
        let service = Service::new(config, store, addr).await?;
        let failed = |refusal: crate::service::refusal::Refusal| {
            StartError::First(refusal.detail.into_owned())
        };
        service.publish().await.map_err(failed)?;
        let tasks = service.keep_up(feed);
        let server = Server::serve(
            socket,
            tls,
            connections_max,
            http::router(&service),
            Arc::clone(&service.metrics),
            Arc::clone(&service.connections),
        );
        info!(%addr, %fleet, "control service");
        Ok(Self {
            addr,
            data_dir,
            service,
            server,
            tasks,
        })
    }

    /// Where it listens, with the port that the kernel chose where none was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The file with the token of the first administrator, which the first start has made.
    #[must_use]
    pub fn admin_token_file(&self) -> PathBuf {
        self.data_dir.join(first_start::ADMIN_TOKEN)
    }

    /// Ends: tells devices to connect again elsewhere, waits a little for what runs, writes what was
    /// only remembered, closes the database.
    pub async fn stop(mut self) {
        self.service.stopping.store(true, Ordering::Relaxed);
        self.service.say_farewell();
        self.server.stop().await;
        let emptied = async {
            while self.service.websockets.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, emptied).await;
        let _ = self.service.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        self.service.write_all().await;
        self.service.store.close().await;
        info!("the control service has ended");
    }
}

fn bind(listen: SocketAddr) -> Result<tokio::net::TcpListener, StartError> {
    let wrong = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse(listen),
        _ => StartError::Listen(listen, error),
    };
    let socket = if listen.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(wrong)?;
    // A port whose last connections still linger can be had again at once.
    socket.set_reuseaddr(true).map_err(wrong)?;
    socket.bind(listen).map_err(wrong)?;
    socket.listen(BACKLOG).map_err(wrong)
}
