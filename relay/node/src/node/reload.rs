//! Reload: what can change while sessions live, and when it has changed.
//!
//! The answer waits until every worker and every thread of the flow relay works by the new
//! configuration, so that who asks may rely on it; one that takes longer than [`RELOAD_ANSWER_MAX`]
//! is said to be behind, and takes it over when it comes to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::compile::compile;
use super::shared::Shared;
use crate::admin::Reloaded;
use crate::config::{self, Config, ConfigError};
use crate::limits::RELOAD_ANSWER_MAX;
use crate::mailbox::Control;

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

impl Shared {
    /// Reads the configuration again and takes over what can change while sessions live.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub(super) async fn take_over(&self) -> Result<Reloaded, ReloadError> {
        // Two at a time could leave one part with the older, another with the newer one.
        let _one_at_a_time = self.changing.lock().await;
        let config = (self.source)()?;
        let running = self.config.load_full();
        let restart_needed = running.restart_needed(&config);
        let config = with_fixed(&running, config);
        let counts = self.effective_of(&config);
        let compiled = compile(&counts, &self.facts.load())?;
        self.certificates
            .reload(&config.tls, &config.node.data_dir)?;
        self.streams.reconfigure(&config);
        self.peers.reconfigure(&config.limits);
        if let Some(log) = &self.log {
            log.set_level(config.log.level);
        }
        let mut told = self.tell_workers(&compiled);
        match &self.flow {
            Some(flow) => told.extend(flow.reconfigure(&counts)),
            None if config.flow_is_on() => {
                warn!(
                    "flow.ticket_keys or control.url switches the flow relay on, which was off at start: restart the node"
                );
            }
            None => {}
        }
        if config.control.is_on() && self.identity.is_none() {
            warn!("control.url was not set at start: restart the node to have it join its fleet");
        }
        self.config.store(Arc::new(config));
        self.changes.send_replace(());
        let threads_behind = behind(told, RELOAD_ANSWER_MAX).await;
        if threads_behind > 0 {
            warn!(
                threads = threads_behind,
                "threads are busy and take the new configuration over later"
            );
        }
        if restart_needed.is_empty() {
            info!("configuration reloaded");
        } else {
            warn!(keys = ?restart_needed, "configuration reloaded; these keys take effect on restart");
        }
        Ok(Reloaded {
            restart_needed,
            threads_behind,
        })
    }

    /// Compiles the running configuration anew, since the host's addresses or the control service's
    /// orders have changed.
    pub(super) async fn recompile(&self) {
        let _one_at_a_time = self.changing.lock().await;
        let counts = self.effective();
        let mut told = Vec::new();
        match compile(&counts, &self.facts.load()) {
            Ok(compiled) => told = self.tell_workers(&compiled),
            Err(error) => {
                warn!(%error, "the running configuration does not fit the host's new addresses");
            }
        }
        if let Some(flow) = &self.flow {
            told.extend(flow.reconfigure(&counts));
        }
        // A thread that is busy takes it over later.
        behind(told, RELOAD_ANSWER_MAX).await;
    }

    /// Tells each worker; each task ends when its worker has taken it over, or is gone.
    fn tell_workers(&self, compiled: &Arc<sterna_turn::ServerConfig>) -> Vec<JoinHandle<()>> {
        let tell = |mailbox: &crate::mailbox::Mailbox| {
            let (mailbox, compiled) = (mailbox.clone(), Arc::clone(compiled));
            tokio::spawn(async move {
                let (done, taken_over) = tokio::sync::oneshot::channel();
                // A worker that has ended has nothing left to be told.
                if let Ok(()) = mailbox
                    .post_control(Control::Reconfigure(compiled, done))
                    .await
                {
                    let _ = taken_over.await;
                }
            })
        };
        self.mailboxes.iter().map(tell).collect()
    }
}

/// Waits for all of them, and counts those that take too long; they go on.
async fn behind(told: Vec<JoinHandle<()>>, within: Duration) -> usize {
    let deadline = Instant::now() + within;
    let mut behind = 0;
    for told in told {
        behind += usize::from(timeout_at(deadline, told).await.is_err());
    }
    behind
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
    newer.turn.dscp = running.turn.dscp;
    newer
        .turn
        .relay_addresses
        .clone_from(&running.turn.relay_addresses);
    newer
        .turn
        .external_addresses
        .clone_from(&running.turn.external_addresses);
    // The account, the challenges and their listener belong to the running order; half of [tls]
    // without the other would serve nothing useful.
    if newer.tls.acme != running.tls.acme {
        newer.tls.clone_from(&running.tls);
    }
    newer.flow.udp = running.flow.udp;
    newer.flow.quic_listen.clone_from(&running.flow.quic_listen);
    newer.flow.wss_listen.clone_from(&running.flow.wss_listen);
    newer.limits.flow_connections_max = running.limits.flow_connections_max;
    newer.limits.flow_connections_per_prefix_max = running.limits.flow_connections_per_prefix_max;
    newer.admin.listen = running.admin.listen;
    newer.log.format = running.log.format;
    newer
}

#[cfg(test)]
mod tests {
    use sterna_daemon::config::Layered as _;

    use super::*;

    #[tokio::test]
    async fn who_has_not_taken_it_over_in_time_is_counted_and_not_waited_for() {
        let (_busy, answer) = tokio::sync::oneshot::channel::<()>();
        let slow = tokio::spawn(async { drop(answer.await) });
        let (quick, gone) = (tokio::spawn(async {}), tokio::spawn(async {}));
        let told = vec![slow, quick, gone];
        assert_eq!(behind(told, Duration::from_millis(50)).await, 1);
        assert_eq!(behind(Vec::new(), RELOAD_ANSWER_MAX).await, 0);
    }

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
            "flow.udp=false",
            "flow.quic_listen=192.0.2.1:3",
            "flow.wss_listen=192.0.2.1:4",
            "flow.fleet=other",
            "limits.flow_connections_max=5",
            "limits.flow_connections_per_prefix_max=5",
            "turn.realm=other",
            "turn.relay_ports=2000-3000",
            "turn.relay_addresses=192.0.2.1",
            "turn.external_addresses=192.0.2.1=192.0.2.2",
            "turn.dscp=46",
            "turn.lifetime_max_s=700",
            "tls.acme={ domains = [\"relay.example\"] }",
            "admin.listen=127.0.0.1:1",
            "admin.token=0123456789abcdef",
            "log.format=json",
            "log.level=debug",
        ];
        let newer = Config::read(None, std::iter::empty(), &sets.map(str::to_owned));
        let newer = newer.expect("keys of their form");
        let waiting = Config::TABLE.keys().filter(|key| !key.reload);
        let waiting: Vec<_> = waiting.map(|key| key.path).collect();
        assert_eq!(running.restart_needed(&newer), waiting);
        let after = with_fixed(&running, newer);
        assert!(running.restart_needed(&after).is_empty());
        assert_eq!(after.node.drain_deadline_s, 1);
        assert_eq!(after.turn.lifetime_max_s, 700);
    }
}
