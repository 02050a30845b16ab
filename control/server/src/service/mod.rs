//! What the service does: one file a resource. No SQL here, and no HTTP.
//!
//! | what | where |
//! |---|---|
//! | who calls, once proved | [`callers`], [`counters`], [`passwords`], [`rates`] |
//! | nodes: registration, heartbeats, orders | [`nodes`], [`live`], [`held`] |
//! | regions, the relay map | [`regions`], [`map`], [`view`] |
//! | devices: registration, netmap, reports, rotation | [`devices`] |
//! | TURN credentials and relay tickets | [`credentials`] |
//! | keys and revocations | [`keys`] |
//! | tokens, people, the audit log | [`tokens`], [`people`], [`audit`] |
//! | WebSockets: who is connected where, signalling, pushes | [`hub`], [`presence`], [`signalling`] |
//! | what goes on beside requests | [`upkeep`] |

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sterna_control_api::node::SignedOrders;
use sterna_control_api::{NodeId, TenantId};
use sterna_daemon::metrics::Page;
use tokio::sync::{Notify, watch};
use tracing::error;

use crate::config::Config;
use crate::metrics::{self, SNAPSHOTS, STORE_ERRORS};
use crate::store::{SharedStore, StoreError};

pub(crate) mod audit;
pub(crate) mod callers;
pub(crate) mod counters;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod first_start;
pub(crate) mod held;
pub(crate) mod hub;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod map;
mod netmaps;
pub(crate) mod nodes;
pub(crate) mod passwords;
pub(crate) mod people;
pub(crate) mod presence;
pub(crate) mod rates;
pub(crate) mod refusal;
pub(crate) mod regions;
pub(crate) mod signalling;
pub(crate) mod texts;
pub(crate) mod tokens;
pub(crate) mod upkeep;
pub(crate) mod view;

use callers::ShownKind;
use refusal::{Proof, Refusal};

/// Refusals a second that the audit log takes.
const NOTED_REFUSALS_PER_S: u32 = 10;

/// All that requests and tasks share.
pub(crate) struct Service {
    pub(crate) config: Config,
    pub(crate) store: SharedStore,
    pub(crate) metrics: Arc<Page>,
    pub(crate) rates: rates::Rates,
    pub(crate) passwords: passwords::Passwords,
    pub(crate) counters: counters::Counters,
    /// Regions, keys and revocations.
    pub(crate) view: ArcSwap<view::View>,
    /// Nodes and their heartbeats.
    pub(crate) live: live::Live,
    /// Heartbeats that wait for news.
    pub(crate) held: held::Held,
    /// The relay map.
    pub(crate) map: ArcSwapOption<map::Published>,
    /// Held while a map is made.
    pub(crate) publishing: tokio::sync::Mutex<()>,
    /// Held while the view is made.
    reloading: tokio::sync::Mutex<()>,
    /// Rung when what the store keeps of nodes, regions, keys or revocations has changed.
    pub(crate) changed: Notify,
    /// Rung when a node's status may have changed.
    pub(crate) statuses: Notify,
    /// Orders that were signed already, by node.
    orders: Mutex<HashMap<NodeId, Arc<(u64, SignedOrders)>>>,
    pub(crate) devices: devices::Known,
    /// Reports of devices that the store has not been told of.
    pub(crate) reports: devices::Reports,
    pub(crate) hub: hub::Hub,
    pub(crate) netmaps: netmaps::Netmaps,
    pub(crate) presence: presence::Presence,
    token_uses: Mutex<HashMap<String, u32>>,
    noted_refusals: DefaultDirectRateLimiter,
    /// Host and port of `control.public_url`.
    public_authority: Option<String>,
    /// Host and port of the listener.
    local_authority: String,
    /// Whether the service goes away.
    pub(crate) stopping: AtomicBool,
    /// Rung when it does.
    pub(crate) stop: watch::Sender<bool>,
    /// HTTP connections that are open.
    pub(crate) connections: Arc<AtomicU64>,
    /// WebSockets that are open.
    pub(crate) websockets: AtomicU64,
    pub(crate) started: Instant,
}

impl Service {
    /// Makes a service of a store that has its keys.
    pub(crate) async fn new(
        config: Config,
        store: SharedStore,
        listen: std::net::SocketAddr,
    ) -> Result<Arc<Self>, StoreError> {
        let snapshot = store.snapshot().await?;
        let view = view::View::new(&snapshot).ok_or(StoreError::Corrupt)?;
        let now = unix_s();
        let heard = snapshot
            .nodes
            .iter()
            .filter_map(|node| node.heartbeat.as_ref());
        let counters = heard.map(|last| (last.node.0, last.counter));
        let metrics = Arc::new(metrics::page());
        let live = live::Live::new(config.heartbeat.interval_s);
        let public = crate::config::authority_of(&config.control.public_url);
        let per_s =
            std::num::NonZeroU32::new(NOTED_REFUSALS_PER_S).unwrap_or(std::num::NonZeroU32::MIN);
        let service = Self {
            rates: rates::Rates::new(&config.limits),
            passwords: passwords::Passwords::new(),
            counters: counters::Counters::new(now, counters),
            view: ArcSwap::from_pointee(view),
            map: ArcSwapOption::empty(),
            publishing: tokio::sync::Mutex::new(()),
            reloading: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            statuses: Notify::new(),
            orders: Mutex::default(),
            devices: devices::Known::new(),
            reports: devices::Reports::default(),
            hub: hub::Hub::new(config.limits.signals_queued_max, Arc::clone(&metrics)),
            netmaps: netmaps::Netmaps::default(),
            presence: presence::Presence::new(),
            token_uses: Mutex::default(),
            noted_refusals: RateLimiter::direct(Quota::per_second(per_s)),
            public_authority: public.map(str::to_ascii_lowercase),
            local_authority: listen.to_string(),
            stopping: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            connections: Arc::default(),
            websockets: AtomicU64::new(0),
            started: Instant::now(),
            held: held::Held::default(),
            live,
            metrics,
            store,
            config,
        };
        service.live.replace(snapshot.nodes, 0);
        Ok(Arc::new(service))
    }

    /// Seconds since 1970.
    // One clock for all that is decided here.
    #[allow(clippy::unused_self)]
    pub(crate) fn now(&self) -> u64 {
        unix_s()
    }

    /// Reads regions, nodes, keys and revocations again, and makes the map of them.
    pub(crate) async fn reload(&self) -> Result<(), Refusal> {
        {
            // One at a time, so that an older answer never takes the place of a newer one.
            let _turn = self.reloading.lock().await;
            let changes = self.live.changes();
            let snapshot = self.answered(self.store.snapshot().await)?;
            self.metrics.count(SNAPSHOTS, &[]);
            let view = view::View::new(&snapshot).ok_or_else(Refusal::internal)?;
            self.view.store(Arc::new(view));
            self.live.replace(snapshot.nodes, changes);
            self.ring_nodes();
        }
        self.publish().await
    }

    /// What a caller is told of an answer of the store.
    pub(crate) fn answered<T>(&self, answer: Result<T, StoreError>) -> Result<T, Refusal> {
        answer.map_err(|error| match error {
            StoreError::Conflict(conflict) => Refusal::conflict(conflict.to_string()),
            StoreError::Rotation(refusal) => Refusal::conflict(refusal.to_string()),
            StoreError::NotFound(_) => Refusal::not_found(),
            StoreError::TokenSpent => Refusal::unauthorized(Proof::SpentToken),
            StoreError::Replayed => Refusal::replayed(),
            StoreError::TooLong => Refusal::malformed("the message is too long"),
            StoreError::Unavailable => {
                self.metrics.count(STORE_ERRORS, &["unavailable"]);
                Refusal::unavailable("the database is away; try again")
            }
            _ => {
                self.metrics.count(STORE_ERRORS, &["corrupt"]);
                error!(%error, "the store failed");
                Refusal::internal()
            }
        })
    }

    /// Whether nobody of a tenant is admitted.
    pub(crate) fn is_tenant_revoked(&self, tenant: TenantId) -> bool {
        self.view.load().is_tenant_revoked(tenant, self.now())
    }

    /// Counts a use of an API token, to be written later.
    pub(crate) fn token_used(&self, id: &str) {
        let mut uses = self
            .token_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(id) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                uses.insert(id.to_owned(), 1);
            }
        }
    }

    pub(crate) fn take_token_uses(&self) -> Vec<(String, u32)> {
        let mut uses = self
            .token_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uses.drain().collect()
    }
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Whether a token of this kind was shown.
pub(crate) fn is_kind(kind: ShownKind, wanted: sterna_control_api::access::TokenKind) -> bool {
    kind == ShownKind::Token(wanted)
}
