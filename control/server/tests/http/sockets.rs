//! WebSockets: signalling, orders of punching, caps, and how they end.

use sterna_control_api::device::{Behaviour, NatReport};
use sterna_control_api::key::SigningKey;
use sterna_control_api::limits::SIGNAL_BYTES_MAX;
use sterna_control_api::signal::{FromDevice, PunchOrder, ToDevice, Undelivered};
use sterna_control_client::{Socket, SocketError};
use tokio::time::timeout;

use crate::raw::Frames;
use crate::scene::{Place, SOON};

/// The next message that is wanted; others are passed over.
pub(crate) async fn next(socket: &mut Socket, wanted: impl Fn(&ToDevice) -> bool) -> ToDevice {
    let found = timeout(SOON, async {
        loop {
            let message = socket.next().await.unwrap();
            if wanted(&message) {
                return message;
            }
        }
    });
    found.await.expect("a message in time")
}

fn nat(mapping: Behaviour, filtering: Behaviour) -> NatReport {
    NatReport {
        mapping,
        filtering,
        udp: Some(true),
        ..NatReport::default()
    }
}

pub(crate) async fn devices_signal_and_are_told_who_punches_first(place: Place) {
    let scene = place.start().await;
    let together = scene.enrolment_key(1, &[1]).await;
    let (one, first) = scene.device(1, &together).await;
    let (two, second) = scene.device(2, &together).await;
    let (three, third) = scene.device(3, &scene.enrolment_key(1, &[2]).await).await;
    let mut of_one = one.socket().await.unwrap();
    let mut of_two = two.socket().await.unwrap();
    let mut of_three = three.socket().await.unwrap();
    // Each has its place once it has had an answer.
    for socket in [&mut of_one, &mut of_two, &mut of_three] {
        socket.send(&FromDevice::Ping { id: 7 }).await.unwrap();
        next(socket, |message| *message == ToDevice::Pong { id: 7 }).await;
    }
    let signal = |to, id| FromDevice::Signal {
        to,
        id,
        payload: "aGVsbG8".to_owned(),
    };
    of_one.send(&signal(second.id, 1)).await.unwrap();
    let got = next(&mut of_two, |message| {
        matches!(message, ToDevice::Signal { .. })
    })
    .await;
    let expected = ToDevice::Signal {
        from: first.id,
        payload: "aGVsbG8".to_owned(),
    };
    assert_eq!(got, expected);
    // Of another group, or nobody: the same answer.
    for (id, to) in [
        (2, third.id),
        (3, sterna_control_api::DeviceId([9; 16])),
        (4, first.id),
    ] {
        of_one.send(&signal(to, id)).await.unwrap();
        let reason = Undelivered::Unreachable;
        let expected = ToDevice::Undelivered { id, reason };
        let got = next(&mut of_one, |message| {
            matches!(message, ToDevice::Undelivered { .. })
        })
        .await;
        assert_eq!(got, expected);
    }
    // The stricter filter opens first.
    let lax = nat(
        Behaviour::EndpointIndependent,
        Behaviour::EndpointIndependent,
    );
    let strict = nat(
        Behaviour::EndpointIndependent,
        Behaviour::AddressAndPortDependent,
    );
    of_two
        .send(&FromDevice::Punch {
            with: third.id,
            nat: lax,
        })
        .await
        .unwrap();
    let refused = next(&mut of_two, |message| {
        matches!(message, ToDevice::Punch { .. })
    })
    .await;
    assert!(matches!(
        refused,
        ToDevice::Punch {
            order: PunchOrder::Relay,
            ..
        }
    ));
    of_one
        .send(&FromDevice::Punch {
            with: second.id,
            nat: strict,
        })
        .await
        .unwrap();
    let ours = next(&mut of_one, |message| {
        matches!(message, ToDevice::Punch { .. })
    })
    .await;
    let theirs = next(&mut of_two, |message| {
        matches!(message, ToDevice::Punch { .. })
    })
    .await;
    let (
        ToDevice::Punch {
            order: a,
            attempt: x,
            ..
        },
        ToDevice::Punch {
            order: b,
            attempt: y,
            ..
        },
    ) = (ours, theirs)
    else {
        unreachable!()
    };
    assert_eq!(
        (a, b, x == y),
        (PunchOrder::First, PunchOrder::Second, true)
    );
    assert_eq!(scene.metric("control_websockets ").await, 3);
    assert_eq!(
        scene
            .metric("control_signals_total{result=\"delivered\"}")
            .await,
        1
    );
    let netmap = one.netmap(&first.id, None).await.unwrap().unwrap();
    assert!(netmap.peers[0].online);
    scene.control.stop().await;
}

pub(crate) async fn a_socket_that_says_too_much_or_too_long_is_closed_with_its_reason(
    place: Place,
) {
    let mut config = place.config();
    config.limits.signals_per_device_per_s = 1;
    let scene = place.start_with(config).await;
    let (device, _) = scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let mut socket = device.socket().await.unwrap();
    let mut refused = false;
    for id in 0..200 {
        let signal = FromDevice::Signal {
            to: sterna_control_api::DeviceId([9; 16]),
            id,
            payload: String::new(),
        };
        if socket.send(&signal).await.is_err() {
            break;
        }
    }
    let end = loop {
        match timeout(SOON, socket.next()).await.expect("in time") {
            Ok(ToDevice::Undelivered { reason, .. }) => refused |= reason == Undelivered::TooMany,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(refused, "one message is refused before the connection is");
    assert!(
        matches!(end, SocketError::Closed | SocketError::Broken(_)),
        "{end:?}"
    );
    assert!(
        scene
            .metric("control_websockets_total{result=\"too_many\"}")
            .await
            >= 1
    );
    assert!(
        scene
            .metric("control_ratelimit_rejections_total{scope=\"signal\"}")
            .await
            >= 1
    );
    scene.control.stop().await;
}

pub(crate) async fn each_end_of_a_socket_has_its_code(place: Place) {
    let mut config = place.config();
    config.limits.signals_per_device_per_s = 1;
    let scene = place.start_with(config).await;
    let key = SigningKey::from_seed(&[101; 32]);
    scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let ping = r#"{"type":"ping","id":7}"#;
    let count = async |result: &str| {
        let line = format!("control_websockets_total{{result=\"{result}\"}}");
        scene.metric(&line).await
    };

    // The longest message counts, and a byte more is too large (RFC 6455 §7.4.1: 1009).
    let mut frames = Frames::open(&scene.url, &key).await;
    frames.send(&format!("{ping:<SIGNAL_BYTES_MAX$}")).await;
    frames.send(&"x".repeat(SIGNAL_BYTES_MAX + 1)).await;
    let (code, texts) = timeout(SOON, frames.closed()).await.expect("in time");
    assert_eq!(code, 1009);
    let pong = |text: &String| text.contains("pong") && text.contains('7');
    assert!(texts.iter().any(pong), "{texts:?}");
    assert_eq!(count("too_large").await, 1);

    // What is no message of ours.
    let mut frames = Frames::open(&scene.url, &key).await;
    frames.send("nonsense").await;
    let (code, _) = timeout(SOON, frames.closed()).await.expect("in time");
    assert_eq!(code, 4000);
    assert_eq!(count("unreadable").await, 1);

    // A device that goes on after each of its messages was refused.
    let mut frames = Frames::open(&scene.url, &key).await;
    for id in 0..2_000 {
        let to = sterna_control_api::DeviceId([9; 16]);
        frames
            .send(&format!(
                r#"{{"type":"signal","to":"{to}","id":{id},"payload":""}}"#
            ))
            .await;
    }
    let (code, texts) = timeout(SOON, frames.closed()).await.expect("in time");
    assert_eq!(code, 4008);
    let refused = texts
        .iter()
        .filter(|text| text.contains("too_many"))
        .count();
    assert!(
        refused >= 64,
        "each is refused before the connection is: {refused}"
    );
    assert_eq!(count("too_many").await, 1);
    // It may come again.
    let mut frames = Frames::open(&scene.url, &key).await;
    frames.send(ping).await;
    scene.control.stop().await;
    let (code, texts) = timeout(SOON, frames.closed()).await.expect("in time");
    assert_eq!(code, 1012);
    assert!(
        texts.iter().any(|text| text.contains("restarting")),
        "{texts:?}"
    );
}

pub(crate) async fn the_newest_socket_of_a_device_is_the_one_that_counts(place: Place) {
    let scene = place.start().await;
    let (device, _) = scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let mut older = device.socket().await.unwrap();
    let mut newer = device.socket().await.unwrap();
    let ended = timeout(SOON, async { while older.next().await.is_ok() {} });
    ended.await.expect("the older one ends");
    newer.send(&FromDevice::Ping { id: 1 }).await.unwrap();
    next(&mut newer, |message| *message == ToDevice::Pong { id: 1 }).await;
    assert_eq!(scene.metric("control_devices_online ").await, 1);
    assert_eq!(
        scene
            .metric("control_websockets_total{result=\"replaced\"}")
            .await,
        1
    );
    scene.control.stop().await;
}

pub(crate) async fn a_service_that_ends_says_so(place: Place) {
    let scene = place.start().await;
    let (device, _) = scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let mut socket = device.socket().await.unwrap();
    socket.send(&FromDevice::Ping { id: 1 }).await.unwrap();
    next(&mut socket, |message| *message == ToDevice::Pong { id: 1 }).await;
    let (told, ()) = tokio::join!(
        next(&mut socket, |message| matches!(
            message,
            ToDevice::Restarting { .. }
        )),
        scene.control.stop()
    );
    assert!(matches!(told, ToDevice::Restarting { after_ms } if after_ms < 10_000));
}
