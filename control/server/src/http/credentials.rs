//! The relay map, TURN credentials, relay tickets.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use sterna_control_api::SignedRelayMap;
use sterna_control_api::credentials::{TicketIssued, TicketRequest, TurnCredentials, TurnRequest};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{AskingDevice, DeviceOrApp, Reader};
use super::body::Json;
use super::known::unless_known;
use super::openapi::Malformed;
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
        Reader, Malformed,
    ))]
async fn relay_map(
    State(app): State<App>,
    _: Reader,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let map = app.relay_map()?;
    let json = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "private, no-cache"),
    ];
    Ok(unless_known(&headers, map.version, || {
        (json, map.json.clone())
    }))
}

/// Time-limited TURN credentials with the URIs of the nearest nodes: of a device for itself, or of an operator's token for the user it names.
#[utoipa::path(post, path = "/turn-credentials", tag = "devices", operation_id = "turn_credentials",
    security(("signature" = []), ("token" = [])), request_body = TurnRequest,
    responses(
        (status = 200, description = "They go into an `RTCPeerConnection` as they are.", body = TurnCredentials),
        DeviceOrApp, Json<TurnRequest>,
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
        AskingDevice, Json<TicketRequest>,
    ))]
async fn ticket(
    State(app): State<App>,
    AskingDevice(device): AskingDevice,
    Json(request): Json<TicketRequest>,
) -> Result<Json<TicketIssued>, Refusal> {
    app.relay_ticket(&device, &request).map(Json)
}
