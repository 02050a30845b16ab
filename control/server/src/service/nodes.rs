//! Nodes: registration, heartbeats, orders, what an operator wants of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sterna_control_api::NodeId;
use sterna_control_api::access::TokenKind;
use sterna_control_api::audit::Page;
use sterna_control_api::limits::HEARTBEAT_WAIT_MS_MAX;
use sterna_control_api::node::{
    Heartbeat, HeartbeatAnswer, NodeRegistered, NodeStatus, NodeView, Orders, PatchNode,
    RegisterNode, Services, SignedOrders,
};
use sterna_control_api::signature::Claims;
use tracing::{error, info};

use super::callers::{Node, Person, Shown};
use super::refusal::{Proof, Refusal};
use super::{Service, is_kind, texts};
use crate::domain::{Act, NodeRecord, NodeRegistration};
use crate::limits::ADDRESSES_MAX;
use crate::metrics::{HEARTBEATS, REGISTRATIONS};
use crate::store::{PageRequest, Registered};

/// Which nodes are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) region: Option<String>,
    pub(crate) state: Option<NodeStatus>,
    pub(crate) q: Option<String>,
}

impl Service {
    /// Registers a node.
    pub(crate) async fn register_node(
        &self,
        claims: &Claims,
        shown: Option<&Shown>,
        node: RegisterNode,
    ) -> Result<NodeRegistered, Refusal> {
        if node.identity != NodeId(claims.key) {
            return Err(Refusal::unauthorized(Proof::BadSignature));
        }
        check(&node)?;
        let token = self.token_of(shown, TokenKind::Join).await?;
        let id = node.identity;
        let act = Act::new(format!("node:{id}"), self.now());
        let registration = NodeRegistration { node, token };
        let registered = self.store.register_node(&registration, &act).await;
        let registered = match self.answered(registered) {
            Err(refusal) if refusal.proof == Some(Proof::SpentToken) => {
                return Err(self.no_entry(refusal, &act.actor, shown).await);
            }
            other => other?,
        };
        let result = match &registered {
            Registered::New(node) => {
                info!(name = node.name, region = node.region, "node registered");
                "new"
            }
            Registered::Changed(_) | Registered::Same(_) => "again",
        };
        self.metrics.count(REGISTRATIONS, &["node", result]);
        let record = registered.into_inner();
        self.live.put(record.clone());
        self.statuses.notify_one();
        Ok(NodeRegistered {
            fleet: self.config.control.fleet,
            orders: self.orders_of(&record)?,
            keys: self.view.load().verifying.clone(),
            heartbeat_interval_s: self.config.heartbeat.interval_s,
        })
    }

    /// The id of a token whose secret fits, of the kind that is needed. Whether it lets anybody in
    /// is the store's to say; without a token, who is known already is let in.
    pub(crate) async fn token_of(
        &self,
        shown: Option<&Shown>,
        kind: TokenKind,
    ) -> Result<Option<String>, Refusal> {
        let Some(shown) = shown.filter(|shown| is_kind(shown.kind, kind)) else {
            return Ok(None);
        };
        let token = self.answered(self.store.token(&shown.id).await)?;
        let fits = token.filter(|token| token.kind == kind && shown.fits(&token.secret_hash));
        Ok(fits.map(|token| token.id))
    }

    /// Why a registration without a good token is refused; one with a bad token is written down.
    pub(crate) async fn no_entry(
        &self,
        refusal: Refusal,
        actor: &str,
        shown: Option<&Shown>,
    ) -> Refusal {
        let Some(shown) = shown else {
            return refusal.because(Proof::Missing);
        };
        let subject = format!("token:{}", shown.id);
        self.note_refusal(actor, &subject, "register").await;
        refusal
    }

    /// Takes a heartbeat, and holds the answer for as long as the node lets it while there is nothing to
    /// say; how long that was is given back beside the answer. No SQL.
    pub(crate) async fn heartbeat(
        &self,
        node: &Node,
        report: Heartbeat,
        wait_ms: u32,
    ) -> Result<(HeartbeatAnswer, Duration), Refusal> {
        texts::within("load", report.load.into(), 0, 100)?;
        texts::within("wait_ms", wait_ms.into(), 0, HEARTBEAT_WAIT_MS_MAX.into())?;
        let follows = report.orders;
        let status_changed = self.live.beat(self.now(), &node.id, node.counter, report);
        if status_changed.ok_or_else(Refusal::gone)? {
            self.statuses.notify_one();
        }
        let wait = Duration::from_millis(wait_ms.into());
        let held = self.hold(node.id, follows, wait).await;
        let orders = if self.has_news(&node.id, follows) {
            let record = self.live.node(&node.id).ok_or_else(Refusal::gone)?;
            self.metrics.count(HEARTBEATS, &["orders"]);
            Some(self.orders_of(&record)?)
        } else {
            self.metrics.count(HEARTBEATS, &["same"]);
            None
        };
        let answer = HeartbeatAnswer {
            orders,
            heartbeat_interval_s: self.config.heartbeat.interval_s,
        };
        Ok((answer, held))
    }

    /// Holds a heartbeat until there is something to say, the time is over or the service ends.
    async fn hold(&self, node: NodeId, follows: u64, wait: Duration) -> Duration {
        if wait.is_zero() {
            return Duration::ZERO;
        }
        let begun = Instant::now();
        let mut place = self.held.take(node, follows);
        // What has changed, or ended, before the place was taken rings nobody.
        if !self.has_news(&node, follows) && !self.stopping.load(Ordering::Relaxed) {
            // In time or not: either way the node is answered.
            let _ = tokio::time::timeout(wait, place.rung()).await;
        }
        begun.elapsed()
    }

    /// Whether a node that follows this version has to be told something: other orders, or that it is
    /// forgotten.
    fn has_news(&self, node: &NodeId, follows: u64) -> bool {
        let of_all = self.view.load().orders;
        let own = self.live.orders(node);
        own.is_none_or(|own| follows < own.max(of_all))
    }

    /// Answers the heartbeats that are held of nodes for whom there is something.
    pub(crate) fn ring_nodes(&self) {
        self.held.ring(|node, follows| self.has_news(node, follows));
    }

    /// The orders of a node, signed; once for each version.
    fn orders_of(&self, node: &NodeRecord) -> Result<SignedOrders, Refusal> {
        let view = self.view.load_full();
        let version = node.orders.max(view.orders);
        let signed = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = signed.get(&node.id).filter(|known| known.0 == version) {
            return Ok(known.1.clone());
        }
        drop(signed);
        let now = self.now();
        let orders = Orders {
            version,
            node: node.id,
            fleet: self.config.control.fleet,
            issued: now,
            state: node.desired,
            turn_secrets: view
                .turn_secrets
                .iter()
                .map(|secret| (**secret).clone())
                .collect(),
            keys: view.verifying.clone(),
            revocations: view.revocations(now),
            limits: node.limits,
        };
        let made = orders.sign(&view.signing).map_err(|error| {
            error!(%error, node = node.name, "orders cannot be made");
            Refusal::internal()
        })?;
        let mut signed = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        signed.insert(node.id, Arc::new((version, made.clone())));
        Ok(made)
    }

    /// Nodes, by name, a page at a time.
    pub(crate) fn list_nodes(&self, wanted: &Wanted, page: &PageRequest) -> Page<NodeView> {
        let q = wanted.q.as_ref().map(|q| q.to_lowercase());
        let fits = |(node, status): &(NodeRecord, NodeStatus)| {
            wanted
                .region
                .as_ref()
                .is_none_or(|region| *region == node.region)
                && wanted.state.is_none_or(|state| state == *status)
                && q.as_ref()
                    .is_none_or(|q| node.name.to_lowercase().contains(q))
                && page.after.as_ref().is_none_or(|after| node.name > *after)
        };
        let mut nodes = self.live.all(self.now()).into_iter().filter(fits);
        let items: Vec<_> = nodes
            .by_ref()
            .take(page.limit as usize)
            .map(|(node, status)| view(node, status))
            .collect();
        let more = nodes.next().is_some();
        let next = items.last().filter(|_| more).map(|last| last.name.clone());
        Page { items, next }
    }

    /// One node.
    pub(crate) fn node(&self, id: &NodeId) -> Result<NodeView, Refusal> {
        let node = self.live.node(id).ok_or_else(Refusal::not_found)?;
        let status = node.status(self.now(), self.config.heartbeat.interval_s);
        Ok(view(node, status))
    }

    /// Changes what the operator wants of a node.
    pub(crate) async fn patch_node(
        &self,
        person: &Person,
        id: &NodeId,
        patch: &PatchNode,
    ) -> Result<NodeView, Refusal> {
        let act = person.act(self.now());
        let record = self.answered(self.store.patch_node(id, patch, &act).await)?;
        info!(name = record.name, state = ?record.desired, by = person.actor, "node changed");
        self.live.put(record);
        self.ring_nodes();
        self.publish().await?;
        self.node(id)
    }

    /// Forgets a node.
    pub(crate) async fn forget_node(&self, person: &Person, id: &NodeId) -> Result<(), Refusal> {
        let act = person.act(self.now());
        self.answered(self.store.forget_node(id, &act).await)?;
        info!(node = %id, by = person.actor, "node forgotten");
        self.live.remove(id);
        self.ring_nodes();
        self.publish().await
    }
}

impl Person {
    /// What the person does now.
    pub(crate) fn act(&self, now: u64) -> Act {
        Act::new(self.actor.clone(), now)
    }
}

fn check(node: &RegisterNode) -> Result<(), Refusal> {
    texts::name("name", &node.name)?;
    texts::region_code("region", &node.region)?;
    texts::name("version", &node.version)?;
    let Services {
        stun,
        turns,
        udp,
        quic,
        wss,
        host,
        pins,
    } = &node.services;
    for (field, addresses) in [
        ("services.stun", stun),
        ("services.turns", turns),
        ("services.udp", udp),
        ("services.quic", quic),
        ("services.wss", wss),
    ] {
        texts::at_most(field, addresses, ADDRESSES_MAX)?;
        let unusable =
            |addr: &&std::net::SocketAddr| addr.port() == 0 || addr.ip().is_unspecified();
        if let Some(addr) = addresses.iter().find(unusable) {
            let sentence = format!("{field}: nobody can reach {addr}");
            return Err(Refusal::malformed(sentence));
        }
    }
    texts::note("services.host", host)?;
    texts::at_most("services.pins", pins, ADDRESSES_MAX)?;
    pins.iter()
        .try_for_each(|pin| texts::name("services.pins", pin))
}

fn view(node: NodeRecord, status: NodeStatus) -> NodeView {
    let (reported, last_seen) = match node.heartbeat {
        Some(last) => (Some(last.report), last.at),
        None => (None, 0),
    };
    NodeView {
        id: node.id,
        name: node.name,
        region: node.region,
        version: node.version,
        desired: node.desired,
        status,
        reported,
        services: node.services,
        capacity: node.capacity,
        limits: node.limits,
        registered: node.registered,
        last_seen,
    }
}
