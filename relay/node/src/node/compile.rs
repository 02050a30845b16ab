//! From the operator's configuration to the machine's: what the machine must know of this host.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sterna_io::interfaces;
use sterna_stun::nonce::NonceKeys;
use sterna_turn::{
    ConfigError, Discovery, Epoch, Limits, Policy, PolicyConfig, ServerConfig, Users,
};

use crate::config::Config;

/// What does not change while the node runs, whatever is reloaded.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Where TURN is served, over every transport.
    pub(super) turn_listeners: Vec<SocketAddr>,
    /// Where anything else is served: the admin listener.
    pub(super) other_listeners: Vec<SocketAddr>,
    /// Where NAT behaviour discovery is served.
    pub(super) discovery: Vec<Discovery>,
    /// The keys of the nonces.
    pub(super) nonce_keys: NonceKeys,
    /// The time.
    pub(super) epoch: Epoch,
}

/// Compiles a configuration; asks the host for its addresses of this moment.
///
/// # Errors
/// [`ConfigError`] for what the machine cannot work with.
pub(super) fn compile(config: &Config, facts: &Facts) -> Result<Arc<ServerConfig>, ConfigError> {
    let users = config
        .auth
        .users
        .iter()
        .map(|user| (user.name.as_str(), user.password.expose()));
    let compiled = ServerConfig {
        realm: config.turn.realm.as_str().into(),
        software: config.turn.software.as_str().into(),
        listeners: facts.turn_listeners.clone(),
        discovery: facts.discovery.clone(),
        relay_addresses: config.turn.relay_addresses.clone(),
        external_addresses: config
            .turn
            .external_addresses
            .iter()
            .map(|(inside, outside)| (*inside, *outside))
            .collect(),
        relay_ports: config.turn.relay_ports.ports(),
        lifetime_max_s: config.turn.lifetime_max_s,
        session_max_s: config.auth.session_max_s,
        users: Arc::new(Users::new(&config.turn.realm, users)),
        secrets: config
            .auth
            .secrets
            .iter()
            .map(|secret| secret.expose().into())
            .collect(),
        password_algorithms: config.auth.password_algorithms,
        open_relay: config.auth.open_relay,
        rfc5766_channels: config.turn.rfc5766_channels,
        nonce_keys: facts.nonce_keys.clone(),
        epoch: facts.epoch,
        policy: Arc::new(Policy::new(&policy(config, facts))),
        limits: limits(config),
    };
    compiled.check()?;
    Ok(Arc::new(compiled))
}

fn policy(config: &Config, facts: &Facts) -> PolicyConfig {
    let own_pairs: Vec<_> = facts
        .turn_listeners
        .iter()
        .chain(&facts.other_listeners)
        .copied()
        .collect();
    let external = |ip: &IpAddr| config.turn.external_addresses.get(ip).copied();
    let mut relay_addresses = relay_addresses(config, facts);
    let public: Vec<IpAddr> = relay_addresses.iter().filter_map(external).collect();
    relay_addresses.extend(public);
    PolicyConfig {
        deny: config.peers.deny.clone(),
        allow: config.peers.allow.clone(),
        nat64_prefixes: config.turn.nat64_prefixes.clone(),
        own_pairs,
        relay_addresses,
        host_addresses: host_addresses(),
    }
}

/// The addresses that are relayed from: the configured ones, else those that are listened on.
pub(super) fn relay_addresses(config: &Config, facts: &Facts) -> Vec<IpAddr> {
    if !config.turn.relay_addresses.is_empty() {
        return config.turn.relay_addresses.clone();
    }
    let listened: BTreeSet<IpAddr> = facts.turn_listeners.iter().map(SocketAddr::ip).collect();
    listened
        .into_iter()
        .filter(|ip| !ip.is_unspecified())
        .collect()
}

/// The host's addresses; none where they cannot be listed, which the built-in list makes up for.
fn host_addresses() -> Vec<IpAddr> {
    match interfaces::local_addresses() {
        Ok(addresses) => addresses.into_iter().map(|local| local.addr).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the host's addresses; peers that are this host may not be refused");
            Vec::new()
        }
    }
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        allocations_max: limits.allocations_max,
        allocations_per_user_max: limits.allocations_per_user_max,
        allocations_per_prefix_max: limits.allocations_per_prefix_max,
        permissions_per_allocation_max: limits.permissions_per_allocation_max,
        channels_per_allocation_max: limits.channels_per_allocation_max,
        new_peers_per_allocation_per_s: limits.new_peers_per_allocation_per_s,
        unauthenticated_replies_per_prefix_per_s: limits.unauthenticated_replies_per_prefix_per_s,
        failed_credentials_per_client_per_s: limits.failed_credentials_per_client_per_s,
        session_packets_per_s: limits.session_packets_per_s,
        session_bytes_per_s: limits.session_bytes_per_s,
    }
}
