//! The store over SQL: one body of queries for both databases.
//!
//! | what | where |
//! |---|---|
//! | the two databases, statements, transactions | `db`, `value` |
//! | URLs, migrations, what is refused at the start | `open` |
//! | announcements between replicas | `listen` |
//! | secrets at rest | `seal` |
//! | everything else | the file of its resource |

mod access;
mod audit;
mod backup;
mod db;
mod devices;
mod keys;
mod listen;
mod nodes;
mod nonces;
mod open;
mod overlay;
mod regions;
mod reports;
mod revocations;
mod seal;
mod tokens;
mod value;
mod versions;

use async_trait::async_trait;
use sterna_control_api::access::{PatchUser, Role, TokenKind};
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::device::RotateDeviceKey;
use sterna_control_api::node::PatchNode;
use sterna_control_api::region::{PatchRegion, Region};
use sterna_control_api::rotation::KeyPurpose;
use sterna_control_api::{DeviceId, DeviceIdentity, NodeId};

pub use backup::{Backup, BackupError, backup};
pub use open::{PendingMigration, StoreConfig, open, pending_migrations};

use super::feed::Teller;
use super::{
    DeviceFilter, NodeFilter, Nonce, PageRequest, Pruned, Registered, Result, Snapshot, Store,
    Subscription, Topic,
};
use crate::domain::rotation::Rotation;
use crate::domain::{
    Act, AuditFilter, AuditRecord, DeviceRecord, DeviceRegistration, DeviceReport, HeartbeatRecord,
    KeyRecord, NodeRecord, NodeRegistration, RegionRecord, Revocation, RevocationRecord,
    SessionRecord, TokenRecord, UserRecord,
};
use db::{Db, values};

/// The store over SQL.
pub(super) struct SqlStore {
    db: Db,
    teller: Teller,
    sealer: seal::Sealer,
    nonces: nonces::Memory,
    listening: Option<tokio::task::AbortHandle>,
    /// Held as long as the store is open, where the database bears one process only.
    _alone: Option<open::Alone>,
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn regions(&self) -> Result<Vec<RegionRecord>> {
        regions::all(&mut self.db.ask().await?).await
    }

    async fn create_region(&self, region: &Region, act: &Act) -> Result<RegionRecord> {
        self.insert_region(region, act).await
    }

    async fn patch_region(
        &self,
        code: &str,
        patch: &PatchRegion,
        act: &Act,
    ) -> Result<RegionRecord> {
        self.update_region(code, patch, act).await
    }

    async fn delete_region(&self, code: &str, act: &Act) -> Result<()> {
        self.remove_region(code, act).await
    }

    async fn register_node(
        &self,
        registration: &NodeRegistration,
        act: &Act,
    ) -> Result<Registered<NodeRecord>> {
        self.upsert_node(registration, act).await
    }

    async fn node(&self, id: &NodeId) -> Result<Option<NodeRecord>> {
        nodes::one(&mut self.db.ask().await?, id).await
    }

    async fn nodes(&self, filter: &NodeFilter, page: &PageRequest) -> Result<Page<NodeRecord>> {
        nodes::page(&mut self.db.ask().await?, filter, page).await
    }

    async fn patch_node(&self, id: &NodeId, patch: &PatchNode, act: &Act) -> Result<NodeRecord> {
        self.update_node(id, patch, act).await
    }

    async fn forget_node(&self, id: &NodeId, act: &Act) -> Result<()> {
        self.remove_node(id, act).await
    }

    async fn record_heartbeats(&self, heartbeats: &[HeartbeatRecord]) -> Result<()> {
        self.write_heartbeats(heartbeats).await
    }

    async fn heartbeats_since(&self, since: u64) -> Result<Vec<HeartbeatRecord>> {
        reports::heartbeats_since(&mut self.db.ask().await?, since).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let mut asked = self.db.ask_at_one_moment().await?;
        Ok(Snapshot {
            nodes: nodes::all(&mut asked).await?,
            regions: regions::all(&mut asked).await?,
            keys: keys::in_use(&mut asked, &self.sealer).await?,
            revocations: revocations::all(&mut asked).await?,
            orders: versions::current(&mut asked, versions::ORDERS_OF_ALL).await?,
        })
    }

    async fn version_of(&self, name: &'static str, digest: &[u8; 32]) -> Result<u64> {
        self.version_of_content(name, digest).await
    }

    async fn keys(&self, purpose: KeyPurpose) -> Result<Vec<KeyRecord>> {
        keys::of(&mut self.db.ask().await?, &self.sealer, purpose).await
    }

    async fn first_key(&self, fresh: &KeyRecord, act: &Act) -> Result<KeyRecord> {
        self.insert_first_key(fresh, act).await
    }

    async fn rotate_keys(&self, rotation: &Rotation, act: &Act) -> Result<Vec<KeyRecord>> {
        self.take_rotation_step(rotation, act).await
    }

    async fn register_device(
        &self,
        registration: &DeviceRegistration,
        act: &Act,
    ) -> Result<Registered<DeviceRecord>> {
        self.upsert_device(registration, act).await
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRecord>> {
        devices::one(&mut self.db.ask().await?, id).await
    }

    async fn device_of(&self, identity: &DeviceIdentity) -> Result<Option<DeviceRecord>> {
        devices::of_identity(&mut self.db.ask().await?, identity).await
    }

    async fn devices(
        &self,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<Page<DeviceRecord>> {
        devices::page(&mut self.db.ask().await?, filter, page).await
    }

    async fn peers_of(&self, device: &DeviceRecord) -> Result<(u64, Vec<DeviceRecord>)> {
        devices::peers_of(&mut self.db.ask_at_one_moment().await?, device).await
    }

    async fn record_reports(&self, reports: &[DeviceReport]) -> Result<()> {
        self.write_reports(reports).await
    }

    async fn rotate_device_key(
        &self,
        id: &DeviceId,
        rotate: &RotateDeviceKey,
        previous_until: u64,
        act: &Act,
    ) -> Result<DeviceRecord> {
        self.change_device_keys(id, rotate, previous_until, act)
            .await
    }

    async fn revoke_device(&self, id: &DeviceId, tickets_until: u64, act: &Act) -> Result<()> {
        self.mark_device_revoked(id, tickets_until, act).await
    }

    async fn revoke(&self, what: &[Revocation], until: u64, act: &Act) -> Result<()> {
        self.write_revocations(what, until, act).await
    }

    async fn revocations(&self) -> Result<Vec<RevocationRecord>> {
        revocations::all(&mut self.db.ask().await?).await
    }

    async fn create_token(&self, token: &TokenRecord, act: &Act) -> Result<()> {
        self.insert_token(token, act).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>> {
        tokens::one(&mut self.db.ask().await?, id).await
    }

    async fn tokens(
        &self,
        kind: Option<TokenKind>,
        page: &PageRequest,
    ) -> Result<Page<TokenRecord>> {
        tokens::page(&mut self.db.ask().await?, kind, page).await
    }

    async fn revoke_token(&self, id: &str, act: &Act) -> Result<TokenRecord> {
        self.mark_token_revoked(id, act).await
    }

    async fn record_token_uses(&self, uses: &[(String, u32)]) -> Result<()> {
        self.add_token_uses(uses).await
    }

    async fn create_user(&self, user: &UserRecord, act: &Act) -> Result<()> {
        self.insert_user(user, act).await
    }

    async fn create_first_user(&self, user: &UserRecord, act: &Act) -> Result<()> {
        self.insert_first_user(user, act).await
    }

    async fn user(&self, name: &str) -> Result<Option<UserRecord>> {
        access::user(&mut self.db.ask().await?, name).await
    }

    async fn users(&self, page: &PageRequest) -> Result<Page<UserRecord>> {
        access::users(&mut self.db.ask().await?, page).await
    }

    async fn patch_user(&self, name: &str, patch: &PatchUser, act: &Act) -> Result<UserRecord> {
        self.update_user(name, patch, act).await
    }

    async fn delete_user(&self, name: &str, act: &Act) -> Result<()> {
        self.remove_user(name, act).await
    }

    async fn begin_session(&self, session: &SessionRecord, act: &Act) -> Result<()> {
        self.insert_session(session, act).await
    }

    async fn session(&self, id: &str, now: u64) -> Result<Option<(SessionRecord, Role)>> {
        access::session(&mut self.db.ask().await?, id, now).await
    }

    async fn sessions(
        &self,
        user: Option<&str>,
        now: u64,
        page: &PageRequest,
    ) -> Result<Page<SessionRecord>> {
        access::sessions(&mut self.db.ask().await?, user, now, page).await
    }

    async fn end_session(&self, id: &str, act: &Act) -> Result<()> {
        self.remove_session(id, act).await
    }

    async fn remember_nonce(&self, nonce: &Nonce, now: u64) -> Result<()> {
        self.nonces.remember(*nonce, now).await
    }

    async fn record_audit(&self, entry: &AuditRecord) -> Result<()> {
        let mut change = self.change().await?;
        audit::write(&mut change, entry).await?;
        change.commit().await
    }

    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>> {
        audit::page(&mut self.db.ask().await?, filter, page).await
    }

    async fn prune_audit(&self, before: u64, entries_max: u32) -> Result<u64> {
        let mut change = self.change().await?;
        let pruned = audit::prune(&mut change, before, entries_max).await?;
        change.commit().await?;
        Ok(pruned)
    }

    async fn announce(&self, topic: &Topic, payload: &str) -> Result<()> {
        self.tell(*topic, payload).await
    }

    fn subscribe(&self) -> Subscription {
        self.teller.subscribe()
    }

    async fn prune(&self, now: u64) -> Result<Pruned> {
        let mut change = self.change().await?;
        let nonces = "DELETE FROM nonces WHERE until <= $1";
        let revocations = "DELETE FROM revocations WHERE until <> 0 AND until <= $1";
        let sessions = "DELETE FROM sessions WHERE expires <= $1";
        let messages = "DELETE FROM messages WHERE at <= $1";
        let fetched = now.saturating_sub(listen::MESSAGE_LIFETIME_S);
        let pruned = Pruned {
            nonces: change.execute(nonces, values![now]).await?,
            revocations: change.execute(revocations, values![now]).await?,
            sessions: change.execute(sessions, values![now]).await?,
            messages: change.execute(messages, values![fetched]).await?,
        };
        change.commit().await?;
        Ok(pruned)
    }

    async fn ping(&self) -> Result<()> {
        self.db.ask().await?.row("SELECT 1", values![]).await?;
        Ok(())
    }

    async fn close(&self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.db.close().await;
    }
}
