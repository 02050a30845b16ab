//! What the admin listener serves.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use sterna_turn::{AllocationId, Revoke};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Admin;
use super::guard;
use super::handle::NodeState;
use super::problem::Problem;
use super::views::{Allocation, DrainRequest, Ended, Page, Paging, Reloaded, Status};

/// No request of this API is larger.
const BODY_BYTES_MAX: usize = 4096;

/// Longer than any answer takes: the workers are given two seconds.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The frame of the document; paths come with the routes.
#[derive(OpenApi)]
#[openapi(info(
    title = "Sterna node administration",
    description = "Health, metrics and administration of one relay node. Administration needs the token of admin.token; \
                   on loopback none is needed unless one is set.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Document;

/// The routes, and the document that describes them.
pub(super) fn routes() -> (OpenApiRouter<Admin>, OpenApiRouter<Admin>) {
    let open = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(openapi));
    let guarded = OpenApiRouter::new()
        .routes(routes!(list_allocations))
        .routes(routes!(end_allocation))
        .routes(routes!(end_user))
        .routes(routes!(super::flows::list_flows))
        .routes(routes!(super::flows::revoke_flows))
        .routes(routes!(drain, undrain))
        .routes(routes!(super::control::show_link))
        .routes(routes!(reload))
        .routes(routes!(show_config));
    (open, guarded)
}

/// The router with everything around it.
pub(super) fn router(admin: Admin) -> Router {
    let (open, guarded) = routes();
    let guarded = guarded.layer(from_fn_with_state(admin.clone(), guard::authorized));
    let (router, _document) = open.merge(guarded).split_for_parts();
    router
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no such path; GET /openapi.json lists them",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "the path has other methods; GET /openapi.json lists them",
            )
        })
        .layer(from_fn_with_state(admin.clone(), guard::same_site))
        .layer(from_fn(in_time))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

/// `openapi.json`.
pub(super) fn document() -> String {
    let (open, guarded) = routes();
    let mut document = open.merge(guarded).split_for_parts().1;
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let mut text = document
        .to_pretty_json()
        .expect("invariant: the document is JSON");
    text.push('\n');
    text
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the node did not answer in time",
        )
        .into_response(),
    }
}

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It runs.", body = Status)))]
async fn healthz(State(admin): State<Admin>) -> Json<Status> {
    Json(Status {
        state: admin.node.state().as_str(),
    })
}

/// Whether the node takes new sessions: for load balancers and probes.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "It does.", body = Status),
    (status = 503, description = "It starts, drains, or is cordoned.", body = Status),
))]
async fn readyz(State(admin): State<Admin>) -> (StatusCode, Json<Status>) {
    let state = admin.node.state();
    let status = if state == NodeState::Ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(Status {
            state: state.as_str(),
        }),
    )
}

/// The metrics page in Prometheus' text format; docs/METRICS.md describes each.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain", body = String)))]
async fn metrics(State(admin): State<Admin>) -> Response {
    let snapshot = admin.node.snapshot().await;
    let page = admin.page.render(&snapshot, &admin.node.config());
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
        .into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, content_type = "application/json", body = String)))]
async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], document()).into_response()
}

/// Lists the allocations, page by page.
#[utoipa::path(get, path = "/allocations", params(Paging), security(("token" = [])), responses(
    (status = 200, body = Page),
    (status = 400, description = "The parameters are wrong.", body = Problem),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
))]
async fn list_allocations(
    State(admin): State<Admin>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(paging) =
        paging.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    if paging.limit == 0 || paging.limit > Paging::LIMIT_MAX {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "limit is 1 to 1000"));
    }
    let after = paging.after.as_deref().map(parse_id).transpose()?;
    let mut views = admin.node.allocations().await;
    let total = views.len();
    views.retain(|view| after.is_none_or(|after| view.id > after));
    views.sort_unstable_by_key(|view| view.id);
    let more = views.len() > paging.limit;
    views.truncate(paging.limit);
    let next = views
        .last()
        .filter(|_| more)
        .map(|view| view.id.to_string());
    Ok(Json(Page {
        allocations: views.into_iter().map(Allocation::from).collect(),
        total,
        next,
    }))
}

/// Ends one allocation.
#[utoipa::path(delete, path = "/allocations/{id}", security(("token" = [])),
    params(("id" = String, Path, description = "16 hexadecimal digits.")),
    responses(
        (status = 200, body = Ended),
        (status = 400, description = "That is no name of an allocation.", body = Problem),
        (status = 401, description = "The token is missing or wrong.", body = Problem),
        (status = 404, description = "There is no such allocation.", body = Problem),
    ))]
async fn end_allocation(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Ended>, Problem> {
    match admin.node.revoke(Revoke::Allocation(parse_id(&id)?)).await {
        0 => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "there is no such allocation (any more)",
        )),
        ended => Ok(Json(Ended { ended })),
    }
}

/// Ends all allocations of a user; take the user out of the configuration first, or he comes back.
#[utoipa::path(delete, path = "/users/{name}/allocations", security(("token" = [])),
    params(("name" = String, Path, description = "The user; of a time-limited name the part behind the colon.")),
    responses(
        (status = 200, body = Ended),
        (status = 401, description = "The token is missing or wrong.", body = Problem),
    ))]
async fn end_user(State(admin): State<Admin>, Path(name): Path<String>) -> Json<Ended> {
    Json(Ended {
        ended: admin.node.revoke(Revoke::User(name)).await,
    })
}

/// Takes no new sessions; the node ends with the last one, or at the deadline.
#[utoipa::path(post, path = "/drain", security(("token" = [])), request_body = Option<DrainRequest>, responses(
    (status = 202, body = Status),
    (status = 400, description = "The body is wrong.", body = Problem),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
))]
async fn drain(
    State(admin): State<Admin>,
    request: Result<Option<Json<DrainRequest>>, JsonRejection>,
) -> Result<(StatusCode, Json<Status>), Problem> {
    let request =
        request.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let deadline_s = request.unwrap_or_default().deadline_s;
    admin
        .node
        .drain(deadline_s.map(|seconds| Duration::from_secs(seconds.into())))
        .await;
    Ok((
        StatusCode::ACCEPTED,
        Json(Status {
            state: NodeState::Draining.as_str(),
        }),
    ))
}

/// Calls a drain off: takes new sessions again.
#[utoipa::path(delete, path = "/drain", security(("token" = [])), responses(
    (status = 200, body = Status),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
))]
async fn undrain(State(admin): State<Admin>) -> Json<Status> {
    admin.node.undrain().await;
    Json(Status {
        state: admin.node.state().as_str(),
    })
}

/// Reads the configuration again: users, secrets, certificates, policy and limits, without touching
/// a session. The answer comes when every thread of the node works by it, or after two seconds.
#[utoipa::path(post, path = "/reload", security(("token" = [])), responses(
    (status = 200, body = Reloaded),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
    (status = 422, description = "The configuration is wrong; the running one stays.", body = Problem),
))]
async fn reload(State(admin): State<Admin>) -> Result<Json<Reloaded>, Problem> {
    match admin.node.reload().await {
        Ok(reloaded) => Ok(Json(reloaded.into())),
        Err(error) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.to_string(),
        )),
    }
}

/// The running configuration, secrets replaced.
#[utoipa::path(get, path = "/config", security(("token" = [])), responses(
    (status = 200, body = Object),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
))]
async fn show_config(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(admin.node.config().redacted())
}

fn parse_id(text: &str) -> Result<AllocationId, Problem> {
    let wrong = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "an allocation's name is 16 hexadecimal digits",
        )
    };
    if text.len() != 16 {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}
