//! The listener of HTTP-01 (RFC 8555 §8.3): one path, while an order is open, and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sterna_daemon::log::Repeated;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use super::challenge::Answers;
use crate::stream::listen;

/// Connections that are served at a time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// How long one may take from its first byte to its last.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// How long the listener rests when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const FOLDER: &str = "/.well-known/acme-challenge/";

static ACCEPT_ERRORS: Repeated = Repeated::new();

/// Bound sockets that nothing is accepted from yet.
#[derive(Debug, Default)]
pub(crate) struct HttpListeners(Vec<TcpListener>);

impl HttpListeners {
    /// Binds early, so that a port which is taken is reported before anything starts. A wildcard of a
    /// family that this host does not have is passed over.
    pub(crate) fn bind(addrs: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        for &addr in addrs {
            if addr.ip().is_unspecified() && crate::listeners::expand(addr.ip()).is_empty() {
                continue;
            }
            sockets.push(listen(addr).map_err(|error| (addr, error))?);
        }
        Ok(Self(sockets))
    }

    /// Serves on the runtime that this is called on, until the tasks are aborted.
    pub(super) fn serve(self, answers: &Arc<Answers>) -> io::Result<Vec<JoinHandle<()>>> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let serve = |socket| {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            let (answers, places) = (Arc::clone(answers), Arc::clone(&places));
            Ok(tokio::spawn(accept(socket, answers, places)))
        };
        self.0.into_iter().map(serve).collect()
    }

    /// Where they listen, so that nobody is relayed to them.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

async fn accept(listener: tokio::net::TcpListener, answers: Arc<Answers>, places: Arc<Semaphore>) {
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("invariant: never closed");
        match listener.accept().await {
            // Nobody has any business here but an authority that was asked to come.
            Ok(_) if !answers.expects_http() => {}
            Ok((socket, _)) => {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    // What goes wrong with one connection is its client's affair.
                    let _ = timeout(CONNECTION_MAX, serve(socket, &answers)).await;
                    drop(place);
                });
            }
            Err(error) => {
                if let Some(times) = ACCEPT_ERRORS.due() {
                    warn!(%error, times, "cannot accept a connection for HTTP-01");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, answers: &Answers) -> hyper::Result<()> {
    let service =
        service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request, answers))));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false);
    http.serve_connection(TokioIo::new(socket), service).await
}

fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix(FOLDER);
    let text = token.and_then(|token| answers.text(token));
    let text = text.filter(|_| request.method() == Method::GET);
    let status = if text.is_some() {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    let mut response = Response::new(Full::from(text.unwrap_or_default()));
    *response.status_mut() = status;
    let octets = "application/octet-stream".parse();
    response
        .headers_mut()
        .extend(octets.ok().map(|octets| (CONTENT_TYPE, octets)));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(addr: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: relay.example\r\n\r\n");
        let mut text = String::new();
        // Whoever is not expected is not read from.
        let _ = socket.write_all(request.as_bytes()).await;
        let _ = socket.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn one_path_is_answered_while_an_order_is_open_and_nothing_at_any_other_time() {
        let listeners = HttpListeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let addr = listeners.addrs()[0];
        let answers = Arc::new(Answers::default());
        let tasks = listeners.serve(&answers).unwrap();
        let path = "/.well-known/acme-challenge/token";
        assert_eq!(get(addr, path).await, "");
        answers.answer_http("token", "token.thumb");
        let said = get(addr, path).await;
        assert!(
            said.starts_with("HTTP/1.1 200 OK") && said.ends_with("\r\n\r\ntoken.thumb"),
            "{said}"
        );
        for other in [
            "/",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/tokem",
            "/metrics",
        ] {
            let said = get(addr, other).await;
            assert!(said.starts_with("HTTP/1.1 404 "), "{other}: {said}");
        }
        answers.clear();
        assert_eq!(get(addr, path).await, "");
        tasks.into_iter().for_each(|task| task.abort());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = HttpListeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let (addr, error) = HttpListeners::bind(&first.addrs()).unwrap_err();
        assert_eq!(
            (addr, error.kind()),
            (first.addrs()[0], io::ErrorKind::AddrInUse)
        );
    }
}
