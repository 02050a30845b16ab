//! What is around every request: the address's rate, the body's size, the time that it may take,
//! and the counters.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use sterna_control_api::limits::{BODY_BYTES_MAX, HEARTBEAT_WAIT_MS_MAX};
use sterna_control_api::problem::Code;

use super::App;
use super::listener::Connection;
use crate::metrics::{AUTH_FAILURES, LATENCY, RATE_LIMITED, REQUESTS};
use crate::service::refusal::{Proof, Refusal};

/// A request whose body is here.
#[derive(Clone)]
pub(super) struct Arrived {
    /// By which rates are counted.
    pub(super) addr: IpAddr,
    /// The whole body; empty when there is none.
    pub(super) body: Bytes,
}

impl Arrived {
    pub(super) fn of(parts: &Parts) -> Result<&Self, Refusal> {
        parts.extensions.get().ok_or_else(Refusal::internal)
    }
}

/// How long an answer was held back on purpose.
#[derive(Clone, Copy)]
pub(super) struct Held(pub(super) Duration);

/// The longest time for which one is.
const HELD_MAX: Duration = Duration::from_millis(HEARTBEAT_WAIT_MS_MAX as u64);
/// The path whose answers are.
const HELD_PATH: &str = "/heartbeat";

/// The layer.
pub(super) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let addr = address(&app, &request);
    let mut within = Duration::from_secs(app.config.limits.request_s_max.into());
    if route.ends_with(HELD_PATH) {
        within += HELD_MAX;
    }
    let answered = tokio::time::timeout(within, answer(&app, addr, request, next)).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_elapsed) => {
            Refusal::unavailable("the request took too long; try again").into_response()
        }
    };
    count(&app, addr, &route, &response);
    let latency = app.metrics.histogram(LATENCY, &[&route]);
    let held = response.extensions().get::<Held>();
    let held = held.map_or(Duration::ZERO, |Held(time)| *time);
    latency.record(begun.elapsed().saturating_sub(held));
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn answer(
    app: &App,
    addr: IpAddr,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    app.rates.address(addr)?;
    let (mut parts, body) = request.into_parts();
    let body = arrive(&parts.headers, body).await?;
    parts.extensions.insert(Arrived { addr, body });
    Ok(next.run(Request::from_parts(parts, Body::empty())).await)
}

/// Reads the body, as far as any is read.
async fn arrive(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(
            Code::TooLarge,
            format!("the body is longer than {BODY_BYTES_MAX} bytes"),
        )
    };
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::malformed("the body did not arrive whole")),
    }
}

/// The caller's address, which is the proxy's word where one stands in front.
fn address(app: &App, request: &Request) -> IpAddr {
    let peer = request
        .extensions()
        .get::<Connection>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |connection| {
            connection.peer.ip()
        });
    if !app.config.control.behind_proxy {
        return peer;
    }
    let header = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .next_back();
    let last = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next());
    last.and_then(|text| text.trim().parse().ok())
        .unwrap_or(peer)
}

fn count(app: &App, addr: IpAddr, route: &str, response: &Response) {
    let code = response.status();
    app.metrics.count(REQUESTS, &[route, code.as_str()]);
    let Some(refusal) = response.extensions().get::<Refusal>() else {
        return;
    };
    if let Some(scope) = refusal.scope {
        app.metrics.count(RATE_LIMITED, &[scope]);
    }
    if let Some(proof) = refusal.proof {
        app.metrics.count(AUTH_FAILURES, &[proof.as_str()]);
        // Who has proved who it is, or has shown nothing at all, guesses nothing.
        if !matches!(
            proof,
            Proof::Missing | Proof::RoleTooLow | Proof::NotTheirs | Proof::Stale | Proof::Replayed
        ) {
            app.rates.failed_attempt(addr);
        }
    }
}
