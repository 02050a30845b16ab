//! Nodes: what they call, and what operators call of them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sterna_control_api::NodeId;
use sterna_control_api::audit::Page;
use sterna_control_api::node::{
    Heartbeat, HeartbeatAnswer, NodeRegistered, NodeStatus, NodeView, PatchNode, RegisterNode,
};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, BeatingNode, Newcomer, Operator};
use super::body::{Asked, Json, Named};
use super::openapi::{
    Conflict, Gone, Malformed, NotFound, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized,
    Unavailable,
};
use super::paging;
use crate::service::nodes::Wanted;
use crate::service::refusal::{Proof, Refusal};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(heartbeat))
        .routes(routes!(list))
        .routes(routes!(show, patch, forget))
}

/// Registers a node: with a join token the first time, by its key alone afterwards.
#[utoipa::path(post, path = "/nodes/register", tag = "nodes", operation_id = "register_node",
    security(("signature" = [])), request_body = RegisterNode,
    responses(
        (status = 200, description = "It is registered; what it is to do.", body = NodeRegistered),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn register(
    State(app): State<App>,
    newcomer: Newcomer,
    Json(node): Json<RegisterNode>,
) -> Result<Json<NodeRegistered>, Refusal> {
    app.register_node(&newcomer.claims, newcomer.shown.as_ref(), node)
        .await
        .map(Json)
}

/// A node reports, and hears of new orders.
#[utoipa::path(post, path = "/nodes/{id}/heartbeat", tag = "nodes", operation_id = "heartbeat",
    security(("signature" = [])), params(("id" = NodeId, Path, description = "The node's own identity.")),
    request_body = Heartbeat,
    responses(
        (status = 200, description = "Taken; orders where it follows older ones.", body = HeartbeatAnswer),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 410, response = Gone),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn heartbeat(
    State(app): State<App>,
    BeatingNode(node): BeatingNode,
    Named(id): Named<NodeId>,
    Json(report): Json<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    if id != node.id {
        return Err(Refusal::not_found().because(Proof::NotTheirs));
    }
    app.heartbeat(&node, report).map(Json)
}

/// Which nodes are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Nodes {
    /// Entries at most; 100 when left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(max_length = 128)]
    after: Option<String>,
    /// Of this region.
    region: Option<String>,
    /// Of this status.
    state: Option<NodeStatus>,
    /// With this in the name.
    q: Option<String>,
}

/// Lists nodes, by name.
#[utoipa::path(get, path = "/nodes", tag = "nodes", operation_id = "list_nodes",
    security(("token" = [])), params(Nodes),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<NodeView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    Asked(wanted): Asked<Nodes>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = paging::request(wanted.limit, wanted.after.as_ref())?;
    let wanted = Wanted {
        region: wanted.region,
        state: wanted.state,
        q: wanted.q,
    };
    paging::answer(&headers, app.list_nodes(&wanted, &page))
}

/// Shows a node.
#[utoipa::path(get, path = "/nodes/{id}", tag = "nodes", operation_id = "show_node",
    security(("token" = [])), params(("id" = NodeId, Path, description = "Its identity.")),
    responses(
        (status = 200, description = "The node.", body = NodeView),
        (status = 401, response = Unauthorized),
        (status = 404, response = NotFound),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn show(
    State(app): State<App>,
    _: Auditor,
    Named(id): Named<NodeId>,
) -> Result<Json<NodeView>, Refusal> {
    app.node(&id).map(Json)
}

/// Drains, cordons, activates or caps a node.
#[utoipa::path(patch, path = "/nodes/{id}", tag = "nodes", operation_id = "patch_node",
    security(("token" = [])), params(("id" = NodeId, Path, description = "Its identity.")),
    request_body = PatchNode,
    responses(
        (status = 200, description = "The node, as it is wanted now.", body = NodeView),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn patch(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<NodeId>,
    Json(patch): Json<PatchNode>,
) -> Result<Json<NodeView>, Refusal> {
    app.patch_node(&person, &id, &patch).await.map(Json)
}

/// Forgets a node: it needs a join token to come back.
#[utoipa::path(delete, path = "/nodes/{id}", tag = "nodes", operation_id = "forget_node",
    security(("token" = [])), params(("id" = NodeId, Path, description = "Its identity.")),
    responses(
        (status = 204, description = "It is forgotten."),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn forget(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<NodeId>,
) -> Result<StatusCode, Refusal> {
    app.forget_node(&person, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
