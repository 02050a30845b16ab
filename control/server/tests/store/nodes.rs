//! Nodes and regions.

use sterna_control::domain::{HeartbeatRecord, NodeRegistration};
use sterna_control::store::{
    Conflict, NodeFilter, PageRequest, Registered, Store, StoreError, Thing,
};
use sterna_control_api::node::{
    Capacity, DesiredState, Heartbeat, NodeLimits, PatchNode, RegisterNode, ReportedState, Services,
};
use sterna_control_api::region::PatchRegion;
use sterna_control_api::{NodeId, RelayKey};

use crate::{Fixture, NOW, act, join_token, region};

pub(crate) fn node(number: u8, token: Option<&str>) -> NodeRegistration {
    NodeRegistration {
        node: RegisterNode {
            identity: NodeId([number; 32]),
            noise_key: RelayKey([number; 32]),
            name: format!("eu-{number:03}"),
            region: "eu".to_owned(),
            version: "0.1.0".to_owned(),
            services: Services {
                stun: vec!["192.0.2.1:3478".parse().unwrap()],
                ..Services::default()
            },
            capacity: Capacity {
                workers: 2,
                relay_ports: 1000,
            },
        },
        token: token.map(str::to_owned),
    }
}

pub(crate) fn heartbeat(number: u8, at: u64) -> HeartbeatRecord {
    HeartbeatRecord {
        node: NodeId([number; 32]),
        at,
        counter: at,
        report: Heartbeat {
            orders: 1,
            state: ReportedState::Ready,
            reachable: true,
            load: number % 100,
            allocations: 1,
            sessions: 2,
            dropped: 3,
            relayed_bytes: 4,
        },
    }
}

/// A region and a token for any number of nodes.
pub(crate) async fn prepared(store: &dyn Store) {
    store.create_region(&region("eu"), &act()).await.unwrap();
    let any = join_token("any", 0);
    store.create_token(&any, &act()).await.unwrap();
}

pub(crate) async fn a_node_registers_with_a_token_once_and_without_one_afterwards(
    fixture: Fixture,
) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let once = join_token("once", 1);
    store.create_token(&once, &act()).await.unwrap();

    let refused = store.register_node(&node(1, None), &act()).await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    let made = store.register_node(&node(1, Some("once")), &act()).await;
    let Ok(Registered::New(made)) = made else {
        panic!("{made:?}")
    };
    assert_eq!(made.desired, DesiredState::Ready);
    assert_eq!(store.node(&made.id).await.unwrap(), Some(made.clone()));

    let again = store.register_node(&node(1, None), &act()).await;
    assert_eq!(again, Ok(Registered::Same(made.clone())));
    let mut newer = node(1, None);
    newer.node.version = "0.2.0".to_owned();
    let changed = store.register_node(&newer, &act()).await.unwrap();
    assert!(matches!(changed, Registered::Changed(ref node) if node.version == "0.2.0"));
    assert_eq!(changed.into_inner().registered, made.registered);

    let spent = store.register_node(&node(2, Some("once")), &act()).await;
    assert_eq!(spent, Err(StoreError::TokenSpent));
    assert_eq!(store.token("once").await.unwrap().unwrap().uses, 1);

    store.forget_node(&made.id, &act()).await.unwrap();
    assert_eq!(store.node(&made.id).await.unwrap(), None);
    let refused = store.register_node(&node(1, None), &act()).await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    let missing = store.forget_node(&made.id, &act()).await;
    assert_eq!(missing, Err(StoreError::NotFound(Thing::Node)));
}

pub(crate) async fn a_one_time_token_lets_exactly_one_of_many_in(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let once = join_token("once", 1);
    store.create_token(&once, &act()).await.unwrap();
    let tries = (0..24).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .register_node(&node(number, Some("once")), &act())
                .await
        })
    });
    let mut let_in = 0;
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.unwrap() {
            Ok(_) => let_in += 1,
            Err(error) => assert_eq!(error, StoreError::TokenSpent),
        }
    }
    assert_eq!(let_in, 1);
    assert_eq!(store.snapshot().await.unwrap().nodes.len(), 1);
    assert_eq!(store.token("once").await.unwrap().unwrap().uses, 1);
}

pub(crate) async fn a_registration_that_fails_leaves_its_token_unused(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let first = store.register_node(&node(1, Some("any")), &act()).await;
    first.unwrap();
    let once = join_token("once", 1);
    store.create_token(&once, &act()).await.unwrap();
    let mut namesake = node(2, Some("once"));
    namesake.node.name = node(1, None).node.name;
    let refused = store.register_node(&namesake, &act()).await;
    assert_eq!(refused, Err(Conflict::NodeName.into()));
    assert_eq!(store.token("once").await.unwrap().unwrap().uses, 0);
    let renamed = store.register_node(&node(2, Some("once")), &act()).await;
    renamed.unwrap();
    let mut taken = node(2, None);
    taken.node.name = node(1, None).node.name;
    let refused = store.register_node(&taken, &act()).await;
    assert_eq!(refused, Err(Conflict::NodeName.into()));
}

pub(crate) async fn a_token_lets_nobody_in_that_it_is_not_for(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    store.create_region(&region("us"), &act()).await.unwrap();
    let nowhere = store
        .create_token(
            &sterna_control::domain::TokenRecord {
                region: Some("mars".to_owned()),
                ..join_token("mars", 0)
            },
            &act(),
        )
        .await;
    assert_eq!(nowhere, Err(StoreError::NotFound(Thing::Region)));
    let devices = crate::enrolment_key("devices", 1, &[1]);
    store.create_token(&devices, &act()).await.unwrap();
    let twice = store.create_token(&join_token("any", 0), &act()).await;
    assert_eq!(twice, Err(Conflict::TokenExists.into()));

    let mut elsewhere = node(1, Some("any"));
    elsewhere.node.region = "us".to_owned();
    for refused in [
        node(1, Some("unknown")),
        node(1, Some("devices")),
        elsewhere.clone(),
    ] {
        let refused = store.register_node(&refused, &act()).await;
        assert_eq!(refused, Err(StoreError::TokenSpent));
    }
    let late = sterna_control::domain::Act::new("node", NOW + 1000);
    let refused = store.register_node(&node(1, Some("any")), &late).await;
    assert_eq!(refused, Err(StoreError::TokenSpent), "it has run out");

    store
        .register_node(&node(1, Some("any")), &act())
        .await
        .unwrap();
    elsewhere.token = None;
    let moved = store.register_node(&elsewhere, &act()).await;
    assert_eq!(moved, Err(StoreError::TokenSpent), "a region takes a token");
}

pub(crate) async fn what_an_operator_wants_of_a_node_gets_new_orders(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let registered = store.register_node(&node(1, Some("any")), &act()).await;
    let made = registered.unwrap().into_inner();
    let drain = PatchNode {
        state: Some(DesiredState::Draining),
        limits: None,
    };
    let draining = store.patch_node(&made.id, &drain, &act()).await.unwrap();
    assert_eq!(draining.desired, DesiredState::Draining);
    assert!(draining.orders > made.orders);
    let same = store.patch_node(&made.id, &drain, &act()).await.unwrap();
    assert_eq!(same, draining, "nothing has changed, and nothing is new");
    let limits = NodeLimits {
        allocations_max: 10,
        flow_sessions_max: 0,
    };
    let limit = PatchNode {
        state: None,
        limits: Some(limits),
    };
    let limited = store.patch_node(&made.id, &limit, &act()).await.unwrap();
    assert_eq!(limited.limits, limits);
    assert_eq!(limited.desired, DesiredState::Draining);
    assert!(limited.orders > draining.orders);
    let missing = store.patch_node(&NodeId([9; 32]), &drain, &act()).await;
    assert_eq!(missing, Err(StoreError::NotFound(Thing::Node)));

    // One that comes back after it was forgotten is never given older orders than it had.
    store.forget_node(&made.id, &act()).await.unwrap();
    let back = store.register_node(&node(1, Some("any")), &act()).await;
    assert!(back.unwrap().into_inner().orders >= limited.orders);
}

pub(crate) async fn the_last_heartbeat_of_each_node_is_kept(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    for number in 0..150 {
        let registered = store
            .register_node(&node(number, Some("any")), &act())
            .await;
        registered.unwrap();
    }
    let mut all: Vec<_> = (0..=200).map(|number| heartbeat(number, NOW + 5)).collect();
    all.push(heartbeat(3, NOW + 6));
    store.record_heartbeats(&all).await.unwrap();
    store
        .record_heartbeats(&[heartbeat(4, NOW + 1)])
        .await
        .unwrap();
    store.record_heartbeats(&[]).await.unwrap();

    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.nodes.len(), 150);
    for node in &snapshot.nodes {
        let last = node.heartbeat.as_ref().unwrap();
        let number = node.id.0[0];
        let at = if number == 3 { NOW + 6 } else { NOW + 5 };
        assert_eq!(*last, heartbeat(number, at));
    }
    let recent = store.heartbeats_since(NOW + 6).await.unwrap();
    assert_eq!(recent, [heartbeat(3, NOW + 6)]);
}

pub(crate) async fn a_region_goes_when_its_nodes_are_gone(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let twice = store.create_region(&region("eu"), &act()).await;
    assert_eq!(twice, Err(Conflict::RegionExists.into()));
    let patch = PatchRegion {
        name: Some("Europe".to_owned()),
        location: Some(sterna_control_api::region::Location {
            latitude: 52.5,
            longitude: -13.4,
        }),
        weight: Some(7),
    };
    let patched = store.patch_region("eu", &patch, &act()).await.unwrap();
    assert_eq!((patched.name.as_str(), patched.weight), ("Europe", 7));
    assert_eq!(store.regions().await.unwrap(), [patched]);

    let registered = store.register_node(&node(1, Some("any")), &act()).await;
    registered.unwrap();
    let in_use = store.delete_region("eu", &act()).await;
    assert_eq!(in_use, Err(Conflict::RegionInUse.into()));
    store.forget_node(&NodeId([1; 32]), &act()).await.unwrap();
    store.delete_region("eu", &act()).await.unwrap();
    assert_eq!(store.regions().await.unwrap(), []);
    let missing = Err(StoreError::NotFound(Thing::Region));
    assert_eq!(store.delete_region("eu", &act()).await, missing);
    let gone = store.patch_region("eu", &patch, &act()).await;
    assert_eq!(gone, Err(StoreError::NotFound(Thing::Region)));
    let refused = store.register_node(&node(1, Some("any")), &act()).await;
    assert_eq!(refused, Err(StoreError::NotFound(Thing::Region)));
}

pub(crate) async fn nodes_come_page_by_page_and_by_filter(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    for number in 0..7 {
        let registered = store
            .register_node(&node(number, Some("any")), &act())
            .await;
        registered.unwrap();
    }
    let mut names = Vec::new();
    let mut page = PageRequest {
        after: None,
        limit: 3,
    };
    loop {
        let part = store.nodes(&NodeFilter::default(), &page).await.unwrap();
        assert!(part.items.len() <= 3);
        names.extend(part.items.into_iter().map(|node| node.name));
        match part.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(names.len(), 7);
    assert!(names.is_sorted());
    let found = async |q: &str, region: Option<&str>| {
        let filter = NodeFilter {
            region: region.map(str::to_owned),
            q: Some(q.to_owned()),
        };
        let page = PageRequest::default();
        store.nodes(&filter, &page).await.unwrap().items.len()
    };
    assert_eq!(found("U-005", None).await, 1, "whatever the case");
    assert_eq!(found("eu", Some("eu")).await, 7);
    assert_eq!(found("eu", Some("us")).await, 0);
    assert_eq!(found("%", None).await, 0, "a sign like any other");
    assert_eq!(found("eu_00", None).await, 0, "a sign like any other");
}
