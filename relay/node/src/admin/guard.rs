//! Who may use the admin listener.
//!
//! Administration needs the token where there is one, and there must be one beyond loopback. On
//! loopback without a token the danger is the browser on the same machine: a page that rebinds its
//! own name to 127.0.0.1 shows a foreign Host, a page that posts across sites shows a foreign
//! Origin. Both are refused.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sterna_daemon::log::Repeated;
use tracing::warn;

use super::Admin;
use super::problem::Problem;
use crate::config::Secret;

static WRONG_TOKENS: Repeated = Repeated::new();

/// Lets a request pass that no foreign page in a browser has made.
pub(super) async fn same_site(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if admin.listen.ip().is_loopback() && !is_same_site(request.headers()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a page of another site may not use this listener; name it by address or as localhost",
        ));
    }
    Ok(next.run(request).await)
}

/// Lets a request pass that shows the token, where one is needed.
pub(super) async fn authorized(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let config = admin.node.config();
    if !is_authorized(admin.listen, config.admin.token.as_ref(), request.headers()) {
        if let Some(times) = WRONG_TOKENS.due() {
            warn!(times, "requests for administration without the right token");
        }
        return Err(Problem::unauthorized());
    }
    Ok(next.run(request).await)
}

fn is_authorized(listen: SocketAddr, token: Option<&Secret>, headers: &HeaderMap) -> bool {
    // A reload may take the token away while the listener stays where it is.
    let Some(token) = token else {
        return listen.ip().is_loopback();
    };
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = shown.and_then(|value| value.split_at_checked(7));
    bearer.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(shown)
    })
}

fn is_same_site(headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .map(|value| value.to_str().unwrap_or_default());
    let origin = headers
        .get(ORIGIN)
        .map(|value| value.to_str().unwrap_or_default());
    host.is_none_or(is_local_name)
        && origin.is_none_or(|origin| {
            origin
                .parse::<Uri>()
                .ok()
                .and_then(|origin| origin.authority().map(|of| Some(of.as_str()) == host))
                == Some(true)
        })
}

/// Only a name can be rebound, an address can't.
fn is_local_name(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _port)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_name_that_was_rebound_to_loopback_is_refused() {
        for host in [
            "127.0.0.1:9478",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9478",
            "192.0.2.1",
        ] {
            assert!(is_same_site(&headers(&[("host", host)])), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9478",
            "127.0.0.1.evil.example:9478",
            "localhost.evil.example",
            "",
        ] {
            assert!(!is_same_site(&headers(&[("host", host)])), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let local = ("host", "127.0.0.1:9478");
        assert!(is_same_site(&headers(&[
            local,
            ("origin", "http://127.0.0.1:9478")
        ])));
        for origin in ["https://evil.example", "http://127.0.0.1:80", "null", ""] {
            assert!(
                !is_same_site(&headers(&[local, ("origin", origin)])),
                "{origin}"
            );
        }
    }

    #[test]
    fn the_token_is_asked_for_where_there_is_one_and_always_beyond_loopback() {
        let (loopback, public) = (
            "127.0.0.1:1".parse().unwrap(),
            "192.0.2.1:1".parse().unwrap(),
        );
        let token = Secret::new("tide");
        let right = headers(&[("authorization", "Bearer tide")]);
        assert!(is_authorized(loopback, None, &headers(&[])));
        assert!(!is_authorized(public, None, &right));
        for addr in [loopback, public] {
            assert!(is_authorized(addr, Some(&token), &right));
            assert!(is_authorized(
                addr,
                Some(&token),
                &headers(&[("authorization", "bearer tide")])
            ));
            for wrong in [
                "Bearer tid",
                "Bearer tide ",
                "Basic tide",
                "tide",
                "Bearer ",
            ] {
                assert!(
                    !is_authorized(addr, Some(&token), &headers(&[("authorization", wrong)])),
                    "{wrong}"
                );
            }
            assert!(!is_authorized(addr, Some(&token), &headers(&[])));
        }
    }
}
