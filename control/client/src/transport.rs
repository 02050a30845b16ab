//! One call: sent with its proof, bounded in time and size, its refusal a value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sterna_control_api::problem::{Code, PROBLEM_JSON, Problem};
use sterna_control_api::signature::Target;

use crate::caller::{Caller, Effect, Prover};
use crate::edges::Edges;
use crate::error::{CallError, ConfigError, Refusal, Unreachable};
use crate::limits::{
    ANSWER_BYTES_MAX, CALL_MAX, CONNECT_MAX, IDLE_CONNECTIONS_MAX, PROBLEM_BYTES_MAX,
    RETRY_AFTER_MAX,
};
use crate::roots;

/// How a client reaches the service.
#[derive(Clone, Debug)]
pub struct Options {
    /// Certificate authorities to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Allow HTTP without TLS to other hosts than this one.
    pub insecure_http: bool,
    /// How long a TCP connection may take.
    pub connect_timeout: Duration,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// The clock and the random source.
    pub edges: Edges,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_file: None,
            insecure_http: false,
            connect_timeout: CONNECT_MAX,
            call_timeout: CALL_MAX,
            edges: Edges::default(),
        }
    }
}

/// A control service, and who calls it. Clones share connections and the counter of the key.
#[derive(Clone, Debug)]
pub struct ControlClient {
    base: Arc<Base>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    prover: Arc<Prover>,
    call_timeout: Duration,
}

/// Where the service is.
#[derive(Debug)]
struct Base {
    /// "http://HOST:PORT", without a slash at the end.
    url: String,
    /// The `host` header: without the scheme's default port.
    authority: String,
}

/// What is asked for.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Below [`API`](crate::calls::API), with its query.
    pub(crate) path: &'a str,
    pub(crate) effect: Effect,
    /// A join token or an enrolment key, beside a signature.
    pub(crate) token: Option<&'a str>,
    pub(crate) body: Bytes,
    /// Headers beside those of the proof.
    pub(crate) headers: HeaderMap,
    /// How long the service holds the answer back on purpose.
    pub(crate) held: Duration,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path, Effect::Reads)
    }

    pub(crate) fn new(method: Method, path: &'a str, effect: Effect) -> Self {
        Self {
            method,
            path,
            effect,
            token: None,
            body: Bytes::new(),
            headers: HeaderMap::new(),
            held: Duration::ZERO,
        }
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Result<Self, CallError> {
        let bytes = serde_json::to_vec(body);
        self.body = bytes
            .map_err(|_| CallError::Malformed("a body that is no JSON"))?
            .into();
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    pub(crate) fn token(mut self, token: Option<&'a str>) -> Self {
        self.token = token;
        self
    }

    /// The time for which its answer is held.
    pub(crate) fn held(mut self, held: Duration) -> Self {
        self.held = held;
        self
    }

    /// The entity tag of what is there already.
    pub(crate) fn unless(mut self, version: Option<u64>) -> Self {
        let tag = version.and_then(|version| format!("\"{version}\"").parse().ok());
        if let Some(tag) = tag {
            self.headers.insert(IF_NONE_MATCH, tag);
        }
        self
    }
}

impl ControlClient {
    /// A client of the service at `url`: `https://HOST[:PORT]`, or `http://` on this host.
    ///
    /// # Errors
    /// [`ConfigError`] says what to mend.
    pub fn new(url: &str, caller: Caller, options: &Options) -> Result<Self, ConfigError> {
        let (base, secure) = Base::read(url, options.insecure_http)?;
        if let Caller::Bearer(token) = &caller
            && HeaderValue::from_str(token).is_err()
        {
            return Err(ConfigError::Token);
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        // Without TLS nothing is looked for in the system's store, which may be missing.
        let tls = if secure {
            roots::tls(options.ca_file.as_deref())?
        } else {
            roots::none()?
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self {
            base: Arc::new(base),
            http,
            prover: Arc::new(Prover::new(caller, options.edges.clone())),
            call_timeout: options.call_timeout,
        })
    }

    /// The same service, called by somebody else.
    #[must_use]
    pub fn with_caller(&self, caller: Caller) -> Self {
        Self {
            prover: Arc::new(Prover::new(caller, self.prover.edges().clone())),
            ..self.clone()
        }
    }

    /// Where the service is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base.url
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, CallError> {
        self.call_unless(call)
            .await?
            .ok_or(CallError::Malformed("an empty answer"))
    }

    /// Makes a call whose answer says nothing more than that it is done.
    pub(crate) async fn call_done(&self, call: Call<'_>) -> Result<(), CallError> {
        self.in_time(call.held, async {
            self.answer(&call).await?;
            Ok(())
        })
        .await
    }

    /// Makes a call; none where the answer is what the caller has already (304), or nothing (204).
    pub(crate) async fn call_unless<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Option<T>, CallError> {
        self.in_time(call.held, async {
            let answer = self.answer(&call).await?;
            let status = answer.status();
            if [StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT].contains(&status) {
                return Ok(None);
            }
            let bytes = read(answer, ANSWER_BYTES_MAX).await?;
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| CallError::Malformed("JSON of another shape"))
        })
        .await
    }

    /// The bytes of an answer that is no JSON.
    pub(crate) async fn call_text(&self, call: Call<'_>) -> Result<String, CallError> {
        self.in_time(call.held, async {
            let bytes = read(self.answer(&call).await?, ANSWER_BYTES_MAX).await?;
            String::from_utf8(bytes.into()).map_err(|_| CallError::Malformed("no text"))
        })
        .await
    }

    pub(crate) async fn in_time<T>(
        &self,
        held: Duration,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        tokio::time::timeout(self.call_timeout + held, work)
            .await
            .unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout)))
    }

    /// Sends a call until its answer is not a refusal of its counter; anything but success is an error.
    pub(crate) async fn answer(&self, call: &Call<'_>) -> Result<Response<Incoming>, CallError> {
        let error = match self.attempt(call).await {
            Err(error) if error.code() == Some(Code::Replayed) => error,
            done => return done,
        };
        // Two calls may overtake each other, and a clock may have been set back: a counter that was
        // seen is no reason to fail. A nonce is new with each attempt, so this cannot do a thing twice.
        if !self.prover.signs() || call.effect == Effect::Changes {
            return Err(error);
        }
        self.prover.skip_ahead();
        self.attempt(call).await
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Response<Incoming>, CallError> {
        let request = self.request(call)?;
        let answer = self.http.request(request).await.map_err(unreachable)?;
        let status = answer.status();
        let fine = status.is_success()
            || status == StatusCode::NOT_MODIFIED
            || status == StatusCode::SWITCHING_PROTOCOLS;
        if fine {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, CallError> {
        let impossible = || CallError::Malformed("a request that cannot be sent");
        let (path, query) = call.path.split_once('?').unwrap_or((call.path, ""));
        let target = Target {
            method: call.method.as_str(),
            authority: &self.base.authority,
            path,
            query,
            authorization: "",
            body: &call.body,
        };
        let proof = self.prover.headers(&target, call.effect, call.token);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.base.url, call.path))
            .body(Full::new(call.body.clone()))
            .map_err(|_| impossible())?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(call.headers.clone());
        headers.extend(proof.ok_or_else(impossible)?);
        Ok(request)
    }

    pub(crate) fn edges(&self) -> &Edges {
        self.prover.edges()
    }
}

impl Base {
    /// Reads the address, and whether it is with TLS.
    fn read(url: &str, insecure_http: bool) -> Result<(Self, bool), ConfigError> {
        let wrong = || ConfigError::Url(url.to_owned());
        let uri: Uri = url.trim().parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(ConfigError::Path(url.to_owned()));
        }
        if !secure && !insecure_http && !on_this_host(authority.host()) {
            return Err(ConfigError::Insecure(url.to_owned()));
        }
        // As the HTTP client writes `host`, which is what is signed.
        let default_port = if secure { 443 } else { 80 };
        let port = authority.port_u16().filter(|port| *port != default_port);
        let host = authority.host();
        let base = Self {
            url: format!("{}://{authority}", if secure { "https" } else { "http" }),
            authority: port.map_or(host.to_owned(), |port| format!("{host}:{port}")),
        };
        Ok((base, secure))
    }
}

fn on_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().map(|ip| ip.is_loopback());
    loopback.unwrap_or(bare.eq_ignore_ascii_case("localhost"))
}

fn unreachable(error: hyper_util::client::legacy::Error) -> CallError {
    CallError::Unreachable(Unreachable::Because(Box::new(error)))
}

/// The body of an answer, up to a bound.
async fn read(answer: Response<Incoming>, bytes_max: usize) -> Result<Bytes, CallError> {
    let body = Limited::new(answer.into_body(), bytes_max).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                CallError::TooLarge
            } else {
                CallError::Unreachable(Unreachable::Because(error))
            }
        })
}

/// What a refusal says; where it is no problem document, somebody in between has answered.
async fn refusal(answer: Response<Incoming>) -> CallError {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER);
    let retry_after = retry_after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM_JSON.as_bytes()));
    let members: Option<Members> = if is_problem {
        let bytes = read(answer, PROBLEM_BYTES_MAX).await.ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok())
    } else {
        None
    };
    CallError::Refused(Box::new(Refusal {
        problem: problem(&members.unwrap_or_default(), status),
        retry_after,
    }))
}

/// The members of a problem document.
type Members = serde_json::Map<String, serde_json::Value>;

/// RFC 9457 §3.1: "If a member's value type does not match the specified type, the member MUST be
/// ignored". What is missing is said by the status.
fn problem(members: &Members, status: StatusCode) -> Problem {
    let text = |member: &str| members.get(member)?.as_str().map(str::to_owned);
    let number = members.get("status").and_then(serde_json::Value::as_u64);
    let code = members.get("code").filter(|code| code.is_string()).cloned();
    Problem {
        status: number
            .and_then(|status| status.try_into().ok())
            .unwrap_or(status.as_u16()),
        code: code
            .and_then(|code| serde_json::from_value(code).ok())
            .unwrap_or(match status.as_u16() {
                502..=504 => Code::Unavailable,
                429 => Code::TooMany,
                _ => Code::Unknown,
            }),
        title: text("title")
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("refused").to_owned()),
        detail: text("detail")
            .unwrap_or_else(|| "something other than a control service has answered".to_owned()),
    }
}
