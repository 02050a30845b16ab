//! The audit log.

use serde_json::Value;
use sterna_control_api::audit::{AuditEntry, Page};

use super::db::{Asked, Change, Row, json, values};
use crate::domain::{Act, AuditFilter, AuditRecord};
use crate::store::{PageRequest, Result};

/// Writes an entry within the change that it is about.
pub(super) async fn write(change: &mut Change, entry: &AuditRecord) -> Result<()> {
    let sql = "INSERT INTO audit (at, actor, action, subject, was, became) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    let values = values![
        entry.act.at,
        &entry.act.actor,
        entry.action,
        &entry.subject,
        entry.before.as_ref().map(json),
        entry.after.as_ref().map(json),
    ];
    change.execute(sql, values).await?;
    Ok(())
}

/// Says within a change what it does.
pub(super) async fn note(
    change: &mut Change,
    act: &Act,
    action: &'static str,
    subject: impl ToString,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<()> {
    let entry = AuditRecord {
        act: act.clone(),
        action,
        subject: subject.to_string(),
        before,
        after,
    };
    write(change, &entry).await
}

pub(super) async fn page(
    asked: &mut Asked,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<AuditEntry>> {
    let sql = "SELECT id, at, actor, action, subject, was, became FROM audit \
        WHERE id < $1 AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR subject = $3) \
        AND ($4 IS NULL OR substr(action, 1, length($4)) = $4) AND at >= $5 AND at < $6 \
        ORDER BY id DESC LIMIT $7";
    let before = page.after.as_deref().map_or(i64::MAX, |after| {
        // What is no number is no cursor of ours: nothing comes after it.
        after.parse().unwrap_or(0)
    });
    let values = values![
        before,
        filter.actor.clone(),
        filter.subject.clone(),
        filter.action.clone(),
        filter.since.unwrap_or(0),
        filter.until.unwrap_or(u64::MAX),
        page.rows(),
    ];
    let rows = asked.rows(sql, values).await?;
    let entries = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.page(entries, |entry| entry.id.to_string()))
}

/// Deletes what is too old among the oldest entries. Numbers grow with time, but for a clock that was
/// set: so an entry is judged by its own time, and none but the oldest are looked at.
pub(super) async fn prune(change: &mut Change, before: u64, entries_max: u32) -> Result<u64> {
    let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM \
        (SELECT id, at FROM audit ORDER BY id LIMIT $1) AS oldest WHERE at < $2)";
    let values = values![u64::from(entries_max), before];
    Ok(change.execute(sql, values).await?)
}

fn read(row: &Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.number("id")?,
        at: row.number("at")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        subject: row.text("subject")?,
        before: row.maybe_json("was")?,
        after: row.maybe_json("became")?,
    })
}
