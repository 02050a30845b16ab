//! What a caller may know already: versions as entity tags (RFC 9110 §8.8.3).

use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// The answer with its version as `etag`; without a body where the caller knows the version.
pub(super) fn unless_known<A: IntoResponse>(
    headers: &HeaderMap,
    version: u64,
    answer: impl FnOnce() -> A,
) -> Response {
    let etag = format!("\"{version}\"");
    if is_known(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    ([(ETAG, etag)], answer()).into_response()
}

/// Whether the caller has this already (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        let mut tags = known.split(',').map(str::trim);
        tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}
