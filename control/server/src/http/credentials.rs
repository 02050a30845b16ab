//! The relay map, TURN credentials, relay tickets.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sterna_control_api::SignedRelayMap;
use sterna_control_api::credentials::{TicketIssued, TicketRequest, TurnCredentials, TurnRequest};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{AskingDevice, DeviceOrApp, Reader};
use super::body::Json;
use super::openapi::{
    Conflict, Gone, Malformed, NotJson, RoleTooLow, TooLarge, TooMany, Unauthorized, Unavailable,
};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(relay_map))
        .routes(routes!(turn))
        .routes(routes!(ticket))
}

/// The ready nodes, signed. `etag` is the version in quotes.
#[utoipa::path(get, path = "/relay-map", tag = "devices", operation_id = "relay_map",
    security(("signature" = []), ("token" = [])), params(("if-none-match" = Option<String>, Header, description = "The version that is known, in quotes.")),
    responses(
        (status = 200, description = "The map.", body = SignedRelayMap, headers(("etag" = String, description = "Its version."))),
        (status = 304, description = "The caller has this version."),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 409, response = Conflict),
        (status = 410, response = Gone),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn relay_map(
    State(app): State<App>,
    _: Reader,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let map = app.relay_map()?;
    let etag = version_tag(map.version);
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (ETAG, etag),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    Ok((headers, map.json.clone()).into_response())
}

/// The version of something as an entity tag.
pub(super) fn version_tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Whether the caller has this already (RFC 9110 §13.1.2).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        let mut tags = known.split(',').map(str::trim);
        tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

/// Time-limited TURN credentials with the URIs of the nearest nodes: of a device for itself, or of an operator's token for the user it names.
#[utoipa::path(post, path = "/turn-credentials", tag = "devices", operation_id = "turn_credentials",
    security(("signature" = []), ("token" = [])), request_body = TurnRequest,
    responses(
        (status = 200, description = "They go into an `RTCPeerConnection` as they are.", body = TurnCredentials),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 403, response = RoleTooLow),
        (status = 409, response = Conflict),
        (status = 410, response = Gone),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn turn(
    State(app): State<App>,
    caller: DeviceOrApp,
    Json(request): Json<TurnRequest>,
) -> Result<Json<TurnCredentials>, Refusal> {
    let device = match &caller {
        DeviceOrApp::Device(device) => Some(&**device),
        DeviceOrApp::App => None,
    };
    app.turn_credentials(device, &request).map(Json)
}

/// A relay ticket: what a device shows a node of the flow relay.
#[utoipa::path(post, path = "/relay-tickets", tag = "devices", operation_id = "relay_ticket",
    security(("signature" = [])), request_body = TicketRequest,
    responses(
        (status = 200, description = "The ticket.", body = TicketIssued),
        (status = 400, response = Malformed),
        (status = 401, response = Unauthorized),
        (status = 409, response = Conflict),
        (status = 410, response = Gone),
        (status = 413, response = TooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = TooMany),
        (status = 503, response = Unavailable),
    ))]
async fn ticket(
    State(app): State<App>,
    AskingDevice(device): AskingDevice,
    Json(request): Json<TicketRequest>,
) -> Result<Json<TicketIssued>, Refusal> {
    app.relay_ticket(&device, &request).map(Json)
}
