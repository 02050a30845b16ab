//! Several instances on one PostgreSQL, and a PostgreSQL that goes away.

use std::time::{Duration, Instant};

use sterna_control::store::{Feed, Nonce, SharedStore, StoreError, Topic};
use sterna_control_api::rotation::KeyPurpose;

use crate::feed::heard;
use crate::keys::key;
use crate::nodes::{node, prepared};
use crate::{Fixture, NOW, act, join_token, region};

/// Longer than a busy machine ever needs.
const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn a_nonce_is_taken_once_among_all_replicas(fixture: Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let tries = (0..200_u8).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other }.clone();
        let nonce = Nonce {
            key: [1; 32],
            nonce: [number / 10; 16],
        };
        tokio::spawn(async move { store.remember_nonce(&nonce, NOW).await })
    });
    let mut taken = 0;
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.unwrap() {
            Ok(()) => taken += 1,
            Err(error) => assert_eq!(error, StoreError::Replayed),
        }
    }
    assert_eq!(taken, 20);
}

pub(crate) async fn a_one_time_token_lets_exactly_one_in_among_all_replicas(fixture: Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    prepared(&*one).await;
    let once = join_token("once", 1);
    one.create_token(&once, &act()).await.unwrap();
    let tries = (0..24_u8).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other }.clone();
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
}

pub(crate) async fn a_change_is_announced_to_other_replicas(fixture: Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    one.create_region(&region("eu"), &act()).await.unwrap();
    assert_eq!(heard(&mut there).await.topic, Topic::Regions);
    assert_eq!(other.regions().await.unwrap().len(), 1);
    let long = "z".repeat(20_000);
    other.announce(&Topic::Presence, &long).await.unwrap();
    assert_eq!(heard(&mut here).await.topic, Topic::Regions);
    assert!(heard(&mut here).await.payload == long);
    assert!(heard(&mut there).await.payload == long);
}

pub(crate) async fn replicas_number_the_same_content_alike(fixture: Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    for (content, expected) in [(1, 1), (2, 2), (9, 3)] {
        let digest = [content; 32];
        let (here, there) = tokio::join!(
            one.version_of("map", &digest),
            other.version_of("map", &digest)
        );
        assert_eq!((here, there), (Ok(expected), Ok(expected)));
    }
}

pub(crate) async fn a_lost_connection_is_said_and_made_again(fixture: Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let mut there = other.subscribe();
    fixture
        .behind_its_back(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let told = tokio::time::timeout(SOON, there.next()).await.unwrap();
    assert_eq!(told, Some(Feed::MaybeMissed));
    // From here on everything is heard again, and the pools have new connections.
    one.create_region(&region("eu"), &act()).await.unwrap();
    assert_eq!(heard(&mut there).await.topic, Topic::Regions);
}

pub(crate) async fn replicas_that_begin_at_once_agree(fixture: Fixture) {
    let opening = (0..4).map(|_| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            let store = fixture.open().await;
            store.first_key(&key("same"), &act()).await.unwrap();
            store
        })
    });
    let mut stores: Vec<SharedStore> = Vec::new();
    for opened in opening.collect::<Vec<_>>() {
        stores.push(opened.await.unwrap());
    }
    for store in &stores {
        let keys = store.keys(KeyPurpose::Turn).await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].secret.reveal(), "the secret of same");
    }
}

pub(crate) async fn with_a_region(fixture: Fixture) -> SharedStore {
    let store = fixture.open().await;
    store.create_region(&region("eu"), &act()).await.unwrap();
    store
}

pub(crate) async fn is_away(store: &SharedStore) {
    for _ in 0..3 {
        let began = Instant::now();
        let nonce = Nonce {
            key: [1; 32],
            nonce: [1; 16],
        };
        let (us, act) = (region("us"), act());
        let (read, changed, announced, remembered) = tokio::join!(
            store.snapshot(),
            store.create_region(&us, &act),
            store.announce(&Topic::Presence, ""),
            store.remember_nonce(&nonce, NOW),
        );
        assert_eq!(read, Err(StoreError::Unavailable));
        assert_eq!(changed, Err(StoreError::Unavailable));
        assert_eq!(announced, Err(StoreError::Unavailable));
        assert_eq!(remembered, Err(StoreError::Unavailable));
        assert_eq!(store.ping().await, Err(StoreError::Unavailable));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }
}

pub(crate) async fn is_back(store: &SharedStore) {
    let mut feed = store.subscribe();
    let told = tokio::time::timeout(SOON, feed.next()).await.unwrap();
    assert_eq!(told, Some(Feed::MaybeMissed));
    assert_eq!(store.regions().await.unwrap().len(), 1);
    store.create_region(&region("us"), &act()).await.unwrap();
    assert_eq!(heard(&mut feed).await.topic, Topic::Regions);
}
