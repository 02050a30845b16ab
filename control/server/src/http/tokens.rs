//! Join tokens, enrolment keys, API tokens.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sterna_control_api::access::{
    NewApiToken, NewEnrolmentKey, NewJoinToken, TokenKind, TokenMade, TokenView,
};
use sterna_control_api::audit::Page;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, Operator};
use super::body::{Asked, Json, Named};
use super::openapi::{
    Malformed, NotFound, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized, Unavailable,
};
use super::paging::{self, Paging};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make_join_token, list_join_tokens))
        .routes(routes!(make_enrolment_key, list_enrolment_keys))
        .routes(routes!(make_api_token, list_api_tokens))
        .routes(routes!(revoke))
}

/// Makes what lets nodes of a region join.
#[utoipa::path(post, path = "/join-tokens", tag = "tokens", operation_id = "make_join_token",
    security(("token" = [])), request_body = NewJoinToken,
    responses(
        (status = 201, description = "The token; its secret is shown here and never again.", body = TokenMade),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn make_join_token(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewJoinToken>,
) -> Result<(StatusCode, Json<TokenMade>), Refusal> {
    let made = app.make_join_token(&person, wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/join-tokens", tag = "tokens", operation_id = "list_join_tokens",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list_join_tokens(
    State(app): State<App>,
    _: Auditor,
    Asked(paging): Asked<Paging>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = app.list_tokens(TokenKind::Join, &paging.request()?).await?;
    paging::answer(&headers, page)
}

/// Makes what lets devices of a tenant enrol.
#[utoipa::path(post, path = "/enrolment-keys", tag = "tokens", operation_id = "make_enrolment_key",
    security(("token" = [])), request_body = NewEnrolmentKey,
    responses(
        (status = 201, description = "The token; its secret is shown here and never again.", body = TokenMade),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn make_enrolment_key(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewEnrolmentKey>,
) -> Result<(StatusCode, Json<TokenMade>), Refusal> {
    let made = app.make_enrolment_key(&person, wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/enrolment-keys", tag = "tokens", operation_id = "list_enrolment_keys",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list_enrolment_keys(
    State(app): State<App>,
    _: Auditor,
    Asked(paging): Asked<Paging>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = app
        .list_tokens(TokenKind::Enrolment, &paging.request()?)
        .await?;
    paging::answer(&headers, page)
}

/// Makes what lets a script call, with at most the role of its maker.
#[utoipa::path(post, path = "/api-tokens", tag = "tokens", operation_id = "make_api_token",
    security(("token" = [])), request_body = NewApiToken,
    responses(
        (status = 201, description = "The token; its secret is shown here and never again.", body = TokenMade),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn make_api_token(
    State(app): State<App>,
    Operator(person): Operator,
    Json(wanted): Json<NewApiToken>,
) -> Result<(StatusCode, Json<TokenMade>), Refusal> {
    let made = app.make_api_token(&person, wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Lists them without their secrets, by id.
#[utoipa::path(get, path = "/api-tokens", tag = "tokens", operation_id = "list_api_tokens",
    security(("token" = [])), params(Paging),
    responses(
        (status = 200, description = "A page of them; `accept: text/csv` makes it comma-separated values.",
            content((Page<TokenView> = "application/json"), (String = "text/csv"))),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn list_api_tokens(
    State(app): State<App>,
    _: Auditor,
    Asked(paging): Asked<Paging>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let page = app.list_tokens(TokenKind::Api, &paging.request()?).await?;
    paging::answer(&headers, page)
}

/// Takes a token of any kind back.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    security(("token" = [])), params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 204, description = "It lets nobody in any more."),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 404, response = NotFound),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn revoke(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<String>,
) -> Result<StatusCode, Refusal> {
    app.revoke_token(&person, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
