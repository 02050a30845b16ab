//! Regions.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sterna_control_api::audit::Page;
use sterna_control_api::region::{PatchRegion, Region};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::{Asked, Json, Named};
use super::openapi::{
    Conflict, Malformed, NotFound, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized,
    Unavailable,
};
use super::paging::{self, Paging};
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
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<Region> = "application/json"), (String = "text/csv"))),
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
    paging::answer(&headers, app.list_regions(&paging.request()?))
}

/// Makes a region.
#[utoipa::path(post, path = "/regions", tag = "regions", operation_id = "create_region",
    security(("token" = [])), request_body = Region,
    responses(
        (status = 201, description = "The region.", body = Region),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn create(
    State(app): State<App>,
    Operator(person): Operator,
    Json(region): Json<Region>,
) -> Result<(StatusCode, Json<Region>), Refusal> {
    let made = app.create_region(&person, &region).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a region.
#[utoipa::path(patch, path = "/regions/{code}", tag = "regions", operation_id = "patch_region",
    security(("token" = [])), params(("code" = String, Path, description = "Its code.")), request_body = PatchRegion,
    responses(
        (status = 200, description = "The region.", body = Region),
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
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn delete(
    State(app): State<App>,
    Operator(person): Operator,
    Named(code): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.delete_region(&person, &code).await?;
    Ok(StatusCode::NO_CONTENT)
}
