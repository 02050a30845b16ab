//! The configuration that counts: the operator's, with what the control service orders beside it.
//!
//! The operator's own secrets and keys go on counting, and of two caps the lower one holds. The two are
//! never mixed in what is shown or reloaded.

use sterna_control_api::KeySet;
use sterna_control_api::limits::KEYS_MAX;
use sterna_control_api::node::Orders;
use tracing::warn;

use crate::config::{Config, Secret};

/// What the node serves by.
pub(super) fn effective(config: &Config, orders: Option<&Orders>) -> Config {
    let mut counts = config.clone();
    if !config.control.is_on() {
        return counts;
    }
    if let Some(orders) = orders {
        overlay(&mut counts, orders);
    }
    if !counts.auth.has_credentials() && !counts.auth.open_relay {
        // The service has named no secret yet: a random one keeps everybody out until it does.
        let nobodys: [u8; 32] = rand::random();
        let text = nobodys.iter().map(|byte| format!("{byte:02x}"));
        counts
            .auth
            .secrets
            .push(Secret::new(text.collect::<String>()));
    }
    counts
}

fn overlay(counts: &mut Config, orders: &Orders) {
    for secret in orders.turn_secrets.iter().filter(|text| !text.is_empty()) {
        let known = counts.auth.secrets.iter();
        if !known.clone().any(|known| known.expose() == secret) {
            counts.auth.secrets.push(Secret::new(secret.as_str()));
        }
    }
    counts.flow.fleet = orders.fleet.to_string();
    let own = std::mem::take(&mut counts.flow.ticket_keys);
    // The service's come first: they are what its devices bring.
    let ordered = orders.keys.iter().map(ToString::to_string);
    for key in ordered.chain(own) {
        if counts.flow.ticket_keys.contains(&key) {
            continue;
        }
        let candidate: Vec<_> = counts.flow.ticket_keys.iter().chain([&key]).collect();
        let keys = candidate.iter().filter_map(|text| text.parse().ok());
        match KeySet::new(keys) {
            Ok(_) => counts.flow.ticket_keys.push(key),
            Err(error) => warn!(
                key,
                %error,
                keys_max = KEYS_MAX,
                "a ticket key does not count beside those of the control service; take it out of flow.ticket_keys"
            ),
        }
    }
    let limits = &mut counts.limits;
    limits.allocations_max = lower(limits.allocations_max, orders.limits.allocations_max);
    limits.flow_sessions_max = lower(limits.flow_sessions_max, orders.limits.flow_sessions_max);
}

/// The lower of two caps, of which zero is none.
fn lower(one: u32, other: u32) -> u32 {
    match (one, other) {
        (0, cap) | (cap, 0) => cap,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sterna_control_api::node::{DesiredState, NodeLimits, Revocations};
    use sterna_control_api::{Fleet, NodeId, SigningKey};

    use super::*;

    fn orders() -> Orders {
        Orders {
            version: 1,
            node: NodeId([1; 32]),
            fleet: Fleet::new("example").unwrap(),
            issued: 0,
            state: DesiredState::Ready,
            turn_secrets: vec!["ordered-secret-1".to_owned(), "own-secret".to_owned()],
            keys: vec![key(1)],
            revocations: Revocations::default(),
            limits: NodeLimits {
                allocations_max: 10,
                flow_sessions_max: 10,
            },
        }
    }

    fn key(seed: u8) -> sterna_control_api::VerifyingKey {
        SigningKey::from_seed(&[seed; 32]).verifying_key()
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.control.url = "https://control.example.org".to_owned();
        config
    }

    #[test]
    fn what_is_ordered_counts_beside_what_the_operator_has_configured() {
        let mut config = config();
        config.auth.secrets = vec![Secret::new("own-secret")];
        config.flow.ticket_keys = vec![key(2).to_string(), key(1).to_string()];
        config.limits.allocations_max = 5;
        config.limits.flow_sessions_max = 50;
        let counts = effective(&config, Some(&orders()));
        let secrets: Vec<_> = counts.auth.secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["own-secret", "ordered-secret-1"]);
        assert_eq!(
            counts.flow.ticket_keys,
            [key(1).to_string(), key(2).to_string()]
        );
        assert_eq!(counts.flow.fleet, "example");
        assert_eq!(counts.limits.allocations_max, 5);
        assert_eq!(counts.limits.flow_sessions_max, 10);
    }

    #[test]
    fn more_keys_than_a_set_holds_leave_the_services_in() {
        let mut config = config();
        config.flow.ticket_keys = (2..20).map(|seed| key(seed).to_string()).collect();
        let counts = effective(&config, Some(&orders()));
        assert_eq!(counts.flow.ticket_keys.len(), KEYS_MAX);
        assert_eq!(counts.flow.ticket_keys[0], key(1).to_string());
        assert!(crate::flow::key_set(&counts.flow.ticket_keys).is_ok());
    }

    #[test]
    fn nobody_relays_before_the_service_has_spoken() {
        let counts = effective(&config(), None);
        assert_eq!(counts.auth.secrets.len(), 1);
        assert_eq!(counts.auth.secrets[0].expose().len(), 64);
        let mut alone = config();
        alone.control.url.clear();
        assert!(effective(&alone, Some(&orders())).auth.secrets.is_empty());
    }
}
