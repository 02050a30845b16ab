//! Devices: registration, netmap, reports, rotation of their keys, revocation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_control_api::access::TokenKind;
use sterna_control_api::audit::Page;
use sterna_control_api::device::{
    DeviceKeyRotated, DeviceMetrics, DeviceRegistered, DeviceView, NatReport, Netmap,
    RegisterDevice, RotateDeviceKey, SessionView,
};
use sterna_control_api::signature::Claims;
use sterna_control_api::{DeviceId, DeviceIdentity, TenantId};
use tracing::info;

use super::callers::{Device, Person, Shown};
use super::refusal::{Proof, Refusal};
use super::{Service, texts};
use crate::domain::netmap::peers;
use crate::domain::{Act, DeviceRecord, DeviceRegistration, DeviceReport};
use crate::limits::{ADDRESSES_MAX, DEVICES_KNOWN_MAX, PATHS_MAX};
use crate::metrics::REGISTRATIONS;
use crate::store::{DeviceFilter, PageRequest, Registered};

/// Devices that have called lately, so that their next call costs no SQL. One that may have changed
/// since it was read is read again.
pub(crate) struct Known {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Each with the number of changes that had been announced before it was read.
    devices: HashMap<DeviceIdentity, (u64, Arc<DeviceRecord>)>,
    /// The number of the last change of each tenant's devices.
    changes: HashMap<TenantId, u64>,
    /// The number of the last change of all.
    last: u64,
    /// Nothing that was read before this change counts.
    floor: u64,
}

impl Known {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::default(),
        }
    }

    fn find(&self, identity: DeviceIdentity) -> Option<Arc<DeviceRecord>> {
        let table = self.table();
        let (read_at, record) = table.devices.get(&identity)?;
        let changed = table.changes.get(&record.tenant).copied();
        let counts = *read_at >= table.floor.max(changed.unwrap_or_default());
        counts.then(|| Arc::clone(record))
    }

    /// The number of the last change, to be asked before a device is read.
    fn last_change(&self) -> u64 {
        self.table().last
    }

    fn put(&self, record: &Arc<DeviceRecord>, read_at: u64) {
        let mut table = self.table();
        if table.devices.len() >= DEVICES_KNOWN_MAX {
            table.devices.clear();
        }
        table
            .devices
            .insert(record.identity, (read_at, Arc::clone(record)));
    }

    /// Devices of a tenant have changed.
    pub(crate) fn changed(&self, tenant: TenantId) {
        let mut table = self.table();
        table.last += 1;
        let last = table.last;
        if table.changes.len() >= DEVICES_KNOWN_MAX {
            table.changes.clear();
            table.floor = last;
        }
        table.changes.insert(tenant, last);
    }

    /// Anything may have changed.
    pub(crate) fn forget(&self) {
        let mut table = self.table();
        table.last += 1;
        table.floor = table.last;
        table.devices.clear();
        table.changes.clear();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each entry is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last report of each device that the store has not been told of.
#[derive(Default)]
pub(crate) struct Reports {
    unsaved: Mutex<HashMap<DeviceId, DeviceReport>>,
}

impl Reports {
    fn put(&self, mut report: DeviceReport) {
        let mut unsaved = self.unsaved();
        if let Some(before) = unsaved.get_mut(&report.device) {
            // A NAT that was reported stays until the store knows it.
            report.nat = report.nat.or_else(|| before.nat.take());
        }
        unsaved.insert(report.device, report);
    }

    pub(crate) fn take(&self) -> Vec<DeviceReport> {
        self.unsaved().drain().map(|(_, report)| report).collect()
    }

    pub(crate) fn put_back(&self, reports: Vec<DeviceReport>) {
        let mut unsaved = self.unsaved();
        for report in reports {
            unsaved.entry(report.device).or_insert(report);
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<DeviceId, DeviceReport>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which devices are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) state: Option<State>,
    pub(crate) q: Option<String>,
}

/// What a device is to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Online,
    Offline,
    Revoked,
}

impl Service {
    /// The device of an identity, from memory where it has called lately.
    pub(crate) async fn device_by_identity(
        &self,
        identity: DeviceIdentity,
    ) -> Result<Option<Arc<DeviceRecord>>, Refusal> {
        if let Some(known) = self.devices.find(identity) {
            return Ok(Some(known));
        }
        let read_at = self.devices.last_change();
        let found = self.answered(self.store.device_of(&identity).await)?;
        let found = found.map(Arc::new);
        if let Some(record) = &found {
            self.devices.put(record, read_at);
        }
        Ok(found)
    }

    /// Registers a device.
    pub(crate) async fn register_device(
        &self,
        claims: &Claims,
        shown: Option<&Shown>,
        device: RegisterDevice,
    ) -> Result<DeviceRegistered, Refusal> {
        if device.identity != DeviceIdentity(claims.key) {
            return Err(Refusal::unauthorized(Proof::BadSignature));
        }
        texts::name("name", &device.name)?;
        texts::name("platform", &device.platform)?;
        texts::name("version", &device.version)?;
        check_nat("nat", &device.nat)?;
        let token = self.token_of(shown, TokenKind::Enrolment).await?;
        let identity = device.identity;
        let act = Act::new(format!("device:{identity}"), self.now());
        let registration = DeviceRegistration {
            device,
            token,
            fresh_id: DeviceId(rand::random()),
        };
        let registered = self.store.register_device(&registration, &act).await;
        let registered = match self.answered(registered) {
            Err(refusal) if refusal.proof == Some(Proof::SpentToken) => {
                return Err(self.no_entry(refusal, &act.actor, shown).await);
            }
            other => other?,
        };
        let result = match &registered {
            Registered::New(_) => "new",
            Registered::Changed(_) | Registered::Same(_) => "again",
        };
        self.metrics.count(REGISTRATIONS, &["device", result]);
        let record = registered.into_inner();
        if self.is_revoked(&record) {
            return Err(Refusal::gone());
        }
        let netmap = self.netmap_of(&record).await?;
        Ok(DeviceRegistered {
            id: record.id,
            tenant: record.tenant,
            groups: record.groups.clone(),
            overlay: record.overlay(),
            keys: self.view.load().verifying.clone(),
            netmap,
            relay_map: self.relay_map()?.signed.clone(),
        })
    }

    /// Whether a device, or its whole tenant, is admitted no more.
    pub(crate) fn is_revoked(&self, record: &DeviceRecord) -> bool {
        let (view, now) = (self.view.load(), self.now());
        record.revoked
            || view.is_tenant_revoked(record.tenant, now)
            || view.is_device_revoked(record.id, now)
    }

    /// Whom a device may talk to. Another device's netmap is not there.
    pub(crate) async fn netmap(&self, device: &Device, id: &DeviceId) -> Result<Netmap, Refusal> {
        if device.record.id != *id {
            return Err(Refusal::not_found().because(Proof::NotTheirs));
        }
        self.netmap_of(&device.record).await
    }

    async fn netmap_of(&self, record: &DeviceRecord) -> Result<Netmap, Refusal> {
        let (version, others) = self.answered(self.store.peers_of(record).await)?;
        let peers = peers(record, &others, self.now(), |other| {
            self.is_online(other.id)
        });
        Ok(Netmap { version, peers })
    }

    /// Whether a device is connected, to this replica or to another.
    pub(crate) fn is_online(&self, device: DeviceId) -> bool {
        self.hub.is_here(device) || self.presence.is_elsewhere(device)
    }

    /// Takes a device's report. No SQL.
    pub(crate) fn report(&self, device: &Device, metrics: DeviceMetrics) -> Result<(), Refusal> {
        texts::note("home", &metrics.home)?;
        texts::at_most("paths", &metrics.paths, PATHS_MAX)?;
        if let Some(nat) = &metrics.nat {
            check_nat("nat", nat)?;
            self.hub.learn(device.record.id, nat);
        }
        self.reports.put(DeviceReport {
            device: device.record.id,
            at: self.now(),
            counter: device.counter,
            home: metrics.home,
            nat: metrics.nat,
            paths: metrics.paths,
        });
        Ok(())
    }

    /// Gives a device new keys, or the ones before back.
    pub(crate) async fn rotate_device_key(
        &self,
        device: &Device,
        rotate: &RotateDeviceKey,
    ) -> Result<DeviceKeyRotated, Refusal> {
        let id = device.record.id;
        let act = Act::new(format!("device:{id}"), self.now());
        let until = act.at + u64::from(self.config.credentials.key_overlap_s);
        let rotated = self.store.rotate_device_key(&id, rotate, until, &act).await;
        let record = self.answered(rotated)?;
        self.devices.changed(record.tenant);
        let previous = record.previous.filter(|previous| act.at < previous.until);
        Ok(DeviceKeyRotated {
            device_key: record.device_key,
            previous_key: previous.map(|previous| previous.device_key),
            previous_until: previous.map_or(0, |previous| previous.until),
        })
    }

    /// Revokes a device: its connection ends, nodes are told, its tickets count no more.
    pub(crate) async fn revoke_device(
        &self,
        person: &Person,
        id: &DeviceId,
    ) -> Result<(), Refusal> {
        let act = person.act(self.now());
        let until = act.at + sterna_control_api::limits::TICKET_LIFETIME_MAX_S;
        self.answered(self.store.revoke_device(id, until, &act).await)?;
        info!(device = %id, by = person.actor, "device revoked");
        self.end_revoked(*id);
        self.devices.forget();
        self.reload().await
    }

    /// Devices, by id, a page at a time.
    pub(crate) async fn list_devices(
        &self,
        wanted: &Wanted,
        page: &PageRequest,
    ) -> Result<Page<DeviceView>, Refusal> {
        let filter = DeviceFilter {
            tenant: wanted.tenant,
            q: wanted.q.clone(),
            revoked: wanted.state.map(|state| state == State::Revoked),
        };
        let mut page = page.clone();
        check_after(&page)?;
        let (mut items, limit) = (Vec::new(), page.limit as usize);
        // Who is online is not in the database: pages are read until one is full.
        loop {
            let read = self.answered(self.store.devices(&filter, &page).await)?;
            for record in read.items {
                let online = self.is_online(record.id);
                let fits = match wanted.state {
                    Some(State::Online) => online,
                    Some(State::Offline) => !online,
                    Some(State::Revoked) | None => true,
                };
                if fits && items.len() == limit {
                    let next = items.last().map(|last: &DeviceView| last.id.to_string());
                    return Ok(Page { items, next });
                }
                if fits {
                    items.push(view(record, online));
                }
            }
            page.after = match read.next {
                Some(next) if items.len() < limit || wanted.state.is_some() => Some(next),
                next => return Ok(Page { items, next }),
            };
        }
    }

    /// One device.
    pub(crate) async fn device(&self, id: &DeviceId) -> Result<DeviceView, Refusal> {
        let record = self.answered(self.store.device(id).await)?;
        let record = record.ok_or_else(Refusal::not_found)?;
        let online = self.is_online(record.id);
        Ok(view(record, online))
    }

    /// The paths of devices as they reported them, by device, whole devices at a time.
    pub(crate) async fn list_sessions(
        &self,
        tenant: Option<TenantId>,
        page: &PageRequest,
    ) -> Result<Page<SessionView>, Refusal> {
        check_after(page)?;
        let filter = DeviceFilter {
            tenant,
            q: None,
            revoked: Some(false),
        };
        let read = self.answered(self.store.devices(&filter, page).await)?;
        let sessions = read.items.into_iter().flat_map(|record| {
            let (device, tenant, home, at) =
                (record.id, record.tenant, record.home, record.last_seen);
            record.paths.into_iter().map(move |path| SessionView {
                device,
                tenant,
                home: home.clone(),
                path,
                at,
            })
        });
        Ok(Page {
            items: sessions.collect(),
            next: read.next,
        })
    }
}

fn check_after(page: &PageRequest) -> Result<(), Refusal> {
    let wrong = |after: &String| after.parse::<DeviceId>().is_err();
    if page.after.as_ref().is_some_and(wrong) {
        return Err(Refusal::malformed("after: the id of a device"));
    }
    Ok(())
}

pub(crate) fn check_nat(field: &str, nat: &NatReport) -> Result<(), Refusal> {
    texts::at_most(&format!("{field}.public"), &nat.public, ADDRESSES_MAX)
}

fn view(record: DeviceRecord, online: bool) -> DeviceView {
    DeviceView {
        overlay: record.overlay(),
        id: record.id,
        tenant: record.tenant,
        name: record.name,
        platform: record.platform,
        version: record.version,
        identity: record.identity,
        device_key: record.device_key,
        relay_key: record.relay_key,
        groups: record.groups,
        tags: record.tags,
        nat: record.nat,
        home: record.home,
        online,
        revoked: record.revoked,
        registered: record.registered,
        last_seen: record.last_seen,
    }
}
