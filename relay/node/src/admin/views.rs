//! What the admin API says, in the form that scripts hold on to: views, not the machine's own
//! types.

use serde::{Deserialize, Serialize};
use sterna_turn::{AllocationView, Traffic};
use utoipa::{IntoParams, ToSchema};

use super::handle;

/// One allocation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Allocation {
    /// Its name: 16 hexadecimal digits.
    #[schema(example = "010000070000002a")]
    id: String,
    /// The worker that it lives on.
    worker: u8,
    /// `udp`, `tcp` or `tls`.
    transport: &'static str,
    /// The client's address as the node sees it.
    client: String,
    /// The address of the node that the client uses.
    server: String,
    /// The relayed transport address, as the client was told it; of a dual allocation the first one.
    relayed: String,
    /// The relayed transport address of the other family; none but in a dual allocation.
    relayed_second: Option<String>,
    /// The user; of a time-limited name the part behind the colon, empty on an open relay.
    user: String,
    /// How long ago it was made.
    age_s: u64,
    /// How long it has, if it is not refreshed.
    expires_in_s: u64,
    /// Living permissions.
    permissions: usize,
    /// Living channels.
    channels: usize,
    /// TCP connections to peers; none where datagrams are relayed.
    connections: Option<usize>,
    /// What the client sent to peers.
    to_peers: Amount,
    /// What peers sent to the client.
    to_client: Amount,
}

/// Packets and payload bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Amount {
    packets: u64,
    bytes: u64,
}

/// Some of the allocations, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// The allocations.
    pub(super) allocations: Vec<Allocation>,
    /// How many there are in all.
    pub(super) total: usize,
    /// What to send as `after` for the next page; none on the last.
    pub(super) next: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// How many allocations, at most 1000.
    #[serde(default = "Paging::default_limit")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    pub(super) limit: usize,
    /// The name of the last allocation of the page before.
    pub(super) after: Option<String>,
}

impl Paging {
    pub(super) const LIMIT_MAX: usize = 1000;

    fn default_limit() -> usize {
        100
    }
}

/// How a drain is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DrainRequest {
    /// When what is left is ended; `node.drain_deadline_s` when not given.
    pub(super) deadline_s: Option<u32>,
}

/// The node's state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// `starting`, `ready`, `cordoned` or `draining`.
    pub(super) state: &'static str,
}

/// How many allocations were ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    /// How many.
    pub(super) ended: usize,
}

/// What a reload has done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// Keys that differ from what runs and take effect on restart only.
    pub(super) restart_needed: Vec<&'static str>,
    /// Threads of the node that were too busy to take it over within two seconds; they do so later.
    /// With 0 the configuration is in force everywhere.
    pub(super) threads_behind: usize,
}

impl From<handle::Reloaded> for Reloaded {
    fn from(reloaded: handle::Reloaded) -> Self {
        Self {
            restart_needed: reloaded.restart_needed,
            threads_behind: reloaded.threads_behind,
        }
    }
}

impl From<AllocationView> for Allocation {
    fn from(view: AllocationView) -> Self {
        Self {
            id: view.id.to_string(),
            worker: view.id.worker().0,
            transport: view.client.transport.as_str(),
            client: view.client.addr.to_string(),
            server: view.client.server.to_string(),
            relayed: view.relayed.to_string(),
            relayed_second: view.relayed_second.map(|relayed| relayed.to_string()),
            user: view.account.to_string(),
            age_s: view.age.as_secs(),
            expires_in_s: view.expires_in.as_secs(),
            permissions: view.permissions,
            channels: view.channels,
            connections: view.connections,
            to_peers: view.to_peers.into(),
            to_client: view.to_client.into(),
        }
    }
}

impl From<Traffic> for Amount {
    fn from(traffic: Traffic) -> Self {
        Self {
            packets: traffic.packets,
            bytes: traffic.bytes,
        }
    }
}
