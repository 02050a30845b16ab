//! From a call to a WebSocket (RFC 6455 §4.1), over the same connector as every other call: so its
//! refusal is read like any other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Response;
use hyper::StatusCode;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use sha1::{Digest, Sha1};

/// RFC 6455 §1.3: what the server joins to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The client's half of a handshake.
pub(crate) struct Handshake {
    key: String,
}

impl Handshake {
    /// Takes the 16 random bytes of its key.
    pub(crate) fn new(random: [u8; 16]) -> Self {
        Self {
            key: STANDARD.encode(random),
        }
    }

    /// What the request says.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if let Ok(key) = self.key.parse() {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        headers
    }

    /// RFC 6455 §4.1: status, `upgrade` and `sec-websocket-accept` are what they must be.
    pub(crate) fn is_accepted_by<B>(&self, answer: &Response<B>) -> bool {
        let header = |name| answer.headers().get(name).map(HeaderValue::as_bytes);
        let upgrades =
            header(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
        answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && upgrades
            && header(SEC_WEBSOCKET_ACCEPT) == Some(self.accept().as_bytes())
    }

    fn accept(&self) -> String {
        let mut hash = Sha1::new_with_prefix(self.key.as_bytes());
        hash.update(GUID);
        STANDARD.encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 6455 §1.3.
    #[test]
    fn the_published_key_is_accepted_by_the_published_answer_only() {
        let handshake = Handshake::new(*b"the sample nonce");
        assert_eq!(handshake.key, "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = |status: u16, upgrade: &str, accept: &str| {
            Response::builder()
                .status(status)
                .header(UPGRADE, upgrade)
                .header(SEC_WEBSOCKET_ACCEPT, accept)
                .body(())
                .unwrap()
        };
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(handshake.is_accepted_by(&answer(101, "WebSocket", accept)));
        for wrong in [
            answer(200, "websocket", accept),
            answer(101, "h2c", accept),
            answer(101, "websocket", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ] {
            assert!(!handshake.is_accepted_by(&wrong));
        }
    }
}
