//! The node as its link to the control service sees it: describes itself, reports, follows orders.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use sterna_control_api::RelayKey;
use sterna_control_api::node::{
    Capacity, DesiredState, Heartbeat, Orders, RegisterNode, ReportedState, Revocations, Services,
};
use sterna_flow::Rung;
use sterna_turn::DropReason;
use tokio::sync::watch;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::compile::host_addresses;
use super::shared::{Lifecycle, Shared, ports_capacity};
use crate::admin::{Answer, NodeHandle as _};
use crate::config::Config;
use crate::control_link::{Host, Standing};
use crate::flow;
use crate::limits::ADDRESSES_TOLD_MAX;
use crate::metrics::{NodeSnapshot, worker_cpu_s};

impl Host for Shared {
    fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn describe(&self) -> RegisterNode {
        let config = self.config.load();
        let identity = self.identity.as_ref();
        let identity = identity.expect("invariant: a link is started for a node with an identity");
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        RegisterNode {
            identity: identity.node_id(),
            noise_key: match self.flow {
                Some(_) => identity.noise_key(),
                // Nobody shakes hands with a node that serves no flows.
                None => RelayKey([0; 32]),
            },
            name: config.node.display_name(),
            region: config.node.region.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            services: self.services(&config),
            capacity: Capacity {
                workers: small(self.mailboxes.len() as u64),
                relay_ports: small(ports_capacity(&config, &self.facts.load())),
            },
        }
    }

    fn report(&self) -> Answer<'_, Heartbeat> {
        Box::pin(async {
            let snapshot = self.snapshot().await;
            let sessions = self.flow.as_ref().map_or(0, flow::FlowHandle::sessions);
            Heartbeat {
                orders: 0,
                state: match *self.lifecycle.borrow() {
                    Lifecycle::Serving => ReportedState::Ready,
                    Lifecycle::Cordoned => ReportedState::Cordoned,
                    Lifecycle::Draining { .. } => ReportedState::Draining,
                },
                reachable: false,
                load: self.load.read(),
                allocations: snapshot.usage.allocations,
                sessions,
                dropped: dropped(&snapshot),
                relayed_bytes: relayed_bytes(&snapshot),
            }
        })
    }

    fn follow(&self, standing: Option<Arc<Standing>>) -> Answer<'_, ()> {
        Box::pin(async move {
            let before = self.standing.swap(standing.clone());
            self.recompile().await;
            let before = before.as_deref().map(Standing::orders);
            match standing.as_deref().map(Standing::orders) {
                Some(orders) => {
                    info!(
                        version = orders.version,
                        "following new orders of the control service"
                    );
                    self.obey(orders, before).await;
                }
                None => info!("the control service's orders do not count any more"),
            }
        })
    }
}

impl Shared {
    /// What the node serves by.
    pub(super) fn effective(&self) -> Config {
        self.effective_of(&self.config.load())
    }

    /// The same for a configuration that is about to be taken over.
    pub(super) fn effective_of(&self, config: &Config) -> Config {
        let standing = self.standing.load();
        super::effective::effective(config, standing.as_deref().map(Standing::orders))
    }

    /// Does what the orders say beside keys, secrets and limits.
    pub(super) async fn obey(&self, orders: &Orders, before: Option<&Orders>) {
        let none = Revocations::default();
        let known = before.map_or(&none, |before| &before.revocations);
        self.revoke_all(&orders.revocations, known).await;
        self.become_as_ordered(orders.state, before.map(|before| before.state))
            .await;
    }

    async fn revoke_all(&self, ordered: &Revocations, known: &Revocations) {
        use sterna_flow::Revoke;
        let tickets = new_ones(&ordered.tickets, &known.tickets).map(Revoke::Ticket);
        let devices = new_ones(&ordered.devices, &known.devices).map(Revoke::Device);
        let tenants = new_ones(&ordered.tenants, &known.tenants).map(Revoke::Tenant);
        for revoke in tickets.chain(devices).chain(tenants) {
            self.revoke_flows(revoke).await;
        }
    }

    /// Follows a change of what the fleet's operator wants. What was asked for on the node itself (a
    /// signal, its admin API) stays.
    async fn become_as_ordered(&self, wanted: DesiredState, before: Option<DesiredState>) {
        if before == Some(wanted) {
            return;
        }
        let now = *self.lifecycle.borrow();
        if matches!(now, Lifecycle::Draining { ordered: false, .. }) {
            return;
        }
        match (wanted, before) {
            (DesiredState::Ready, _) if now == Lifecycle::Serving => {}
            (DesiredState::Ready, _) => {
                info!("serving again: the fleet's operator has activated the node");
                self.stand(Lifecycle::Serving).await;
            }
            (DesiredState::Cordoned, _) => {
                info!("cordoned by the fleet's operator: no new sessions; those that live go on");
                self.stand(Lifecycle::Cordoned).await;
            }
            // A node that ended at once would be started again, for ever, by whatever starts it.
            (DesiredState::Draining, None) => {
                warn!(
                    "the node was drained before it was started; it takes no sessions until `sterna nodes activate`"
                );
                self.stand(Lifecycle::Cordoned).await;
            }
            (DesiredState::Draining, Some(_)) => {
                info!("drained by the fleet's operator");
                self.begin_drain(None, true).await;
            }
        }
    }

    fn services(&self, config: &Config) -> Services {
        let mut addresses = (**self.addresses.load()).clone();
        let here = host_addresses();
        // A listener stays when its address goes; whoever is told of it would call in vain.
        addresses
            .udp
            .retain(|addr| here.is_empty() || here.contains(&addr.ip()) || addr.ip().is_loopback());
        let mut services = flow::services(config, &addresses);
        if self.flow.is_none() {
            services.udp.clear();
        }
        for addrs in [
            &mut services.stun,
            &mut services.turns,
            &mut services.udp,
            &mut services.quic,
            &mut services.wss,
        ] {
            without_loopback(addrs);
            addrs.truncate(ADDRESSES_TOLD_MAX);
        }
        services.pins = self.pin().into_iter().collect();
        services
    }

    /// SHA-256 of the public key of the certificate that devices are shown, as RFC 7469 §2.4 has it.
    fn pin(&self) -> Option<String> {
        let leaf = self.certificates.leaf();
        let (_, certificate) = X509Certificate::from_der(&leaf).ok()?;
        let hash = Sha256::digest(certificate.tbs_certificate.subject_pki.raw);
        Some(URL_SAFE_NO_PAD.encode(hash))
    }
}

/// Other hosts would find themselves there; a fleet that is on one host has nothing else.
fn without_loopback(addrs: &mut Vec<SocketAddr>) {
    if addrs.iter().any(|addr| !addr.ip().is_loopback()) {
        addrs.retain(|addr| !addr.ip().is_loopback());
    }
}

fn new_ones<'a, T: PartialEq + Copy>(
    ordered: &'a [T],
    known: &'a [T],
) -> impl Iterator<Item = T> + use<'a, T> {
    ordered.iter().copied().filter(|one| !known.contains(one))
}

fn dropped(snapshot: &NodeSnapshot) -> u64 {
    let turn = snapshot.workers.iter().flat_map(|worker| {
        DropReason::ALL
            .iter()
            .map(|reason| worker.turn.dropped(*reason))
    });
    let shards = snapshot.flow.iter().flat_map(|flow| &flow.shards);
    let flow = shards.flat_map(|shard| {
        sterna_flow::DropReason::ALL
            .iter()
            .map(|reason| shard.counters.dropped(*reason))
    });
    turn.chain(flow).sum()
}

fn relayed_bytes(snapshot: &NodeSnapshot) -> u64 {
    let turn = snapshot
        .workers
        .iter()
        .map(|worker| worker.turn.to_peers.bytes + worker.turn.to_clients.bytes);
    let shards = snapshot.flow.iter().flat_map(|flow| &flow.shards);
    let flow =
        shards.flat_map(|shard| Rung::ALL.map(|rung| shard.counters.sent[rung as usize].bytes));
    turn.chain(flow).sum()
}

/// How busy the busiest worker is, between two looks.
#[derive(Debug, Default)]
pub(super) struct LoadMeter(Mutex<Option<(Instant, BTreeMap<String, f64>)>>);

impl LoadMeter {
    /// Percent of a core since the last look; 0 at the first.
    fn read(&self) -> u8 {
        let now = Instant::now();
        let spent: BTreeMap<String, f64> = worker_cpu_s().into_iter().collect();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace((now, spent.clone()));
        let Some((at, before)) = before else { return 0 };
        let busiest = spent
            .iter()
            .map(|(worker, cpu_s)| cpu_s - before.get(worker).copied().unwrap_or(*cpu_s))
            .fold(0.0, f64::max);
        percent(busiest, now.saturating_duration_since(at).as_secs_f64())
    }
}

// Between 0 and 100 by then.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn percent(part_s: f64, whole_s: f64) -> u8 {
    if whole_s <= 0.0 {
        return 0;
    }
    (100.0 * part_s / whole_s).round().clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_else() {
        let addrs = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mut public = addrs(&["192.0.2.1:1", "127.0.0.1:1", "[::1]:1"]);
        without_loopback(&mut public);
        assert_eq!(public, addrs(&["192.0.2.1:1"]));
        let mut local = addrs(&["127.0.0.1:1"]);
        without_loopback(&mut local);
        assert_eq!(local, addrs(&["127.0.0.1:1"]));
    }

    #[test]
    fn load_is_a_part_of_a_core() {
        assert_eq!(percent(0.5, 1.0), 50);
        assert_eq!(percent(1.2, 1.0), 100);
        assert_eq!(percent(1.0, 0.0), 0);
    }

    #[test]
    fn only_what_is_newly_revoked_is_revoked() {
        let all: Vec<u8> = new_ones(&[1, 2, 3], &[2]).collect();
        assert_eq!(all, [1, 3]);
    }
}
