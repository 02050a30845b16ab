//! The node as a whole: starts its parts in order, obeys signals, ends.

mod compile;
mod shared;
mod sink;
mod spawn;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use sterna_io::probe::{self, EngineChoice};
use sterna_io::{BudgetLine, sockets};
use sterna_stun::nonce::{NonceKey, NonceKeys};
use sterna_turn::{Discovery, DiscoverySocket, Epoch, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch as channel;
use tracing::{error, info, warn};

use crate::admin::{AdminListener, AdminServer};
use crate::config::{Config, EngineName};
use crate::limits::WORKERS_MAX;
use crate::listeners::{ListenError, bind_udp};
use crate::log::LogHandle;
use crate::stream::{BindError, Protocols, StreamListener, Streams};
use crate::tls::{self, Certificates};

use self::compile::{Facts, compile};
use self::shared::Shared;
use self::sink::WorkerSink;
use self::spawn::{Plan, spawn};

pub use self::shared::{Lifecycle, ReloadError, Source};

/// What SIGINT leaves living sessions.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(5);

/// How often a draining node looks whether its last session has ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    addresses: Addresses,
    threads: Vec<JoinHandle<io::Result<()>>>,
    farewells: shared::Farewells,
    admin: AdminServer,
    watch: watch::Watch,
    renewal: tls::Watch,
    signals: Signals,
}

/// Where a node can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// STUN and TURN over UDP, wildcards expanded.
    pub udp: Vec<SocketAddr>,
    /// STUN and TURN over TCP, and over TLS where the client begins with a handshake.
    pub tcp: Vec<SocketAddr>,
    /// STUN and TURN over TLS only.
    pub tls: Vec<SocketAddr>,
    /// Health, metrics and administration.
    pub admin: SocketAddr,
}

/// Why a node does not start. Each text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A UDP listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A TCP, TLS or admin listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The back end that was asked for does not run here.
    #[error(transparent)]
    Engine(#[from] probe::ProbeError),
    /// The machine cannot work with the configuration.
    #[error(transparent)]
    Turn(#[from] sterna_turn::ConfigError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The admin listener.
    #[error(transparent)]
    Admin(#[from] crate::admin::AdminError),
    /// The kernel refused something that it should not.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Why a node ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A worker could not go on.
    #[error("worker {worker} ended: {reason}")]
    Worker {
        /// Which one.
        worker: u8,
        /// What it said.
        reason: String,
    },
}

/// The signals that a node obeys.
#[derive(Debug)]
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Node {
    /// Starts a node on the runtime that this is called on. `source` reads the configuration again
    /// on reload; `log` is changed by it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(
        config: Config,
        source: Source,
        log: Option<LogHandle>,
    ) -> Result<Self, StartError> {
        // Before anybody can see that the node is ready: a signal that comes then is obeyed.
        let signals = Signals::listen().map_err(StartError::Signals)?;
        raise_descriptor_limit();
        let engine = probe::choose(engine_choice(config.node.engine))?;
        info!(engine = %engine.engine, gro = engine.gro, gso = engine.gso, reason = %engine.reason, "UDP back end");

        let udp = bind_udp(
            &config.turn.listen,
            &config.turn.discovery(),
            worker_count(&config),
        )?;
        let tcp = bind_tcp(&config, &udp.addrs)?;
        let admin = AdminListener::bind(&config.admin)?;
        let certificates = Certificates::load(
            &config.tls,
            &config.node.data_dir,
            &config.node.display_name(),
        )?;

        let addresses = Addresses::of(&udp.addrs, &tcp, admin.local_addr());
        let facts = facts(&addresses, discovery(&config, &udp.addrs));
        let server = compile(&config, &facts)?;
        let registry = Arc::new(Registry::new());
        let plan = Plan {
            engine: engine.engine,
            io: sterna_io::Config {
                gro: engine.gro,
                gso: engine.gso,
                ..sterna_io::Config::default()
            },
            server,
            registry: Arc::clone(&registry),
            held: Arc::default(),
        };
        let workers = spawn(&plan, udp.sockets).map_err(StartError::Workers)?;
        log_budget(&workers, &config, &facts);

        let sink = Arc::new(WorkerSink(workers.mailboxes.clone()));
        let streams = Streams::start(tcp, &config, certificates.acceptor(), sink)
            .map_err(StartError::Workers)?;
        let shared = Arc::new(Shared {
            mailboxes: workers.mailboxes,
            registry,
            streams,
            certificates,
            log,
            facts: ArcSwap::from_pointee(facts),
            config: ArcSwap::from_pointee(config),
            source,
            lifecycle: channel::Sender::new(Lifecycle::Serving),
            description: workers.description,
            budget: workers.budget,
            started: Instant::now(),
        });
        let watch = watch::start(Arc::clone(&shared));
        let renewal = tls::Watch::start(&shared.certificates, tls::LOOK);
        let admin = admin
            .serve(Arc::<Shared>::clone(&shared))
            .map_err(StartError::Workers)?;
        addresses.log();
        Ok(Self {
            shared,
            addresses,
            threads: workers.threads,
            farewells: workers.ended,
            admin,
            watch,
            renewal,
            signals,
        })
    }

    /// Where the node can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// SHA-256 of the certificate that TLS clients are shown, in hexadecimal.
    #[must_use]
    pub fn certificate_sha256(&self) -> String {
        self.shared.certificates.certificate().sha256.to_string()
    }

    /// The certificate that TLS clients are shown.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.shared.certificates.leaf()
    }

    /// Back end and workers, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{} workers on {}",
            self.shared.mailboxes.len(),
            self.shared.description
        )
    }

    /// Ends the node at once.
    pub async fn stop(self) {
        // Asked for, so that no worker's end is a failure.
        let _ = self.end(None).await;
    }

    /// Runs until a signal, a drain or a failure ends the node.
    ///
    /// SIGHUP reloads, SIGTERM drains, SIGINT drains with a short deadline; one of the last two
    /// while draining ends the node at once.
    ///
    /// # Errors
    /// [`RunError`] when the node ends although nobody asked it to.
    pub async fn run(mut self) -> Result<(), RunError> {
        let mut lifecycle = self.shared.lifecycle.subscribe();
        let failed = loop {
            let draining = match *lifecycle.borrow_and_update() {
                Lifecycle::Serving => None,
                Lifecycle::Draining { deadline } => Some(deadline),
            };
            tokio::select! {
                _ = self.signals.hangup.recv() => self.reload_by_signal().await,
                _ = self.signals.terminate.recv() => if self.drain_by_signal(draining.is_some(), None).await { break None },
                _ = self.signals.interrupt.recv() => {
                    if self.drain_by_signal(draining.is_some(), Some(INTERRUPT_DEADLINE)).await { break None }
                }
                _ = lifecycle.changed() => {}
                Some(worker) = self.farewells.recv() => break Some(worker),
                () = tokio::time::sleep(DRAIN_POLL), if draining.is_some() => {
                    if self.is_drained(draining) { break None }
                }
            }
        };
        self.end(failed).await
    }

    async fn reload_by_signal(&self) {
        if let Err(error) = self.shared.take_over().await {
            error!(%error, "the configuration was not reloaded; the running one stays");
        }
    }

    /// Begins to drain, or says that the node is to end now since it drains already.
    async fn drain_by_signal(&self, draining: bool, deadline: Option<Duration>) -> bool {
        if draining {
            warn!("a second signal: ending now");
            return true;
        }
        self.shared.begin_drain(deadline).await;
        self.is_drained(None)
    }

    fn is_drained(&self, deadline: Option<Instant>) -> bool {
        let left = self.shared.registry.usage().allocations;
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late && left > 0 {
            warn!(
                allocations = left,
                "the drain's deadline has passed: ending what is left"
            );
        }
        left == 0 || late
    }

    /// Ends the parts in the order in which they depend on each other.
    async fn end(self, failed: Option<sterna_turn::WorkerId>) -> Result<(), RunError> {
        let Self {
            shared,
            threads,
            admin,
            watch,
            renewal,
            ..
        } = self;
        watch.stop();
        drop(renewal);
        shared.streams.shutdown().await;
        shared.end_workers().await;
        let mut reasons = Vec::new();
        for thread in threads {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            reasons.push(match ended {
                Ok(Ok(Ok(()))) => "it ended without a reason".to_owned(),
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) | Err(_) => "it panicked; this is a bug in Sterna".to_owned(),
            });
        }
        admin.stop().await;
        match failed {
            None => {
                info!("ended");
                Ok(())
            }
            Some(worker) => {
                let reason = reasons
                    .into_iter()
                    .nth(usize::from(worker.0))
                    .unwrap_or_default();
                Err(RunError::Worker {
                    worker: worker.0,
                    reason,
                })
            }
        }
    }
}

impl Addresses {
    fn of(udp: &[SocketAddr], streams: &[StreamListener], admin: SocketAddr) -> Self {
        let of = |protocols| {
            let listeners = streams
                .iter()
                .filter(move |listener| listener.protocols() == protocols);
            listeners
                .filter_map(|listener| listener.local_addr().ok())
                .collect()
        };
        Self {
            udp: udp.to_vec(),
            tcp: of(Protocols::TcpAndTls),
            tls: of(Protocols::TlsOnly),
            admin,
        }
    }

    fn log(&self) {
        info!(udp = ?self.udp, tcp = ?self.tcp, tls = ?self.tls, admin = %self.admin, "listening");
    }
}

/// The sockets of NAT behaviour discovery by their place among the listeners, as every worker
/// numbers them.
fn discovery(config: &Config, udp: &[SocketAddr]) -> Vec<Discovery> {
    let socket = |local: SocketAddr| {
        let place = udp.iter().position(|bound| *bound == local);
        let place = place.expect("invariant: bind_udp has bound all four");
        DiscoverySocket {
            route: u32::try_from(place).expect("invariant: LISTENERS_MAX is small"),
            local,
            public: SocketAddr::new(config.turn.public(local.ip()), local.port()),
        }
    };
    let sets = config.turn.discovery();
    for set in &sets {
        info!(primary = %set[0], alternate = %set[3], "NAT behaviour discovery is served");
    }
    sets.into_iter()
        .map(|set| Discovery::new(set.map(socket)))
        .collect()
}

fn facts(addresses: &Addresses, discovery: Vec<Discovery>) -> Facts {
    let unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Facts {
        turn_listeners: addresses
            .udp
            .iter()
            .chain(&addresses.tcp)
            .chain(&addresses.tls)
            .copied()
            .collect(),
        other_listeners: vec![addresses.admin],
        discovery,
        nonce_keys: NonceKeys::new(NonceKey::new(0, &rand::random()), None),
        epoch: Epoch {
            instant: Instant::now(),
            unix_s,
        },
    }
}

/// TCP goes where UDP goes, on the same port also where the system chose it; TLS where it was told to.
fn bind_tcp(config: &Config, udp: &[SocketAddr]) -> Result<Vec<StreamListener>, BindError> {
    let mut listeners = Vec::new();
    for &(mut addr) in &config.turn.listen {
        if addr.port() == 0 {
            let same_family = udp
                .iter()
                .find(|bound| addr.ip().is_unspecified() || bound.ip() == addr.ip());
            addr.set_port(same_family.map_or(0, SocketAddr::port));
        }
        listeners.extend(bind_stream(addr, Protocols::TcpAndTls)?);
    }
    for &addr in &config.turn.tls_listen {
        listeners.extend(bind_stream(addr, Protocols::TlsOnly)?);
    }
    Ok(listeners)
}

/// A wildcard of a family that this host does not have is passed over, as it is over UDP.
fn bind_stream(
    addr: SocketAddr,
    protocols: Protocols,
) -> Result<Option<StreamListener>, BindError> {
    if addr.ip().is_unspecified() && crate::listeners::expand(addr.ip()).is_empty() {
        return Ok(None);
    }
    StreamListener::bind(addr, protocols).map(Some)
}

fn worker_count(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match usize::from(config.node.workers) {
        0 => cores.min(WORKERS_MAX),
        given => given.min(WORKERS_MAX),
    }
}

fn engine_choice(name: EngineName) -> EngineChoice {
    match name {
        EngineName::Auto => EngineChoice::Auto,
        EngineName::Uring => EngineChoice::Uring,
        EngineName::Mmsg => EngineChoice::Mmsg,
    }
}

fn raise_descriptor_limit() {
    match sockets::raise_descriptor_limit() {
        Ok(descriptors) => info!(descriptors, "open files are limited to"),
        Err(error) => {
            warn!(%error, "the limit of open files cannot be raised; it caps the allocations");
        }
    }
}

/// Says what the node's memory is for, and what caps allocations where no limit is set.
fn log_budget(workers: &spawn::Workers, config: &Config, facts: &Facts) {
    let count = workers.threads.len();
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    for line in &workers.budget {
        info!(
            what = line.what,
            count = line.count,
            bytes_each = line.bytes_each,
            mib = mib(line.bytes()),
            "budget of a worker"
        );
    }
    let total: usize = workers.budget.iter().map(BudgetLine::bytes).sum::<usize>() * count;
    info!(
        workers = count,
        mib = mib(total),
        relay_ports = shared::ports_capacity(config, facts),
        back_end = %workers.description,
        "budget of the node"
    );
}
