//! People: login, roles, the audit log.

use sterna_control::domain::{Act, AuditRecord};
use sterna_control::store;
use sterna_control_api::access::{Login, NewApiToken, NewUser, PatchUser, Role};
use sterna_control_api::problem::Code;
use sterna_control_api::region::{PatchRegion, Region};
use sterna_control_client::{Caller, ControlClient, Filter};

use crate::scene::{POLL, Place, SOON, Scene, code};

const PASSWORD: &str = "correct horse battery";

async fn log_in(scene: &Scene, name: &str, password: &str) -> Result<ControlClient, Code> {
    let login = Login {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let nobody = scene.client(Caller::Anonymous);
    match nobody.login(&login).await {
        Ok(begun) => Ok(scene.client(Caller::Bearer(begun.token))),
        Err(error) => Err(error.code().unwrap()),
    }
}

async fn add(scene: &Scene, name: &str, role: Role) {
    let user = NewUser {
        name: name.to_owned(),
        password: PASSWORD.to_owned(),
        role,
    };
    scene.admin.add_user(&user).await.unwrap();
}

fn password(new: &str) -> PatchUser {
    PatchUser {
        password: Some(new.to_owned()),
        role: None,
    }
}

pub(crate) async fn people_log_in_change_their_password_and_keep_an_administrator(place: Place) {
    let scene = place.start().await;
    add(&scene, "olga", Role::Administrator).await;
    add(&scene, "ada", Role::Auditor).await;
    assert_eq!(
        log_in(&scene, "olga", "not the password").await.err(),
        Some(Code::Unauthorized)
    );
    assert_eq!(
        log_in(&scene, "nobody", PASSWORD).await.err(),
        Some(Code::Unauthorized)
    );
    let olga = log_in(&scene, "olga", PASSWORD).await.unwrap();
    let ada = log_in(&scene, "ada", PASSWORD).await.unwrap();
    assert_eq!(olga.users(&Filter::default()).await.unwrap().items.len(), 2);
    assert_eq!(code(ada.users(&Filter::default()).await), Code::RoleTooLow);
    // The own password, which ends the sessions; nobody else's, and no role.
    assert_eq!(
        code(ada.patch_user("ada", &password("short")).await),
        Code::Malformed
    );
    assert_eq!(
        code(ada.patch_user("olga", &password("another password")).await),
        Code::RoleTooLow
    );
    let grab = PatchUser {
        password: None,
        role: Some(Role::Administrator),
    };
    assert_eq!(code(ada.patch_user("ada", &grab).await), Code::RoleTooLow);
    ada.patch_user("ada", &password("another password"))
        .await
        .unwrap();
    assert_eq!(
        code(ada.nodes(&Filter::default()).await),
        Code::Unauthorized
    );
    assert_eq!(
        log_in(&scene, "ada", PASSWORD).await.err(),
        Some(Code::Unauthorized)
    );
    let ada = log_in(&scene, "ada", "another password").await.unwrap();
    ada.logout().await.unwrap();
    assert_eq!(
        code(ada.nodes(&Filter::default()).await),
        Code::Unauthorized
    );
    // Somebody stays administrator.
    let lower = PatchUser {
        password: None,
        role: Some(Role::Operator),
    };
    assert_eq!(code(olga.patch_user("olga", &lower).await), Code::Conflict);
    assert_eq!(code(olga.remove_user("olga").await), Code::Conflict);
    olga.remove_user("ada").await.unwrap();
    assert_eq!(
        scene.metric("control_logins_total{result=\"wrong\"}").await,
        3
    );
    scene.control.stop().await;
}

pub(crate) async fn a_role_that_is_too_low_changes_nothing_and_is_written_down(place: Place) {
    let scene = place.start().await;
    let wanted = NewApiToken {
        role: Role::Auditor,
        ttl_s: 60,
        note: "who looks".to_owned(),
    };
    let made = scene.admin.make_api_token(&wanted).await.unwrap();
    let auditor = scene.client(Caller::Bearer(made.token));
    let region = Region {
        code: "eu".to_owned(),
        name: "Europe".to_owned(),
        location: None,
        weight: 1,
    };
    assert_eq!(code(auditor.add_region(&region).await), Code::RoleTooLow);
    assert_eq!(
        code(auditor.make_api_token(&wanted).await),
        Code::RoleTooLow
    );
    assert_eq!(
        auditor
            .regions(&Filter::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let log = auditor.audit(&Filter::default()).await.unwrap();
    let refused = log
        .items
        .iter()
        .find(|entry| entry.action == "auth.refused")
        .unwrap();
    assert_eq!(refused.actor, format!("token:{}", made.id));
    // An operator makes no administrator.
    let operator = NewApiToken {
        role: Role::Operator,
        ..wanted.clone()
    };
    let operator = scene.admin.make_api_token(&operator).await.unwrap();
    let operator = scene.client(Caller::Bearer(operator.token));
    let higher = NewApiToken {
        role: Role::Administrator,
        ..wanted
    };
    assert_eq!(
        code(operator.make_api_token(&higher).await),
        Code::RoleTooLow
    );
    assert!(
        scene
            .metric("control_auth_failures_total{reason=\"role_too_low\"}")
            .await
            >= 3
    );
    // Taken back, it is nobody.
    operator.revoke_token(&made.id).await.unwrap();
    assert_eq!(
        code(auditor.nodes(&Filter::default()).await),
        Code::Unauthorized
    );
    scene.control.stop().await;
}

pub(crate) async fn every_change_is_in_the_audit_log_with_before_and_after(place: Place) {
    let scene = place.start().await;
    let patch = PatchRegion {
        weight: Some(7),
        ..PatchRegion::default()
    };
    scene.admin.patch_region("default", &patch).await.unwrap();
    scene.node(1).await;
    let log = scene.admin.audit(&Filter::default()).await.unwrap().items;
    let find = |action: &str| {
        let found = log.iter().find(|entry| entry.action == action);
        found.unwrap_or_else(|| panic!("{action} is not in {log:?}"))
    };
    let patched = find("region.patch");
    assert_eq!(patched.before.as_ref().unwrap()["weight"], 100);
    assert_eq!(patched.after.as_ref().unwrap()["weight"], 7);
    assert!(patched.actor.starts_with("token:"));
    assert!(find("node.register").actor.starts_with("node:"));
    assert!(
        log.windows(2).all(|pair| pair[0].id > pair[1].id),
        "newest first"
    );
    // No secret is in it.
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("sterna-ticket-secret") && !text.contains("secret_hash"));
    let csv = scene
        .admin
        .export("audit", &Filter::default())
        .await
        .unwrap();
    assert!(csv.lines().count() > log.len() / 2 && csv.contains("region.patch"));
    scene.control.stop().await;
}

pub(crate) async fn the_audit_log_forgets_what_is_older_than_it_should_keep(place: Place) {
    const DAY_S: u64 = 86_400;
    place.start().await.control.stop().await;
    let mut config = place.config();
    config.database.audit_days = 30;
    let store = store::open(&config.store()).await.unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    for days in [32, 31, 29, 1] {
        let entry = AuditRecord {
            act: Act::new("user:olga", now - days * DAY_S),
            action: "auth.login",
            subject: format!("days:{days}"),
            before: None,
            after: None,
        };
        store.record_audit(&entry).await.unwrap();
    }
    store.close().await;
    drop(store);
    // Days are for ever where there are none.
    config.database.audit_days = 0;
    let scene = place.start_with(config.clone()).await;
    assert_eq!(of_olga(&scene).await.len(), 4);
    scene.control.stop().await;
    config.database.audit_days = 30;
    let scene = place.start_with(config).await;
    let deadline = tokio::time::Instant::now() + SOON;
    while of_olga(&scene).await.len() > 2 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is deleted");
        tokio::time::sleep(POLL).await;
    }
    assert_eq!(of_olga(&scene).await, ["days:1", "days:29"]);
    assert_eq!(scene.metric("control_audit_pruned_total ").await, 2);
    scene.control.stop().await;
}

/// What the log has of one person, newest first.
async fn of_olga(scene: &Scene) -> Vec<String> {
    let filter = Filter {
        actor: Some("user:olga".to_owned()),
        ..Filter::default()
    };
    let page = scene.admin.audit(&filter).await.unwrap();
    page.items.into_iter().map(|entry| entry.subject).collect()
}
