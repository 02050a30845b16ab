//! Keys, what is no longer admitted, and the audit log.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sterna_control_api::audit::{AuditEntry, Page};
use sterna_control_api::node::Revocations;
use sterna_control_api::rotation::{KeyView, RotateKeys};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::Json;
use super::openapi::{Conflict, NotFound};
use super::paging::{Asked, LISTED, Paging, query};
use crate::domain::AuditFilter;
use crate::service::refusal::Refusal;
use crate::service::texts;

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
        (status = 200, description = LISTED,
            content((Page<KeyView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Paging>,
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    // There are few: all of them are one page.
    asked.form.answer(app.list_keys().await?)
}

/// Takes the next step of a rotation. Promotion waits until every node knows the next key, unless forced.
#[utoipa::path(post, path = "/keys/rotate", tag = "keys", operation_id = "rotate_keys",
    security(("token" = [])), request_body = RotateKeys,
    responses(
        (status = 200, description = "The keys of the purpose.", body = Page<KeyView>),
        Operator, Json<RotateKeys>, Conflict,
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
        Operator, Json<Revocations>, NotFound,
    ))]
async fn revoke(
    State(app): State<App>,
    Operator(person): Operator,
    Json(revocations): Json<Revocations>,
) -> Result<StatusCode, Refusal> {
    app.revoke(&person, &revocations).await?;
    Ok(StatusCode::NO_CONTENT)
}

query! {
    /// Which entries are wanted.
    struct Entries {
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
}

/// Lists who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", operation_id = "list_audit",
    security(("token" = [])), params(Entries),
    responses(
        (status = 200, description = LISTED,
            content((Page<AuditEntry> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Entries>,
    ))]
async fn audit(
    State(app): State<App>,
    _: Auditor,
    Asked { query, page, form }: Asked<Entries>,
) -> Result<Response, Refusal> {
    for (field, at) in [("since", query.since), ("until", query.until)] {
        texts::within(field, at.unwrap_or_default(), 0, i64::MAX as u64)?;
    }
    let filter = AuditFilter {
        actor: query.actor,
        action: query.action,
        subject: query.subject,
        since: query.since,
        until: query.until,
    };
    form.answer(app.list_audit(&filter, &page).await?)
}
