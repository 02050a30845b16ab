//! People: login, logout, who there is.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sterna_control_api::access::{Login, NewUser, PatchUser, SessionBegun, UserView};
use sterna_control_api::audit::Page;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Administrator, Anybody, Auditor};
use super::body::{Asked, Json, Named};
use super::openapi::{
    Conflict, Malformed, NotFound, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized,
    Unavailable,
};
use super::paging::{self, Paging};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(list, create))
        .routes(routes!(patch, delete))
}

/// Begins a person's session.
#[utoipa::path(post, path = "/login", tag = "people", operation_id = "login",
    request_body = Login,
    responses(
        (status = 200, description = "The session.", body = SessionBegun),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn login(
    State(app): State<App>,
    _: Anybody,
    Json(login): Json<Login>,
) -> Result<Json<SessionBegun>, Refusal> {
    app.login(login).await.map(Json)
}

/// Ends the caller's session.
#[utoipa::path(post, path = "/logout", tag = "people", operation_id = "logout",
    security(("token" = [])),
    responses(
        (status = 204, description = "It has ended."),
        (status = 401, response = Unauthorized),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn logout(State(app): State<App>, Auditor(person): Auditor) -> Result<StatusCode, Refusal> {
    app.logout(&person).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists people, by name.
#[utoipa::path(get, path = "/users", tag = "people", operation_id = "list_users",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<UserView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list(
    State(app): State<App>,
    _: Administrator,
    Asked(paging): Asked<Paging>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    paging::answer(&headers, app.list_users(&paging.request()?).await?)
}

/// Adds a person.
#[utoipa::path(post, path = "/users", tag = "people", operation_id = "create_user",
    security(("token" = [])), request_body = NewUser,
    responses(
        (status = 201, description = "The person.", body = UserView),
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
    Administrator(person): Administrator,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, Json<UserView>), Refusal> {
    let made = app.create_user(&person, new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a person; everybody may change the own password. A new password ends the person's sessions.
#[utoipa::path(patch, path = "/users/{name}", tag = "people", operation_id = "patch_user",
    security(("token" = [])), params(("name" = String, Path, description = "The name.")), request_body = PatchUser,
    responses(
        (status = 200, description = "The person.", body = UserView),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn patch(
    State(app): State<App>,
    Auditor(person): Auditor,
    Named(name): Named<String>,
    Json(patch): Json<PatchUser>,
) -> Result<Json<UserView>, Refusal> {
    app.patch_user(&person, &name, patch).await.map(Json)
}

/// Takes a person away, unless it is the last administrator.
#[utoipa::path(delete, path = "/users/{name}", tag = "people", operation_id = "delete_user",
    security(("token" = [])), params(("name" = String, Path, description = "The name.")),
    responses(
        (status = 204, description = "The person is gone, and so are the sessions."),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn delete(
    State(app): State<App>,
    Administrator(person): Administrator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.delete_user(&person, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
