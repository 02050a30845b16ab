//! One HTTP request to the admin listener: all that the tests need of HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::SOON;

/// An answer of the admin listener.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

/// Sends a request and reads the answer to its end; nothing when nobody listens.
pub(crate) fn request(to: SocketAddr, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, SOON).ok()?;
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // HTTP/1.0: the answer ends with the connection and is not in chunks.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {to}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

/// The value of one sample of the Prometheus text, summed over its labels; `labels` must all occur.
pub(crate) fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
