//! Join tokens, enrolment keys, API tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sterna_control_api::access::{
    NewApiToken, NewEnrolmentKey, NewJoinToken, TokenKind, TokenMade, TokenView,
};
use sterna_control_api::audit::Page;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::{Created, Json, Named};
use super::openapi::NotFound;
use super::paging::{Asked, LISTED, Paging};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make_join_token, list_join_tokens))
        .routes(routes!(make_enrolment_key, list_enrolment_keys))
        .routes(routes!(make_api_token, list_api_tokens))
        .routes(routes!(revoke))
}

/// What is said of every new token.
const MADE: &str = "The token; its secret is shown here and never again.";

/// Makes what lets nodes of a region join.
#[utoipa::path(post, path = "/join-tokens", tag = "tokens", operation_id = "make_join_token",
    security(("token" = [])), request_body = NewJoinToken,
    responses(
        (status = 201, description = MADE, body = TokenMade),
        Operator, Json<NewJoinToken>, NotFound,
    ))]
async fn make_join_token(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewJoinToken>,
) -> Result<Created<TokenMade>, Refusal> {
    app.make_join_token(&person, wanted).await.map(Created)
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/join-tokens", tag = "tokens", operation_id = "list_join_tokens",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = LISTED,
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Paging>,
    ))]
async fn list_join_tokens(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    let page = app.list_tokens(TokenKind::Join, &asked.page).await?;
    asked.form.answer(page)
}

/// Makes what lets devices of a tenant enrol.
#[utoipa::path(post, path = "/enrolment-keys", tag = "tokens", operation_id = "make_enrolment_key",
    security(("token" = [])), request_body = NewEnrolmentKey,
    responses(
        (status = 201, description = MADE, body = TokenMade),
        Operator, Json<NewEnrolmentKey>,
    ))]
async fn make_enrolment_key(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewEnrolmentKey>,
) -> Result<Created<TokenMade>, Refusal> {
    app.make_enrolment_key(&person, wanted).await.map(Created)
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/enrolment-keys", tag = "tokens", operation_id = "list_enrolment_keys",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = LISTED,
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Paging>,
    ))]
async fn list_enrolment_keys(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    let page = app.list_tokens(TokenKind::Enrolment, &asked.page).await?;
    asked.form.answer(page)
}

/// Makes what lets a script call, with at most the role of its maker.
#[utoipa::path(post, path = "/api-tokens", tag = "tokens", operation_id = "make_api_token",
    security(("token" = [])), request_body = NewApiToken,
    responses(
        (status = 201, description = MADE, body = TokenMade),
        Operator, Json<NewApiToken>,
    ))]
async fn make_api_token(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewApiToken>,
) -> Result<Created<TokenMade>, Refusal> {
    app.make_api_token(&person, wanted).await.map(Created)
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/api-tokens", tag = "tokens", operation_id = "list_api_tokens",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = LISTED,
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Paging>,
    ))]
async fn list_api_tokens(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Paging>,
) -> Result<Response, Refusal> {
    let page = app.list_tokens(TokenKind::Api, &asked.page).await?;
    asked.form.answer(page)
}

/// Takes a token of any kind back.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    security(("token" = [])), params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 204, description = "It lets nobody in any more."),
        Operator, Named<String>,
    ))]
async fn revoke(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.revoke_token(&person, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
