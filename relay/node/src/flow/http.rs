//! HTTP on the `wss` rung: reads a request and writes the answer of [`sterna_preface::upgrade`].

use std::io;

use sterna_flow::frame;
use sterna_preface::upgrade::{Answer, Progress, Site, progress};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Reads a request and answers it; whether frames follow now.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    is_draining: bool,
) -> io::Result<bool> {
    let site = Site {
        path: frame::WSS_PATH,
        is_draining,
    };
    let (answer, is_head) = read(socket, site).await?;
    socket.write_all(answer.to_text(is_head).as_bytes()).await?;
    socket.flush().await?;
    if !answer.switches() {
        socket.shutdown().await?;
    }
    Ok(answer.switches())
}

/// The answer to what comes, and whether it was asked for without its text.
async fn read<S: AsyncRead + Unpin>(socket: &mut S, site: Site<'_>) -> io::Result<(Answer, bool)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let room = match progress(&bytes, site) {
            Progress::Whole(answer, is_head) => return Ok((answer, is_head)),
            Progress::Wants(room) => room,
        };
        let mut piece = (&mut *socket).take(room as u64);
        if piece.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sterna_preface::upgrade::{FIELDS_MAX, HEAD_BYTES_MAX, WELCOME};

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
            (&UPGRADE.replace("Host: x\r\n", ""), "400"),
            (
                &UPGRADE.replace("Host: x\r\n", "Host: x\r\nHost: y\r\n"),
                "400",
            ),
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
