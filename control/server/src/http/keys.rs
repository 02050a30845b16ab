//! Keys, what is no longer admitted, and the audit log.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::node::Revocations;
use sterna_control_api::rotation::{KeyView, RotateKeys};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::{Asked, Json};
use super::openapi::{
    Conflict, Malformed, NotFound, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized,
    Unavailable,
};
use super::paging::{self, Paging};
use crate::domain::AuditFilter;
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
        .routes(routes!(audit))
}

/// Lists keys without their secrets: by purpose, the next, the current, previous and retired ones.
#[utoipa::path(get, path = "/keys", tag = "keys", operation_id = "list_keys",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<KeyView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    Asked(paging): Asked<Paging>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // There are few: all of them are one page.
    paging.request()?;
    paging::answer(&headers, app.list_keys().await?)
}

/// Takes the next step of a rotation. Promotion waits until every node knows the next key, unless forced.
#[utoipa::path(post, path = "/keys/rotate", tag = "keys", operation_id = "rotate_keys",
    security(("token" = [])), request_body = RotateKeys,
    responses(
        (status = 200, description = "The keys of the purpose.", body = Page<KeyView>),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn rotate(
    State(app): State<App>,
    Operator(person): Operator,
    Json(step): Json<RotateKeys>,
) -> Result<Json<Page<KeyView>>, Refusal> {
    app.rotate_keys(&person, step).await.map(Json)
}

/// Revokes tickets, devices and tenants: nodes end what runs by them.
#[utoipa::path(post, path = "/revocations", tag = "keys", operation_id = "revoke",
    security(("token" = [])), request_body = Revocations,
    responses(
        (status = 204, description = "They are revoked."),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn revoke(
    State(app): State<App>,
    Operator(person): Operator,
    Json(revocations): Json<Revocations>,
) -> Result<StatusCode, Refusal> {
    app.revoke(&person, &revocations).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which entries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Entries {
    /// Entries at most; 100 when left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(max_length = 128)]
    after: Option<String>,
    /// By whom, exactly.
    actor: Option<String>,
    /// What, by its beginning: `node.` finds all of nodes.
    action: Option<String>,
    /// To whom or what, exactly.
    subject: Option<String>,
    /// Not before this, in seconds since 1970.
    since: Option<u64>,
    /// Before this, in seconds since 1970.
    until: Option<u64>,
}

/// Lists who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", operation_id = "list_audit",
    security(("token" = [])), params(Entries),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<AuditEntry> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn audit(
    State(app): State<App>,
    _: Auditor,
    Asked(wanted): Asked<Entries>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = paging::request(wanted.limit, wanted.after.as_ref())?;
    let filter = AuditFilter {
        actor: wanted.actor,
        action: wanted.action,
        subject: wanted.subject,
        since: wanted.since,
        until: wanted.until,
    };
    paging::answer(&headers, app.list_audit(&filter, &page).await?)
}
