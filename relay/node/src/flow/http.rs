//! HTTP on the `wss` rung: the upgrade of a device, and a plain answer for everybody else.
//!
//! Whoever runs a load balancer lets it ask for `/`: 200 while the node takes devices, 503 while it
//! drains. A browser that finds the port reads what it is. Every answer but 101 ends the connection.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Request, Status};
use sha1::{Digest as _, Sha1};
use sterna_flow::frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of a request's head: what proxies on the way add, and no more.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
const FIELDS_MAX: usize = 64;

/// What a key is answered with: its digest with this (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const WELCOME: &str = "A relay of Sterna. Devices upgrade to WebSocket at /flow.\n";

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// 101 and this Sec-WebSocket-Accept: a device.
    Switch(String),
    /// A status, further fields, and a text.
    Plain(&'static str, &'static str, &'static str),
}

/// Reads a request and answers it; whether frames follow now.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    is_draining: bool,
) -> io::Result<bool> {
    let (answer, is_head) = read(socket, is_draining).await?;
    let (bytes, switches) = match answer {
        Answer::Switch(accept) => (
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ),
            true,
        ),
        Answer::Plain(status, fields, text) => {
            let len = text.len();
            let text = if is_head { "" } else { text };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: {len}\r\nCache-Control: no-store\r\nConnection: close\r\n{fields}\r\n"
            );
            (head + text, false)
        }
    };
    socket.write_all(bytes.as_bytes()).await?;
    socket.flush().await?;
    if !switches {
        socket.shutdown().await?;
    }
    Ok(switches)
}

/// The answer to what comes, and whether it was asked for without its text.
async fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
    is_draining: bool,
) -> io::Result<(Answer, bool)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = Request::new(&mut fields);
        match request.parse(&bytes) {
            Ok(Status::Complete(len)) => {
                let mut answer = judge(&request, is_draining);
                if matches!(answer, Answer::Switch(_)) && len < bytes.len() {
                    // RFC 6455 §4.1: a client waits for the answer before it sends frames.
                    answer = BAD_REQUEST;
                }
                return Ok((answer, request.method == Some("HEAD")));
            }
            Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => {}
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Ok((TOO_LARGE, false));
            }
            Err(_) => return Ok((BAD_REQUEST, false)),
        }
        let room = HEAD_BYTES_MAX - bytes.len();
        let mut piece = (&mut *socket).take(room as u64);
        if piece.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
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

fn judge(request: &Request<'_, '_>, is_draining: bool) -> Answer {
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
        return if is_draining {
            Answer::Plain("503 Service Unavailable", "", "This relay goes away.\n")
        } else {
            Answer::Plain("200 OK", "", WELCOME)
        };
    }
    if path != frame::WSS_PATH {
        return Answer::Plain("404 Not Found", "", "There is nothing here.\n");
    }
    match upgrade(request) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What comes back, and whether frames may follow.
    async fn say(request: &str, is_draining: bool) -> (String, bool) {
        let (mut client, mut server) = tokio::io::duplex(64 * 1024);
        client.write_all(request.as_bytes()).await.unwrap();
        let switches = answer(&mut server, is_draining).await.unwrap();
        drop(server);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        (said, switches)
    }

    const UPGRADE: &str = "GET /flow HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    #[tokio::test]
    async fn the_key_of_rfc_6455_gets_its_answer() {
        let (said, switches) = say(UPGRADE, false).await;
        assert!(switches && said.starts_with("HTTP/1.1 101 "), "{said}");
        assert!(said.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }

    #[tokio::test]
    async fn whoever_asks_for_the_root_learns_whether_devices_are_taken() {
        let (said, _) = say("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false).await;
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with(WELCOME),
            "{said}"
        );
        let (said, _) = say("HEAD /?probe HTTP/1.0\r\n\r\n", false).await;
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n"),
            "{said}"
        );
        let (said, _) = say("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true).await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    }

    #[tokio::test]
    async fn what_is_no_upgrade_is_told_so() {
        let long = format!(
            "GET / HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(HEAD_BYTES_MAX)
        );
        let early = format!("{UPGRADE}frame");
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "X: y\r\n".repeat(FIELDS_MAX + 1)
        );
        for (request, status) in [
            ("GET /flow HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
            (&UPGRADE.replace("Version: 13", "Version: 8"), "426"),
            (&UPGRADE.replace("dGhl", "dG"), "426"),
            (&UPGRADE.replace("HTTP/1.1", "HTTP/1.0"), "426"),
            (&UPGRADE.replace("GET", "HEAD"), "426"),
            (&UPGRADE.replace("/flow", "/other"), "404"),
            (&UPGRADE.replace("GET", "POST"), "405"),
            ("\x16\x03\x01\r\n\r\n", "400"),
            (&early, "400"),
            (&long, "431"),
            (&many, "431"),
        ] {
            let (said, switches) = say(request, false).await;
            assert!(
                said.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {said}"
            );
            assert!(!switches);
        }
    }

    #[tokio::test]
    async fn who_goes_away_in_the_middle_is_not_answered() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"GET / HT").await.unwrap();
        drop(client);
        assert!(answer(&mut server, false).await.is_err());
    }
}
