//! Regions.

use sterna_control_api::region::{PatchRegion, Region};

use super::db::{Asked, OrTaken as _, Row, json, values};
use super::{SqlStore, audit};
use crate::domain::{Act, RegionRecord};
use crate::store::{Conflict, Result, StoreError, Thing, Topic};

/// What is held while a region is looked at and changed, or given a node.
fn lock(code: &str) -> String {
    format!("region {code}")
}

pub(super) async fn all(asked: &mut Asked) -> Result<Vec<RegionRecord>> {
    let sql = "SELECT code, name, place, weight, created FROM regions ORDER BY code";
    asked.rows(sql, values![]).await?.iter().map(read).collect()
}

/// One region, which stays as it is to the end of the transaction.
pub(super) async fn hold(
    change: &mut super::db::Change,
    code: &str,
) -> Result<Option<RegionRecord>> {
    change.lock(&lock(code)).await?;
    let sql = "SELECT code, name, place, weight, created FROM regions WHERE code = $1";
    let row = change.row(sql, values![code]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<RegionRecord> {
    Ok(RegionRecord {
        code: row.text("code")?,
        name: row.text("name")?,
        location: row.maybe_json("place")?,
        weight: row.number("weight")?,
        created: row.number("created")?,
    })
}

impl SqlStore {
    pub(super) async fn insert_region(&self, region: &Region, act: &Act) -> Result<RegionRecord> {
        let record = RegionRecord {
            code: region.code.clone(),
            name: region.name.clone(),
            location: region.location,
            weight: region.weight,
            created: act.at,
        };
        let mut change = self.change().await?;
        let sql = "INSERT INTO regions (code, name, place, weight, created) \
            VALUES ($1, $2, $3, $4, $5)";
        let values = values![
            &record.code,
            &record.name,
            record.location.as_ref().map(json),
            u32::from(record.weight),
            record.created,
        ];
        change
            .execute(sql, values)
            .await
            .or_taken(Conflict::RegionExists)?;
        let after = Some(record.described());
        audit::note(&mut change, act, "region.create", &record.code, None, after).await?;
        change.announce(Topic::Regions, &record.code);
        change.commit().await?;
        Ok(record)
    }

    pub(super) async fn update_region(
        &self,
        code: &str,
        patch: &PatchRegion,
        act: &Act,
    ) -> Result<RegionRecord> {
        let mut change = self.change().await?;
        let before = hold(&mut change, code)
            .await?
            .ok_or(StoreError::NotFound(Thing::Region))?;
        let after = RegionRecord {
            name: patch.name.clone().unwrap_or_else(|| before.name.clone()),
            location: patch.location.or(before.location),
            weight: patch.weight.unwrap_or(before.weight),
            ..before.clone()
        };
        let sql = "UPDATE regions SET name = $2, place = $3, weight = $4 WHERE code = $1";
        let values = values![
            code,
            &after.name,
            after.location.as_ref().map(json),
            u32::from(after.weight),
        ];
        change.execute(sql, values).await?;
        let (was, is) = (Some(before.described()), Some(after.described()));
        audit::note(&mut change, act, "region.patch", code, was, is).await?;
        change.announce(Topic::Regions, code);
        change.commit().await?;
        Ok(after)
    }

    pub(super) async fn remove_region(&self, code: &str, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        let before = hold(&mut change, code)
            .await?
            .ok_or(StoreError::NotFound(Thing::Region))?;
        let sql = "SELECT id FROM nodes WHERE region = $1 LIMIT 1";
        if change.row(sql, values![code]).await?.is_some() {
            return Err(Conflict::RegionInUse.into());
        }
        let sql = "DELETE FROM regions WHERE code = $1";
        change.execute(sql, values![code]).await?;
        let was = Some(before.described());
        audit::note(&mut change, act, "region.delete", code, was, None).await?;
        change.announce(Topic::Regions, code);
        change.commit().await
    }
}
