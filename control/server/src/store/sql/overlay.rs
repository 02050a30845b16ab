//! Places of devices in their tenant's overlay network.

use sterna_control_api::TenantId;

use super::db::{Change, values};
use super::versions;
use crate::domain::overlay::PLACE_MAX;
use crate::store::{Conflict, Result};

/// A place that no registered device of the tenant has: the next that nobody ever had, and when
/// those are used up, the lowest free one. The caller holds the tenant's lock.
pub(super) async fn next_place(change: &mut Change, tenant: TenantId) -> Result<u32> {
    let counted = versions::next(change, &format!("place {tenant}")).await?;
    match u32::try_from(counted) {
        Ok(place) if place <= PLACE_MAX => Ok(place),
        _ => lowest_free(change, tenant).await,
    }
}

async fn lowest_free(change: &mut Change, tenant: TenantId) -> Result<u32> {
    let sql = "SELECT place FROM (SELECT 1 AS place UNION ALL SELECT overlay_place + 1 \
        FROM devices WHERE tenant = $1 AND revoked = 0) AS candidate \
        WHERE place <= $2 AND NOT EXISTS (SELECT 1 FROM devices WHERE tenant = $1 \
        AND revoked = 0 AND overlay_place = place) ORDER BY place LIMIT 1";
    let row = change
        .row(sql, values![tenant.to_string(), PLACE_MAX])
        .await?;
    row.ok_or(Conflict::OverlayFull)?.number("place")
}
