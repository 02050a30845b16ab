//! HTTP by hand, for requests that no client of ours would send.

use sterna_control_api::key::SigningKey;
use sterna_control_api::signature::{Freshness, Target, sign};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The problem's code.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The problem's words.
    pub(crate) fn detail(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn get(url: &str, path: &str) -> Answer {
    send(url, "GET", path, &[], b"").await
}

pub(crate) async fn send(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // A service that has answered already may have closed.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes);
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunked(rest)
    } else {
        rest.to_owned()
    };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((len, after)) = rest.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).unwrap_or(0);
        if len == 0 {
            break;
        }
        body += &after[..len];
        rest = &after[len + 2..];
    }
    body
}

/// A signed request, whose parts can be made wrong one by one.
pub(crate) struct Signed<'a> {
    pub(crate) url: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: &'a SigningKey,
    pub(crate) created: u64,
    pub(crate) freshness: Freshness,
    pub(crate) signed_body: &'a [u8],
    pub(crate) sent_body: &'a [u8],
    pub(crate) token: &'a str,
}

impl Signed<'_> {
    pub(crate) async fn send(&self) -> Answer {
        let authorization = match self.token {
            "" => String::new(),
            token => format!("Bearer {token}"),
        };
        let target = Target {
            method: self.method,
            authority: self.url.strip_prefix("http://").unwrap(),
            path: self.path,
            query: "",
            authorization: &authorization,
            body: self.signed_body,
        };
        let signed = sign(self.key, &target, self.created, self.freshness);
        let digest = signed.content_digest.unwrap_or_default();
        let mut headers = vec![
            ("signature-input", signed.signature_input.as_str()),
            ("signature", signed.signature.as_str()),
            ("content-type", "application/json"),
        ];
        if !digest.is_empty() {
            headers.push(("content-digest", &digest));
        }
        if !authorization.is_empty() {
            headers.push(("authorization", &authorization));
        }
        send(self.url, self.method, self.path, &headers, self.sent_body).await
    }
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
}
