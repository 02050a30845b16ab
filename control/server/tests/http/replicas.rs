//! Two replicas on one database.

use sterna_control_api::TicketId;
use sterna_control_api::device::NatReport;
use sterna_control_api::node::Revocations;
use sterna_control_api::signal::{FromDevice, PunchOrder, ToDevice};
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{Place, SOON, beat, code, orders_of};
use crate::sockets::next;

pub(crate) async fn devices_on_two_replicas_signal_and_one_replica_goes(place: Place) {
    let one = place.start().await;
    let two = place.start().await;
    // Any replica answers any call.
    let (_, node, _) = one.node(1).await;
    let elsewhere = two.stranger(1).0;
    elsewhere
        .heartbeat(&node, &beat(u64::MAX, true))
        .await
        .unwrap();
    let map = one.map_with(1).await;
    assert_eq!(two.map_with(1).await.version, map.version, "numbered alike");
    let enrolment = one.enrolment_key(1, &[1]).await;
    let (here, first) = one.device(1, &enrolment).await;
    let (there, second) = two.device(2, &enrolment).await;
    let mut of_here = here.socket().await.unwrap();
    let mut of_there = there.socket().await.unwrap();
    // The replicas tell each other who is there.
    let deadline = Instant::now() + SOON;
    while !here.netmap(&first.id, None).await.unwrap().unwrap().peers[0].online {
        assert!(Instant::now() < deadline, "nobody is told");
        sleep(crate::scene::POLL).await;
    }
    let signal = FromDevice::Signal {
        to: second.id,
        id: 1,
        payload: "aGVsbG8".to_owned(),
    };
    of_here.send(&signal).await.unwrap();
    let got = next(&mut of_there, |message| {
        matches!(message, ToDevice::Signal { .. })
    })
    .await;
    assert!(matches!(got, ToDevice::Signal { from, .. } if from == first.id));
    let punch = FromDevice::Punch {
        with: second.id,
        nat: NatReport::default(),
    };
    of_here.send(&punch).await.unwrap();
    let ours = next(&mut of_here, |message| {
        matches!(message, ToDevice::Punch { .. })
    })
    .await;
    let theirs = next(&mut of_there, |message| {
        matches!(message, ToDevice::Punch { .. })
    })
    .await;
    for told in [&ours, &theirs] {
        assert!(
            matches!(
                told,
                ToDevice::Punch {
                    order: PunchOrder::Together,
                    ..
                }
            ),
            "{told:?}"
        );
    }
    // A device that connects to the other replica has one connection.
    let moved = two.client(sterna_control_client::Caller::Device(
        sterna_control_api::SigningKey::from_seed(&[101; 32]),
    ));
    let mut newer = moved.socket().await.unwrap();
    let ended = timeout(SOON, async { while of_here.next().await.is_ok() {} });
    ended.await.expect("the older one ends");
    // What one replica revokes ends with the other.
    one.admin.revoke_device(&second.id).await.unwrap();
    next(&mut of_there, |message| *message == ToDevice::Revoked).await;
    assert_eq!(
        code(there.relay_map(None).await),
        sterna_control_api::problem::Code::Gone
    );
    // One goes; the other goes on.
    one.control.stop().await;
    newer.send(&FromDevice::Ping { id: 3 }).await.unwrap();
    next(&mut newer, |message| *message == ToDevice::Pong { id: 3 }).await;
    two.control.stop().await;
}

pub(crate) async fn a_node_hears_of_what_another_replica_has_revoked(place: Place) {
    let one = place.start().await;
    let two = place.start().await;
    let (node, id, registered) = one.node(1).await;
    let known = orders_of(&registered, &id);
    let held = one.held(&node, &id, known.version).await;
    let revoked = Revocations {
        tickets: vec![TicketId(7)],
        ..Revocations::default()
    };
    two.admin.revoke(&revoked).await.unwrap();
    let answer = timeout(SOON, held).await.expect("it is told").unwrap();
    let keys = sterna_control_api::KeySet::new(registered.keys).unwrap();
    let orders = answer.unwrap().orders.expect("orders");
    let orders = orders.verify(&keys, &id, known.version).unwrap();
    assert_eq!(orders.revocations, revoked);
    one.control.stop().await;
    two.control.stop().await;
}
