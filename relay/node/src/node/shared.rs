//! The running node as its admin side sees it: asks and tells the workers by letters.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sterna_control_api::node::DesiredState;
use sterna_daemon::log::LogHandle;
use sterna_io::{BudgetLine, Description};
use sterna_turn::{AllocationView, Registry, Revoke};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Addresses;
use super::compile::{Facts, relay_addresses};
use super::fleet::LoadMeter;
use crate::admin::{Answer, FlowIdentity, NodeHandle, NodeState, Reloaded};
use crate::config::{Config, ConfigError};
use crate::control_link::{Board, LinkFigures, Standing};
use crate::flow::{FlowHandle, FlowViews, Identity};
use crate::limits::CONTROL_ANSWER_MAX;
use crate::mailbox::{Control, Mailbox, Mailboxes};
use crate::metrics::{FlowFigures, NodeSnapshot};
use crate::stream::Streams;
use crate::stream::peer::Peers;
use crate::tls::Certificates;

/// Reads the configuration again, from wherever it came.
pub type Source = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Whether the node takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// It does.
    Serving,
    /// It does not, and goes on with those that it has.
    Cordoned,
    /// It does not; what is left at `deadline` is ended with the node.
    Draining {
        /// When the node ends at the latest.
        deadline: Instant,
        /// Whether the control service has ordered it, which may also call it off.
        ordered: bool,
    },
}

/// What the parts of the node share.
pub(super) struct Shared {
    pub(super) mailboxes: Mailboxes,
    pub(super) registry: Arc<Registry>,
    pub(super) streams: Streams,
    pub(super) peers: Peers,
    pub(super) certificates: Certificates,
    pub(super) log: Option<LogHandle>,
    pub(super) facts: ArcSwap<Facts>,
    pub(super) config: ArcSwap<Config>,
    pub(super) source: Source,
    /// Held by whoever changes what runs, so that all parts end with the same.
    pub(super) changing: Mutex<()>,
    pub(super) flow: Option<FlowHandle>,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    /// Who the node is, where it is a fleet's or serves flows.
    pub(super) identity: Option<Identity>,
    pub(super) addresses: ArcSwap<Addresses>,
    /// What the control service orders.
    pub(super) standing: ArcSwapOption<Standing>,
    /// What is known of the link to it.
    pub(super) board: Arc<Board>,
    /// Changes when the configuration, an address or the lifecycle has.
    pub(super) changes: watch::Sender<()>,
    pub(super) load: LoadMeter,
    pub(super) description: Description,
    pub(super) budget: Vec<BudgetLine>,
    pub(super) started: Instant,
}

impl NodeHandle for Shared {
    fn state(&self) -> NodeState {
        match *self.lifecycle.borrow() {
            Lifecycle::Serving => NodeState::Ready,
            Lifecycle::Cordoned => NodeState::Cordoned,
            Lifecycle::Draining { .. } => NodeState::Draining,
        }
    }

    fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    fn snapshot(&self) -> Answer<'_, NodeSnapshot> {
        Box::pin(async {
            NodeSnapshot {
                state: self.state(),
                uptime: self.started.elapsed(),
                engine: self.description,
                budget: self.budget.clone(),
                worker_count: self.mailboxes.len(),
                workers: self.ask_all(Control::Snapshot).await,
                streams: self.streams.counters(),
                flow: self.flow_snapshot().await,
                peers: self.peers.counters(),
                usage: self.registry.usage(),
                ports_capacity: ports_capacity(&self.config.load(), &self.facts.load()),
                certificate_not_after_unix_s: self.certificates.certificate().not_after_unix_s,
                acme: self.certificates.acme(),
                control: self.link_figures(),
            }
        })
    }

    fn allocations(&self) -> Answer<'_, Vec<AllocationView>> {
        Box::pin(async {
            self.ask_all(Control::Allocations)
                .await
                .into_iter()
                .flatten()
                .collect()
        })
    }

    fn revoke(&self, what: Revoke) -> Answer<'_, usize> {
        Box::pin(async move {
            let ended: usize = self
                .ask_all(|answer| Control::Revoke(what.clone(), answer))
                .await
                .into_iter()
                .sum();
            info!(allocations = ended, "allocations were revoked");
            ended
        })
    }

    fn flows(&self) -> Answer<'_, Option<(FlowIdentity, FlowViews)>> {
        Box::pin(async {
            let flow = self.flow.as_ref()?;
            let identity = FlowIdentity {
                node: flow.plan.identity.node_id(),
                noise_key: flow.plan.identity.noise_key(),
            };
            Some((identity, flow.views().await))
        })
    }

    fn revoke_flows(&self, what: sterna_flow::Revoke) -> Answer<'_, usize> {
        Box::pin(async move {
            match &self.flow {
                Some(flow) => flow.revoke(what, &self.config.load()).await,
                None => 0,
            }
        })
    }

    fn drain(&self, deadline: Option<Duration>) -> Answer<'_, ()> {
        Box::pin(self.begin_drain(deadline, false))
    }

    fn undrain(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let ordered = self.standing.load();
            let ordered = ordered.as_deref().map(|standing| standing.orders().state);
            if ordered == Some(DesiredState::Cordoned) {
                info!(
                    "the drain was called off; the node stays cordoned, as the control service orders"
                );
                self.stand(Lifecycle::Cordoned).await;
            } else {
                info!("serving again: the drain was called off");
                self.stand(Lifecycle::Serving).await;
            }
        })
    }

    fn reload(&self) -> Answer<'_, Result<Reloaded, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { self.take_over().await.map_err(Into::into) })
    }
}

impl Shared {
    /// Takes no new sessions any more; the node ends when the last is gone, or at the deadline.
    pub(super) async fn begin_drain(&self, deadline: Option<Duration>, ordered: bool) {
        let configured = Duration::from_secs(self.config.load().node.drain_deadline_s);
        let deadline = deadline.unwrap_or(configured);
        info!(
            deadline_s = deadline.as_secs(),
            sessions = self.sessions_left(),
            "draining: no new sessions"
        );
        self.stand(Lifecycle::Draining {
            deadline: Instant::now() + deadline,
            ordered,
        })
        .await;
    }

    /// Tells everybody whether new sessions are taken.
    pub(super) async fn stand(&self, lifecycle: Lifecycle) {
        self.lifecycle.send_replace(lifecycle);
        let takes_none = lifecycle != Lifecycle::Serving;
        self.tell_all(|| Control::Drain(takes_none)).await;
        if let Some(flow) = &self.flow {
            flow.cordon(lifecycle == Lifecycle::Cordoned).await;
            let config = self.config.load();
            let drains = matches!(lifecycle, Lifecycle::Draining { .. });
            flow.drain(drains.then_some(&**config)).await;
        }
        self.changes.send_replace(());
    }

    fn link_figures(&self) -> LinkFigures {
        let standing = self.standing.load();
        let orders = standing.as_deref().map(Standing::orders);
        self.board.figures(Instant::now(), orders)
    }

    /// Allocations and flow sessions that live.
    pub(super) fn sessions_left(&self) -> u64 {
        let flows = self.flow.as_ref().map_or(0, FlowHandle::sessions);
        self.registry.usage().allocations + flows
    }

    async fn flow_snapshot(&self) -> Option<FlowFigures> {
        let flow = self.flow.as_ref()?;
        Some(FlowFigures {
            sessions: sterna_flow::Rung::ALL.map(|rung| flow.plan.directory.sessions(rung)),
            shards: flow.snapshots().await,
        })
    }

    async fn tell_all(&self, letter: impl Fn() -> Control) {
        for mailbox in self.mailboxes.iter() {
            // A worker that has ended has nothing left to be told.
            let _ = mailbox.post_control(letter()).await;
        }
    }

    /// Asks every worker the same; one that does not answer in time is left out, and said.
    async fn ask_all<T>(&self, letter: impl Fn(oneshot::Sender<T>) -> Control) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.mailboxes.len());
        for mailbox in self.mailboxes.iter() {
            answers.extend(ask(mailbox, &letter).await);
        }
        answers
    }

    /// Tells the workers to end.
    pub(super) async fn end_workers(&self) {
        self.tell_all(|| Control::Shutdown).await;
    }
}

async fn ask<T>(
    mailbox: &Mailbox,
    letter: impl FnOnce(oneshot::Sender<T>) -> Control,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        mailbox.post_control(letter(answer)).await.ok()?;
        answered.await.ok()
    };
    timeout(CONTROL_ANSWER_MAX, asked)
        .await
        .ok()
        .flatten()
        .or_else(|| {
            warn!("a worker did not answer in time");
            None
        })
}

/// Relay ports of all relay addresses together.
pub(super) fn ports_capacity(config: &Config, facts: &Facts) -> u64 {
    relay_addresses(config, facts).len() as u64 * u64::from(config.turn.relay_ports.count())
}

/// How the node ends by itself: a worker's farewell that nobody asked for.
pub(super) type Farewells = mpsc::Receiver<sterna_turn::WorkerId>;
