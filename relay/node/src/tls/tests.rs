#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

struct Files {
    _dir: tempfile::TempDir,
    config: config::Tls,
}

pub(super) fn pair(years: (i32, i32)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn files(certificate: &str, key: &str) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let (certificate_path, key_path) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate_path, certificate).unwrap();
    std::fs::write(&key_path, key).unwrap();
    Files {
        _dir: dir,
        config: config::Tls {
            certificate: Some(certificate_path),
            key: Some(key_path),
            acme: None,
        },
    }
}

fn load(config: &config::Tls) -> Result<Certificates, TlsError> {
    Certificates::load(config, &PathBuf::from("unused"), "test")
}

#[test]
fn a_self_signed_certificate_is_made_once_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let first = Certificates::load(&config::Tls::default(), &data, "one")
        .unwrap()
        .certificate();
    let second = Certificates::load(&config::Tls::default(), &data, "two")
        .unwrap()
        .certificate();
    assert_eq!(first, second);
    assert!(first.self_signed);
    assert_eq!(first.sha256.len(), 32 * 3 - 1);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data.join("self-signed.pem")), 0o600);
    assert_eq!(mode(data.clone()), 0o700);
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 1);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = Certificates::load(&config::Tls::default(), &file.join("data"), "x")
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("cannot be written") && said.contains("node.data_dir"),
        "{said}"
    );
}

#[test]
fn a_certificate_and_its_key_are_served() {
    let (certificate, key) = pair((2020, 2090));
    let files = files(&certificate, &key);
    let info = load(&files.config).unwrap().certificate();
    assert!(!info.self_signed);
    assert_eq!(info.not_after_unix_s, 3_786_912_000);
    assert!(info.expires().contains("2090"), "{}", info.expires());
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let (certificate, _) = pair((2020, 2090));
    let (_, key) = pair((2020, 2090));
    let said = load(&files(&certificate, &key).config)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("k.pem is not the key of the certificate in") && said.contains("c.pem"),
        "{said}"
    );
}

#[test]
fn files_that_hold_something_else_are_named() {
    let (certificate, key) = pair((2020, 2090));
    let said = load(&files("nothing", &key).config)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("tls.certificate:") && said.contains("holds no certificate in PEM form"),
        "{said}"
    );
    let said = load(&files(&certificate, &certificate).config)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("tls.key:") && said.contains("holds no private key"),
        "{said}"
    );
    let missing = config::Tls {
        certificate: Some("nowhere.pem".into()),
        key: Some("nowhere.pem".into()),
        acme: None,
    };
    let said = load(&missing).unwrap_err().to_string();
    assert!(
        said.contains("tls.certificate: nowhere.pem cannot be read"),
        "{said}"
    );
}

#[test]
fn an_expired_certificate_is_served_all_the_same() {
    let (certificate, key) = pair((2020, 2021));
    let files = files(&certificate, &key);
    load(&files.config).unwrap();
    let warning = check(&files.config).unwrap().unwrap();
    assert!(warning.contains("has expired"), "{warning}");
}

#[test]
fn a_check_reads_the_files_and_makes_none() {
    let (certificate, key) = pair((2020, 2090));
    assert_eq!(check(&files(&certificate, &key).config).unwrap(), None);
    assert_eq!(check(&config::Tls::default()).unwrap(), None);
    let (_, other) = pair((2020, 2090));
    check(&files(&certificate, &other).config).unwrap_err();
}

#[test]
fn a_reload_that_fails_keeps_the_certificate_and_one_that_succeeds_replaces_it() {
    let (certificate, key) = pair((2020, 2090));
    let files = files(&certificate, &key);
    let tls = load(&files.config).unwrap();
    let before = tls.certificate();
    let path = files.config.certificate.clone().unwrap();
    std::fs::write(&path, "broken").unwrap();
    tls.reload(&files.config, &path).unwrap_err();
    assert_eq!(tls.certificate(), before);
    let (certificate, key) = pair((2020, 2091));
    std::fs::write(&path, certificate).unwrap();
    std::fs::write(files.config.key.as_ref().unwrap(), key).unwrap();
    tls.reload(&files.config, &path).unwrap();
    assert_ne!(tls.certificate(), before);
}
