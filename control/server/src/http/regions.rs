//! Regions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sterna_control_api::audit::Page;
use sterna_control_api::region::{PatchRegion, Region};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::{Created, Json, Named};
use super::openapi::Conflict;
use super::paging::{Asked, LISTED, Paging};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(patch, delete))
}

/// Lists regions, by code.
#[utoipa::path(get, path = "/regions", tag = "regions", operation_id = "list_regions",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = LISTED,
            content((Page<Region> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Paging>,
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    asked.form.answer(app.list_regions(&asked.page))
}

/// Makes a region.
#[utoipa::path(post, path = "/regions", tag = "regions", operation_id = "create_region",
    security(("token" = [])), request_body = Region,
    responses(
        (status = 201, description = "The region.", body = Region),
        Operator, Json<Region>, Conflict,
    ))]
async fn create(
    State(app): State<App>,
    Operator(person): Operator,
    Json(region): Json<Region>,
) -> Result<Created<Region>, Refusal> {
    app.create_region(&person, &region).await.map(Created)
}

/// Changes a region.
#[utoipa::path(patch, path = "/regions/{code}", tag = "regions", operation_id = "patch_region",
    security(("token" = [])), params(("code" = String, Path, description = "Its code.")), request_body = PatchRegion,
    responses(
        (status = 200, description = "The region.", body = Region),
        Operator, Named<String>, Json<PatchRegion>,
    ))]
async fn patch(
    State(app): State<App>,
    Operator(person): Operator,
    Named(code): Named<String>,
    Json(patch): Json<PatchRegion>,
) -> Result<Json<Region>, Refusal> {
    app.patch_region(&person, &code, &patch).await.map(Json)
}

/// Takes a region away that has no nodes.
#[utoipa::path(delete, path = "/regions/{code}", tag = "regions", operation_id = "delete_region",
    security(("token" = [])), params(("code" = String, Path, description = "Its code.")),
    responses(
        (status = 204, description = "It is gone."),
        Operator, Named<String>, Conflict,
    ))]
async fn delete(
    State(app): State<App>,
    Operator(person): Operator,
    Named(code): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.delete_region(&person, &code).await?;
    Ok(StatusCode::NO_CONTENT)
}
