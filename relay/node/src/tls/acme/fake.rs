//! An authority in memory that says what a test wants to hear, so that each failure can be had.
//! That the protocol is spoken right is shown by one that we did not write (`tests/acme.rs`).
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde_json::{Value, json};

/// The directory of the tests.
pub(super) const DIRECTORY: &str = "https://ca.example/dir";

/// What a path answers: a status and a body.
type Script = HashMap<&'static str, (u16, Value)>;

/// The authority.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    script: Script,
    asked: Vec<String>,
    unreachable: bool,
    finalized: bool,
}

impl Fake {
    /// One that issues `issued` without more ado, for a name that it has verified before.
    pub(super) fn new(issued: &str) -> Self {
        let fake = Self::default();
        let url = |path: &str| format!("https://ca.example{path}");
        let order = json!({
            "status": "ready", "authorizations": [url("/authz")], "finalize": url("/finalize"), "certificate": url("/cert"),
            "identifiers": [{ "type": "dns", "value": "relay.example" }],
        });
        let with = |order: &Value, status: &str| {
            let mut order = order.clone();
            order["status"] = status.into();
            order
        };
        let directory = json!({ "newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/order") });
        for (path, status, body) in [
            ("/dir", 200, directory),
            ("/nonce", 200, Value::Null),
            ("/account", 201, json!({ "status": "valid" })),
            ("/order", 201, with(&order, "pending")),
            ("/order/1", 200, order.clone()),
            ("/authz", 200, authorization("valid", &json!([]))),
            ("/challenge", 200, challenge("pending", &Value::Null)),
            ("/finalize", 200, with(&order, "processing")),
            ("/cert", 200, Value::String(issued.to_owned())),
        ] {
            fake.says(path, status, body);
        }
        fake
    }

    /// Answers a path so from now on.
    pub(super) fn says(&self, path: &'static str, status: u16, body: Value) {
        self.0.lock().unwrap().script.insert(path, (status, body));
    }

    /// Refuses a path with a problem from now on.
    pub(super) fn refuses(&self, path: &'static str, kind: &str) {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        self.says(
            path,
            403,
            json!({ "type": kind, "detail": "the authority's\nown words" }),
        );
    }

    pub(super) fn is_unreachable(&self, unreachable: bool) {
        self.0.lock().unwrap().unreachable = unreachable;
    }

    /// How often a path was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        let state = self.0.lock().unwrap();
        state.asked.iter().filter(|asked| *asked == path).count()
    }

    fn answer(&self, path: &str) -> Result<Response<Full<Bytes>>, Error> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(path.to_owned());
        if state.unreachable {
            return Err(Error::Other("connection refused".into()));
        }
        let (status, mut body) = state.script[path].clone();
        match path {
            "/order" => state.finalized = false,
            "/finalize" => state.finalized = true,
            // RFC 8555 §7.1.6: what is finalized becomes valid.
            "/order/1" if state.finalized => body["status"] = "valid".into(),
            _ => {}
        }
        let body = match body {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let headers = response.headers_mut();
        headers.insert("replay-nonce", "nonce".parse().unwrap());
        let location = if path == "/order" { "/order/1" } else { path };
        headers.insert(
            "location",
            format!("https://ca.example{location}").parse().unwrap(),
        );
        Ok(response)
    }
}

/// An authorization of `relay.example`.
pub(super) fn authorization(status: &str, challenges: &Value) -> Value {
    json!({ "status": status, "identifier": { "type": "dns", "value": "relay.example" }, "challenges": challenges })
}

/// A TLS-ALPN-01 challenge.
pub(super) fn challenge(status: &str, error: &Value) -> Value {
    json!({
        "type": "tls-alpn-01", "url": "https://ca.example/challenge", "token": "token", "status": status, "error": error,
    })
}

impl HttpClient for Fake {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.answer(request.uri().path());
        Box::pin(ready(answer.map(BytesResponse::from)))
    }
}
