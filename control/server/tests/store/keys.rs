//! Signing keys and TURN secrets.

use sterna_control::domain::rotation::{Refusal, Rotation};
use sterna_control::domain::{KeyRecord, KeySecret};
use sterna_control::store::StoreError;
use sterna_control_api::rotation::{KeyPurpose, KeyStage, RotationStep};

use crate::{Fixture, NOW, act};

pub(crate) fn key(id: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        purpose: KeyPurpose::Turn,
        stage: KeyStage::Current,
        secret: KeySecret::new(format!("the secret of {id}")),
        created: NOW,
        since: NOW,
        orders: 0,
    }
}

pub(crate) fn step(step: RotationStep, fresh: Option<&str>) -> Rotation {
    Rotation {
        purpose: KeyPurpose::Turn,
        step,
        force: false,
        fresh: fresh.map(|id| (id.to_owned(), key(id).secret)),
        followed: u64::MAX,
        lifetime_s: 100,
    }
}

fn stages(keys: &[KeyRecord]) -> Vec<(&str, KeyStage)> {
    keys.iter()
        .map(|key| (key.id.as_str(), key.stage))
        .collect()
}

pub(crate) async fn of_many_first_keys_one_stays(fixture: Fixture) {
    let store = fixture.open().await;
    let tries = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .first_key(&key(&format!("key-{number}")), &act())
                .await
        })
    });
    let mut answers = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        answers.push(tried.await.unwrap().unwrap());
    }
    let keys = store.keys(KeyPurpose::Turn).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(answers.iter().all(|answer| *answer == keys[0]));
    assert_eq!(store.keys(KeyPurpose::Signing).await.unwrap(), []);
}

pub(crate) async fn a_rotation_goes_through_its_steps_and_back(fixture: Fixture) {
    use KeyStage::{Current, Next, Previous, Retired};
    let store = fixture.open().await;
    store.first_key(&key("a"), &act()).await.unwrap();
    let before = store.snapshot().await.unwrap().orders;
    let take = async |rotation: Rotation, at: u64| {
        let act = sterna_control::domain::Act::new("user:olga", at);
        store.rotate_keys(&rotation, &act).await
    };
    let keys = take(step(RotationStep::Prepare, Some("b")), NOW).await;
    let keys = keys.unwrap();
    assert_eq!(stages(&keys), [("b", Next), ("a", Current)]);
    assert!(store.snapshot().await.unwrap().orders > before);
    assert_eq!(keys[0].orders, store.snapshot().await.unwrap().orders);

    let mut early = step(RotationStep::Promote, None);
    early.followed = keys[0].orders - 1;
    let refused = take(early.clone(), NOW).await;
    assert_eq!(refused, Err(Refusal::NotKnownEverywhere.into()));
    early.followed += 1;
    let keys = take(early, NOW + 1).await.unwrap();
    assert_eq!(stages(&keys), [("b", Current), ("a", Previous)]);

    let keys = take(step(RotationStep::Rollback, None), NOW + 2).await;
    assert_eq!(stages(&keys.unwrap()), [("b", Next), ("a", Current)]);
    let keys = take(step(RotationStep::Promote, None), NOW + 3).await;
    assert_eq!(stages(&keys.unwrap()), [("b", Current), ("a", Previous)]);

    let refused = take(step(RotationStep::Retire, None), NOW + 102).await;
    assert_eq!(
        refused,
        Err(Refusal::StillValid { until: NOW + 103 }.into())
    );
    let keys = take(step(RotationStep::Retire, None), NOW + 103).await;
    let keys = keys.unwrap();
    assert_eq!(stages(&keys), [("b", Current), ("a", Retired)]);
    assert_eq!(keys[1].secret.reveal(), "", "nobody needs it any more");
    let told = store.snapshot().await.unwrap().keys;
    assert_eq!(stages(&told), [("b", Current)]);
    assert_eq!(told[0].secret.reveal(), "the secret of b");
}

pub(crate) async fn a_step_that_is_refused_changes_nothing(fixture: Fixture) {
    let store = fixture.open().await;
    store.first_key(&key("a"), &act()).await.unwrap();
    let before = store.snapshot().await.unwrap();
    let refusals = [
        (step(RotationStep::Prepare, None), Refusal::NotFresh),
        (step(RotationStep::Prepare, Some("a")), Refusal::NotFresh),
        (step(RotationStep::Promote, None), Refusal::NoNext),
        (step(RotationStep::Rollback, None), Refusal::NoPrevious),
        (step(RotationStep::Retire, None), Refusal::NoPrevious),
    ];
    for (rotation, refusal) in refusals {
        let refused = store.rotate_keys(&rotation, &act()).await;
        assert_eq!(refused, Err(StoreError::Rotation(refusal)));
    }
    assert_eq!(store.snapshot().await.unwrap(), before);
}

pub(crate) async fn a_copy_of_the_database_has_no_secret_in_it(fixture: Fixture) {
    let store = fixture.open().await;
    let secret = key("a");
    store.first_key(&secret, &act()).await.unwrap();
    if fixture.is_postgres() {
        // Fails where the text is found.
        fixture
            .behind_its_back(
                "DO $$ BEGIN IF EXISTS (SELECT 1 FROM keys WHERE position(\
                 'the secret'::bytea IN sealed) > 0) THEN RAISE 'plain'; END IF; \
                 IF NOT EXISTS (SELECT 1 FROM keys) THEN RAISE 'empty'; END IF; END $$",
            )
            .await;
        return;
    }
    let mut seen = 0;
    for file in std::fs::read_dir(fixture.folder()).unwrap() {
        let file = file.unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
        assert_eq!(mode & 0o077, 0, "{:?} is for its owner only", file.path());
        let bytes = std::fs::read(file.path()).unwrap();
        let text = secret.secret.reveal().as_bytes();
        assert!(!bytes.windows(text.len()).any(|part| part == text));
        seen += bytes.windows(4).filter(|part| part == b"turn").count();
    }
    assert!(seen > 0, "the files are those that hold the key");
}
