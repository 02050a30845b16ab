//! Devices.

use std::collections::HashSet;

use sterna_control::domain::device::PreviousKeys;
use sterna_control::domain::netmap::may_talk;
use sterna_control::domain::overlay::PLACE_MAX;
use sterna_control::domain::{Act, DeviceRecord, DeviceRegistration, DeviceReport, Revocation};
use sterna_control::store::{
    Conflict, DeviceFilter, PageRequest, Registered, Store, StoreError, Thing,
};
use sterna_control_api::device::{
    Behaviour, NatReport, PathKind, PathMetrics, RegisterDevice, RotateDeviceKey,
};
use sterna_control_api::{DeviceId, DeviceIdentity, DeviceKey, RelayKey, TenantId};

use crate::{Fixture, NOW, act, enrolment_key};

pub(crate) fn device(number: u8, token: Option<&str>) -> DeviceRegistration {
    DeviceRegistration {
        device: RegisterDevice {
            identity: DeviceIdentity([number; 32]),
            device_key: DeviceKey([number; 32]),
            relay_key: RelayKey([number; 32]),
            name: format!("device-{number}"),
            platform: "linux".to_owned(),
            version: "0.1.0".to_owned(),
            nat: NatReport::default(),
        },
        token: token.map(str::to_owned),
        fresh_id: DeviceId([number; 16]),
    }
}

fn rotate(number: u8) -> RotateDeviceKey {
    RotateDeviceKey {
        device_key: DeviceKey([number; 32]),
        relay_key: RelayKey([number; 32]),
        rollback: false,
    }
}

async fn enrol(store: &dyn Store, number: u8, token: &str) -> DeviceRecord {
    let enrolled = store
        .register_device(&device(number, Some(token)), &act())
        .await;
    enrolled.unwrap().into_inner()
}

/// Enrolment keys "red" (tenant 1, groups 1 and 2), "blue" (1, groups 2 and 3), "other" (2).
async fn prepared(store: &dyn Store) {
    for key in [
        enrolment_key("red", 1, &[2, 1, 2]),
        enrolment_key("blue", 1, &[2, 3]),
        enrolment_key("green", 1, &[4]),
        enrolment_key("other", 2, &[1, 2]),
    ] {
        store.create_token(&key, &act()).await.unwrap();
    }
}

pub(crate) async fn a_device_enrols_once_and_keeps_its_place(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let refused = store.register_device(&device(1, None), &act()).await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    let made = store.register_device(&device(1, Some("red")), &act()).await;
    let Ok(Registered::New(made)) = made else {
        panic!("{made:?}")
    };
    assert_eq!(made.tenant, TenantId(1));
    assert_eq!(made.groups.len(), 2, "each group once");
    assert_eq!(made.tags, ["laptop"]);
    assert_eq!(made.overlay().len(), 2);

    let mut again = device(1, None);
    again.fresh_id = DeviceId([99; 16]);
    let same = store.register_device(&again, &act()).await.unwrap();
    assert_eq!(same, Registered::Same(made.clone()));
    again.device.nat.mapping = Behaviour::EndpointIndependent;
    again.device.device_key = DeviceKey([77; 32]);
    let changed = store.register_device(&again, &act()).await.unwrap();
    let Registered::Changed(changed) = changed else {
        panic!("{changed:?}")
    };
    assert_eq!(changed.id, made.id);
    assert_eq!(changed.overlay(), made.overlay());
    assert_eq!(changed.nat.mapping, Behaviour::EndpointIndependent);
    let read = store.device_of(&made.identity).await.unwrap();
    assert_eq!(read, Some(changed));

    let mut namesake = device(2, Some("red"));
    namesake.device.device_key = DeviceKey([77; 32]);
    let refused = store.register_device(&namesake, &act()).await;
    assert_eq!(refused, Err(Conflict::DeviceKey.into()));
    namesake.token = Some("other".to_owned());
    let elsewhere = store.register_device(&namesake, &act()).await;
    assert!(elsewhere.is_ok(), "another tenant's keys do not matter");
}

pub(crate) async fn devices_that_enrol_at_once_get_different_addresses(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let enrolling = (0..24).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { enrol(&*store, number, "red").await })
    });
    let mut seen = HashSet::new();
    for enrolled in enrolling.collect::<Vec<_>>() {
        for address in enrolled.await.unwrap().overlay() {
            assert!(seen.insert(address), "{address} twice");
        }
    }
    let page = PageRequest {
        after: None,
        limit: 10,
    };
    let filter = DeviceFilter {
        tenant: Some(TenantId(1)),
        ..DeviceFilter::default()
    };
    let first = store.devices(&filter, &page).await.unwrap();
    assert_eq!((first.items.len(), first.next.is_some()), (10, true));
    let filter = DeviceFilter {
        q: Some("DEVICE-23".to_owned()),
        ..filter
    };
    let found = store.devices(&filter, &page).await.unwrap();
    assert_eq!((found.items.len(), found.next), (1, None));
}

pub(crate) async fn an_address_is_given_again_only_when_it_is_free_and_all_others_were_used(
    fixture: Fixture,
) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let places = [
        enrol(&*store, 1, "red").await.overlay_place,
        enrol(&*store, 2, "red").await.overlay_place,
        enrol(&*store, 3, "red").await.overlay_place,
    ];
    assert_eq!(places, [1, 2, 3]);
    let gone = store
        .revoke_device(&DeviceId([2; 16]), NOW + 3600, &act())
        .await;
    gone.unwrap();
    assert_eq!(enrol(&*store, 4, "red").await.overlay_place, 4);
    const { assert!(PLACE_MAX == 4_194_046) };
    fixture
        .behind_its_back("UPDATE versions SET version = 4194045 WHERE name LIKE 'place %'")
        .await;
    assert_eq!(enrol(&*store, 5, "red").await.overlay_place, PLACE_MAX);
    assert_eq!(enrol(&*store, 6, "red").await.overlay_place, 2);
    assert_eq!(enrol(&*store, 7, "red").await.overlay_place, 5);
}

pub(crate) async fn keys_are_rotated_with_an_overlap_and_rolled_back(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let id = enrol(&*store, 1, "red").await.id;
    let rollback = RotateDeviceKey {
        rollback: true,
        ..rotate(0)
    };
    let nothing = store
        .rotate_device_key(&id, &rollback, NOW + 60, &act())
        .await;
    assert_eq!(
        nothing,
        Err(Conflict::NothingToRollBack.into()),
        "it was never rotated"
    );
    let rotated = store
        .rotate_device_key(&id, &rotate(50), NOW + 60, &act())
        .await;
    let rotated = rotated.unwrap();
    assert_eq!(rotated.device_key, DeviceKey([50; 32]));
    let previous = PreviousKeys {
        device_key: DeviceKey([1; 32]),
        relay_key: RelayKey([1; 32]),
        until: NOW + 60,
    };
    assert_eq!(rotated.previous, Some(previous));

    let mut thief = device(2, Some("red"));
    for taken in [50, 1] {
        thief.device.device_key = DeviceKey([taken; 32]);
        let refused = store.register_device(&thief, &act()).await;
        assert_eq!(refused, Err(Conflict::DeviceKey.into()), "key {taken}");
    }
    let back = store
        .rotate_device_key(&id, &rollback, NOW + 60, &act())
        .await;
    assert_eq!(back.unwrap().device_key, DeviceKey([1; 32]));
    let late = Act::new("device", NOW + 60);
    let refused = store
        .rotate_device_key(&id, &rollback, NOW + 99, &late)
        .await;
    assert_eq!(refused, Err(Conflict::NothingToRollBack.into()));
    let missing = store
        .rotate_device_key(&DeviceId([9; 16]), &rotate(60), 0, &act())
        .await;
    assert_eq!(missing, Err(StoreError::NotFound(Thing::Device)));
}

pub(crate) async fn a_device_sees_those_that_share_a_group_and_a_new_version_with_each_change(
    fixture: Fixture,
) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let me = enrol(&*store, 1, "red").await;
    let (before, peers) = store.peers_of(&me).await.unwrap();
    assert_eq!(peers, []);
    let peer = enrol(&*store, 2, "blue").await;
    enrol(&*store, 3, "green").await;
    enrol(&*store, 4, "other").await;
    let (after, peers) = store.peers_of(&me).await.unwrap();
    assert_eq!(peers, std::slice::from_ref(&peer));
    assert!(peers.iter().all(|peer| may_talk(&me, peer)));
    assert!(after > before);
    let rotated = store
        .rotate_device_key(&peer.id, &rotate(50), NOW + 60, &act())
        .await;
    rotated.unwrap();
    let (newest, _) = store.peers_of(&me).await.unwrap();
    assert!(newest > after);
}

pub(crate) async fn a_revoked_device_is_gone_for_its_peers_and_needs_a_key_to_come_back(
    fixture: Fixture,
) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let me = enrol(&*store, 1, "red").await;
    let peer = enrol(&*store, 2, "red").await;
    let orders = store.snapshot().await.unwrap().orders;
    let revoked = store.revoke_device(&peer.id, NOW + 3600, &act()).await;
    revoked.unwrap();
    assert_eq!(store.peers_of(&me).await.unwrap().1, []);
    assert_eq!(store.device_of(&peer.identity).await.unwrap(), None);
    assert!(store.device(&peer.id).await.unwrap().unwrap().revoked);
    let snapshot = store.snapshot().await.unwrap();
    assert!(snapshot.orders > orders);
    assert_eq!(snapshot.revocations[0].what, Revocation::Device(peer.id));
    let twice = store.revoke_device(&peer.id, NOW + 3600, &act()).await;
    assert_eq!(twice, Err(StoreError::NotFound(Thing::Device)));

    let mut back = device(2, None);
    let refused = store.register_device(&back, &act()).await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    back.token = Some("red".to_owned());
    back.fresh_id = DeviceId([22; 16]);
    let back = store.register_device(&back, &act()).await.unwrap();
    assert_eq!(back.into_inner().id, DeviceId([22; 16]));
    let gone = DeviceFilter {
        revoked: Some(true),
        ..DeviceFilter::default()
    };
    let gone = store.devices(&gone, &PageRequest::default()).await.unwrap();
    assert_eq!(gone.items.len(), 1);
}

pub(crate) async fn reports_are_kept_and_a_new_home_is_a_new_netmap(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let me = enrol(&*store, 1, "red").await;
    let (before, _) = store.peers_of(&me).await.unwrap();
    let mut report = DeviceReport {
        device: me.id,
        at: NOW + 5,
        counter: 7,
        home: "eu-1".to_owned(),
        nat: Some(NatReport {
            udp: Some(true),
            ..NatReport::default()
        }),
        paths: vec![PathMetrics {
            peer: DeviceId([2; 16]),
            path: PathKind::Direct,
            rtt_us: 12_000,
            loss_ppm: 3,
            punch_failures: 1,
        }],
    };
    let unknown = DeviceReport {
        device: DeviceId([9; 16]),
        ..report.clone()
    };
    store
        .record_reports(&[unknown, report.clone()])
        .await
        .unwrap();
    let read = store.device(&me.id).await.unwrap().unwrap();
    assert_eq!((read.last_seen, read.counter), (NOW + 5, 7));
    assert_eq!((read.home.as_str(), read.nat.udp), ("eu-1", Some(true)));
    assert_eq!(read.paths, report.paths);
    let (moved, _) = store.peers_of(&me).await.unwrap();
    assert!(moved > before);

    report.nat = None;
    report.at += 5;
    store
        .record_reports(std::slice::from_ref(&report))
        .await
        .unwrap();
    let read = store.device(&me.id).await.unwrap().unwrap();
    assert_eq!(read.nat.udp, Some(true), "what is left out has not changed");
    report.at = NOW;
    report.home = "eu-2".to_owned();
    store.record_reports(&[report]).await.unwrap();
    let read = store.device(&me.id).await.unwrap().unwrap();
    assert_eq!(read.home, "eu-1", "what comes late is passed over");
    assert_eq!(store.peers_of(&me).await.unwrap().0, moved);
}

pub(crate) async fn a_revoked_tenant_enrols_nobody(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let tenant = [Revocation::Tenant(TenantId(1))];
    store.revoke(&tenant, 0, &act()).await.unwrap();
    let refused = store.register_device(&device(1, Some("red")), &act()).await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    enrol(&*store, 2, "other").await;
}
