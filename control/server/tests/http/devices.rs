//! Devices: enrolment, netmap, credentials, rotation, revocation.

use sterna_control_api::credentials::{TicketRequest, TurnRequest};
use sterna_control_api::device::{DeviceMetrics, PathKind, PathMetrics, RotateDeviceKey};
use sterna_control_api::problem::Code;
use sterna_control_api::signal::ToDevice;
use sterna_control_api::ticket::Ticket;
use sterna_control_api::{DeviceKey, KeySet, RelayKey};
use sterna_control_client::{Filter, SocketError};
use sterna_stun::credentials::{parse_rest_username, rest_password};

use crate::raw::now;
use crate::scene::{Place, beat, code, read_map};
use crate::sockets::next;

pub(crate) async fn a_device_enrols_and_gets_credentials_that_nodes_take(place: Place) {
    let scene = place.start().await;
    let enrolment = scene.enrolment_key(7, &[1, 2]).await;
    let (device, registered) = scene.device(1, &enrolment).await;
    assert_eq!(registered.tenant.0, 7);
    assert_eq!(registered.overlay.len(), 2);
    // Without a ready node there is nothing to name.
    assert_eq!(
        code(device.turn_credentials(&TurnRequest::default()).await),
        Code::Unavailable
    );
    let (node, id, of_node) = scene.ready_node(1).await;
    scene.map_with(1).await;
    let keys = KeySet::new(of_node.keys.clone()).unwrap();
    let orders = of_node.orders.verify(&keys, &id, 0).unwrap();
    let credentials = device
        .turn_credentials(&TurnRequest::default())
        .await
        .unwrap();
    let server = &credentials.ice_servers[1];
    let username = server.username.as_ref().unwrap();
    let parsed = parse_rest_username(username).unwrap();
    assert_eq!(parsed.expiry_unix_s, credentials.expires);
    assert_eq!(parsed.user, registered.id.to_string());
    let password = rest_password(orders.turn_secrets[0].as_bytes(), username);
    assert_eq!(
        server.credential.as_deref(),
        Some(password.as_str()),
        "what the node makes of it"
    );
    assert!(
        server
            .urls
            .contains(&"turn:192.0.2.1?transport=udp".to_owned()),
        "{server:?}"
    );
    // A ticket that the node verifies by the keys it has.
    let issued = device
        .relay_ticket(&TicketRequest { ttl_s: 60 })
        .await
        .unwrap();
    let bytes = Ticket::bytes_of_text(&issued.ticket).unwrap();
    let ticket = Ticket::verify(&bytes, &keys, &of_node.fleet, now(), 0).unwrap();
    assert_eq!(ticket.device_id, registered.id);
    assert_eq!(ticket.ticket_id, issued.id);
    assert_eq!(ticket.groups.iter().count(), 2);
    assert!(ticket.expires <= now() + 60);
    // The map is signed with the same keys.
    let map = device.relay_map(None).await.unwrap().unwrap();
    assert_eq!(read_map(&map, &keys).nodes().count(), 1);
    // An application's user.
    let request = TurnRequest {
        user: "alice".to_owned(),
        region: "default".to_owned(),
        ttl_s: 60,
    };
    let of_app = scene.admin.turn_credentials(&request).await.unwrap();
    assert!(
        of_app.ice_servers[1]
            .username
            .as_ref()
            .unwrap()
            .ends_with(":alice")
    );
    assert_eq!(
        code(device.turn_credentials(&request).await),
        Code::Malformed,
        "for itself only"
    );
    node.heartbeat(&id, &beat(0, true)).await.unwrap();
    scene.control.stop().await;
}

pub(crate) async fn devices_of_one_group_see_each_other_and_no_one_elses(place: Place) {
    let scene = place.start().await;
    let together = scene.enrolment_key(1, &[1]).await;
    let (one, registered) = scene.device(1, &together).await;
    let (_two, other) = scene.device(2, &together).await;
    let (_three, _) = scene.device(3, &scene.enrolment_key(1, &[2]).await).await;
    let (_four, _) = scene.device(4, &scene.enrolment_key(2, &[1]).await).await;
    let netmap = one.netmap(&registered.id, None).await.unwrap().unwrap();
    let peers: Vec<_> = netmap.peers.iter().map(|peer| peer.id).collect();
    assert_eq!(peers, [other.id]);
    assert!(!netmap.peers[0].online);
    assert_eq!(
        one.netmap(&registered.id, Some(netmap.version))
            .await
            .unwrap(),
        None
    );
    assert_eq!(code(one.netmap(&other.id, None).await), Code::NotFound);
    // Idempotent by its key.
    let (_, body) = scene.device_stranger(1);
    let again = one.register_device(&body, None).await.unwrap();
    assert_eq!(
        (again.id, again.overlay),
        (registered.id, registered.overlay)
    );
    let metrics = DeviceMetrics {
        home: "node-1".to_owned(),
        nat: None,
        paths: vec![PathMetrics {
            peer: other.id,
            path: PathKind::Direct,
            rtt_us: 12_000,
            loss_ppm: 0,
            punch_failures: 1,
        }],
    };
    one.device_metrics(&metrics).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::scene::SOON;
    while scene
        .admin
        .sessions(&Filter::default())
        .await
        .unwrap()
        .items
        .is_empty()
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "reports are written once a second"
        );
        tokio::time::sleep(crate::scene::POLL).await;
    }
    assert_eq!(
        scene
            .admin
            .devices(&Filter::default())
            .await
            .unwrap()
            .items
            .len(),
        4
    );
    scene.control.stop().await;
}

pub(crate) async fn a_device_rotates_its_keys_and_goes_back(place: Place) {
    let scene = place.start().await;
    let enrolment = scene.enrolment_key(1, &[1]).await;
    let (one, first) = scene.device(1, &enrolment).await;
    let (two, second) = scene.device(2, &enrolment).await;
    let rotate = |key: u8, rollback| RotateDeviceKey {
        device_key: DeviceKey([key; 32]),
        relay_key: RelayKey([key; 32]),
        rollback,
    };
    let rotated = one.rotate_device_key(&rotate(50, false)).await.unwrap();
    assert_eq!(rotated.device_key, DeviceKey([50; 32]));
    assert_eq!(rotated.previous_key, Some(DeviceKey([1; 32])));
    let seen = two.netmap(&second.id, None).await.unwrap().unwrap();
    assert_eq!(seen.peers[0].device_key, DeviceKey([50; 32]));
    assert_eq!(seen.peers[0].previous_key, Some(DeviceKey([1; 32])));
    let issued = one.relay_ticket(&TicketRequest::default()).await.unwrap();
    let bytes = Ticket::bytes_of_text(&issued.ticket).unwrap();
    let (ticket, _) = Ticket::read_unverified(&bytes).unwrap();
    assert_eq!(
        (ticket.device_id, ticket.device_key),
        (first.id, DeviceKey([50; 32]))
    );
    assert_eq!(
        code(two.rotate_device_key(&rotate(50, false)).await),
        Code::Conflict
    );
    let back = one.rotate_device_key(&rotate(0, true)).await.unwrap();
    assert_eq!(back.device_key, DeviceKey([1; 32]));
    scene.control.stop().await;
}

pub(crate) async fn a_revoked_device_is_told_and_gets_nothing_more(place: Place) {
    let scene = place.start().await;
    let (node, id, of_node) = scene.ready_node(1).await;
    let keys = KeySet::new(of_node.keys).unwrap();
    let version = of_node.orders.verify(&keys, &id, 0).unwrap().version;
    let (device, registered) = scene.device(1, &scene.enrolment_key(1, &[1]).await).await;
    let mut socket = device.socket().await.unwrap();
    device
        .relay_ticket(&TicketRequest::default())
        .await
        .unwrap();
    scene.admin.revoke_device(&registered.id).await.unwrap();
    next(&mut socket, |message| *message == ToDevice::Revoked).await;
    let end = socket.next().await;
    assert!(
        matches!(end, Err(SocketError::Closed | SocketError::Broken(_))),
        "{end:?}"
    );
    assert_eq!(
        code(device.relay_ticket(&TicketRequest::default()).await),
        Code::Gone
    );
    assert_eq!(code(device.relay_map(None).await), Code::Gone);
    let answer = node.heartbeat(&id, &beat(version, true)).await.unwrap();
    let orders = answer
        .orders
        .expect("orders")
        .verify(&keys, &id, version)
        .unwrap();
    assert_eq!(orders.revocations.devices, [registered.id]);
    scene.control.stop().await;
}
