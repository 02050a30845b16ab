//! Keys and their rotation, and what is no longer admitted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sterna_control_api::SigningKey;
use sterna_control_api::audit::Page;
use sterna_control_api::limits::TICKET_LIFETIME_MAX_S;
use sterna_control_api::node::Revocations;
use sterna_control_api::rotation::{KeyPurpose, KeyView, RotateKeys, RotationStep};
use tracing::info;
use zeroize::Zeroizing;

use super::callers::Person;
use super::refusal::Refusal;
use super::{Service, texts};
use crate::domain::rotation::Rotation;
use crate::domain::{KeyRecord, KeySecret, Revocation};
use crate::limits::REVOCATIONS_MAX;

impl Service {
    /// All keys, retired ones too.
    pub(crate) async fn list_keys(&self) -> Result<Page<KeyView>, Refusal> {
        let mut items = Vec::new();
        for purpose in [KeyPurpose::Signing, KeyPurpose::Turn] {
            let keys = self.answered(self.store.keys(purpose).await)?;
            items.extend(keys.into_iter().map(|key| self.key_view(key)));
        }
        Ok(Page { items, next: None })
    }

    fn key_view(&self, key: KeyRecord) -> KeyView {
        let followed = self.live.followed(self.now(), key.orders);
        KeyView {
            id: key.id,
            purpose: key.purpose,
            stage: key.stage,
            created: key.created,
            since: key.since,
            known_by: followed.by,
            nodes: followed.nodes,
        }
    }

    /// Takes a step of a rotation.
    pub(crate) async fn rotate_keys(
        &self,
        person: &Person,
        wanted: RotateKeys,
    ) -> Result<Page<KeyView>, Refusal> {
        let now = self.now();
        let rotation = Rotation {
            purpose: wanted.purpose,
            step: wanted.step,
            force: wanted.force,
            fresh: (wanted.step == RotationStep::Prepare).then(|| fresh(wanted.purpose)),
            followed: self.live.followed(now, 0).oldest,
            lifetime_s: self.lifetime_s(wanted.purpose),
        };
        let keys = self.store.rotate_keys(&rotation, &person.act(now)).await;
        let keys = self.answered(keys)?;
        info!(purpose = ?wanted.purpose, step = ?wanted.step, by = person.actor, "keys rotated");
        self.reload().await?;
        Ok(Page {
            items: keys.into_iter().map(|key| self.key_view(key)).collect(),
            next: None,
        })
    }

    /// Seconds for which anything that a key made may be valid.
    fn lifetime_s(&self, purpose: KeyPurpose) -> u64 {
        let credentials = &self.config.credentials;
        match purpose {
            KeyPurpose::Signing => TICKET_LIFETIME_MAX_S.max(credentials.map_ttl_s.into()),
            // A node ends what a secret admitted when it learns that the secret is gone.
            KeyPurpose::Turn => {
                u64::from(credentials.turn_ttl_s) + u64::from(credentials.turn_session_max_s)
            }
        }
    }

    /// Revokes tickets, devices and tenants.
    pub(crate) async fn revoke(
        &self,
        person: &Person,
        revocations: &Revocations,
    ) -> Result<(), Refusal> {
        let Revocations {
            tickets,
            devices,
            tenants,
        } = revocations;
        let count = tickets.len() + devices.len() + tenants.len();
        texts::within("revocations", count as u64, 1, REVOCATIONS_MAX as u64)?;
        // All or nothing, as far as names go: a mistyped one revokes nobody.
        for id in devices {
            let device = self.answered(self.store.device(id).await)?;
            device.ok_or_else(Refusal::not_found)?;
        }
        for id in devices {
            self.revoke_device(person, id).await?;
        }
        let act = person.act(self.now());
        let tickets = tickets.iter().copied().map(Revocation::Ticket);
        let tickets: Vec<_> = tickets.collect();
        if !tickets.is_empty() {
            let until = act.at + TICKET_LIFETIME_MAX_S;
            self.answered(self.store.revoke(&tickets, until, &act).await)?;
        }
        let of_tenants: Vec<_> = tenants.iter().copied().map(Revocation::Tenant).collect();
        if !of_tenants.is_empty() {
            self.answered(self.store.revoke(&of_tenants, 0, &act).await)?;
        }
        self.reload().await?;
        self.end_revoked_tenants(tenants);
        Ok(())
    }
}

/// A new key and its id.
pub(crate) fn fresh(purpose: KeyPurpose) -> (String, KeySecret) {
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    match purpose {
        KeyPurpose::Signing => {
            let key = SigningKey::from_seed(&seed);
            let secret = key.to_secret_text();
            (key.id().to_string(), KeySecret::new(secret.as_str()))
        }
        KeyPurpose::Turn => {
            let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(&seed[..]));
            let id = format!("{:08x}", rand::random::<u32>());
            (id, KeySecret::new(secret.as_str()))
        }
    }
}
