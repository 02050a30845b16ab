//! Devices.

use sterna_control_api::access::TokenKind;
use sterna_control_api::audit::Page;
use sterna_control_api::device::{RegisterDevice, RotateDeviceKey};
use sterna_control_api::{DeviceId, DeviceIdentity, DeviceKey, TenantId};

use super::db::{Asked, Change, OrTaken as _, Row, json, values};
use super::nodes::containing;
use super::{SqlStore, audit, overlay, revocations, tokens, versions};
use crate::domain::device::PreviousKeys;
use crate::domain::{Act, DeviceRecord, DeviceRegistration, Revocation};
use crate::store::{
    Conflict, DeviceFilter, PageRequest, Registered, Result, StoreError, Thing, Topic,
};

/// A device and its last report.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.tenant, d.identity, d.device_key, d.relay_key, \
             d.previous_device_key, d.previous_relay_key, d.previous_until, d.name, d.platform, \
             d.version, d.group_ids, d.tags, d.overlay_place, d.revoked, d.registered, \
             r.at, r.counter, r.home, r.nat, r.paths \
             FROM devices d JOIN device_reports r ON r.device = d.id ",
            $rest
        )
    };
}

pub(super) async fn one(asked: &mut Asked, id: &DeviceId) -> Result<Option<DeviceRecord>> {
    let sql = select!("WHERE d.id = $1");
    let row = asked.row(sql, values![id.to_string()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn of_identity(
    asked: &mut Asked,
    identity: &DeviceIdentity,
) -> Result<Option<DeviceRecord>> {
    let sql = select!("WHERE d.identity = $1 AND d.revoked = 0");
    let row = asked.row(sql, values![identity.to_string()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn page(
    asked: &mut Asked,
    filter: &DeviceFilter,
    page: &PageRequest,
) -> Result<Page<DeviceRecord>> {
    let sql = select!(
        "WHERE d.id > $1 AND ($2 IS NULL OR d.tenant = $2) \
         AND ($3 IS NULL OR lower(d.name) LIKE $3 ESCAPE '\\') \
         AND ($4 < 0 OR d.revoked = $4) ORDER BY d.id LIMIT $5"
    );
    let values = values![
        page.after.clone().unwrap_or_default(),
        filter.tenant.map(|tenant| tenant.to_string()),
        filter.q.as_deref().map(containing),
        filter.revoked.map_or(-1, i64::from),
        page.rows(),
    ];
    let rows = asked.rows(sql, values).await?;
    let devices = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.page(devices, |device| device.id.to_string()))
}

pub(super) async fn peers_of(
    asked: &mut Asked,
    device: &DeviceRecord,
) -> Result<(u64, Vec<DeviceRecord>)> {
    let version = versions::current(asked, &netmap_of(device.tenant)).await?;
    let sql = select!(
        "WHERE d.tenant = $1 AND d.revoked = 0 AND d.id <> $2 AND d.id IN \
         (SELECT theirs.device FROM device_groups mine JOIN device_groups theirs \
         ON theirs.tenant = mine.tenant AND theirs.group_id = mine.group_id \
         WHERE mine.device = $2) ORDER BY d.id"
    );
    let values = values![device.tenant.to_string(), device.id.to_string()];
    let rows = asked.rows(sql, values).await?;
    let peers = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok((version, peers))
}

/// The counter that a tenant's netmaps are numbered with.
pub(super) fn netmap_of(tenant: TenantId) -> String {
    format!("netmap {tenant}")
}

fn read(row: &Row) -> Result<DeviceRecord> {
    let previous_device_key = row.maybe_parsed("previous_device_key")?;
    let previous_relay_key = row.maybe_parsed("previous_relay_key")?;
    let until = row.number("previous_until")?;
    let previous = previous_device_key
        .zip(previous_relay_key)
        .map(|(device_key, relay_key)| PreviousKeys {
            device_key,
            relay_key,
            until,
        });
    Ok(DeviceRecord {
        id: row.parsed("id")?,
        tenant: row.parsed("tenant")?,
        identity: row.parsed("identity")?,
        device_key: row.parsed("device_key")?,
        relay_key: row.parsed("relay_key")?,
        previous,
        name: row.text("name")?,
        platform: row.text("platform")?,
        version: row.text("version")?,
        groups: row.json("group_ids")?,
        tags: row.json("tags")?,
        overlay_place: row.number("overlay_place")?,
        revoked: row.flag("revoked")?,
        registered: row.number("registered")?,
        last_seen: row.number("at")?,
        counter: row.number("counter")?,
        home: row.text("home")?,
        nat: row.json("nat")?,
        paths: row.json("paths")?,
    })
}

/// What is held while a device is looked at and changed.
fn lock(identity: &DeviceIdentity) -> String {
    format!("device {identity}")
}

/// A device that is not revoked, which stays as it is to the end of the transaction.
async fn hold(change: &mut Change, id: &DeviceId) -> Result<DeviceRecord> {
    let missing = StoreError::NotFound(Thing::Device);
    let identity = one(change, id).await?.ok_or(missing)?.identity;
    change.lock(&lock(&identity)).await?;
    let held = one(change, id).await?.filter(|device| !device.revoked);
    held.ok_or(missing)
}

/// Numbers the tenant's netmaps anew and tells of it.
async fn renew_netmaps(change: &mut Change, tenant: TenantId) -> Result<()> {
    let version = versions::next(change, &netmap_of(tenant)).await?;
    change.announce(Topic::Devices(tenant), version.to_string());
    Ok(())
}

impl SqlStore {
    pub(super) async fn upsert_device(
        &self,
        registration: &DeviceRegistration,
        act: &Act,
    ) -> Result<Registered<DeviceRecord>> {
        let device = &registration.device;
        let mut change = self.change().await?;
        change.lock(&lock(&device.identity)).await?;
        let registered = match of_identity(&mut change, &device.identity).await? {
            None => Registered::New(insert(&mut change, registration, act).await?),
            Some(before) if is_same(&before, device) => return Ok(Registered::Same(before)),
            Some(before) => Registered::Changed(update(&mut change, before, device, act).await?),
        };
        change.commit().await?;
        Ok(registered)
    }

    pub(super) async fn change_device_keys(
        &self,
        id: &DeviceId,
        rotate: &RotateDeviceKey,
        previous_until: u64,
        act: &Act,
    ) -> Result<DeviceRecord> {
        let mut change = self.change().await?;
        let before = hold(&mut change, id).await?;
        let mut after = before.clone();
        if rotate.rollback {
            let previous = before.previous.filter(|previous| act.at < previous.until);
            let previous = previous.ok_or(Conflict::NothingToRollBack)?;
            after.device_key = previous.device_key;
            after.relay_key = previous.relay_key;
        } else {
            after.device_key = rotate.device_key;
            after.relay_key = rotate.relay_key;
        }
        after.previous = Some(PreviousKeys {
            device_key: before.device_key,
            relay_key: before.relay_key,
            until: previous_until,
        });
        write_keys(&mut change, &after, act).await?;
        let action = if rotate.rollback {
            "device.rollback_key"
        } else {
            "device.rotate_key"
        };
        let (was, is) = (Some(before.described()), Some(after.described()));
        audit::note(&mut change, act, action, id, was, is).await?;
        renew_netmaps(&mut change, after.tenant).await?;
        change.commit().await?;
        Ok(after)
    }

    pub(super) async fn mark_device_revoked(
        &self,
        id: &DeviceId,
        tickets_until: u64,
        act: &Act,
    ) -> Result<()> {
        let mut change = self.change().await?;
        let before = hold(&mut change, id).await?;
        let sql = "UPDATE devices SET revoked = 1 WHERE id = $1";
        change.execute(sql, values![id.to_string()]).await?;
        let sql = "DELETE FROM device_groups WHERE device = $1";
        change.execute(sql, values![id.to_string()]).await?;
        let was = Some(before.described());
        audit::note(&mut change, act, "device.revoke", id, was, None).await?;
        renew_netmaps(&mut change, before.tenant).await?;
        revocations::put(&mut change, Revocation::Device(*id), tickets_until, act).await?;
        versions::next_orders_of_all(&mut change).await?;
        change.announce(Topic::Revocations, "");
        change.announce(Topic::DeviceRevoked(*id), "");
        change.commit().await
    }
}

/// Whether a registration says nothing new.
fn is_same(record: &DeviceRecord, device: &RegisterDevice) -> bool {
    let said = RegisterDevice {
        identity: record.identity,
        device_key: record.device_key,
        relay_key: record.relay_key,
        name: record.name.clone(),
        platform: record.platform.clone(),
        version: record.version.clone(),
        nat: record.nat.clone(),
    };
    said == *device
}

async fn insert(
    change: &mut Change,
    registration: &DeviceRegistration,
    act: &Act,
) -> Result<DeviceRecord> {
    let device = &registration.device;
    let token = registration
        .token
        .as_deref()
        .ok_or(StoreError::TokenSpent)?;
    let token = tokens::spend(change, token, TokenKind::Enrolment, act.at).await?;
    let tenant = token.tenant.ok_or(StoreError::TokenSpent)?;
    // Others of the tenant wait here, so that no two get one place.
    change.lock(&format!("tenant {tenant}")).await?;
    if is_revoked(change, tenant, act.at).await? {
        return Err(StoreError::TokenSpent);
    }
    let mut groups = token.groups;
    groups.sort_unstable();
    groups.dedup();
    let record = DeviceRecord {
        id: registration.fresh_id,
        tenant,
        identity: device.identity,
        device_key: device.device_key,
        relay_key: device.relay_key,
        previous: None,
        name: device.name.clone(),
        platform: device.platform.clone(),
        version: device.version.clone(),
        groups,
        tags: token.tags,
        overlay_place: overlay::next_place(change, tenant).await?,
        revoked: false,
        registered: act.at,
        last_seen: act.at,
        counter: 0,
        home: String::new(),
        nat: device.nat.clone(),
        paths: Vec::new(),
    };
    write_new(change, &record).await?;
    keep_keys_apart(change, tenant, &record.id, &record.device_key, act.at).await?;
    let after = Some(record.described());
    audit::note(change, act, "device.register", record.id, None, after).await?;
    renew_netmaps(change, tenant).await?;
    Ok(record)
}

async fn write_new(change: &mut Change, record: &DeviceRecord) -> Result<()> {
    let sql = "INSERT INTO devices (id, tenant, identity, device_key, relay_key, previous_until, \
        name, platform, version, group_ids, tags, overlay_place, revoked, registered) \
        VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, $11, 0, $12)";
    let id = record.id.to_string();
    let values = values![
        &id,
        record.tenant.to_string(),
        record.identity.to_string(),
        record.device_key.to_string(),
        record.relay_key.to_string(),
        &record.name,
        &record.platform,
        &record.version,
        json(&record.groups),
        json(&record.tags),
        record.overlay_place,
        record.registered,
    ];
    change
        .execute(sql, values)
        .await
        .or_taken(Conflict::DeviceKey)?;
    for group in &record.groups {
        let sql = "INSERT INTO device_groups (device, tenant, group_id) VALUES ($1, $2, $3)";
        let values = values![&id, record.tenant.to_string(), group.0];
        change.execute(sql, values).await?;
    }
    let sql = "INSERT INTO device_reports (device, at, counter, home, nat, paths) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    let values = values![
        &id,
        record.last_seen,
        record.counter,
        &record.home,
        json(&record.nat),
        json(&record.paths),
    ];
    change.execute(sql, values).await?;
    Ok(())
}

async fn update(
    change: &mut Change,
    before: DeviceRecord,
    device: &RegisterDevice,
    act: &Act,
) -> Result<DeviceRecord> {
    let mut after = DeviceRecord {
        device_key: device.device_key,
        relay_key: device.relay_key,
        name: device.name.clone(),
        platform: device.platform.clone(),
        version: device.version.clone(),
        nat: device.nat.clone(),
        last_seen: act.at.max(before.last_seen),
        ..before.clone()
    };
    let id = after.id.to_string();
    let has_other_keys =
        (after.device_key, after.relay_key) != (before.device_key, before.relay_key);
    if has_other_keys {
        // It has lost the ones before, or never learned of those that it was given.
        after.previous = None;
        write_keys(change, &after, act).await?;
    }
    let sql = "UPDATE devices SET name = $2, platform = $3, version = $4 WHERE id = $1";
    let values = values![&id, &after.name, &after.platform, &after.version];
    change.execute(sql, values).await?;
    let sql = "UPDATE device_reports SET nat = $2, at = $3 WHERE device = $1";
    let values = values![&id, json(&after.nat), after.last_seen];
    change.execute(sql, values).await?;
    let (was, is) = (Some(before.described()), Some(after.described()));
    if was != is {
        audit::note(change, act, "device.register", after.id, was, is).await?;
        renew_netmaps(change, after.tenant).await?;
    }
    Ok(after)
}

async fn write_keys(change: &mut Change, after: &DeviceRecord, act: &Act) -> Result<()> {
    keep_keys_apart(change, after.tenant, &after.id, &after.device_key, act.at).await?;
    let sql = "UPDATE devices SET device_key = $2, relay_key = $3, previous_device_key = $4, \
        previous_relay_key = $5, previous_until = $6 WHERE id = $1";
    let values = values![
        after.id.to_string(),
        after.device_key.to_string(),
        after.relay_key.to_string(),
        after.previous.map(|keys| keys.device_key.to_string()),
        after.previous.map(|keys| keys.relay_key.to_string()),
        after.previous.map_or(0, |keys| keys.until),
    ];
    let written = change.execute(sql, values).await;
    written.or_taken(Conflict::DeviceKey).map(drop)
}

/// Refuses a key that another device of the tenant had before its last rotation and that still
/// counts; the index sees only the present ones.
async fn keep_keys_apart(
    change: &mut Change,
    tenant: TenantId,
    id: &DeviceId,
    key: &DeviceKey,
    now: u64,
) -> Result<()> {
    let sql = "SELECT id FROM devices WHERE tenant = $1 AND revoked = 0 AND id <> $2 \
        AND previous_device_key = $3 AND previous_until > $4 LIMIT 1";
    let values = values![tenant.to_string(), id.to_string(), key.to_string(), now];
    match change.row(sql, values).await? {
        None => Ok(()),
        Some(_) => Err(Conflict::DeviceKey.into()),
    }
}

async fn is_revoked(change: &mut Change, tenant: TenantId, now: u64) -> Result<bool> {
    let sql = "SELECT id FROM revocations WHERE kind = 'tenant' AND id = $1 \
        AND (until = 0 OR until > $2)";
    let row = change.row(sql, values![tenant.to_string(), now]).await?;
    Ok(row.is_some())
}
