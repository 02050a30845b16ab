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
        let headers = self.headers();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        send(self.url, self.method, self.path, &headers, self.sent_body).await
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
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
        let mut headers = vec![
            ("signature-input", signed.signature_input),
            ("signature", signed.signature),
            ("content-type", "application/json".to_owned()),
        ];
        headers.extend(
            signed
                .content_digest
                .map(|digest| ("content-digest", digest)),
        );
        if !authorization.is_empty() {
            headers.push(("authorization", authorization));
        }
        headers
    }
}

/// A device's WebSocket, frame by frame (RFC 6455).
pub(crate) struct Frames(TcpStream);

impl Frames {
    pub(crate) async fn open(url: &str, key: &SigningKey) -> Self {
        let path = "/api/v1/ws";
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let opening = Signed {
            url,
            method: "GET",
            path,
            key,
            created: now(),
            freshness: Freshness::Counter(u64::try_from(since.as_micros()).unwrap()),
            signed_body: b"",
            sent_body: b"",
            token: "",
        };
        let host = url.strip_prefix("http://").unwrap();
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in opening.headers() {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self(stream)
    }

    /// Sends a text; a service that has had enough may have closed.
    pub(crate) async fn send(&mut self, text: &str) {
        let len = u16::try_from(text.len()).unwrap();
        // FIN and text; a mask of zeros, which changes nothing.
        let mut frame = vec![0x81];
        match u8::try_from(len) {
            Ok(len) if len < 126 => frame.push(0x80 | len),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&len.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        let _ = self.0.write_all(&frame).await;
    }

    /// The code that the service closes with, and the texts that came before.
    pub(crate) async fn closed(&mut self) -> (u16, Vec<String>) {
        let mut texts = Vec::new();
        loop {
            let opcode = self.0.read_u8().await.expect("a frame before the end") & 0x0F;
            let len = match self.0.read_u8().await.unwrap() {
                126 => self.0.read_u16().await.unwrap().into(),
                127 => panic!("no frame of ours is as long"),
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).await.unwrap();
            match opcode {
                8 => return (u16::from_be_bytes([payload[0], payload[1]]), texts),
                1 => texts.push(String::from_utf8(payload).unwrap()),
                _ => {}
            }
        }
    }
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
}
