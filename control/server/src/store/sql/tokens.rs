//! Join tokens, enrolment keys and API tokens.

use sterna_control_api::access::TokenKind;
use sterna_control_api::audit::Page;

use super::db::{Asked, Change, OrTaken as _, Row, json, values, word};
use super::{SqlStore, audit, regions};
use crate::domain::{Act, TokenRecord};
use crate::store::{Conflict, PageRequest, Result, StoreError, Thing, Topic};

/// All of a token.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, secret_hash, note, region, tenant, group_ids, tags, role, uses, \
             uses_max, created, expires, revoked FROM tokens ",
            $rest
        )
    };
}

pub(super) async fn one(asked: &mut Asked, id: &str) -> Result<Option<TokenRecord>> {
    let row = asked.row(select!("WHERE id = $1"), values![id]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn page(
    asked: &mut Asked,
    kind: Option<TokenKind>,
    page: &PageRequest,
) -> Result<Page<TokenRecord>> {
    let sql = select!("WHERE id > $1 AND ($2 IS NULL OR kind = $2) ORDER BY id LIMIT $3");
    let after = page.after.clone().unwrap_or_default();
    let rows = asked
        .rows(sql, values![after, kind.map(word), page.rows()])
        .await?;
    let tokens = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.page(tokens, |token| token.id.clone()))
}

/// Uses a token up by one, where it lets somebody in at `now`; of any number that try at once with
/// the last use, one succeeds.
pub(super) async fn spend(
    change: &mut Change,
    id: &str,
    kind: TokenKind,
    now: u64,
) -> Result<TokenRecord> {
    // The database holds the row from here to the end of the transaction.
    let sql = "UPDATE tokens SET uses = uses + 1 WHERE id = $1 AND kind = $2 AND revoked = 0 \
        AND (expires = 0 OR expires > $3) AND (uses_max = 0 OR uses < uses_max)";
    if change.execute(sql, values![id, word(kind), now]).await? == 0 {
        return Err(StoreError::TokenSpent);
    }
    one(change, id).await?.ok_or(StoreError::TokenSpent)
}

fn read(row: &Row) -> Result<TokenRecord> {
    let role = row.maybe_text("role")?;
    Ok(TokenRecord {
        id: row.text("id")?,
        kind: row.word("kind")?,
        secret_hash: row.array("secret_hash")?,
        note: row.text("note")?,
        region: row.maybe_text("region")?,
        tenant: row.maybe_parsed("tenant")?,
        groups: row.json("group_ids")?,
        tags: row.json("tags")?,
        role: role.map(|_| row.word("role")).transpose()?,
        uses: row.number("uses")?,
        uses_max: row.number("uses_max")?,
        created: row.number("created")?,
        expires: row.number("expires")?,
        revoked: row.flag("revoked")?,
    })
}

impl SqlStore {
    pub(super) async fn insert_token(&self, token: &TokenRecord, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        if let (TokenKind::Join, Some(region)) = (token.kind, &token.region) {
            regions::hold(&mut change, region)
                .await?
                .ok_or(StoreError::NotFound(Thing::Region))?;
        }
        let sql = "INSERT INTO tokens (id, kind, secret_hash, note, region, tenant, group_ids, \
            tags, role, uses, uses_max, created, expires, revoked) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let values = values![
            &token.id,
            word(token.kind),
            &token.secret_hash,
            &token.note,
            token.region.clone(),
            token.tenant.map(|tenant| tenant.to_string()),
            json(&token.groups),
            json(&token.tags),
            token.role.map(word),
            token.uses,
            token.uses_max,
            token.created,
            token.expires,
            token.revoked,
        ];
        change
            .execute(sql, values)
            .await
            .or_taken(Conflict::TokenExists)?;
        let after = Some(token.described());
        audit::note(&mut change, act, "token.create", &token.id, None, after).await?;
        change.commit().await
    }

    pub(super) async fn mark_token_revoked(&self, id: &str, act: &Act) -> Result<TokenRecord> {
        let mut change = self.change().await?;
        let sql = "UPDATE tokens SET revoked = 1 WHERE id = $1 AND revoked = 0";
        let marked = change.execute(sql, values![id]).await? == 1;
        let token = one(&mut change, id)
            .await?
            .ok_or(StoreError::NotFound(Thing::Token))?;
        if !marked {
            return Ok(token);
        }
        let after = Some(token.described());
        audit::note(&mut change, act, "token.revoke", id, None, after).await?;
        change.announce(Topic::Access, "");
        change.commit().await?;
        Ok(token)
    }

    pub(super) async fn add_token_uses(&self, uses: &[(String, u32)]) -> Result<()> {
        let mut change = self.change().await?;
        // In one order, so that two replicas do not wait for each other.
        let mut uses = uses.to_vec();
        uses.sort();
        for (id, count) in uses {
            let sql = "UPDATE tokens SET uses = CASE WHEN uses > 4000000000 THEN uses \
                ELSE uses + $2 END WHERE id = $1";
            change
                .execute(sql, values![id, count.min(1_000_000)])
                .await?;
        }
        change.commit().await
    }
}
