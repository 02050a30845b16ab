//! Opening a store, and what is refused.

use sterna_control::store::{OpenError, pending_migrations};

use crate::{Fixture, act, keys::key};

pub(crate) async fn migrations_are_pending_before_and_not_after_the_first_start(fixture: Fixture) {
    let pending = pending_migrations(&fixture.config()).await.unwrap();
    assert_eq!(pending[0].version, 1);
    if !fixture.is_postgres() {
        let nothing = std::fs::read_dir(fixture.folder()).unwrap().count();
        assert_eq!(nothing, 0, "looking makes no file");
    }
    let store = fixture.open().await;
    assert_eq!(pending_migrations(&fixture.config()).await.unwrap(), []);
    if !fixture.is_postgres() {
        let second = fixture.try_open().await.map(drop);
        assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    }
    store.close().await;
}

pub(crate) async fn a_database_of_a_newer_version_is_refused(fixture: Fixture) {
    fixture.open().await.close().await;
    fixture
        .behind_its_back(
            "INSERT INTO _sqlx_migrations \
             (version, description, success, checksum, execution_time) \
             SELECT 999, 'of the future', success, checksum, 1 FROM _sqlx_migrations",
        )
        .await;
    let newer = |error: OpenError| {
        let said = error.to_string();
        assert!(
            matches!(error, OpenError::Newer { found: 999, .. }),
            "{said}"
        );
        assert!(said.contains("newer sterna"), "{said}");
    };
    newer(fixture.try_open().await.map(drop).unwrap_err());
    newer(pending_migrations(&fixture.config()).await.unwrap_err());
}

pub(crate) async fn a_missing_or_wrong_key_file_is_said(fixture: Fixture) {
    let store = fixture.open().await;
    store.first_key(&key("a"), &act()).await.unwrap();
    store.close().await;
    drop(store);
    let key_file = fixture.key_file();
    let right = std::fs::read_to_string(&key_file).unwrap();
    std::fs::remove_file(&key_file).unwrap();
    let missing = fixture.try_open().await.map(drop).unwrap_err();
    assert!(matches!(missing, OpenError::KeyFileMissing(_)), "{missing}");
    assert!(!key_file.exists(), "none is made that opens nothing");

    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let write = |text: &str| {
        let mut file = file.open(&key_file).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    write("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    let wrong = fixture.try_open().await.map(drop).unwrap_err();
    assert!(matches!(wrong, OpenError::KeyFileWrong(_)), "{wrong}");
    write(&right);
    let snapshot = fixture.open().await.snapshot().await.unwrap();
    assert_eq!(snapshot.keys[0].secret.reveal(), "the secret of a");
}
