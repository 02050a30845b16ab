//! Opening a store, and what is refused.

use sterna_control::store::{
    BackupError, OpenError, StoreConfig, backup, open, pending_migrations,
};

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

pub(crate) async fn a_backup_is_taken_of_a_store_in_use_and_opens_with_its_key(fixture: Fixture) {
    let store = fixture.open().await;
    store.first_key(&key("a"), &act()).await.unwrap();
    let file = fixture.folder().join("backup.db");
    let taken = backup(&fixture.config(), &file).await;
    if fixture.is_postgres() {
        let said = taken.unwrap_err().to_string();
        assert!(
            said.contains("pg_dump") && said.contains("control.key"),
            "{said}"
        );
        return;
    }
    let taken = taken.unwrap();
    assert_eq!(taken.bytes, std::fs::metadata(&file).unwrap().len());
    assert_eq!(taken.key_file, fixture.key_file());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
    // What comes later is not in it, and it is not written over.
    store
        .create_region(&crate::region("later"), &act())
        .await
        .unwrap();
    let again = backup(&fixture.config(), &file).await.unwrap_err();
    assert!(matches!(again, BackupError::Exists(_)), "{again}");
    let orders = store.snapshot().await.unwrap().orders;
    store.close().await;

    let place = tempfile::tempdir().unwrap();
    std::fs::rename(&file, place.path().join("control.db")).unwrap();
    let url = format!("sqlite:{}", place.path().join("control.db").display());
    let mut config = StoreConfig::new(url, place.path());
    let alone = open(&config).await.map(drop).unwrap_err();
    assert!(matches!(alone, OpenError::KeyFileMissing(_)), "{alone}");
    let without = backup(&config, &place.path().join("copy.db"))
        .await
        .unwrap_err();
    assert!(
        matches!(without, BackupError::Open(OpenError::KeyFileMissing(_))),
        "{without}"
    );
    config.key_file = fixture.key_file();
    let restored = open(&config).await.unwrap();
    let snapshot = restored.snapshot().await.unwrap();
    assert_eq!(snapshot.keys[0].secret.reveal(), "the secret of a");
    assert!(snapshot.regions.iter().all(|region| region.code != "later"));
    assert!(snapshot.orders > orders, "nodes follow no older orders");
    let left: Vec<_> = std::fs::read_dir(fixture.folder())
        .unwrap()
        .chain(std::fs::read_dir(place.path()).unwrap())
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.') || name.contains("backup") || name.contains("copy"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
