//! Nodes: what they call, and what operators call of them.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
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
use super::around::Held;
use super::auth::{Auditor, BeatingNode, Newcomer, Operator};
use super::body::{Json, Named, Queried};
use super::openapi::NotFound;
use super::paging::{Asked, LISTED, query};
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
        Newcomer, Json<RegisterNode>, NotFound,
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

/// How a heartbeat is answered.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Beat {
    /// Hold the answer for so many milliseconds while there are no new orders; 0 when left out.
    #[param(minimum = 0, maximum = 50_000)]
    wait_ms: Option<u32>,
}

/// A node reports, and hears of new orders: at once where the answer is held.
#[utoipa::path(post, path = "/nodes/{id}/heartbeat", tag = "nodes", operation_id = "heartbeat",
    security(("signature" = [])), params(("id" = NodeId, Path, description = "The node's own identity."), Beat),
    request_body = Heartbeat,
    responses(
        (status = 200, description = "Taken; orders where it follows older ones.", body = HeartbeatAnswer),
        BeatingNode, Named<NodeId>, Queried<Beat>, Json<Heartbeat>,
    ))]
async fn heartbeat(
    State(app): State<App>,
    BeatingNode(node): BeatingNode,
    Named(id): Named<NodeId>,
    Queried(Beat { wait_ms }): Queried<Beat>,
    Json(report): Json<Heartbeat>,
) -> Result<(Extension<Held>, Json<HeartbeatAnswer>), Refusal> {
    if id != node.id {
        return Err(Refusal::not_found().because(Proof::NotTheirs));
    }
    let wait_ms = wait_ms.unwrap_or_default();
    let (answer, held) = app.heartbeat(&node, report, wait_ms).await?;
    Ok((Extension(Held(held)), Json(answer)))
}

query! {
    /// Which nodes are wanted.
    struct Nodes {
        /// Of this region.
        region: Option<String>,
        /// Of this status.
        state: Option<NodeStatus>,
        /// With this in the name.
        q: Option<String>,
    }
}

/// Lists nodes, by name.
#[utoipa::path(get, path = "/nodes", tag = "nodes", operation_id = "list_nodes",
    security(("token" = [])), params(Nodes),
    responses(
        (status = 200, description = LISTED,
            content((Page<NodeView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Nodes>,
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    Asked { query, page, form }: Asked<Nodes>,
) -> Result<Response, Refusal> {
    let wanted = Wanted {
        region: query.region,
        state: query.state,
        q: query.q,
    };
    form.answer(app.list_nodes(&wanted, &page))
}

/// Shows a node.
#[utoipa::path(get, path = "/nodes/{id}", tag = "nodes", operation_id = "show_node",
    security(("token" = [])), params(("id" = NodeId, Path, description = "Its identity.")),
    responses(
        (status = 200, description = "The node.", body = NodeView),
        Auditor, Named<NodeId>,
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
        Operator, Named<NodeId>, Json<PatchNode>,
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
        Operator, Named<NodeId>,
    ))]
async fn forget(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<NodeId>,
) -> Result<StatusCode, Refusal> {
    app.forget_node(&person, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
