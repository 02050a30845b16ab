//! What the read side is answered from, beside the nodes: regions, keys and revocations, read again
//! when a change is announced.

use std::collections::HashSet;

use sterna_control_api::key::{SigningKey, VerifyingKey};
use sterna_control_api::node::Revocations;
use sterna_control_api::rotation::{KeyPurpose, KeyStage};
use sterna_control_api::{DeviceId, TenantId};
use tracing::error;
use zeroize::Zeroizing;

use crate::domain::revocation::told;
use crate::domain::{KeyRecord, RegionRecord, Revocation, RevocationRecord};
use crate::store::Snapshot;

/// As of one moment.
pub(crate) struct View {
    /// All regions, by code.
    pub(crate) regions: Vec<RegionRecord>,
    /// All keys but the retired ones.
    pub(crate) keys: Vec<KeyRecord>,
    /// What signs.
    pub(crate) signing: SigningKey,
    /// What verifies: the next, the current and previous keys.
    pub(crate) verifying: Vec<VerifyingKey>,
    /// TURN secrets: the next, the current and previous ones.
    pub(crate) turn_secrets: Vec<Zeroizing<String>>,
    /// The TURN secret that credentials are made with.
    pub(crate) turn: Zeroizing<String>,
    /// The version of the orders at the last change that concerned all nodes.
    pub(crate) orders: u64,
    revocations: Vec<RevocationRecord>,
    tenants: HashSet<TenantId>,
    devices: HashSet<DeviceId>,
}

impl View {
    /// Makes a view of what the store says; none where a key is missing or cannot be read, which
    /// the log says.
    pub(crate) fn new(snapshot: &Snapshot) -> Option<Self> {
        let of = |purpose| {
            let keys = snapshot.keys.iter();
            keys.filter(move |key| key.purpose == purpose && key.stage != KeyStage::Retired)
        };
        let mut signing = None;
        let mut verifying = Vec::new();
        for record in of(KeyPurpose::Signing) {
            let Ok(key) = record.secret.reveal().parse::<SigningKey>() else {
                error!(
                    key = record.id,
                    "a signing key in the database cannot be read"
                );
                return None;
            };
            verifying.push(key.verifying_key());
            if record.stage == KeyStage::Current {
                signing = Some(key);
            }
        }
        let secret = |key: &KeyRecord| Zeroizing::new(key.secret.reveal().to_owned());
        let turn = of(KeyPurpose::Turn).find(|key| key.stage == KeyStage::Current);
        let (Some(signing), Some(turn)) = (signing, turn.map(secret)) else {
            error!("the database has no current signing key, or no TURN secret");
            return None;
        };
        Some(Self {
            regions: snapshot.regions.clone(),
            keys: snapshot.keys.clone(),
            signing,
            verifying,
            turn_secrets: of(KeyPurpose::Turn).map(secret).collect(),
            turn,
            orders: snapshot.orders,
            tenants: snapshot
                .revocations
                .iter()
                .filter_map(|record| match record.what {
                    Revocation::Tenant(tenant) => Some(tenant),
                    _ => None,
                })
                .collect(),
            devices: snapshot
                .revocations
                .iter()
                .filter_map(|record| match record.what {
                    Revocation::Device(device) => Some(device),
                    _ => None,
                })
                .collect(),
            revocations: snapshot.revocations.clone(),
        })
    }

    /// What nodes are told.
    pub(crate) fn revocations(&self, now: u64) -> Revocations {
        told(&self.revocations, now)
    }

    /// Whether nobody of the tenant is admitted now.
    pub(crate) fn is_tenant_revoked(&self, tenant: TenantId, now: u64) -> bool {
        self.tenants.contains(&tenant)
            && self
                .revocations
                .iter()
                .any(|record| record.what == Revocation::Tenant(tenant) && record.counts(now))
    }

    /// Whether the device is not admitted now.
    pub(crate) fn is_device_revoked(&self, device: DeviceId, now: u64) -> bool {
        self.devices.contains(&device)
            && self
                .revocations
                .iter()
                .any(|record| record.what == Revocation::Device(device) && record.counts(now))
    }

    /// A region.
    pub(crate) fn region(&self, code: &str) -> Option<&RegionRecord> {
        self.regions.iter().find(|region| region.code == code)
    }
}
