//! People: login, logout, who there is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sterna_control_api::access::{Login, NewUser, PatchUser, SessionBegun, UserView};
use sterna_control_api::audit::Page;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Administrator, Anybody, Auditor};
use super::body::{Created, Json, Named};
use super::openapi::{Conflict, RoleTooLow, TooLarge, Unauthorized, Unavailable};
use super::paging::{Asked, LISTED, Paging};
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
        Anybody, Json<Login>, Unauthorized, Unavailable,
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
        Auditor, Conflict, TooLarge,
    ))]
async fn logout(State(app): State<App>, Auditor(person): Auditor) -> Result<StatusCode, Refusal> {
    app.logout(&person).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists people, by name.
#[utoipa::path(get, path = "/users", tag = "people", operation_id = "list_users",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = LISTED,
            content((Page<UserView> = "application/json"), (String = "text/csv"))),
        Administrator, Asked<Paging>,
    ))]
async fn list(
    State(app): State<App>,
    _: Administrator,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    asked.form.answer(app.list_users(&asked.page).await?)
}

/// Adds a person.
#[utoipa::path(post, path = "/users", tag = "people", operation_id = "create_user",
    security(("token" = [])), request_body = NewUser,
    responses(
        (status = 201, description = "The person.", body = UserView),
        Administrator, Json<NewUser>, Conflict,
    ))]
async fn create(
    State(app): State<App>,
    Administrator(person): Administrator,
    Json(new): Json<NewUser>,
) -> Result<Created<UserView>, Refusal> {
    app.create_user(&person, new).await.map(Created)
}

/// Changes a person; everybody may change the own password. A new password ends the person's sessions.
#[utoipa::path(patch, path = "/users/{name}", tag = "people", operation_id = "patch_user",
    security(("token" = [])), params(("name" = String, Path, description = "The name.")), request_body = PatchUser,
    responses(
        (status = 200, description = "The person.", body = UserView),
        Auditor, Named<String>, Json<PatchUser>, RoleTooLow, Conflict,
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
        Administrator, Named<String>, Conflict,
    ))]
async fn delete(
    State(app): State<App>,
    Administrator(person): Administrator,
    Named(name): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.delete_user(&person, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
