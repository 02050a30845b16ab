//! Announcements within one instance.

use sterna_control::store::{
    Announcement, Feed, MESSAGE_BYTES_MAX, StoreError, Subscription, Topic,
};
use sterna_control_api::DeviceId;

use crate::nodes::{node, prepared};
use crate::{Fixture, act, region};

/// The next announcement, which has to come.
pub(crate) async fn heard(feed: &mut Subscription) -> Announcement {
    let soon = std::time::Duration::from_secs(20);
    match tokio::time::timeout(soon, feed.next()).await {
        Ok(Some(Feed::Announced(announcement))) => announcement,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_change_is_announced_when_it_is_there(fixture: Fixture) {
    let store = fixture.open().await;
    let mut feed = store.subscribe();
    prepared(&*store).await;
    let told = heard(&mut feed).await;
    assert_eq!((told.topic, told.payload.as_str()), (Topic::Regions, "eu"));
    assert_eq!(store.regions().await.unwrap().len(), 1);
    let registered = store.register_node(&node(1, Some("any")), &act()).await;
    let id = registered.unwrap().into_inner().id;
    let told = heard(&mut feed).await;
    assert_eq!((told.topic, told.payload), (Topic::Nodes, id.to_string()));
}

pub(crate) async fn a_change_that_fails_is_not_announced(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let mut feed = store.subscribe();
    let failed = store.create_region(&region("eu"), &act()).await;
    failed.unwrap_err();
    let failed = store.register_node(&node(1, Some("none")), &act()).await;
    failed.unwrap_err();
    store.announce(&Topic::Presence, "after it").await.unwrap();
    loop {
        // What was announced before the subscription may still be on its way.
        let told = heard(&mut feed).await;
        if told.topic == Topic::Presence {
            break;
        }
        assert_eq!(told.topic, Topic::Regions);
    }
}

pub(crate) async fn messages_arrive_in_order_and_long_ones_whole(fixture: Fixture) {
    let store = fixture.open().await;
    let mut feed = store.subscribe();
    let topic = Topic::Signal(DeviceId([5; 16]));
    let messages = [
        String::new(),
        "with a space and \"ü\"".to_owned(),
        "x".repeat(7_990),
        "y".repeat(8_001),
        "ü".repeat(MESSAGE_BYTES_MAX / 2),
        "short again".to_owned(),
    ];
    for message in &messages {
        store.announce(&topic, message).await.unwrap();
    }
    for message in messages {
        let told = heard(&mut feed).await;
        assert_eq!(told.topic, topic);
        assert!(told.payload == message, "{} bytes", message.len());
    }
    let too_long = "z".repeat(MESSAGE_BYTES_MAX + 1);
    let refused = store.announce(&topic, &too_long).await;
    assert_eq!(refused, Err(StoreError::TooLong));
    let far_future = u64::try_from(i64::MAX).unwrap();
    let fetched = store.prune(far_future).await.unwrap().messages;
    assert_eq!(fetched, if fixture.is_postgres() { 3 } else { 0 });
}
