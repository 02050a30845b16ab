//! The running flow relay as the node sees it: asks and tells its shards.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sterna_control_api::limits::TICKET_LIFETIME_MAX_S;
use sterna_flow::message::Restarting;
use sterna_flow::{Revoke, Rung};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::mailbox::{FlowControl, FlowMailboxes};
use super::plan::FlowPlan;
use super::snapshot::{FlowSnapshot, FlowViews};
use crate::config::Config;
use crate::limits::{CONTROL_ANSWER_MAX, FLOW_FAREWELL_MAX};

/// When devices that are sent away come back at the soonest, and over how long they spread.
const RECONNECT_IN: Duration = Duration::from_secs(5);
const RECONNECT_SPREAD: Duration = Duration::from_secs(2);

/// The shards, and what they share.
#[derive(Clone, Debug)]
pub(crate) struct FlowHandle {
    pub(crate) plan: FlowPlan,
    shards: FlowMailboxes,
}

impl FlowHandle {
    pub(crate) fn new(plan: FlowPlan, shards: FlowMailboxes) -> Self {
        Self { plan, shards }
    }

    /// Sessions that live, of every rung.
    pub(crate) fn sessions(&self) -> u64 {
        let directory = &self.plan.directory;
        Rung::ALL
            .iter()
            .map(|rung| u64::from(directory.sessions(*rung)))
            .sum()
    }

    /// Takes over ticket keys, limits, load balancers and the clock; each task ends when its shard has,
    /// or is gone.
    pub(crate) fn reconfigure(&self, config: &Config) -> Vec<JoinHandle<()>> {
        let proxies = config.tcp.proxy_protocol_from.clone();
        self.plan.proxies.store(Arc::new(proxies));
        let compiled = self.plan.compile(config);
        let tell = |shard| {
            let (shards, compiled) = (self.shards.clone(), Arc::clone(&compiled));
            tokio::spawn(async move {
                let (done, taken_over) = oneshot::channel();
                let word = FlowControl::Reconfigure(compiled, done);
                // A shard that has ended, or a worker without the rung, has nothing to be told.
                if let Ok(()) = shards.tell(shard, word).await {
                    let _ = taken_over.await;
                }
            })
        };
        (0..self.shards.len()).map(tell).collect()
    }

    /// Ends sessions, and keeps what is revoked from coming back as long as `config` lets a ticket
    /// live; answers how many there were.
    pub(crate) async fn revoke(&self, what: Revoke, config: &Config) -> usize {
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let until = now_s + TICKET_LIFETIME_MAX_S + u64::from(config.flow.ticket_grace_s);
        self.plan.directory.expire_revocations(now_s);
        self.plan.directory.revoke(what, until);
        let ended = self
            .ask_all(|answer| FlowControl::Revoke(what, answer))
            .await
            .into_iter()
            .sum();
        info!(sessions = ended, "flow sessions were revoked");
        ended
    }

    /// Sends devices elsewhere, where `config` says, and takes no new ones; without one, takes new ones
    /// again.
    pub(crate) async fn drain(&self, config: Option<&Config>) {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let own = self.plan.identity.node_id();
        let restarting = config.map(|config| Restarting {
            reconnect_in_ms: millis(RECONNECT_IN),
            spread_ms: millis(RECONNECT_SPREAD),
            alternates: (config.flow.alternates().into_iter())
                .filter(|id| *id != own)
                .collect(),
        });
        self.tell_all(|| FlowControl::Drain(restarting.clone()))
            .await;
    }

    /// Takes no new devices, and leaves those alone that are here; or takes new ones again.
    pub(crate) async fn cordon(&self, on: bool) {
        self.tell_all(|| FlowControl::Cordon(on)).await;
    }

    /// Who is here.
    pub(crate) async fn views(&self) -> FlowViews {
        let mut all = FlowViews::default();
        for views in self.ask_all(FlowControl::Views).await {
            all.sessions.extend(views.sessions);
            all.flows.extend(views.flows);
        }
        all
    }

    /// The figures of every shard that answers.
    pub(crate) async fn snapshots(&self) -> Vec<FlowSnapshot> {
        self.ask_all(FlowControl::Snapshot).await
    }

    /// Ends every session, once its device has been told; waits for that a moment.
    pub(crate) async fn shut_down(&self) {
        let told = self.ask_all(FlowControl::Shutdown);
        // Whoever does not hear it notices by its silence.
        let _ = timeout(2 * FLOW_FAREWELL_MAX, told).await;
    }

    async fn tell_all(&self, word: impl Fn() -> FlowControl) {
        for shard in 0..self.shards.len() {
            // A shard that has ended, or a worker without the rung, has nothing to be told.
            let _ = self.shards.tell(shard, word()).await;
        }
    }

    async fn ask_all<T>(&self, word: impl Fn(oneshot::Sender<T>) -> FlowControl) -> Vec<T> {
        let mut waiting = Vec::with_capacity(self.shards.len());
        for shard in 0..self.shards.len() {
            let (answer, answered) = oneshot::channel();
            if self.shards.tell(shard, word(answer)).await.is_ok() {
                waiting.push(answered);
            }
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answered in waiting {
            match timeout(CONTROL_ANSWER_MAX, answered).await {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(_)) => {}
                Err(_elapsed) => warn!("a shard of the flow relay did not answer in time"),
            }
        }
        answers
    }
}
