//! A server that answers as a test tells it to, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sterna_control_api::signature::{self, Claims, SignatureError, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Caller, ControlClient, Edges, Options};
use sterna_control_api::SigningKey;

/// The clock of both sides.
pub(super) const NOW: u64 = 1_700_000_000;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Verifies the signature, from nothing but what came.
    pub(super) fn claims(&self) -> Result<Claims, SignatureError> {
        let target = Target {
            method: &self.method,
            authority: self.header(HOST.as_str()).unwrap(),
            path: &self.path,
            query: &self.query,
            authorization: self.header(AUTHORIZATION.as_str()).unwrap_or_default(),
            body: &self.body,
        };
        let input = self.header("signature-input").unwrap_or_default();
        let signature = self.header("signature").unwrap_or_default();
        signature::verify(
            &target,
            input,
            signature,
            self.header("content-digest"),
            NOW,
        )
    }
}

type Answer = Response<Full<Bytes>>;

/// A server on a port of its own, until it is dropped.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request by `answer`, which is given the number of requests before it.
    pub(super) async fn start(
        answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { addr, asked, task }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn client(&self, caller: Caller) -> ControlClient {
        ControlClient::new(&format!("http://{}", self.addr), caller, &options()).unwrap()
    }
}

/// Serves one connection.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: Arc<impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static>,
    seen: Arc<Mutex<Vec<Asked>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let asked = Asked {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
            };
            let before = {
                let mut seen = seen.lock().unwrap();
                seen.push(asked.clone());
                seen.len() - 1
            };
            Ok::<_, std::convert::Infallible>(answer(before, &asked))
        }
    });
    // A client that goes away in the middle is no failure of the server.
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(served.await);
}

pub(super) fn options() -> Options {
    Options {
        edges: Edges::new(|| NOW * 1_000_000, |bytes| bytes.fill(7)),
        ..Options::default()
    }
}

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

pub(super) fn answer(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status.try_into().unwrap();
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert("content-type", kind);
    answer
}

pub(super) fn problem(status: u16, code: &str) -> Answer {
    let body = format!(
        r#"{{"type":"about:blank","status":{status},"code":"{code}","title":"No","detail":"because"}}"#
    );
    answer(status, "application/problem+json", body)
}
