//! What a change is: whole, kept, and in the audit log.

use sterna_control::domain::{Act, AuditFilter, AuditRecord, Revocation};
use sterna_control::store::{Nonce, PageRequest, StoreError};
use sterna_control_api::rotation::{KeyPurpose, RotationStep};
use sterna_control_api::{DeviceId, TenantId, TicketId};

use crate::devices::device;
use crate::keys::{key, step};
use crate::nodes::{heartbeat, node, prepared};
use crate::{Fixture, NOW, act, enrolment_key, join_token, region};

pub(crate) async fn a_change_and_its_audit_entry_are_one_transaction(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let registered = store.register_node(&node(1, Some("any")), &act()).await;
    let registered = registered.unwrap().into_inner();
    store.first_key(&key("a"), &act()).await.unwrap();
    let enrolment = enrolment_key("enrol", 1, &[1]);
    store.create_token(&enrolment, &act()).await.unwrap();
    let enrolled = store
        .register_device(&device(1, Some("enrol")), &act())
        .await;
    let enrolled = enrolled.unwrap().into_inner();
    let before = store.snapshot().await.unwrap();
    let token_before = store.token("any").await.unwrap();

    fixture
        .behind_its_back("ALTER TABLE audit RENAME TO audit_away")
        .await;
    let drain = sterna_control_api::node::PatchNode {
        state: Some(sterna_control_api::node::DesiredState::Draining),
        limits: None,
    };
    let act = act();
    let failures = [
        store.create_region(&region("us"), &act).await.map(drop),
        store.delete_region("eu", &act).await,
        store
            .register_node(&node(2, Some("any")), &act)
            .await
            .map(drop),
        store
            .patch_node(&registered.id, &drain, &act)
            .await
            .map(drop),
        store.forget_node(&registered.id, &act).await,
        store
            .rotate_keys(&step(RotationStep::Prepare, Some("b")), &act)
            .await
            .map(drop),
        store
            .register_device(&device(2, Some("enrol")), &act)
            .await
            .map(drop),
        store.revoke_device(&enrolled.id, NOW + 1, &act).await,
        store
            .revoke(&[Revocation::Ticket(TicketId(1))], NOW + 1, &act)
            .await,
        store.create_token(&join_token("new", 1), &act).await,
        store.revoke_token("any", &act).await.map(drop),
    ];
    for (number, failed) in failures.into_iter().enumerate() {
        assert!(failed.is_err(), "change {number} was made without an entry");
    }
    fixture
        .behind_its_back("ALTER TABLE audit_away RENAME TO audit")
        .await;

    assert_eq!(store.snapshot().await.unwrap(), before);
    assert_eq!(store.token("any").await.unwrap(), token_before);
    assert_eq!(store.token("new").await.unwrap(), None);
    let device = store.device(&enrolled.id).await.unwrap();
    assert_eq!(device, Some(enrolled));
    assert_eq!(store.device(&DeviceId([2; 16])).await.unwrap(), None);
    store.create_region(&region("us"), &act).await.unwrap();
}

pub(crate) async fn what_was_acknowledged_is_there_though_nothing_was_closed(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let registered = store.register_node(&node(1, Some("any")), &act()).await;
    registered.unwrap();
    store
        .record_heartbeats(&[heartbeat(1, NOW + 1)])
        .await
        .unwrap();
    store.first_key(&key("a"), &act()).await.unwrap();
    let before = store.snapshot().await.unwrap();
    let audit = store
        .audit(&AuditFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.snapshot().await.unwrap(), before);
    let again = store
        .audit(&AuditFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(again, audit);
    let keys = store.keys(KeyPurpose::Turn).await.unwrap();
    assert_eq!(keys[0].secret.reveal(), "the secret of a");
}

pub(crate) async fn the_audit_log_tells_who_did_what_newest_first(fixture: Fixture) {
    let store = fixture.open().await;
    prepared(&*store).await;
    let refused = AuditRecord {
        act: Act::new("user:mallory", NOW + 7),
        action: "auth.refused",
        subject: "login".to_owned(),
        before: None,
        after: Some(serde_json::json!({ "reason": "password" })),
    };
    store.record_audit(&refused).await.unwrap();
    let patch = sterna_control_api::region::PatchRegion {
        weight: Some(5),
        ..Default::default()
    };
    let patched = store
        .patch_region("eu", &patch, &Act::new("user:paul", NOW + 9))
        .await;
    patched.unwrap();

    let all = store
        .audit(&AuditFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    let actions: Vec<_> = all
        .items
        .iter()
        .map(|entry| entry.action.as_str())
        .collect();
    let expected = [
        "region.patch",
        "auth.refused",
        "token.create",
        "region.create",
    ];
    assert_eq!(actions, expected);
    let newest = &all.items[0];
    assert_eq!(
        (newest.actor.as_str(), newest.at, newest.subject.as_str()),
        ("user:paul", NOW + 9, "eu")
    );
    assert_eq!(newest.before.as_ref().unwrap()["weight"], 100);
    assert_eq!(newest.after.as_ref().unwrap()["weight"], 5);

    let count = async |filter: AuditFilter| {
        let page = store.audit(&filter, &PageRequest::default()).await;
        page.unwrap().items.len()
    };
    let none = AuditFilter::default;
    let cases = [
        (
            AuditFilter {
                actor: Some("user:mallory".to_owned()),
                ..none()
            },
            1,
        ),
        (
            AuditFilter {
                action: Some("region.".to_owned()),
                ..none()
            },
            2,
        ),
        (
            AuditFilter {
                subject: Some("any".to_owned()),
                ..none()
            },
            1,
        ),
        (
            AuditFilter {
                since: Some(NOW + 7),
                until: Some(NOW + 9),
                ..none()
            },
            1,
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(filter.clone()).await, expected, "{filter:?}");
    }
    let mut page = PageRequest {
        after: None,
        limit: 3,
    };
    let first = store.audit(&none(), &page).await.unwrap();
    page.after = first.next;
    let rest = store.audit(&none(), &page).await.unwrap();
    assert_eq!([first.items, rest.items].concat(), all.items);
    assert_eq!(rest.next, None);
    page.after = Some("none of ours".to_owned());
    assert_eq!(store.audit(&none(), &page).await.unwrap().items, []);
}

pub(crate) async fn a_nonce_is_taken_once_and_remembered_across_a_restart(fixture: Fixture) {
    let store = fixture.open().await;
    let nonce = |number: u8| Nonce {
        key: [1; 32],
        nonce: [number; 16],
    };
    let tries = (0..64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.remember_nonce(&nonce(number % 4), NOW).await })
    });
    let mut taken = 0;
    for tried in tries.collect::<Vec<_>>() {
        match tried.await.unwrap() {
            Ok(()) => taken += 1,
            Err(error) => assert_eq!(error, StoreError::Replayed),
        }
    }
    assert_eq!(taken, 4);
    let others = Nonce {
        key: [2; 32],
        ..nonce(0)
    };
    store.remember_nonce(&others, NOW).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    let replayed = store.remember_nonce(&nonce(3), NOW + 1).await;
    assert_eq!(replayed, Err(StoreError::Replayed));
    assert_eq!(store.prune(NOW + 119).await.unwrap().nonces, 0);
    let replayed = store.remember_nonce(&nonce(3), NOW + 119).await;
    assert_eq!(replayed, Err(StoreError::Replayed));
    assert_eq!(store.prune(NOW + 120).await.unwrap().nonces, 5);
    store.remember_nonce(&nonce(3), NOW + 120).await.unwrap();
}

pub(crate) async fn a_revocation_stays_for_the_longest_of_its_times(fixture: Fixture) {
    let store = fixture.open().await;
    let ticket = Revocation::Ticket(TicketId(7));
    let tenant = Revocation::Tenant(TenantId(u64::MAX));
    let orders = store.snapshot().await.unwrap().orders;
    for until in [NOW + 20, NOW + 30, NOW + 10] {
        let revoked = store.revoke(&[ticket, ticket], until, &act()).await;
        revoked.unwrap();
    }
    store.revoke(&[tenant], NOW + 5, &act()).await.unwrap();
    store.revoke(&[tenant], 0, &act()).await.unwrap();
    store.revoke(&[tenant], NOW + 5, &act()).await.unwrap();
    let told = store.revocations().await.unwrap();
    let times: Vec<_> = told
        .iter()
        .map(|record| (record.what, record.until))
        .collect();
    assert_eq!(times, [(tenant, 0), (ticket, NOW + 30)]);
    assert!(store.snapshot().await.unwrap().orders >= orders + 6);
    assert_eq!(store.prune(NOW + 30).await.unwrap().revocations, 1);
    let left = store.revocations().await.unwrap();
    assert_eq!(left.len(), 1, "what has no end stays");
}

pub(crate) async fn content_keeps_its_version_until_it_changes(fixture: Fixture) {
    let store = fixture.open().await;
    let mut versions = Vec::new();
    for digest in [[1; 32], [1; 32], [2; 32], [1; 32]] {
        versions.push(store.version_of("map", &digest).await.unwrap());
    }
    assert_eq!(versions, [1, 1, 2, 3]);
    assert_eq!(store.version_of("else", &[1; 32]).await.unwrap(), 1);
}

pub(crate) async fn audit_entries_leave_when_they_are_too_old_and_never_before(fixture: Fixture) {
    let store = fixture.open().await;
    // The clock was set forward and back again in between.
    let times = [NOW, NOW + 1, NOW + 500, NOW + 2, NOW + 3, NOW + 10];
    for at in times {
        let entry = AuditRecord {
            act: Act::new("user:olga", at),
            action: "auth.login",
            subject: format!("at:{}", at - NOW),
            before: None,
            after: None,
        };
        store.record_audit(&entry).await.unwrap();
    }
    let left = async || {
        let filter = AuditFilter::default();
        let every = PageRequest::default();
        let page = store.audit(&filter, &every).await.unwrap();
        let mut left: Vec<_> = page.items.iter().map(|entry| entry.at - NOW).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(store.prune_audit(NOW, 100).await.unwrap(), 0);
    assert_eq!(left().await, [0, 1, 2, 3, 10, 500]);
    assert_eq!(store.prune_audit(NOW + 10, 2).await.unwrap(), 2, "a batch");
    assert_eq!(store.prune_audit(NOW + 10, 2).await.unwrap(), 1);
    assert_eq!(left().await, [3, 10, 500]);
    assert_eq!(store.prune_audit(NOW + 10, 100).await.unwrap(), 1);
    assert_eq!(left().await, [10, 500], "what is younger stays");
}
