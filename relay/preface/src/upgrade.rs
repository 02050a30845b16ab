//! HTTP on the `wss` rung: the upgrade of a device, and a plain answer for everybody else.
//!
//! Whoever runs a load balancer lets it ask for `/`: 200 while the node takes devices, 503 while it
//! drains. A browser that finds the port reads what it is. Every answer but 101 ends the connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Request, Status};
use sha1::{Digest as _, Sha1};

/// Bytes of a request's head: what proxies on the way add, and no more.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
pub const FIELDS_MAX: usize = 64;
/// What `/` is answered with.
pub const WELCOME: &str = "A relay of Sterna. Devices upgrade to WebSocket at /flow.\n";

/// What a key is answered with: its digest with this (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The path at which devices upgrade.
    pub path: &'a str,
    /// The node goes away.
    pub is_draining: bool,
}

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head goes on; no more than so many bytes may be read of it.
    Wants(usize),
    /// The answer, and whether it is asked for without its text.
    Whole(Answer, bool),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 101 and this Sec-WebSocket-Accept: a device.
    Switch(String),
    /// A status, further fields, and a text.
    Plain(&'static str, &'static str, &'static str),
}

impl Answer {
    /// As it goes over the wire.
    #[must_use]
    pub fn to_text(&self, is_head: bool) -> String {
        match self {
            Self::Switch(accept) => format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ),
            Self::Plain(status, fields, text) => {
                let len = text.len();
                let text = if is_head { "" } else { text };
                format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: {len}\r\nCache-Control: no-store\r\nConnection: close\r\n{fields}\r\n{text}"
                )
            }
        }
    }

    /// Whether frames follow now.
    #[must_use]
    pub fn switches(&self) -> bool {
        matches!(self, Self::Switch(_))
    }
}

/// Reads the bytes of a stream's beginning, all that came so far.
#[must_use]
pub fn progress(bytes: &[u8], site: Site<'_>) -> Progress {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(len)) => {
            let mut answer = judge(&request, site);
            if answer.switches() && len < bytes.len() {
                // RFC 6455 §4.1: a client waits for the answer before it sends frames.
                answer = BAD_REQUEST;
            }
            Progress::Whole(answer, request.method == Some("HEAD"))
        }
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => {
            Progress::Wants(HEAD_BYTES_MAX - bytes.len())
        }
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Progress::Whole(TOO_LARGE, false)
        }
        Err(_) => Progress::Whole(BAD_REQUEST, false),
    }
}

const BAD_REQUEST: Answer = Answer::Plain("400 Bad Request", "", "This is no request.\n");
const TOO_LARGE: Answer = Answer::Plain(
    "431 Request Header Fields Too Large",
    "",
    "The head of the request is too long.\n",
);
const UPGRADE_REQUIRED: Answer = Answer::Plain(
    "426 Upgrade Required",
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "Devices upgrade to WebSocket here (version 13).\n",
);

fn judge(request: &Request<'_, '_>, site: Site<'_>) -> Answer {
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let is_head = request.method == Some("HEAD");
    if request.method != Some("GET") && !is_head {
        return Answer::Plain(
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
            "GET is all there is.\n",
        );
    }
    if path == "/" {
        return if site.is_draining {
            Answer::Plain("503 Service Unavailable", "", "This relay goes away.\n")
        } else {
            Answer::Plain("200 OK", "", WELCOME)
        };
    }
    if path != site.path {
        return Answer::Plain("404 Not Found", "", "There is nothing here.\n");
    }
    match upgrade(request) {
        // RFC 6455 §4.2.1: "A |Host| header field containing the server's authority." (RFC 9112 §3.2:
        // one.)
        Some(_) if fields(request, "host").count() != 1 => BAD_REQUEST,
        Some(accept) if !is_head => Answer::Switch(accept),
        _ => UPGRADE_REQUIRED,
    }
}

/// The answer to a key, where a request upgrades to WebSocket (RFC 6455 §4.2.1).
fn upgrade(request: &Request<'_, '_>) -> Option<String> {
    if request.version != Some(1) {
        return None;
    }
    let has = |name, token| {
        let tokens = fields(request, name).flat_map(|value| value.split(','));
        tokens
            .map(str::trim)
            .any(|held| held.eq_ignore_ascii_case(token))
    };
    let asks = has("upgrade", "websocket")
        && has("connection", "upgrade")
        && has("sec-websocket-version", "13");
    let key = fields(request, "sec-websocket-key")
        .next()
        .filter(|_| asks)?;
    // "a nonce … 16 bytes, base64-encoded"
    let nonce = STANDARD.decode(key.trim()).ok()?;
    (nonce.len() == 16).then(|| {
        let digest = Sha1::new()
            .chain_update(key.trim())
            .chain_update(GUID)
            .finalize();
        STANDARD.encode(digest)
    })
}

fn fields<'a>(request: &'a Request<'_, '_>, name: &'static str) -> impl Iterator<Item = &'a str> {
    let named = request
        .headers
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.filter_map(|field| std::str::from_utf8(field.value).ok())
}
