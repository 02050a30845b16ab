//! Devices: what they call, and what operators call of them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sterna_control_api::audit::Page;
use sterna_control_api::device::{
    DeviceKeyRotated, DeviceMetrics, DeviceRegistered, DeviceView, Netmap, RegisterDevice,
    RotateDeviceKey, SessionView,
};
use sterna_control_api::{DeviceId, TenantId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::{Auditor, ChangingDevice, Newcomer, Operator, ReadingDevice};
use super::body::{Json, Named};
use super::known::unless_known;
use super::openapi::{Gone, Malformed};
use super::paging::{Asked, LISTED, query};
use crate::service::devices::{State as DeviceState, Wanted};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(netmap))
        .routes(routes!(report))
        .routes(routes!(rotate_key))
        .routes(routes!(list))
        .routes(routes!(show, revoke))
        .routes(routes!(sessions))
}

/// Registers a device: with an enrolment key the first time, by its key alone afterwards.
#[utoipa::path(post, path = "/device/register", tag = "devices", operation_id = "register_device",
    security(("signature" = [])), request_body = RegisterDevice,
    responses(
        (status = 200, description = "It is registered; whom it may talk to, and the nodes.", body = DeviceRegistered),
        Newcomer, Json<RegisterDevice>, Gone,
    ))]
async fn register(
    State(app): State<App>,
    newcomer: Newcomer,
    Json(device): Json<RegisterDevice>,
) -> Result<Json<DeviceRegistered>, Refusal> {
    app.register_device(&newcomer.claims, newcomer.shown.as_ref(), device)
        .await
        .map(Json)
}

/// Whom a device may talk to. `etag` is the version in quotes.
#[utoipa::path(get, path = "/device/{id}/netmap", tag = "devices", operation_id = "netmap",
    security(("signature" = [])), params(("id" = DeviceId, Path, description = "The device's own registration."), ("if-none-match" = Option<String>, Header, description = "The version that is known, in quotes.")),
    responses(
        (status = 200, description = "The netmap.", body = Netmap, headers(("etag" = String, description = "Its version."))),
        (status = 304, description = "The caller has this version."),
        ReadingDevice, Named<DeviceId>, Malformed,
    ))]
async fn netmap(
    State(app): State<App>,
    ReadingDevice(device): ReadingDevice,
    Named(id): Named<DeviceId>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let netmap = app.netmap(&device, &id).await?;
    Ok(unless_known(&headers, netmap.version, || Json(netmap)))
}

/// A device reports its home and its paths.
#[utoipa::path(post, path = "/device/metrics", tag = "devices", operation_id = "device_metrics",
    security(("signature" = [])), request_body = DeviceMetrics,
    responses(
        (status = 204, description = "Taken."),
        ReadingDevice, Json<DeviceMetrics>,
    ))]
async fn report(
    State(app): State<App>,
    ReadingDevice(device): ReadingDevice,
    Json(metrics): Json<DeviceMetrics>,
) -> Result<StatusCode, Refusal> {
    app.report(&device, metrics)?;
    Ok(StatusCode::NO_CONTENT)
}

/// New keys of a device; those before count for a while beside them, and can be taken back.
#[utoipa::path(post, path = "/device/rotate-key", tag = "devices", operation_id = "rotate_device_key",
    security(("signature" = [])), request_body = RotateDeviceKey,
    responses(
        (status = 200, description = "The keys that count now.", body = DeviceKeyRotated),
        ChangingDevice, Json<RotateDeviceKey>,
    ))]
async fn rotate_key(
    State(app): State<App>,
    ChangingDevice(device): ChangingDevice,
    Json(rotate): Json<RotateDeviceKey>,
) -> Result<Json<DeviceKeyRotated>, Refusal> {
    app.rotate_device_key(&device, &rotate).await.map(Json)
}

/// What a device is to an operator.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DeviceStatus {
    /// Connected to the service.
    Online,
    /// Not connected.
    Offline,
    /// Revoked.
    Revoked,
}

query! {
    /// Which devices are wanted.
    struct Devices {
        /// Of this tenant.
        tenant: Option<TenantId>,
        /// In this state.
        #[param(inline)]
        state: Option<DeviceStatus>,
        /// With this in the name.
        q: Option<String>,
    }
}

/// Lists devices, by id.
#[utoipa::path(get, path = "/devices", tag = "devices", operation_id = "list_devices",
    security(("token" = [])), params(Devices),
    responses(
        (status = 200, description = LISTED,
            content((Page<DeviceView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Devices>,
    ))]
async fn list(
    State(app): State<App>,
    _: Auditor,
    Asked { query, page, form }: Asked<Devices>,
) -> Result<Response, Refusal> {
    let wanted = Wanted {
        tenant: query.tenant,
        state: query.state.map(|state| match state {
            DeviceStatus::Online => DeviceState::Online,
            DeviceStatus::Offline => DeviceState::Offline,
            DeviceStatus::Revoked => DeviceState::Revoked,
        }),
        q: query.q,
    };
    form.answer(app.list_devices(&wanted, &page).await?)
}

/// Shows a device.
#[utoipa::path(get, path = "/devices/{id}", tag = "devices", operation_id = "show_device",
    security(("token" = [])), params(("id" = DeviceId, Path, description = "Its registration.")),
    responses(
        (status = 200, description = "The device.", body = DeviceView),
        Auditor, Named<DeviceId>,
    ))]
async fn show(
    State(app): State<App>,
    _: Auditor,
    Named(id): Named<DeviceId>,
) -> Result<Json<DeviceView>, Refusal> {
    app.device(&id).await.map(Json)
}

/// Revokes a device, for good: its connections end, here and at nodes.
#[utoipa::path(delete, path = "/devices/{id}", tag = "devices", operation_id = "revoke_device",
    security(("token" = [])), params(("id" = DeviceId, Path, description = "Its registration.")),
    responses(
        (status = 204, description = "It is revoked."),
        Operator, Named<DeviceId>,
    ))]
async fn revoke(
    State(app): State<App>,
    Operator(person): Operator,
    Named(id): Named<DeviceId>,
) -> Result<StatusCode, Refusal> {
    app.revoke_device(&person, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

query! {
    /// Which paths are wanted.
    struct Sessions: "Devices whose paths are listed at most; 100 when left out." {
        /// Of this tenant.
        tenant: Option<TenantId>,
    }
}

/// Lists the paths between devices, as they reported them last; all paths of a device are on one page.
#[utoipa::path(get, path = "/sessions", tag = "devices", operation_id = "list_sessions",
    security(("token" = [])), params(Sessions),
    responses(
        (status = 200, description = LISTED,
            content((Page<SessionView> = "application/json"), (String = "text/csv"))),
        Auditor, Asked<Sessions>,
    ))]
async fn sessions(
    State(app): State<App>,
    _: Auditor,
    asked: Asked<Sessions>,
) -> Result<Response, Refusal> {
    let page = app.list_sessions(asked.query.tenant, &asked.page).await?;
    asked.form.answer(page)
}
