//! The WebSocket against a server of tokio-websockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sterna_control_api::DeviceId;
use sterna_control_api::limits::SIGNAL_BYTES_MAX;
use sterna_control_api::problem::Code;
use sterna_control_api::signal::{FromDevice, ToDevice};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

use super::server::{Server, answer, key, options, problem};
use crate::{CallError, Caller, ControlClient, Socket, SocketError};

/// Accepts one WebSocket and hands it to `script`.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    script: impl FnOnce(WebSocketStream<TcpStream>) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (request, socket) = ServerBuilder::new().accept(stream).await.unwrap();
        assert_eq!(request.uri().path(), "/api/v1/ws");
        assert!(request.headers().contains_key("signature"));
        script(socket).await;
    });
    (addr, task)
}

async fn connect(addr: SocketAddr) -> Socket {
    let client = ControlClient::new(&format!("http://{addr}"), Caller::Device(key()), &options());
    client.unwrap().socket().await.unwrap()
}

#[tokio::test]
async fn messages_go_both_ways_and_those_of_a_newer_service_are_passed_over() {
    let (addr, task) = serve(|mut socket| async move {
        let heard = socket.next().await.unwrap().unwrap();
        assert_eq!(heard.as_text(), Some(r#"{"type":"ping","id":7}"#));
        for text in [r#"{"type":"weather"}"#, r#"{"type":"pong","id":7}"#] {
            socket.send(Message::text(text)).await.unwrap();
        }
        socket.send(Message::ping("there?")).await.unwrap();
        socket.close().await.unwrap();
    })
    .await;
    let mut socket = connect(addr).await;
    socket.send(&FromDevice::Ping { id: 7 }).await.unwrap();
    assert_eq!(socket.next().await.unwrap(), ToDevice::Pong { id: 7 });
    let over = socket.next().await;
    assert!(matches!(over, Err(SocketError::Closed)), "{over:?}");
    drop(socket);
    task.await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_long_is_not_sent_and_not_read() {
    let (addr, task) = serve(|mut socket| async move {
        let text = format!("\"{}\"", "x".repeat(SIGNAL_BYTES_MAX));
        socket.send(Message::text(text)).await.unwrap();
        // Nothing but the other side's farewell comes.
        while let Some(Ok(message)) = socket.next().await {
            assert!(message.is_close(), "{message:?}");
        }
    })
    .await;
    let mut socket = connect(addr).await;
    let long = FromDevice::Signal {
        to: DeviceId([1; 16]),
        id: 1,
        payload: "x".repeat(SIGNAL_BYTES_MAX),
    };
    let sent = socket.send(&long).await;
    assert!(matches!(sent, Err(SocketError::TooLarge)), "{sent:?}");
    let read = socket.next().await;
    assert!(matches!(read, Err(SocketError::TooLarge)), "{read:?}");
    drop(socket);
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection() {
    let (addr, task) = serve(|mut socket| async move {
        socket.send(Message::binary("\0")).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut socket = connect(addr).await;
    let read = socket.next().await;
    assert!(matches!(read, Err(SocketError::Malformed)), "{read:?}");
    socket.close().await;
    task.await.unwrap();
}

#[tokio::test]
async fn silence_is_asked_about_once_and_then_believed() {
    let (addr, task) = serve(|mut socket| async move {
        // The library answers pings as it reads; then it stops reading.
        let first = socket.next().await.unwrap().unwrap();
        assert!(first.is_ping());
        socket.flush().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let short = Duration::from_millis(20);
    let mut socket = connect(addr).await.with_idle(short, short);
    let over = socket.next().await;
    assert!(matches!(over, Err(SocketError::Silent)), "{over:?}");
    task.abort();
}

#[tokio::test]
async fn a_socket_is_refused_like_any_call() {
    let server = Server::start(|before, _| match before {
        0 => problem(410, "gone"),
        _ => answer(200, "text/html", "<html>"),
    })
    .await;
    let client = server.client(Caller::Device(key()));
    let error = client.socket().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Gone));
    let error = client.socket().await.unwrap_err();
    assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
    assert!(server.asked()[0].claims().is_ok());
}
