//! The node as a whole: starts its parts in order, obeys signals, ends.

mod bind;
mod compile;
mod effective;
mod fleet;
mod pressure;
mod reload;
mod shared;
mod sink;
mod spawn;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls_pki_types::CertificateDer;
use sterna_control_api::{NodeId, relay_map};
use sterna_daemon::log::LogHandle;
use sterna_io::probe::{self, EngineChoice};
use sterna_io::{BudgetLine, sockets};
use sterna_turn::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch as channel};
use tracing::{error, info, warn};

use crate::admin::{AdminListener, AdminServer};
use crate::config::{Config, EngineName};
use crate::control_link::{self, Board, ControlLink, Standing};
use crate::flow::{self, FlowHandle, FlowListeners, FlowThreads};
use crate::listeners::{ListenError, bind_udp};
use crate::stream::peer::Peers;
use crate::stream::{BindError, Protocols, StreamListener, Streams};
use crate::tls::{self, Certificates};

use self::bind::{bind_tcp, discovery, facts, http_listeners, steer};
use self::compile::{Facts, compile};
use self::effective::effective;
use self::fleet::LoadMeter;
use self::shared::Shared;
use self::sink::WorkerSink;
use self::spawn::{Plan, spawn};

pub use self::reload::ReloadError;
pub use self::shared::{Lifecycle, Source};

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
    acme: tls::acme::Renewal,
    pressure: pressure::LookOut,
    link: Option<ControlLink>,
    flow: Option<FlowThreads>,
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
    /// The flow relay over QUIC.
    pub quic: Vec<SocketAddr>,
    /// The flow relay over WebSocket.
    pub wss: Vec<SocketAddr>,
    /// Health, metrics and administration.
    pub admin: SocketAddr,
}

/// Why a node does not start. Each text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A UDP listener, or one of the flow relay.
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
    /// The node's own keys.
    #[error(transparent)]
    Identity(#[from] flow::IdentityError),
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

        let worker_count = worker_count(&config);
        let udp = bind_udp(&config.turn.listen, &config.turn.discovery(), worker_count)?;
        let identity = identity(&config)?;
        let standing = identity
            .as_ref()
            .and_then(|identity| control_link::remembered(&config, identity))
            .map(Arc::new);
        let orders = standing.as_deref().map(Standing::orders);
        // What the node was told before a restart counts from the first packet on.
        let counts = effective(&config, orders);
        let flow = plan_flow(&counts, identity.as_ref(), worker_count);
        let flow_threads = flow.as_ref().map_or(0, |plan| plan.threads);
        let flow_listeners = FlowListeners::bind(&config, flow_threads)?;
        if let Some(plan) = flow.as_ref().filter(|_| config.flow.udp) {
            steer(plan, udp.sockets.iter().take(1).flatten());
        }
        let tcp = bind_tcp(&config, &udp.addrs)?;
        let admin = AdminListener::bind(&config.admin)?;
        let http = http_listeners(&config)?;
        let certificates = Certificates::load(
            &config.tls,
            &config.node.data_dir,
            &config.node.display_name(),
        )?;

        let addresses = Addresses::of(&udp.addrs, &tcp, &flow_listeners, admin.local_addr());
        let facts = facts(
            &addresses,
            &http,
            discovery(&config, &udp.addrs),
            worker_count,
        );
        let server = compile(&counts, &facts)?;
        let registry = Arc::new(Registry::new());
        let plan = Plan {
            engine: engine.engine,
            io: sterna_io::Config {
                gro: engine.gro,
                gso: engine.gso,
                dscp: config.turn.dscp.into(),
                ..sterna_io::Config::default()
            },
            server,
            registry: Arc::clone(&registry),
            held: Arc::default(),
            flow: flow.clone(),
            flow_udp: config.flow.udp,
            peers: Peers::new(&config.limits),
        };
        let workers = spawn(&plan, udp.sockets).map_err(StartError::Workers)?;
        log_budget(&workers, &config, &facts);

        let flow = flow
            .zip(workers.flow)
            .map(|(plan, shards)| {
                let threads = FlowThreads::start(
                    &plan,
                    flow_listeners,
                    workers.flow_threads,
                    &shards,
                    &certificates,
                    &config,
                )?;
                Ok((FlowHandle::new(plan, shards), threads))
            })
            .transpose()
            .map_err(StartError::Workers)?;
        let (flow, flow_threads) = flow.unzip();
        let sink = Arc::new(WorkerSink(workers.mailboxes.clone()));
        let streams = Streams::start(tcp, &config, certificates.acceptor(), sink)
            .map_err(StartError::Workers)?;
        let shared = Arc::new(Shared {
            mailboxes: workers.mailboxes,
            registry,
            peers: plan.peers,
            streams,
            certificates,
            log,
            facts: ArcSwap::from_pointee(facts),
            config: ArcSwap::from_pointee(config),
            source,
            changing: Mutex::default(),
            flow,
            lifecycle: channel::Sender::new(Lifecycle::Serving),
            identity,
            addresses: ArcSwap::from_pointee(addresses.clone()),
            standing: ArcSwapOption::new(standing.clone()),
            board: Arc::new(Board::new(Instant::now())),
            changes: channel::Sender::new(()),
            load: LoadMeter::default(),
            description: workers.description,
            budget: workers.budget,
            started: Instant::now(),
        });
        if let Some(standing) = &standing {
            shared.obey(standing.orders(), None).await;
        }
        let link = shared.identity.clone().map(|identity| {
            let host = Arc::<Shared>::clone(&shared);
            ControlLink::start(host, identity, standing, Arc::clone(&shared.board))
        });
        let watch = watch::start(Arc::clone(&shared));
        let renewal = tls::Watch::start(&shared.certificates, tls::LOOK);
        let acme = tls::acme::Renewal::start(&shared.certificates, &shared.config.load(), http)
            .map_err(StartError::Workers)?;
        let pressure = pressure::watch(Arc::clone(&shared));
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
            acme,
            pressure,
            link,
            flow: flow_threads,
            signals,
        })
    }

    /// Where the node can be reached.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The node as a relay map would describe it; none while the flow relay is off.
    #[must_use]
    pub fn relay_node(&self) -> Option<relay_map::Node> {
        let identity = &self.shared.flow.as_ref()?.plan.identity;
        let config = self.shared.config.load();
        Some(flow::described(&config, identity, &self.addresses))
    }

    /// The node's identity; none while it serves no flows and belongs to no fleet.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.shared.identity.as_ref().map(flow::Identity::node_id)
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
                Lifecycle::Serving | Lifecycle::Cordoned => None,
                Lifecycle::Draining { deadline, .. } => Some(deadline),
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
        self.shared.begin_drain(deadline, false).await;
        self.is_drained(None)
    }

    fn is_drained(&self, deadline: Option<Instant>) -> bool {
        let left = self.shared.sessions_left();
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late && left > 0 {
            warn!(
                sessions = left,
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
            acme,
            pressure,
            link,
            flow,
            ..
        } = self;
        watch.stop();
        drop((renewal, acme, pressure, link));
        shared.streams.shutdown().await;
        if let Some(flow) = &shared.flow {
            flow.shut_down().await;
        }
        shared.end_workers().await;
        shared.peers.shutdown();
        let mut reasons = Vec::new();
        for thread in threads {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            reasons.push(match ended {
                Ok(Ok(Ok(()))) => "it ended without a reason".to_owned(),
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) | Err(_) => "it panicked; this is a bug in Sterna".to_owned(),
            });
        }
        if let Some(flow) = flow {
            flow.join().await;
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
    fn of(
        udp: &[SocketAddr],
        streams: &[StreamListener],
        flow: &FlowListeners,
        admin: SocketAddr,
    ) -> Self {
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
            quic: flow.quic_addrs.clone(),
            wss: flow.wss_addrs.clone(),
            admin,
        }
    }

    fn log(&self) {
        info!(udp = ?self.udp, tcp = ?self.tcp, tls = ?self.tls, quic = ?self.quic, wss = ?self.wss, admin = %self.admin, "listening");
    }
}

/// Who the node is, where anybody asks: its devices, or its control service.
fn identity(config: &Config) -> Result<Option<flow::Identity>, flow::IdentityError> {
    if !config.flow_is_on() && !config.control.is_on() {
        return Ok(None);
    }
    flow::Identity::load(&config.node.data_dir).map(Some)
}

/// What the flow relay is made of, where it is on.
fn plan_flow(
    config: &Config,
    identity: Option<&flow::Identity>,
    workers: usize,
) -> Option<flow::FlowPlan> {
    let identity = identity.filter(|_| config.flow_is_on())?;
    info!(node = %identity.node_id(), noise_key = %identity.noise_key(), fleet = config.flow.fleet, "flow relay");
    flow::plan(config, identity.clone(), workers)
}

fn worker_count(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = match usize::from(config.node.workers) {
        0 => cores,
        given => given,
    };
    wanted.min(flow::workers_max(config))
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
