//! The service over HTTP: routes, who may use them, and the document that describes them.

// What utoipa's macros make of a handler's parameters names them with their path.
#![allow(unused_qualifications)]

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use sterna_control_api::problem::Code;
use utoipa_axum::router::OpenApiRouter;

mod around;
mod auth;
mod body;
mod credentials;
mod devices;
mod health;
mod keys;
mod known;
pub(crate) mod listener;
mod nodes;
mod openapi;
mod paging;
mod people;
mod problem;
mod regions;
mod tokens;
mod ws;

use crate::service::Service;
use crate::service::refusal::Refusal;

pub(crate) use openapi::document;

/// What every handler gets.
pub(crate) type App = Arc<Service>;

/// Where the API is.
const API: &str = "/api/v1";

/// All routes, with what they say of themselves.
fn routes() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .merge(nodes::routes())
        .merge(regions::routes())
        .merge(devices::routes())
        .merge(credentials::routes())
        .merge(keys::routes())
        .merge(tokens::routes())
        .merge(people::routes())
        .merge(ws::routes());
    OpenApiRouter::new().merge(health::routes()).nest(API, api)
}

/// The router with everything around it.
pub(crate) fn router(app: &App) -> Router {
    let (router, _document) = routes().split_for_parts();
    router
        .fallback(async || {
            Refusal::new(Code::NotFound, "no such path; GET /openapi.json lists them")
        })
        .method_not_allowed_fallback(async || {
            Refusal::new(
                Code::MethodNotAllowed,
                "the path has other methods; GET /openapi.json lists them",
            )
        })
        .layer(from_fn_with_state(Arc::clone(app), around::around))
        .with_state(Arc::clone(app))
}
