//! Refusals as RFC 9457 problem details.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sterna_control_api::problem::{PROBLEM_JSON, Problem};

use crate::service::refusal::Refusal;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Problem {
            status: status.as_u16(),
            code: self.code,
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: self.detail.clone().into_owned(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Whoever counts reads it there.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt as _;
    use sterna_control_api::problem::Code;

    use super::*;

    // RFC 9457 §3.1.2: "Generators MUST use the same status code in the actual HTTP response". §4.2.1: "When
    // "about:blank" is used, the title SHOULD be the same as the recommended HTTP status phrase for
    // that code".
    #[tokio::test]
    async fn a_refusal_is_a_problem_of_its_own_status_and_of_no_type() {
        for (code, status, title) in [
            (Code::Malformed, 400, "Bad Request"),
            (Code::StaleSignature, 401, "Unauthorized"),
            (Code::NotFound, 404, "Not Found"),
            (Code::TooMany, 429, "Too Many Requests"),
            (Code::Unknown, 500, "Internal Server Error"),
        ] {
            let response = Refusal::new(code, "why").into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let members: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(members["status"], status);
            assert_eq!(members["title"], title);
            assert_eq!(members["detail"], "why");
            assert!(members.get("type").is_none());
        }
    }
}
