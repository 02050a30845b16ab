//! From the operator's configuration to the machine's, and what all shards share.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use sterna_control_api::{Fleet, KeySet, VerifyingKey};
use sterna_flow::limits::SHARDS_MAX;
use sterna_flow::{Directory, Epoch, Limits, RelayConfig, ShardId};
use sterna_io::steering::Steering;

use super::identity::Identity;
use crate::config::Config;
use crate::limits::WORKERS_MAX;

/// Load balancers, whose connections begin with a PROXY header that is believed.
pub(crate) type Proxies = Arc<ArcSwap<Vec<IpNet>>>;

/// What the shards of a node are made of.
#[derive(Clone, Debug)]
pub(crate) struct FlowPlan {
    /// What their machines are told.
    pub(crate) config: Arc<RelayConfig>,
    /// Who is here.
    pub(crate) directory: Arc<Directory>,
    /// The load balancers of this moment.
    pub(crate) proxies: Proxies,
    /// Who the node is.
    pub(crate) identity: Identity,
    /// How many of the shards are workers; they come first.
    pub(crate) workers: usize,
    /// How many threads of connections come behind them.
    pub(crate) threads: usize,
}

/// How many workers there may be beside the flow relay: every shard of it needs a number.
pub(crate) fn workers_max(config: &Config) -> usize {
    match (config.flow_is_on(), config.flow.has_connections()) {
        (false, _) => WORKERS_MAX,
        (true, false) => SHARDS_MAX,
        (true, true) => SHARDS_MAX - 1,
    }
}

/// Plans the flow relay; none where nobody could be admitted.
pub(crate) fn plan(config: &Config, identity: Identity, workers: usize) -> Option<FlowPlan> {
    if !config.flow_is_on() {
        return None;
    }
    // `workers_max` has left a number for one thread at least.
    let threads = if config.flow.has_connections() {
        workers.min(SHARDS_MAX - workers)
    } else {
        0
    };
    let now = Instant::now();
    let directory = Arc::new(Directory::new(now, rand::random()));
    Some(FlowPlan {
        config: Arc::new(relay_config(config, &identity, now, workers, threads)),
        directory,
        proxies: Arc::new(ArcSwap::from_pointee(
            config.tcp.proxy_protocol_from.clone(),
        )),
        identity,
        workers,
        threads,
    })
}

impl FlowPlan {
    /// What the machines are told after a reload.
    pub(crate) fn compile(&self, config: &Config) -> Arc<RelayConfig> {
        let now = Instant::now();
        Arc::new(relay_config(
            config,
            &self.identity,
            now,
            self.workers,
            self.threads,
        ))
    }

    /// The number of a thread of connections.
    pub(crate) fn thread(&self, place: usize) -> ShardId {
        let number = u8::try_from(self.workers + place);
        ShardId(number.expect("invariant: there are at most SHARDS_MAX shards"))
    }

    /// Frames that name their worker go to it, wherever their device is now: DATA, KEYED and SEALED.
    pub(crate) fn steering(&self) -> Steering {
        Steering {
            first_byte: 0x80..=0xAF,
            offset: 1,
            shift: u8::try_from(self.config.layout.steering_shift())
                .expect("invariant: a byte has eight bits"),
        }
    }
}

fn relay_config(
    config: &Config,
    identity: &Identity,
    now: Instant,
    workers: usize,
    threads: usize,
) -> RelayConfig {
    let flow = &config.flow;
    let unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let epoch = Epoch {
        instant: now,
        unix_s,
    };
    RelayConfig {
        grace_s: flow.ticket_grace_s.into(),
        limits: limits(config),
        ..RelayConfig::new(
            identity.node_id(),
            identity.noise_secret(),
            Fleet::new(&flow.fleet).expect("invariant: the configuration was validated"),
            key_set(&flow.ticket_keys).expect("invariant: the configuration was validated"),
            epoch,
            u8::try_from(workers).expect("invariant: a WorkerId is a byte"),
            workers + threads,
        )
    }
}

/// Reads the keys that tickets are signed with.
///
/// # Errors
/// A sentence that says what is wrong with which.
pub(crate) fn key_set(texts: &[String]) -> Result<KeySet, String> {
    let keys = texts
        .iter()
        .map(|text| {
            text.parse::<VerifyingKey>()
                .map_err(|error| format!("{text:?}: {error}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    KeySet::new(keys).map_err(|error| error.to_string())
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        sessions_max: limits.flow_sessions_max,
        sessions_per_tenant_max: limits.flow_sessions_per_tenant_max,
        flows_per_session_max: limits.flow_flows_per_session_max,
        hellos_per_prefix_per_s: limits.unauthenticated_replies_per_prefix_per_s,
        handshakes_per_prefix_per_s: limits.flow_handshakes_per_prefix_per_s,
        handshakes_per_s: limits.flow_handshakes_per_s,
        session_bytes_per_s: limits.session_bytes_per_s,
        session_packets_per_s: limits.session_packets_per_s,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sterna_control_api::SigningKey;

    use super::*;

    fn config(sets: &[&str]) -> Config {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::read(None, std::iter::empty(), &sets).unwrap()
    }

    #[test]
    fn on_a_host_of_many_cores_every_shard_has_a_number() {
        let key = SigningKey::from_seed(&[7; 32]).verifying_key();
        let keys = format!("flow.ticket_keys=[\"{key}\"]");
        let off = config(&[]);
        let udp = config(&[&keys]);
        let all = config(&[&keys, "flow.wss_listen=[\"127.0.0.1:443\"]"]);
        assert_eq!(workers_max(&off), WORKERS_MAX);
        assert_eq!(workers_max(&udp), SHARDS_MAX);
        let dir = tempfile::tempdir().unwrap();
        for (config, workers) in [
            (&udp, workers_max(&udp)),
            (&all, workers_max(&all)),
            (&all, 1),
        ] {
            let identity = Identity::load(dir.path()).unwrap();
            let plan = plan(config, identity, workers).unwrap();
            assert!(plan.workers + plan.threads <= SHARDS_MAX);
            assert_eq!(plan.threads > 0, config.flow.has_connections());
        }
        assert!(plan(&off, Identity::load(dir.path()).unwrap(), 2).is_none());
    }
}
