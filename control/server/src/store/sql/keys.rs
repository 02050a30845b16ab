//! Signing keys and TURN secrets.

use std::cmp::Reverse;

use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotationStep};

use super::db::{Asked, Change, Row, values, word};
use super::seal::Sealer;
use super::{SqlStore, audit, versions};
use crate::domain::rotation::Rotation;
use crate::domain::{Act, KeyRecord};
use crate::store::{Result, Topic};

pub(super) async fn of(
    asked: &mut Asked,
    sealer: &Sealer,
    purpose: KeyPurpose,
) -> Result<Vec<KeyRecord>> {
    let sql = "SELECT purpose, id, stage, sealed, created, since, orders FROM keys \
        WHERE purpose = $1";
    sorted(&asked.rows(sql, values![word(purpose)]).await?, sealer)
}

pub(super) async fn in_use(asked: &mut Asked, sealer: &Sealer) -> Result<Vec<KeyRecord>> {
    let sql = "SELECT purpose, id, stage, sealed, created, since, orders FROM keys \
        WHERE stage <> $1";
    let retired = word(KeyStage::Retired);
    sorted(&asked.rows(sql, values![retired]).await?, sealer)
}

fn sorted(rows: &[Row], sealer: &Sealer) -> Result<Vec<KeyRecord>> {
    let keys = rows.iter().map(|row| read(row, sealer));
    let mut keys = keys.collect::<Result<Vec<_>>>()?;
    keys.sort_by(|one, other| {
        let place = |key: &KeyRecord| (key.purpose, key.stage, Reverse((key.since, key.created)));
        place(one)
            .cmp(&place(other))
            .then_with(|| one.id.cmp(&other.id))
    });
    Ok(keys)
}

fn read(row: &Row, sealer: &Sealer) -> Result<KeyRecord> {
    let id = row.text("id")?;
    let purpose = row.word("purpose")?;
    Ok(KeyRecord {
        secret: sealer.open(&place(purpose, &id), &row.bytes("sealed")?)?,
        id,
        purpose,
        stage: row.word("stage")?,
        created: row.number("created")?,
        since: row.number("since")?,
        orders: row.number("orders")?,
    })
}

/// Where a sealed secret belongs: elsewhere it does not open.
fn place(purpose: KeyPurpose, id: &str) -> String {
    format!("key {} {id}", word(purpose))
}

/// What is held while keys of a purpose are looked at and changed.
fn lock(purpose: KeyPurpose) -> String {
    format!("keys {}", word(purpose))
}

async fn write(change: &mut Change, sealer: &Sealer, key: &KeyRecord) -> Result<()> {
    let sql = "INSERT INTO keys (purpose, id, stage, sealed, created, since, orders) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (purpose, id) DO UPDATE SET \
        stage = excluded.stage, sealed = excluded.sealed, since = excluded.since";
    let values = values![
        word(key.purpose),
        &key.id,
        word(key.stage),
        sealer.seal(&place(key.purpose, &key.id), &key.secret),
        key.created,
        key.since,
        key.orders,
    ];
    change.execute(sql, values).await?;
    Ok(())
}

impl SqlStore {
    pub(super) async fn insert_first_key(&self, fresh: &KeyRecord, act: &Act) -> Result<KeyRecord> {
        let current =
            |keys: Vec<KeyRecord>| keys.into_iter().find(|key| key.stage == KeyStage::Current);
        let mut change = self.change().await?;
        change.lock(&lock(fresh.purpose)).await?;
        let there = of(&mut change, &self.sealer, fresh.purpose).await?;
        if let Some(key) = current(there) {
            return Ok(key);
        }
        let key = KeyRecord {
            stage: KeyStage::Current,
            created: act.at,
            since: act.at,
            orders: versions::next_orders_of_all(&mut change).await?,
            ..fresh.clone()
        };
        write(&mut change, &self.sealer, &key).await?;
        let after = Some(key.described());
        audit::note(&mut change, act, "key.create", &key.id, None, after).await?;
        change.announce(Topic::Keys, "");
        change.commit().await?;
        Ok(key)
    }

    pub(super) async fn take_rotation_step(
        &self,
        rotation: &Rotation,
        act: &Act,
    ) -> Result<Vec<KeyRecord>> {
        let mut change = self.change().await?;
        change.lock(&lock(rotation.purpose)).await?;
        let keys = of(&mut change, &self.sealer, rotation.purpose).await?;
        let orders = versions::next_orders_of_all(&mut change).await?;
        let changed = rotation.apply(&keys, act.at, orders)?;
        let action = match rotation.step {
            RotationStep::Prepare => "key.prepare",
            RotationStep::Promote => "key.promote",
            RotationStep::Rollback => "key.rollback",
            RotationStep::Retire => "key.retire",
        };
        for key in &changed {
            write(&mut change, &self.sealer, key).await?;
            let before = keys.iter().find(|before| before.id == key.id);
            let (was, is) = (before.map(KeyRecord::described), Some(key.described()));
            audit::note(&mut change, act, action, &key.id, was, is).await?;
        }
        let keys = of(&mut change, &self.sealer, rotation.purpose).await?;
        change.announce(Topic::Keys, "");
        change.commit().await?;
        Ok(keys)
    }
}
