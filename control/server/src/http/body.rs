//! What requests carry: bodies with errors that name the field, queries, and names in paths.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sterna_control_api::problem::Code;

use super::around::Arrived;
use super::openapi::refuses;
use crate::service::refusal::Refusal;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, _) = request.into_parts();
        let arrived = Arrived::of(&parts)?;
        if !is_json(&parts.headers) {
            return Err(Refusal::new(
                Code::UnsupportedMediaType,
                "send JSON, with the header content-type: application/json",
            ));
        }
        read(&arrived.body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// What a call has made.
pub(super) struct Created<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// Reads JSON; what is wrong is said with the path of the field.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match path.as_str() {
            "." => Refusal::malformed(format!("the body: {inner}")),
            _ => Refusal::malformed(format!("{path}: {inner}")),
        }
    })?;
    let ended = reader.end();
    ended.map_err(|error| Refusal::malformed(format!("the body: {error}")))?;
    // serde takes a list for an object whose fields it names in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::malformed("the body: it is no object"));
    }
    Ok(read)
}

/// What is asked beside the path.
pub(super) struct Queried<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Queried<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| Refusal::malformed(error.body_text()))
    }
}

/// The one name in the path.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        // What is no name of its kind names nothing.
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let axum::extract::Path(name) = path.map_err(|_| Refusal::not_found())?;
        name.parse().map(Self).map_err(|_| Refusal::not_found())
    }
}

refuses! {
    Json<T>: Malformed, TooLarge, NotJson;
    Queried<T>: Malformed;
    Named<T>: NotFound;
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sterna_control_api::access::NewJoinToken;
    use sterna_control_api::node::RegisterNode;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_said_with_the_path_of_the_field() {
        for (body, part) in [
            (r#"{"region":1,"ttl_s":1}"#, "region: invalid type"),
            (r#"{"region":"eu","ttl_s":-1}"#, "ttl_s: invalid value"),
            (r#"{"region":"eu","ttl_s":1,"x":2}"#, "x: unknown field"),
            (r#"{"region":"eu"}"#, "missing field `ttl_s`"),
            (r#"{"region":"eu","ttl_s":1} x"#, "trailing characters"),
            ("", "the body: EOF"),
            (r#"["eu",1,1,""]"#, "the body: it is no object"),
        ] {
            let refusal = read::<NewJoinToken>(body.as_bytes()).unwrap_err();
            assert!(refusal.detail.contains(part), "{body}: {}", refusal.detail);
            assert_eq!(refusal.status(), 400);
        }
        let body = br#"{"identity":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","noise_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","name":"a","region":"b","version":"c","services":{"stun":["127.0.0.1:1","x"]}}"#;
        let refusal = read::<RegisterNode>(body).unwrap_err();
        assert!(
            refusal.detail.starts_with("services.stun[1]: "),
            "{}",
            refusal.detail
        );
    }
}
