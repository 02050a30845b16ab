//! From the operator's configuration to the machine's: what the machine must know of this host.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use sterna_io::{interfaces, routes};
use sterna_stun::nonce::NonceKeys;
use sterna_turn::{
    ConfigError, Discovery, Epoch, Limits, OAuth, OAuthKey, Policy, PolicyConfig, Rules,
    ServerConfig, UserRules, Users,
};

use crate::config::Config;

/// What does not change while the node runs, whatever is reloaded.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Where TURN is served, over every transport.
    pub(super) turn_listeners: Vec<SocketAddr>,
    /// Where anything else is served: the admin listener, and the one of HTTP-01.
    pub(super) other_listeners: Vec<SocketAddr>,
    /// Where NAT behaviour discovery is served.
    pub(super) discovery: Vec<Discovery>,
    /// How many workers share the strangers' answers.
    pub(super) workers: usize,
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
    let everybody = policy(config, facts);
    let compiled = ServerConfig {
        realm: config.turn.realm.as_str().into(),
        software: config.turn.software.as_str().into(),
        listeners: facts.turn_listeners.clone(),
        discovery: facts.discovery.clone(),
        alternates: config.turn.alternates(),
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
        oauth: Arc::new(oauth(config)),
        password_algorithms: config.auth.password_algorithms,
        open_relay: config.auth.open_relay,
        rfc5766_channels: config.turn.rfc5766_channels,
        mobility: config.turn.mobility,
        tcp_allocations: config.turn.tcp_allocations,
        nonce_keys: facts.nonce_keys.clone(),
        epoch: facts.epoch,
        policy: Arc::new(Policy::new(&everybody)),
        rules: Arc::new(rules(config, &everybody)),
        limits: limits(config, facts.workers),
    };
    compiled.check()?;
    Ok(Arc::new(compiled))
}

/// The keys of third-party authorisation. One that validation lets through is a key.
fn oauth(config: &Config) -> OAuth {
    let realm = &config.turn.realm;
    let keys = config.auth.oauth_keys.iter().filter_map(|key| {
        Some(OAuthKey {
            kid: key.kid.as_str().into(),
            key: key.token_key().ok()?,
            not_before_unix_s: key.not_before_unix_s,
            not_after_unix_s: key.not_after_unix_s,
        })
    });
    OAuth::new(config.auth.server_name(realm), realm, keys)
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
        host_prefixes: host_prefixes(),
    }
}

/// What differs for single accounts. Who has no lists of its own shares everybody's policy.
fn rules(config: &Config, everybody: &PolicyConfig) -> Rules {
    Rules::new(config.peers.users.iter().map(|user| {
        let policy = (!user.allow.is_empty() || !user.deny.is_empty()).then(|| {
            let mut own = everybody.clone();
            own.deny.extend(&user.deny);
            own.allow.extend(&user.allow);
            Arc::new(Policy::new(&own))
        });
        let rules = UserRules {
            policy,
            allocations_max: user.allocations_max,
            session_packets_per_s: user.session_packets_per_s,
            session_bytes_per_s: user.session_bytes_per_s,
        };
        (user.name.as_str(), rules)
    }))
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
pub(super) fn host_addresses() -> Vec<IpAddr> {
    match interfaces::local_addresses() {
        Ok(addresses) => addresses.into_iter().map(|local| local.addr).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the host's addresses; peers that are this host may not be refused");
            Vec::new()
        }
    }
}

/// The prefixes that the host takes for its own by its routes; none where they cannot be listed.
pub(super) fn host_prefixes() -> Vec<IpNet> {
    match routes::own_routes() {
        Ok(routes) => routes
            .into_iter()
            .filter_map(|route| IpNet::new(route.addr, route.prefix_len).ok())
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list the routes to this host; peers behind a local route may not be refused");
            Vec::new()
        }
    }
}

/// A worker's part of what all of them may do in a second: the kernel spreads the ports of a prefix
/// over them. 0 stays no cap.
fn part(rate: u32, workers: usize) -> u32 {
    rate.div_ceil(u32::try_from(workers.max(1)).unwrap_or(u32::MAX))
}

fn limits(config: &Config, workers: usize) -> Limits {
    let limits = &config.limits;
    Limits {
        allocations_max: limits.allocations_max,
        allocations_per_user_max: limits.allocations_per_user_max,
        allocations_per_prefix_max: limits.allocations_per_prefix_max,
        permissions_per_allocation_max: limits.permissions_per_allocation_max,
        channels_per_allocation_max: limits.channels_per_allocation_max,
        new_peers_per_allocation_per_s: limits.new_peers_per_allocation_per_s,
        unauthenticated_replies_per_prefix_per_s: part(
            limits.unauthenticated_replies_per_prefix_per_s,
            workers,
        ),
        failed_credentials_per_client_per_s: limits.failed_credentials_per_client_per_s,
        icmp_per_allocation_per_s: limits.icmp_per_allocation_per_s,
        session_packets_per_s: limits.session_packets_per_s,
        session_bytes_per_s: limits.session_bytes_per_s,
        tcp_peer_connections_max: limits.tcp_peer_connections_max,
        tcp_peer_connections_per_allocation_max: limits.tcp_peer_connections_per_allocation_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_rate_and_no_cap_stays_no_cap() {
        assert_eq!(part(500, 2), 250);
        assert_eq!(part(500, 3), 167);
        assert_eq!(part(1, 64), 1);
        assert_eq!(part(0, 64), 0);
    }
}
