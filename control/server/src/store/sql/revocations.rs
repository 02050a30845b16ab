//! Revocations.

use super::db::{Asked, Change, Row, corrupt, values};
use super::{SqlStore, audit, versions};
use crate::domain::{Act, Revocation, RevocationRecord};
use crate::store::{Result, Topic};

pub(super) async fn all(asked: &mut Asked) -> Result<Vec<RevocationRecord>> {
    let sql = "SELECT kind, id, at, until FROM revocations ORDER BY kind, id";
    asked.rows(sql, values![]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<RevocationRecord> {
    let what = match row.text("kind")?.as_str() {
        "ticket" => Revocation::Ticket(row.parsed("id")?),
        "device" => Revocation::Device(row.parsed("id")?),
        "tenant" => Revocation::Tenant(row.parsed("id")?),
        _ => return Err(corrupt("kind", &"no kind of revocation")),
    };
    Ok(RevocationRecord {
        what,
        at: row.number("at")?,
        until: row.number("until")?,
    })
}

fn named(what: Revocation) -> (&'static str, String) {
    match what {
        Revocation::Ticket(id) => ("ticket", id.to_string()),
        Revocation::Device(id) => ("device", id.to_string()),
        Revocation::Tenant(id) => ("tenant", id.to_string()),
    }
}

/// Writes one revocation; one that is there stays for the longer time, and 0 is the longest.
pub(super) async fn put(
    change: &mut Change,
    what: Revocation,
    until: u64,
    act: &Act,
) -> Result<()> {
    let (kind, id) = named(what);
    let sql = "INSERT INTO revocations (kind, id, at, until) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (kind, id) DO UPDATE SET until = CASE \
        WHEN revocations.until = 0 OR excluded.until = 0 THEN 0 \
        WHEN revocations.until > excluded.until THEN revocations.until \
        ELSE excluded.until END";
    change
        .execute(sql, values![kind, &id, act.at, until])
        .await?;
    Ok(())
}

impl SqlStore {
    pub(super) async fn write_revocations(
        &self,
        what: &[Revocation],
        until: u64,
        act: &Act,
    ) -> Result<()> {
        if what.is_empty() {
            return Ok(());
        }
        let mut change = self.change().await?;
        // In one order, so that two replicas do not wait for each other.
        let mut what = what.to_vec();
        what.sort_unstable();
        what.dedup();
        for what in what {
            put(&mut change, what, until, act).await?;
            let (kind, id) = named(what);
            let record = RevocationRecord {
                what,
                at: act.at,
                until,
            };
            let (subject, after) = (format!("{kind}:{id}"), Some(record.described()));
            audit::note(&mut change, act, "revoke", subject, None, after).await?;
        }
        versions::next_orders_of_all(&mut change).await?;
        change.announce(Topic::Revocations, "");
        change.commit().await
    }
}
