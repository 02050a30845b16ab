//! People, sessions, tokens.

use sterna_control::domain::{SessionRecord, UserRecord};
use sterna_control::store::{Conflict, PageRequest, StoreError, Thing};
use sterna_control_api::access::{PatchUser, Role, TokenKind};

use crate::{Fixture, NOW, act, enrolment_key, join_token, region};

fn user(name: &str, role: Role) -> UserRecord {
    UserRecord {
        name: name.to_owned(),
        password: format!("hash of {name}'s"),
        role,
        created: NOW,
    }
}

fn session(id: &str, user: &str) -> SessionRecord {
    SessionRecord {
        id: id.to_owned(),
        secret_hash: [3; 32],
        user: user.to_owned(),
        created: NOW,
        expires: NOW + 100,
    }
}

fn role(role: Role) -> PatchUser {
    PatchUser {
        password: None,
        role: Some(role),
    }
}

pub(crate) async fn people_have_unique_names_and_one_stays_administrator(fixture: Fixture) {
    let store = fixture.open().await;
    let olga = user("olga", Role::Auditor);
    store.create_first_user(&olga, &act()).await.unwrap();
    let made = store.user("olga").await.unwrap().unwrap();
    assert_eq!(made.role, Role::Administrator, "whatever was asked");
    let second = store
        .create_first_user(&user("mallory", Role::Administrator), &act())
        .await;
    assert_eq!(second, Err(Conflict::NotTheFirstUser.into()));
    let twice = store.create_user(&olga, &act()).await;
    assert_eq!(twice, Err(Conflict::UserExists.into()));

    let last = Err(StoreError::Conflict(Conflict::LastAdministrator));
    let demoted = store
        .patch_user("olga", &role(Role::Operator), &act())
        .await;
    assert_eq!(demoted.map(drop), last);
    assert_eq!(store.delete_user("olga", &act()).await, last);
    let paul = user("paul", Role::Administrator);
    store.create_user(&paul, &act()).await.unwrap();
    let demoted = store.patch_user("olga", &role(Role::Auditor), &act()).await;
    assert_eq!(demoted.unwrap().role, Role::Auditor);
    store.delete_user("olga", &act()).await.unwrap();
    let missing = store.delete_user("olga", &act()).await;
    assert_eq!(missing, Err(StoreError::NotFound(Thing::User)));
    let people = store.users(&PageRequest::default()).await.unwrap();
    assert_eq!(people.items, [paul]);
}

pub(crate) async fn of_many_first_users_one_stays(fixture: Fixture) {
    let store = fixture.open().await;
    let tries = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let user = user(&format!("user-{number}"), Role::Administrator);
            store.create_first_user(&user, &act()).await
        })
    });
    let mut made = 0;
    for tried in tries.collect::<Vec<_>>() {
        made += u32::from(tried.await.unwrap().is_ok());
    }
    assert_eq!(made, 1);
}

pub(crate) async fn a_session_ends_with_its_time_its_person_and_the_password(fixture: Fixture) {
    let store = fixture.open().await;
    let olga = user("olga", Role::Operator);
    store.create_user(&olga, &act()).await.unwrap();
    let nobody = store.begin_session(&session("s0", "nobody"), &act()).await;
    assert_eq!(nobody, Err(StoreError::NotFound(Thing::User)));
    for id in ["s1", "s2"] {
        let begun = store.begin_session(&session(id, "olga"), &act()).await;
        begun.unwrap();
    }
    let found = store.session("s1", NOW + 99).await.unwrap();
    assert_eq!(found, Some((session("s1", "olga"), Role::Operator)));
    assert_eq!(store.session("s1", NOW + 100).await.unwrap(), None);
    let patched = store.patch_user("olga", &role(Role::Auditor), &act()).await;
    patched.unwrap();
    let (_, by_now) = store.session("s1", NOW).await.unwrap().unwrap();
    assert_eq!(by_now, Role::Auditor);

    store.end_session("s1", &act()).await.unwrap();
    store.end_session("s1", &act()).await.unwrap();
    assert_eq!(store.session("s1", NOW).await.unwrap(), None);
    let listed = store
        .sessions(Some("olga"), NOW, &PageRequest::default())
        .await;
    assert_eq!(listed.unwrap().items, [session("s2", "olga")]);
    let password = PatchUser {
        password: Some("another hash".to_owned()),
        role: None,
    };
    let patched = store.patch_user("olga", &password, &act()).await.unwrap();
    assert_eq!(patched.password, "another hash");
    assert_eq!(store.session("s2", NOW).await.unwrap(), None);

    let begun = store.begin_session(&session("s3", "olga"), &act()).await;
    begun.unwrap();
    assert_eq!(store.prune(NOW + 99).await.unwrap().sessions, 0);
    assert_eq!(store.prune(NOW + 100).await.unwrap().sessions, 1);
}

pub(crate) async fn a_token_that_was_taken_back_lets_nobody_in(fixture: Fixture) {
    let store = fixture.open().await;
    store.create_region(&region("eu"), &act()).await.unwrap();
    let token = join_token("token", 0);
    store.create_token(&token, &act()).await.unwrap();
    let taken_back = store.revoke_token("token", &act()).await.unwrap();
    assert!(taken_back.revoked && !taken_back.is_good(NOW));
    assert!(store.revoke_token("token", &act()).await.unwrap().revoked);
    let refused = store
        .register_node(&crate::nodes::node(1, Some("token")), &act())
        .await;
    assert_eq!(refused, Err(StoreError::TokenSpent));
    let missing = store.revoke_token("none", &act()).await;
    assert_eq!(missing, Err(StoreError::NotFound(Thing::Token)));
}

pub(crate) async fn tokens_come_page_by_page_and_by_kind(fixture: Fixture) {
    let store = fixture.open().await;
    store.create_region(&region("eu"), &act()).await.unwrap();
    let mut api = join_token("c", 0);
    api.kind = TokenKind::Api;
    api.region = None;
    api.role = Some(Role::Operator);
    let tokens = [
        join_token("a", 5),
        enrolment_key("b", 0xFFFF_FFFF_FFFF_FFFF, &[1, u32::MAX]),
        api.clone(),
    ];
    for token in &tokens {
        store.create_token(token, &act()).await.unwrap();
    }
    let all = store.tokens(None, &PageRequest::default()).await.unwrap();
    assert_eq!(all.items, tokens);
    let some = store
        .tokens(Some(TokenKind::Api), &PageRequest::default())
        .await;
    assert_eq!(some.unwrap().items, tokens[2..]);
    let page = PageRequest {
        after: Some("a".to_owned()),
        limit: 1,
    };
    let part = store.tokens(None, &page).await.unwrap();
    assert_eq!(part.items, tokens[1..2]);
    assert_eq!(part.next.as_deref(), Some("b"));
    let uses = [("c".to_owned(), 2), ("none".to_owned(), 1)];
    store.record_token_uses(&uses).await.unwrap();
    store.record_token_uses(&uses).await.unwrap();
    assert_eq!(store.token("c").await.unwrap().unwrap().uses, 4);
}
