//! Nodes.

use sterna_control_api::NodeId;
use sterna_control_api::access::TokenKind;
use sterna_control_api::audit::Page;
use sterna_control_api::node::{DesiredState, NodeLimits, PatchNode, RegisterNode};

use super::db::{Asked, Change, OrTaken as _, Row, json, values, word};
use super::{SqlStore, audit, regions, reports, tokens, versions};
use crate::domain::{Act, NodeRecord, NodeRegistration};
use crate::store::{
    Conflict, NodeFilter, PageRequest, Registered, Result, StoreError, Thing, Topic,
};

/// A node and its last heartbeat.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT n.id, n.noise_key, n.name, n.region, n.version, n.services, n.capacity, \
             n.desired, n.limits, n.orders, n.registered, n.updated, \
             h.at, h.counter, h.report FROM nodes n LEFT JOIN heartbeats h ON h.node = n.id ",
            $rest
        )
    };
}

pub(super) async fn one(asked: &mut Asked, id: &NodeId) -> Result<Option<NodeRecord>> {
    let sql = select!("WHERE n.id = $1");
    let row = asked.row(sql, values![id.to_string()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn all(asked: &mut Asked) -> Result<Vec<NodeRecord>> {
    let sql = select!("ORDER BY n.id");
    asked.rows(sql, values![]).await?.iter().map(read).collect()
}

pub(super) async fn page(
    asked: &mut Asked,
    filter: &NodeFilter,
    page: &PageRequest,
) -> Result<Page<NodeRecord>> {
    let sql = select!(
        "WHERE n.name > $1 AND ($2 IS NULL OR n.region = $2) \
         AND ($3 IS NULL OR lower(n.name) LIKE $3 ESCAPE '\\') ORDER BY n.name LIMIT $4"
    );
    let values = values![
        page.after.clone().unwrap_or_default(),
        filter.region.clone(),
        filter.q.as_deref().map(containing),
        page.rows(),
    ];
    let rows = asked.rows(sql, values).await?;
    let nodes = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.page(nodes, |node| node.name.clone()))
}

/// The pattern of what contains a text, whatever the case of its letters.
pub(super) fn containing(q: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in q.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

fn read(row: &Row) -> Result<NodeRecord> {
    let id = row.parsed("id")?;
    Ok(NodeRecord {
        id,
        noise_key: row.parsed("noise_key")?,
        name: row.text("name")?,
        region: row.text("region")?,
        version: row.text("version")?,
        services: row.json("services")?,
        capacity: row.json("capacity")?,
        desired: row.word("desired")?,
        limits: row.json("limits")?,
        orders: row.number("orders")?,
        registered: row.number("registered")?,
        updated: row.number("updated")?,
        heartbeat: match row.maybe_number("at")? {
            Some(_) => Some(reports::heartbeat(id, row)?),
            None => None,
        },
    })
}

/// What is held while a node is looked at and changed.
fn lock(id: &NodeId) -> String {
    format!("node {id}")
}

impl SqlStore {
    pub(super) async fn upsert_node(
        &self,
        registration: &NodeRegistration,
        act: &Act,
    ) -> Result<Registered<NodeRecord>> {
        let node = &registration.node;
        let mut change = self.change().await?;
        change.lock(&lock(&node.identity)).await?;
        let before = one(&mut change, &node.identity).await?;
        let registered = match before {
            None => {
                admit(&mut change, registration, act).await?;
                Registered::New(insert(&mut change, node, act).await?)
            }
            Some(before) if is_same(&before, node) => return Ok(Registered::Same(before)),
            Some(before) => {
                if before.region != node.region {
                    admit(&mut change, registration, act).await?;
                }
                Registered::Changed(update(&mut change, before, node, act).await?)
            }
        };
        change.announce(Topic::Nodes, node.identity.to_string());
        change.commit().await?;
        Ok(registered)
    }

    pub(super) async fn update_node(
        &self,
        id: &NodeId,
        patch: &PatchNode,
        act: &Act,
    ) -> Result<NodeRecord> {
        let mut change = self.change().await?;
        change.lock(&lock(id)).await?;
        let before = one(&mut change, id)
            .await?
            .ok_or(StoreError::NotFound(Thing::Node))?;
        let mut after = NodeRecord {
            desired: patch.state.unwrap_or(before.desired),
            limits: patch.limits.unwrap_or(before.limits),
            ..before.clone()
        };
        if after == before {
            return Ok(before);
        }
        after.orders = versions::next_orders(&mut change).await?;
        let sql = "UPDATE nodes SET desired = $2, limits = $3, orders = $4 WHERE id = $1";
        let values = values![
            id.to_string(),
            word(after.desired),
            json(&after.limits),
            after.orders
        ];
        change.execute(sql, values).await?;
        let (was, is) = (Some(before.described()), Some(after.described()));
        audit::note(&mut change, act, "node.patch", id, was, is).await?;
        change.announce(Topic::Nodes, id.to_string());
        change.commit().await?;
        Ok(after)
    }

    pub(super) async fn remove_node(&self, id: &NodeId, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        change.lock(&lock(id)).await?;
        let before = one(&mut change, id)
            .await?
            .ok_or(StoreError::NotFound(Thing::Node))?;
        let sql = "DELETE FROM nodes WHERE id = $1";
        change.execute(sql, values![id.to_string()]).await?;
        let was = Some(before.described());
        audit::note(&mut change, act, "node.forget", id, was, None).await?;
        change.announce(Topic::Nodes, id.to_string());
        change.commit().await
    }
}

/// Whether a registration says nothing new.
fn is_same(record: &NodeRecord, node: &RegisterNode) -> bool {
    let said = RegisterNode {
        identity: record.id,
        noise_key: record.noise_key,
        name: record.name.clone(),
        region: record.region.clone(),
        version: record.version.clone(),
        services: record.services.clone(),
        capacity: record.capacity,
    };
    said == *node
}

/// Uses a join token of the node's region.
async fn admit(change: &mut Change, registration: &NodeRegistration, act: &Act) -> Result<()> {
    let token = registration
        .token
        .as_deref()
        .ok_or(StoreError::TokenSpent)?;
    let token = tokens::spend(change, token, TokenKind::Join, act.at).await?;
    if token.region.as_ref() != Some(&registration.node.region) {
        return Err(StoreError::TokenSpent);
    }
    regions::hold(change, &registration.node.region)
        .await?
        .ok_or(StoreError::NotFound(Thing::Region))?;
    Ok(())
}

async fn insert(change: &mut Change, node: &RegisterNode, act: &Act) -> Result<NodeRecord> {
    let record = NodeRecord {
        id: node.identity,
        noise_key: node.noise_key,
        name: node.name.clone(),
        region: node.region.clone(),
        version: node.version.clone(),
        services: node.services.clone(),
        capacity: node.capacity,
        desired: DesiredState::Ready,
        limits: NodeLimits::default(),
        // At least that of any orders which a forgotten node of this identity may still follow.
        orders: versions::current(change, versions::ORDERS).await?,
        registered: act.at,
        updated: act.at,
        heartbeat: None,
    };
    let sql = "INSERT INTO nodes (id, noise_key, name, region, version, services, capacity, \
        desired, limits, orders, registered, updated) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let values = values![
        record.id.to_string(),
        record.noise_key.to_string(),
        &record.name,
        &record.region,
        &record.version,
        json(&record.services),
        json(&record.capacity),
        word(record.desired),
        json(&record.limits),
        record.orders,
        record.registered,
        record.updated,
    ];
    change
        .execute(sql, values)
        .await
        .or_taken(Conflict::NodeName)?;
    let after = Some(record.described());
    audit::note(change, act, "node.register", record.id, None, after).await?;
    Ok(record)
}

async fn update(
    change: &mut Change,
    before: NodeRecord,
    node: &RegisterNode,
    act: &Act,
) -> Result<NodeRecord> {
    let after = NodeRecord {
        noise_key: node.noise_key,
        name: node.name.clone(),
        region: node.region.clone(),
        version: node.version.clone(),
        services: node.services.clone(),
        capacity: node.capacity,
        updated: act.at,
        ..before.clone()
    };
    let sql = "UPDATE nodes SET noise_key = $2, name = $3, region = $4, version = $5, \
        services = $6, capacity = $7, updated = $8 WHERE id = $1";
    let values = values![
        after.id.to_string(),
        after.noise_key.to_string(),
        &after.name,
        &after.region,
        &after.version,
        json(&after.services),
        json(&after.capacity),
        after.updated,
    ];
    change
        .execute(sql, values)
        .await
        .or_taken(Conflict::NodeName)?;
    let (was, is) = (Some(before.described()), Some(after.described()));
    audit::note(change, act, "node.register", after.id, was, is).await?;
    Ok(after)
}
