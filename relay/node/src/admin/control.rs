//! The link to the control service, as the admin listener shows it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sterna_control_api::node::DesiredState;
use utoipa::ToSchema;

use super::Admin;
use super::problem::Problem;
use crate::control_link::LinkFigures;

/// How the node stands with its control service.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ControlLink {
    /// Where the service is; empty: the node stands alone.
    url: String,
    /// Whether the service knows the node and was heard within three heartbeats.
    registered: bool,
    /// Seconds since the service answered last, or since the node's start where it has not yet.
    heartbeat_age_s: f64,
    /// Whether the node reaches itself at an address that it tells devices.
    reachable: bool,
    /// What is wrong at the moment; none while the service answers.
    trouble: Option<String>,
    /// `starting`, `ready`, `cordoned` or `draining`: what the node does.
    state: &'static str,
    /// What it follows; none before the service has answered for the first time.
    orders: Option<OrdersView>,
}

/// The orders that the node follows, also after a restart without the service.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrdersView {
    /// Grows with each change.
    version: u64,
    /// When they were given, in seconds since 1970.
    issued: u64,
    /// The fleet that the node belongs to.
    fleet: String,
    /// `ready`, `cordoned` or `draining`: what the fleet's operator wants.
    state: &'static str,
}

/// Shows how the node stands with its control service.
#[utoipa::path(get, path = "/control", security(("token" = [])), responses(
    (status = 200, body = ControlLink),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
))]
pub(super) async fn show_link(State(admin): State<Admin>) -> Json<ControlLink> {
    let LinkFigures {
        registered,
        heartbeat_age_s,
        reachable,
        orders,
        trouble,
        ..
    } = admin.node.snapshot().await.control;
    Json(ControlLink {
        url: admin.node.config().control.url.clone(),
        registered,
        heartbeat_age_s,
        reachable,
        trouble,
        state: admin.node.state().as_str(),
        orders: orders.map(|orders| OrdersView {
            version: orders.version,
            issued: orders.issued,
            fleet: orders.fleet,
            state: match orders.state {
                DesiredState::Ready => "ready",
                DesiredState::Cordoned => "cordoned",
                DesiredState::Draining => "draining",
            },
        }),
    })
}
