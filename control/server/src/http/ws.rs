//! `GET /ws`: one WebSocket a device, for signalling and pushes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::Response;
use sterna_control_api::limits::SIGNAL_BYTES_MAX;
use sterna_control_api::problem::Code;
use sterna_control_api::signal::{FromDevice, ToDevice};
use tokio::time::{Instant, sleep_until, timeout};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::auth::ReadingDevice;
use super::listener::{Connection, Place};
use super::openapi::Malformed;
use crate::domain::DeviceRecord;
use crate::limits::{
    WEBSOCKET_ASKS_MAX, WEBSOCKET_FAREWELL, WEBSOCKET_READ_BYTES, WEBSOCKET_SILENCE,
    WEBSOCKET_WRITE_MAX,
};
use crate::metrics::WEBSOCKETS_TOTAL;
use crate::service::hub::{End, Push, Seat};
use crate::service::refusal::Refusal;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(open))
}

/// Opens a device's WebSocket for signalling and pushes; its messages are `FromDevice` and `ToDevice`.
/// The service closes with 1001 to 1013 as RFC 6455 says, 4000 (no message), 4001 (a newer connection
/// of the device), 4003 (revoked), 4005 (silent), 4007 (did not read), 4008 (too many messages).
#[utoipa::path(get, path = "/ws", tag = "devices", operation_id = "websocket",
    security(("signature" = [])),
    responses(
        (status = 101, description = "It is open."),
        ReadingDevice, Malformed,
    ))]
async fn open(
    State(app): State<App>,
    ReadingDevice(device): ReadingDevice,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
    let upgrade = upgrade.map_err(|_| {
        Refusal::new(
            Code::Malformed,
            "open a WebSocket: connection: upgrade, upgrade: websocket, sec-websocket-version: 13",
        )
    })?;
    if app.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::unavailable("the service is going down"));
    }
    let max = u64::from(app.config.limits.websockets_max);
    if app.websockets.load(Ordering::Relaxed) >= max {
        app.metrics.count(WEBSOCKETS_TOTAL, &["refused"]);
        return Err(Refusal::unavailable(
            "as many WebSockets as there may be are open",
        ));
    }
    let place = parts
        .extensions
        .get::<Connection>()
        .map(|connection| Arc::clone(&connection.place));
    // What is small stays small: thousands of these are idle.
    let upgrade = upgrade
        .read_buffer_size(WEBSOCKET_READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * SIGNAL_BYTES_MAX)
        .max_message_size(SIGNAL_BYTES_MAX)
        .max_frame_size(SIGNAL_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| serve(app, device.record, socket, place)))
}

async fn serve(
    app: App,
    device: Arc<DeviceRecord>,
    mut socket: WebSocket,
    place: Option<Arc<Place>>,
) {
    app.websockets.fetch_add(1, Ordering::Relaxed);
    app.metrics.count(WEBSOCKETS_TOTAL, &["opened"]);
    let nat = Some(device.nat.clone());
    let mut seat = app.hub.enter(device.id, device.tenant, &device.groups, nat);
    app.presence.came(device.id);
    // It may have been revoked, or the service may have begun to go, while the connection was opened.
    let end = if app.is_revoked(&device) {
        Ended {
            why: End::Revoked,
            last: None,
        }
    } else if app.stopping.load(Ordering::Relaxed) {
        Ended {
            why: End::Restarting,
            last: None,
        }
    } else {
        talk(&app, &device, &mut socket, &mut seat).await
    };
    app.hub.leave(&seat);
    if !app.hub.is_here(device.id) {
        app.presence.left(device.id);
    }
    app.metrics.count(WEBSOCKETS_TOTAL, &[end.why.as_str()]);
    let _ = timeout(WEBSOCKET_WRITE_MAX, say_goodbye(&mut socket, end)).await;
    app.websockets.fetch_sub(1, Ordering::Relaxed);
    drop(place);
}

/// Why a WebSocket ends, and what is said before.
struct Ended {
    why: End,
    last: Option<String>,
}

impl From<End> for Ended {
    fn from(why: End) -> Self {
        Self { why, last: None }
    }
}

/// Goes on until one side has enough.
async fn talk(app: &App, device: &DeviceRecord, socket: &mut WebSocket, seat: &mut Seat) -> Ended {
    let rate = app.rates.signals();
    let mut excess = 0_u32;
    let mut asks = 0_u8;
    let mut patience = Instant::now() + WEBSOCKET_SILENCE;
    loop {
        let answer = tokio::select! {
            push = seat.queue.recv() => match push {
                Some(Push::Text(text)) => Some(Message::Text(text.into())),
                Some(Push::End(why, last)) => return Ended { why, last },
                // The hub has let go of it: something found no room.
                None => return End::Full.into(),
            },
            said = socket.recv() => {
                (asks, patience) = (0, Instant::now() + WEBSOCKET_SILENCE);
                let said = match said {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Binary(_))) => return End::Unreadable.into(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_))) | None => return End::Closed.into(),
                    Some(Err(error)) => return broken(&error).into(),
                };
                let Ok(said) = serde_json::from_str::<FromDevice>(&said) else {
                    return End::Unreadable.into();
                };
                let answer = if rate.check().is_ok() {
                    excess = 0;
                    app.said(device, said).await
                } else {
                    excess += 1;
                    if excess > EXCESS_MAX {
                        return End::TooMany.into();
                    }
                    app.said_too_much(&said)
                };
                answer.map(|answer| text(&answer))
            }
            () = sleep_until(patience) => {
                asks += 1;
                if asks > WEBSOCKET_ASKS_MAX {
                    return End::Silent.into();
                }
                patience = Instant::now() + WEBSOCKET_SILENCE / 3;
                Some(Message::Ping(axum::body::Bytes::new()))
            }
        };
        let Some(answer) = answer else { continue };
        match timeout(WEBSOCKET_WRITE_MAX, socket.send(answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Closed.into(),
            Err(_elapsed) => return End::Full.into(),
        }
    }
}

/// Messages in a row beyond the rate, each refused, before the connection ends.
const EXCESS_MAX: u32 = 64;

fn text(message: &ToDevice) -> Message {
    let text = serde_json::to_string(message).expect("invariant: a message is plain data");
    Message::Text(text.into())
}

fn broken(error: &axum::Error) -> End {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(cause) = source {
        // The library's own word for a message beyond `max_message_size`.
        if cause.to_string().contains("too long") {
            return End::TooLarge;
        }
        source = cause.source();
    }
    End::Closed
}

async fn say_goodbye(socket: &mut WebSocket, end: Ended) {
    if let Some(last) = end.last {
        let _ = socket.send(Message::Text(last.into())).await;
    }
    let close = CloseFrame {
        code: end.why.code(),
        reason: end.why.as_str().into(),
    };
    // One that is gone hears nothing.
    let _ = socket.send(Message::Close(Some(close))).await;
    // RFC 6455 §7.1.1: closed once both sides have said so. A connection that is closed with something
    // unread is reset, and the reset overtakes what was said last.
    let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(WEBSOCKET_FAREWELL, answered).await;
}
