//! The running node as its admin side sees it: asks and tells the workers by letters.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sterna_io::{BudgetLine, Description};
use sterna_turn::{AllocationView, Registry, Revoke};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::compile::{Facts, compile, relay_addresses};
use crate::admin::{Answer, NodeHandle, NodeState};
use crate::config::{self, Config, ConfigError};
use crate::limits::CONTROL_ANSWER_MAX;
use crate::log::LogHandle;
use crate::mailbox::{Control, Mailbox, Mailboxes};
use crate::metrics::NodeSnapshot;
use crate::stream::Streams;
use crate::tls::Certificates;

/// Reads the configuration again, from wherever it came.
pub type Source = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Whether the node takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// It does.
    Serving,
    /// It does not; what is left at `deadline` is ended with the node.
    Draining {
        /// When the node ends at the latest.
        deadline: Instant,
    },
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine cannot work with it.
    #[error(transparent)]
    Turn(#[from] sterna_turn::ConfigError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

/// What the parts of the node share.
pub(super) struct Shared {
    pub(super) mailboxes: Mailboxes,
    pub(super) registry: Arc<Registry>,
    pub(super) streams: Streams,
    pub(super) certificates: Certificates,
    pub(super) log: Option<LogHandle>,
    pub(super) facts: ArcSwap<Facts>,
    pub(super) config: ArcSwap<Config>,
    pub(super) source: Source,
    pub(super) lifecycle: watch::Sender<Lifecycle>,
    pub(super) description: Description,
    pub(super) budget: Vec<BudgetLine>,
    pub(super) started: Instant,
}

impl NodeHandle for Shared {
    fn state(&self) -> NodeState {
        match *self.lifecycle.borrow() {
            Lifecycle::Serving => NodeState::Ready,
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
                usage: self.registry.usage(),
                ports_capacity: ports_capacity(&self.config.load(), &self.facts.load()),
                certificate_not_after_unix_s: self.certificates.certificate().not_after_unix_s,
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

    fn drain(&self, deadline: Option<Duration>) -> Answer<'_, ()> {
        Box::pin(self.begin_drain(deadline))
    }

    fn undrain(&self) -> Answer<'_, ()> {
        Box::pin(async {
            if self.lifecycle.send_replace(Lifecycle::Serving) != Lifecycle::Serving {
                info!("serving again: the drain was called off");
            }
            self.tell_all(|| Control::Drain(false)).await;
        })
    }

    fn reload(&self) -> Answer<'_, Result<Vec<&'static str>, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { self.take_over().await.map_err(Into::into) })
    }
}

impl Shared {
    /// Takes no new sessions any more; the node ends when the last is gone, or at the deadline.
    pub(super) async fn begin_drain(&self, deadline: Option<Duration>) {
        let configured = Duration::from_secs(self.config.load().node.drain_deadline_s);
        let deadline = deadline.unwrap_or(configured);
        let left = self.registry.usage().allocations;
        info!(
            deadline_s = deadline.as_secs(),
            allocations = left,
            "draining: no new allocations"
        );
        self.lifecycle.send_replace(Lifecycle::Draining {
            deadline: Instant::now() + deadline,
        });
        self.tell_all(|| Control::Drain(true)).await;
    }

    /// Reads the configuration again and takes over what can change while sessions live.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub(super) async fn take_over(&self) -> Result<Vec<&'static str>, ReloadError> {
        let config = (self.source)()?;
        let running = self.config.load_full();
        let restart_needed = running.restart_needed(&config);
        let config = with_fixed(&running, config);
        let compiled = compile(&config, &self.facts.load())?;
        self.certificates
            .reload(&config.tls, &config.node.data_dir)?;
        self.streams.reconfigure(&config);
        if let Some(log) = &self.log {
            log.set_level(config.log.level);
        }
        self.tell_all(|| Control::Reconfigure(Arc::clone(&compiled)))
            .await;
        self.config.store(Arc::new(config));
        if restart_needed.is_empty() {
            info!("configuration reloaded");
        } else {
            warn!(keys = ?restart_needed, "configuration reloaded; these keys take effect on restart");
        }
        Ok(restart_needed)
    }

    /// Compiles the running configuration anew, since the host's addresses have changed.
    pub(super) async fn recompile(&self) {
        match compile(&self.config.load(), &self.facts.load()) {
            Ok(compiled) => {
                self.tell_all(|| Control::Reconfigure(Arc::clone(&compiled)))
                    .await;
            }
            Err(error) => {
                warn!(%error, "the running configuration does not fit the host's new addresses");
            }
        }
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

/// The configuration that runs after a reload: keys that need a restart keep their old values.
fn with_fixed(running: &Config, mut newer: Config) -> Config {
    newer.node = config::Node {
        drain_deadline_s: newer.node.drain_deadline_s,
        ..running.node.clone()
    };
    newer.turn.listen.clone_from(&running.turn.listen);
    newer.turn.tls_listen.clone_from(&running.turn.tls_listen);
    newer
        .turn
        .alternate_listen
        .clone_from(&running.turn.alternate_listen);
    newer.turn.realm.clone_from(&running.turn.realm);
    newer.turn.relay_ports = running.turn.relay_ports;
    newer
        .turn
        .relay_addresses
        .clone_from(&running.turn.relay_addresses);
    newer
        .turn
        .external_addresses
        .clone_from(&running.turn.external_addresses);
    newer.admin.listen = running.admin.listen;
    newer.log.format = running.log.format;
    newer
}

/// Relay ports of all relay addresses together.
pub(super) fn ports_capacity(config: &Config, facts: &Facts) -> u64 {
    relay_addresses(config, facts).len() as u64 * u64::from(config.turn.relay_ports.count())
}

/// How the node ends by itself: a worker's farewell that nobody asked for.
pub(super) type Farewells = mpsc::Receiver<sterna_turn::WorkerId>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_leaves_exactly_the_keys_that_wait_for_a_restart() {
        let running = Config::default();
        let sets = [
            "node.name=n",
            "node.region=r",
            "node.data_dir=/d",
            "node.workers=3",
            "node.engine=mmsg",
            "node.drain_deadline_s=1",
            "turn.listen=192.0.2.1:1",
            "turn.tls_listen=192.0.2.1:2",
            "turn.alternate_listen=192.0.2.2:2",
            "turn.realm=other",
            "turn.relay_ports=2000-3000",
            "turn.relay_addresses=192.0.2.1",
            "turn.external_addresses=192.0.2.1=192.0.2.2",
            "turn.lifetime_max_s=700",
            "admin.listen=127.0.0.1:1",
            "admin.token=0123456789abcdef",
            "log.format=json",
            "log.level=debug",
        ];
        let newer = Config::read(None, std::iter::empty(), &sets.map(str::to_owned));
        let newer = newer.expect("keys of their form");
        let waiting = config::keys::KEYS.iter().filter(|key| !key.reload);
        let waiting: Vec<_> = waiting.map(|key| key.path).collect();
        assert_eq!(running.restart_needed(&newer), waiting);
        let after = with_fixed(&running, newer);
        assert!(running.restart_needed(&after).is_empty());
        assert_eq!(after.node.drain_deadline_s, 1);
        assert_eq!(after.turn.lifetime_max_s, 700);
    }
}
