//! What the control service keeps, and how it is told of changes.
//!
//! [`Store`] is the one way to it: over SQLite for one service beside a node, over PostgreSQL for
//! several replicas. [`open`] makes either out of a URL, brings its tables up to date and refuses
//! those of a newer version.
//!
//! **A change is one transaction.** Each changing method takes an [`Act`] (who, when), and writes
//! the change, the audit entry with before and after, the versions that grow with it and the
//! announcement to all replicas together. What was answered with `Ok` is there after kill -9 and
//! after the power fails; what was answered with an error, [`StoreError::Unavailable`] apart, has
//! changed nothing.
//!
//! **Announcements**: every change announces itself by its [`Topic`] when it is committed, to the
//! subscribers of this instance and of all others. [`Store::announce`] is for what is not in SQL:
//! signals and presence.
//!
//! **Time** is an argument everywhere: [`Act::at`] or `now`, in seconds since 1970.

mod error;
mod feed;
mod page;
mod sql;

use std::sync::Arc;

use async_trait::async_trait;
use sterna_control_api::access::{PatchUser, Role, TokenKind};
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::device::RotateDeviceKey;
use sterna_control_api::node::PatchNode;
use sterna_control_api::region::{PatchRegion, Region};
use sterna_control_api::rotation::KeyPurpose;
use sterna_control_api::{DeviceId, DeviceIdentity, NodeId, TenantId};

pub use error::{Conflict, OpenError, StoreError, Thing};
pub use feed::{Announcement, Feed, MESSAGE_BYTES_MAX, Subscription, Topic};
pub use page::{PAGE_DEFAULT, PAGE_MAX, PageRequest};
pub use sql::{
    Backup, BackupError, PendingMigration, StoreConfig, backup, open, pending_migrations,
};

use crate::domain::rotation::Rotation;
use crate::domain::{
    Act, AuditFilter, AuditRecord, DeviceRecord, DeviceRegistration, DeviceReport, HeartbeatRecord,
    KeyRecord, NodeRecord, NodeRegistration, RegionRecord, Revocation, RevocationRecord,
    SessionRecord, TokenRecord, UserRecord,
};

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What a registration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered<T> {
    /// It is new; a use of its token is gone.
    New(T),
    /// It was there and is changed.
    Changed(T),
    /// It was there as it is; nothing was written.
    Same(T),
}

impl<T> Registered<T> {
    /// The record.
    pub fn into_inner(self) -> T {
        match self {
            Self::New(record) | Self::Changed(record) | Self::Same(record) => record,
        }
    }
}

/// All that relay maps, orders and heartbeats are answered from, as of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// All nodes, by id.
    pub nodes: Vec<NodeRecord>,
    /// All regions, by code.
    pub regions: Vec<RegionRecord>,
    /// All keys but the retired ones: the next, the current, then previous ones, newest first.
    pub keys: Vec<KeyRecord>,
    /// All revocations that have not been pruned.
    pub revocations: Vec<RevocationRecord>,
    /// The version of the orders at the last change that concerned all nodes: keys and revocations.
    /// A node's own orders have the greater of this and of [`NodeRecord::orders`]; both grow out of
    /// one counter.
    pub orders: u64,
}

/// The nonce of a signed call that changes something.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// The key that has signed.
    pub key: [u8; 32],
    /// The nonce.
    pub nonce: [u8; 16],
}

/// Which nodes are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Of this region.
    pub region: Option<String>,
    /// With this in the name.
    pub q: Option<String>,
}

/// Which devices are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// With this in the name.
    pub q: Option<String>,
    /// Revoked, or not revoked.
    pub revoked: Option<bool>,
}

/// What [`Store::prune`] took away.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Nonces that need not be remembered any longer.
    pub nonces: u64,
    /// Revocations that apply to nothing any more.
    pub revocations: u64,
    /// Sessions that have run out.
    pub sessions: u64,
    /// Announcements that were too long for the feed, and that everybody has fetched.
    pub messages: u64,
}

/// What the control service keeps. Used as `Arc<dyn Store>`; all methods may be called concurrently.
///
/// # Errors
/// Every method may answer [`StoreError::Unavailable`], within seconds, when the database is away or
/// does not answer, and works again by itself when it is back; and [`StoreError::Corrupt`] when it
/// holds what no store wrote. Only further errors are named below.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- regions

    /// All regions, by code.
    async fn regions(&self) -> Result<Vec<RegionRecord>>;

    /// Makes a region. [`Conflict::RegionExists`].
    async fn create_region(&self, region: &Region, act: &Act) -> Result<RegionRecord>;

    /// Changes a region. [`Thing::Region`] not found.
    async fn patch_region(
        &self,
        code: &str,
        patch: &PatchRegion,
        act: &Act,
    ) -> Result<RegionRecord>;

    /// Takes a region away. [`Thing::Region`] not found; [`Conflict::RegionInUse`] while it has nodes.
    async fn delete_region(&self, code: &str, act: &Act) -> Result<()>;

    // ---- nodes

    /// Registers a node, or takes what has changed of it: idempotent by its identity.
    ///
    /// [`StoreError::TokenSpent`] where a token is needed (the first time, and to change the region)
    /// and there is none that lets it in: unknown, of another kind or region, used up, run out, taken
    /// back. [`Thing::Region`] not found; [`Conflict::NodeName`] when another node has its name.
    async fn register_node(
        &self,
        registration: &NodeRegistration,
        act: &Act,
    ) -> Result<Registered<NodeRecord>>;

    /// One node.
    async fn node(&self, id: &NodeId) -> Result<Option<NodeRecord>>;

    /// Nodes, by name. `after` is a name.
    async fn nodes(&self, filter: &NodeFilter, page: &PageRequest) -> Result<Page<NodeRecord>>;

    /// Changes what the operator wants of a node. [`Thing::Node`] not found.
    async fn patch_node(&self, id: &NodeId, patch: &PatchNode, act: &Act) -> Result<NodeRecord>;

    /// Forgets a node: it needs a join token to come back. [`Thing::Node`] not found.
    async fn forget_node(&self, id: &NodeId, act: &Act) -> Result<()>;

    /// Keeps the last heartbeats of nodes, all in one transaction; those of unknown nodes and those
    /// older than what is kept are passed over. Announces nothing: the service announces
    /// [`Topic::Nodes`] where a heartbeat changes a node's status.
    async fn record_heartbeats(&self, heartbeats: &[HeartbeatRecord]) -> Result<()>;

    /// The heartbeats that came at `since` or later, through whichever replica.
    async fn heartbeats_since(&self, since: u64) -> Result<Vec<HeartbeatRecord>>;

    /// All that the read side is answered from, as of one moment.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// The version of something that replicas make by themselves and must number alike, such as the
    /// relay map: as long as `digest` (of its content without version and dates) stays, the version
    /// stays; a new digest gets the next one.
    async fn version_of(&self, name: &'static str, digest: &[u8; 32]) -> Result<u64>;

    // ---- keys

    /// All keys of a purpose, retired ones too: the next, the current, previous and retired ones,
    /// newest first.
    async fn keys(&self, purpose: KeyPurpose) -> Result<Vec<KeyRecord>>;

    /// Puts `fresh` in as the current key of its purpose where the purpose has none yet; answers
    /// with the current one either way. For the first start, also of several replicas at once.
    async fn first_key(&self, fresh: &KeyRecord, act: &Act) -> Result<KeyRecord>;

    /// Takes a step of a rotation; answers with all keys of the purpose. [`StoreError::Rotation`]
    /// where the step is not to be taken.
    async fn rotate_keys(&self, rotation: &Rotation, act: &Act) -> Result<Vec<KeyRecord>>;

    // ---- devices

    /// Registers a device, or takes what has changed of it: idempotent by its identity. Gives it its
    /// place in the overlay network the first time.
    ///
    /// [`StoreError::TokenSpent`] as for nodes; [`Conflict::DeviceKey`] when another device of the
    /// tenant has its WireGuard key; [`Conflict::OverlayFull`].
    async fn register_device(
        &self,
        registration: &DeviceRegistration,
        act: &Act,
    ) -> Result<Registered<DeviceRecord>>;

    /// One device, revoked or not.
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRecord>>;

    /// The device of an identity that is not revoked: who has signed a request.
    async fn device_of(&self, identity: &DeviceIdentity) -> Result<Option<DeviceRecord>>;

    /// Devices, by id. `after` is an id.
    async fn devices(
        &self,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<Page<DeviceRecord>>;

    /// The devices that share a group with this one and are not revoked, and the version of the
    /// tenant's netmaps; as of one moment.
    async fn peers_of(&self, device: &DeviceRecord) -> Result<(u64, Vec<DeviceRecord>)>;

    /// Keeps the last reports of devices, all in one transaction; those of unknown devices and those
    /// older than what is kept are passed over. A device whose home has changed gives its tenant a
    /// new version of netmaps, announced as [`Topic::Devices`].
    async fn record_reports(&self, reports: &[DeviceReport]) -> Result<()>;

    /// Gives a device new keys, or the ones before the last rotation back; the others count until
    /// `previous_until`. [`Thing::Device`] not found; [`Conflict::DeviceKey`];
    /// [`Conflict::NothingToRollBack`].
    async fn rotate_device_key(
        &self,
        id: &DeviceId,
        rotate: &RotateDeviceKey,
        previous_until: u64,
        act: &Act,
    ) -> Result<DeviceRecord>;

    /// Revokes a device, for good: its tickets are named as revoked until `tickets_until`, and its
    /// identity needs an enrolment key to come back, as another device. [`Thing::Device`] not found
    /// or revoked before.
    async fn revoke_device(&self, id: &DeviceId, tickets_until: u64, act: &Act) -> Result<()>;

    // ---- revocations

    /// Revokes all of these; what is revoked already stays so for the longer time. Devices are those
    /// of [`Store::revoke_device`]: here only what nodes are told changes.
    async fn revoke(&self, what: &[Revocation], until: u64, act: &Act) -> Result<()>;

    /// All revocations that have not been pruned.
    async fn revocations(&self) -> Result<Vec<RevocationRecord>>;

    // ---- tokens

    /// Keeps a token. [`Conflict::TokenExists`]; [`Thing::Region`] not found, for a join token.
    async fn create_token(&self, token: &TokenRecord, act: &Act) -> Result<()>;

    /// One token, good or not.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>>;

    /// Tokens of a kind, or of all, by id. `after` is an id.
    async fn tokens(
        &self,
        kind: Option<TokenKind>,
        page: &PageRequest,
    ) -> Result<Page<TokenRecord>>;

    /// Takes a token back; once is enough. [`Thing::Token`] not found.
    async fn revoke_token(&self, id: &str, act: &Act) -> Result<TokenRecord>;

    /// Adds up how often API tokens were used: from memory, now and then.
    async fn record_token_uses(&self, uses: &[(String, u32)]) -> Result<()>;

    // ---- people

    /// Adds a person. [`Conflict::UserExists`].
    async fn create_user(&self, user: &UserRecord, act: &Act) -> Result<()>;

    /// Adds the first person, who is an administrator. [`Conflict::NotTheFirstUser`] when there is
    /// anybody.
    async fn create_first_user(&self, user: &UserRecord, act: &Act) -> Result<()>;

    /// One person.
    async fn user(&self, name: &str) -> Result<Option<UserRecord>>;

    /// People, by name. `after` is a name.
    async fn users(&self, page: &PageRequest) -> Result<Page<UserRecord>>;

    /// Changes a person; a `password` in the patch is the hash already, as in
    /// [`UserRecord::password`], and ends the person's sessions. [`Thing::User`] not found;
    /// [`Conflict::LastAdministrator`].
    async fn patch_user(&self, name: &str, patch: &PatchUser, act: &Act) -> Result<UserRecord>;

    /// Takes a person away, and the person's sessions. [`Thing::User`] not found;
    /// [`Conflict::LastAdministrator`].
    async fn delete_user(&self, name: &str, act: &Act) -> Result<()>;

    /// Begins a session. [`Thing::User`] not found.
    async fn begin_session(&self, session: &SessionRecord, act: &Act) -> Result<()>;

    /// One session that has not run out at `now`, and what its person may do by now.
    async fn session(&self, id: &str, now: u64) -> Result<Option<(SessionRecord, Role)>>;

    /// Sessions that have not run out at `now`, by id, of all people or of one. `after` is an id.
    async fn sessions(
        &self,
        user: Option<&str>,
        now: u64,
        page: &PageRequest,
    ) -> Result<Page<SessionRecord>>;

    /// Ends a session; one that is not there has ended.
    async fn end_session(&self, id: &str, act: &Act) -> Result<()>;

    // ---- nonces

    /// Remembers a nonce for [`NONCE_MEMORY_S`](sterna_control_api::limits::NONCE_MEMORY_S) seconds,
    /// where every replica sees it and a restart does not forget it. [`StoreError::Replayed`] when
    /// it is remembered already.
    async fn remember_nonce(&self, nonce: &Nonce, now: u64) -> Result<()>;

    // ---- audit

    /// Writes an entry for what changes nothing here: `auth.refused`, `auth.login`, …
    async fn record_audit(&self, entry: &AuditRecord) -> Result<()>;

    /// Audit entries, newest first. `after` is the number of an entry.
    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>>;

    /// Deletes the oldest entries of the audit log, as far as they are older than `before`; looks at
    /// `entries_max` of them, so that nobody waits for long. The answer is how many it has deleted: with
    /// all of them gone there may be more.
    async fn prune_audit(&self, before: u64, entries_max: u32) -> Result<u64>;

    // ---- the feed

    /// Tells all replicas, this one too, of something that is not in SQL. At most
    /// [`MESSAGE_BYTES_MAX`] bytes; delivered at most once.
    async fn announce(&self, topic: &Topic, payload: &str) -> Result<()>;

    /// Announcements from now on, of this instance and of all others.
    fn subscribe(&self) -> Subscription;

    // ---- upkeep

    /// Takes away what has run out. Once a minute is often enough; any replica may.
    async fn prune(&self, now: u64) -> Result<Pruned>;

    /// Answers when the database does: for `/readyz`.
    async fn ping(&self) -> Result<()>;

    /// Finishes what is under way and closes. Methods answer [`StoreError::Unavailable`] afterwards.
    async fn close(&self);
}

/// A store that several tasks share.
pub type SharedStore = Arc<dyn Store>;
