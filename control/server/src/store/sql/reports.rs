//! Heartbeats of nodes and reports of devices: many at a time, and nothing of them is in the audit
//! log.

use std::collections::{BTreeMap, BTreeSet};

use sterna_control_api::{DeviceId, NodeId, TenantId};

use super::db::{Asked, Row, Value, json, values};
use super::{SqlStore, devices, versions};
use crate::domain::{DeviceReport, HeartbeatRecord};
use crate::store::{Result, Topic};

/// Rows of one statement; fewer ones go in halves of it, so that there are few different statements.
const ROWS_MAX: usize = 64;

pub(super) async fn heartbeats_since(
    asked: &mut Asked,
    since: u64,
) -> Result<Vec<HeartbeatRecord>> {
    let sql = "SELECT node, at, counter, report FROM heartbeats WHERE at >= $1";
    let rows = asked.rows(sql, values![since]).await?;
    rows.iter()
        .map(|row| heartbeat(row.parsed("node")?, row))
        .collect()
}

pub(super) fn heartbeat(node: NodeId, row: &Row) -> Result<HeartbeatRecord> {
    Ok(HeartbeatRecord {
        node,
        at: row.number("at")?,
        counter: row.number("counter")?,
        report: row.json("report")?,
    })
}

impl SqlStore {
    pub(super) async fn write_heartbeats(&self, heartbeats: &[HeartbeatRecord]) -> Result<()> {
        // The last of each node, in one order, so that two replicas do not wait for each other.
        let last: BTreeMap<NodeId, &HeartbeatRecord> = heartbeats
            .iter()
            .map(|heartbeat| (heartbeat.node, heartbeat))
            .collect();
        if last.is_empty() {
            return Ok(());
        }
        let last: Vec<_> = last.into_values().collect();
        let mut change = self.change().await?;
        for rows in in_few_sizes(&last) {
            let sql = format!(
                "INSERT INTO heartbeats (node, at, counter, report) \
                 SELECT column1, column2, column3, column4 FROM (VALUES {}) AS given \
                 WHERE EXISTS (SELECT 1 FROM nodes WHERE id = column1) \
                 ON CONFLICT (node) DO UPDATE SET at = excluded.at, counter = excluded.counter, \
                 report = excluded.report WHERE excluded.at >= heartbeats.at",
                places(rows.len(), 4),
            );
            let values: Vec<Value> = rows
                .iter()
                .flat_map(|heartbeat| {
                    values![
                        heartbeat.node.to_string(),
                        heartbeat.at,
                        heartbeat.counter,
                        json(&heartbeat.report),
                    ]
                })
                .collect();
            change.execute_made(sql, values).await?;
        }
        change.commit().await
    }

    pub(super) async fn write_reports(&self, reports: &[DeviceReport]) -> Result<()> {
        let last: BTreeMap<DeviceId, &DeviceReport> = reports
            .iter()
            .map(|report| (report.device, report))
            .collect();
        if last.is_empty() {
            return Ok(());
        }
        let mut change = self.change().await?;
        let mut moved: BTreeSet<TenantId> = BTreeSet::new();
        for report in last.into_values() {
            let id = report.device.to_string();
            let sql = "SELECT d.tenant, r.home, r.at FROM device_reports r \
                JOIN devices d ON d.id = r.device WHERE d.id = $1";
            let Some(row) = change.row(sql, values![&id]).await? else {
                continue;
            };
            if row.number::<u64>("at")? > report.at {
                continue;
            }
            if row.text("home")? != report.home {
                moved.insert(row.parsed("tenant")?);
            }
            // A NAT report that is left out has not changed.
            let sql = "UPDATE device_reports SET at = $2, counter = $3, home = $4, \
                nat = COALESCE($5, nat), paths = $6 WHERE device = $1";
            let values = values![
                id,
                report.at,
                report.counter,
                &report.home,
                report.nat.as_ref().map(json),
                json(&report.paths),
            ];
            change.execute(sql, values).await?;
        }
        for tenant in moved {
            let version = versions::next(&mut change, &devices::netmap_of(tenant)).await?;
            change.announce(Topic::Devices(tenant), version.to_string());
        }
        change.commit().await
    }
}

/// Rows in as many as [`ROWS_MAX`] at a time, then in ever smaller powers of two.
pub(super) fn in_few_sizes<T>(rows: &[T]) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let mut rest = rows;
    let mut size = ROWS_MAX;
    while !rest.is_empty() {
        while rest.len() < size {
            size /= 2;
        }
        let (part, others) = rest.split_at(size);
        parts.push(part);
        rest = others;
    }
    parts
}

/// `($1, $2), ($3, $4), …`
pub(super) fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns)
            .map(|column| format!("${}", row * columns + column))
            .collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_goes_in_parts_of_few_sizes() {
        for count in 0..300 {
            let rows: Vec<usize> = (0..count).collect();
            let parts = in_few_sizes(&rows);
            assert_eq!(parts.concat(), rows);
            let whole = parts.iter().all(|part| part.len().is_power_of_two());
            assert!(whole && parts.iter().all(|part| part.len() <= ROWS_MAX));
        }
    }

    #[test]
    fn the_places_of_a_statement_are_numbered_through() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
