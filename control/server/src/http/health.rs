//! Health, metrics and the document: for probes, scrapers and tools. None of it asks who calls.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sterna_control_api::node::NodeStatus;
use sterna_control_api::rotation::{KeyPurpose, KeyStage};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::body::Json;
use super::openapi::{TooMany, Unavailable};
use crate::metrics;
use crate::service::refusal::Refusal;

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// `running`, `ready`, `stopping`.
    state: &'static str,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(show_metrics))
        .routes(routes!(openapi))
}

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "health", responses(
    (status = 200, description = "It runs.", body = Status),
    TooMany,
))]
async fn healthz() -> Json<Status> {
    Json(Status { state: "running" })
}

/// Whether the service answers: its database does, and it does not go away.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It does.", body = Status),
    TooMany,
    Unavailable,
))]
async fn readyz(State(app): State<App>) -> Result<Json<Status>, Refusal> {
    if app.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::unavailable("the service is going down"));
    }
    app.relay_map()?;
    app.answered(app.store.ping().await)?;
    Ok(Json(Status { state: "ready" }))
}

/// The metrics page in Prometheus' text format; docs/CONTROL_METRICS.md describes each.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The page.", content_type = "text/plain", body = String),
    TooMany,
))]
async fn show_metrics(State(app): State<App>) -> Response {
    gauges(&app);
    let page = metrics::render(&app.metrics);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses(
    (status = 200, description = "The document.", content_type = "application/json", body = serde_json::Value),
    TooMany,
))]
async fn openapi() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(super::document);
    let headers = [(CONTENT_TYPE, "application/json")];
    (StatusCode::OK, headers, DOCUMENT.as_str()).into_response()
}

/// Sets what is not counted where it happens.
fn gauges(app: &App) {
    let page = &app.metrics;
    let database = match app.config.database_url().split(':').next() {
        Some("sqlite") => "sqlite",
        _ => "postgresql",
    };
    page.set(
        metrics::BUILD_INFO,
        &[env!("CARGO_PKG_VERSION"), database],
        1_u64,
    );
    page.set_f64(metrics::UPTIME, &[], app.started.elapsed().as_secs_f64());
    page.set(
        metrics::CONNECTIONS,
        &[],
        app.connections.load(Ordering::Relaxed),
    );
    page.set(
        metrics::WEBSOCKETS,
        &[],
        app.websockets.load(Ordering::Relaxed),
    );
    page.set(metrics::HEARTBEATS_HELD, &[], app.held.len());
    page.set(metrics::DEVICES_ONLINE, &[], app.hub.len() as u64);
    page.set(
        metrics::MAP_VERSION,
        &[],
        app.relay_map().map_or(0, |map| map.version),
    );
    let view = app.view.load();
    let mut by_status = [0_u64; 5];
    let (mut behind, mut orders) = (0_u64, view.orders);
    app.live.each(app.now(), |node, status| {
        by_status[index(status)] += 1;
        let wanted = node.orders.max(view.orders);
        orders = orders.max(wanted);
        let follows = node.heartbeat.as_ref().map_or(0, |last| last.report.orders);
        behind += u64::from(status != NodeStatus::Lost && follows < wanted);
    });
    for (name, count) in ["ready", "unproved", "cordoned", "draining", "lost"]
        .iter()
        .zip(by_status)
    {
        page.set(metrics::NODES, &[name], count);
    }
    page.set(metrics::NODES_ORDERS_BEHIND, &[], behind);
    page.set(metrics::ORDERS_VERSION, &[], orders);
    for (purpose, purpose_name) in [(KeyPurpose::Signing, "signing"), (KeyPurpose::Turn, "turn")] {
        for (stage, stage_name) in [
            (KeyStage::Next, "next"),
            (KeyStage::Current, "current"),
            (KeyStage::Previous, "previous"),
        ] {
            let keys = view.keys.iter();
            let count = keys.filter(|key| key.purpose == purpose && key.stage == stage);
            page.set(
                metrics::KEYS,
                &[purpose_name, stage_name],
                count.count() as u64,
            );
        }
    }
}

fn index(status: NodeStatus) -> usize {
    match status {
        NodeStatus::Ready => 0,
        NodeStatus::Unproved => 1,
        NodeStatus::Cordoned => 2,
        NodeStatus::Draining => 3,
        NodeStatus::Lost => 4,
    }
}
