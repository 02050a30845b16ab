//! Numbers that grow with changes.

use super::SqlStore;
use super::db::{Asked, Change, values};
use crate::store::Result;

/// The counter that all orders are numbered with.
pub(super) const ORDERS: &str = "orders";
/// Its value at the last change that concerned all nodes.
pub(super) const ORDERS_OF_ALL: &str = "orders of all";

/// The next number of a counter. Others who count it wait for the end of the transaction.
pub(super) async fn next(change: &mut Change, name: &str) -> Result<u64> {
    let sql = "INSERT INTO versions (name, version) VALUES ($1, 1) \
        ON CONFLICT (name) DO UPDATE SET version = versions.version + 1 RETURNING version";
    let row = change.row(sql, values![name]).await?;
    row.map_or(Ok(1), |row| row.number("version"))
}

/// The number of a counter; 0 before it counted.
pub(super) async fn current(asked: &mut Asked, name: &str) -> Result<u64> {
    let sql = "SELECT version FROM versions WHERE name = $1";
    let row = asked.row(sql, values![name]).await?;
    row.map_or(Ok(0), |row| row.number("version"))
}

/// The version of the orders for a change that concerns one node.
pub(super) async fn next_orders(change: &mut Change) -> Result<u64> {
    next(change, ORDERS).await
}

/// The version of the orders for a change that concerns all nodes.
pub(super) async fn next_orders_of_all(change: &mut Change) -> Result<u64> {
    let version = next(change, ORDERS).await?;
    let sql = "INSERT INTO versions (name, version) VALUES ($1, $2) \
        ON CONFLICT (name) DO UPDATE SET version = excluded.version";
    change.execute(sql, values![ORDERS_OF_ALL, version]).await?;
    Ok(version)
}

impl SqlStore {
    pub(super) async fn version_of_content(&self, name: &str, digest: &[u8; 32]) -> Result<u64> {
        let name = format!("content {name}");
        let sql = "SELECT version FROM versions WHERE name = $1 AND digest = $2";
        let row = self
            .db
            .ask()
            .await?
            .row(sql, values![&name, digest])
            .await?;
        if let Some(row) = row {
            return row.number("version");
        }
        let mut change = self.change().await?;
        // Where another replica has just numbered the same content, its number stays.
        let sql = "INSERT INTO versions (name, version, digest) VALUES ($1, 1, $2) \
            ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, version = versions.version \
            + CASE WHEN versions.digest = excluded.digest THEN 0 ELSE 1 END RETURNING version";
        let row = change.row(sql, values![&name, digest]).await?;
        let version = row.map_or(Ok(1), |row| row.number("version"))?;
        change.commit().await?;
        Ok(version)
    }
}
