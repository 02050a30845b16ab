#![allow(clippy::unwrap_used)]

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::challenge::Answers;
use super::fake::{self, DIRECTORY, Fake};
use super::*;
use crate::config::Acme;

const DAY_S: i64 = 86_400;

fn config() -> config::Tls {
    config::Tls {
        acme: Some(Acme {
            directory: DIRECTORY.to_owned(),
            domains: vec!["Relay.example".to_owned()],
            ..Acme::default()
        }),
        ..config::Tls::default()
    }
}

fn keeper(data_dir: &Path, fake: &Fake) -> Keeper {
    let certificates = Certificates::load(&config(), data_dir, "test").unwrap();
    let fake = fake.clone();
    let issuer = Issuer {
        config: config().acme.unwrap(),
        store: Store::new(data_dir, DIRECTORY),
        answers: certificates.answers(),
        provider: Arc::clone(certificates.server.crypto_provider()),
        connect: Box::new(move || Ok(Box::new(fake.clone()))),
    };
    Keeper {
        issuer,
        certificates,
        retry_first: Duration::from_millis(1),
    }
}

/// Any certificate: whom it belongs to is not the fake's concern.
fn somebodys() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn held(names: &[&str], directory: &str) -> Held {
    Held {
        directory: directory.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before_unix_s: 0,
        not_after_unix_s: 90 * DAY_S,
    }
}

/// Keeps a certificate for `names` that lives from 2020 to 2090 or, expired, to 2021.
fn keep(store: &Store, names: &[&str], until: i32) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem();
    store.keep_certificate(&key.serialize_pem(), &pem).unwrap();
}

#[test]
fn a_certificate_is_renewed_two_thirds_through_its_life_or_a_little_earlier() {
    let held = held(&["relay.example"], DIRECTORY);
    assert_eq!(renewal_unix_s(&held, 0.0), 60 * DAY_S);
    assert_eq!(renewal_unix_s(&held, 1.0), 57 * DAY_S);
}

#[test]
fn failures_are_repeated_ever_later_and_much_later_where_the_authority_says_so() {
    let plain = AcmeError::TooLong(Duration::ZERO);
    let limited = AcmeError::Refused {
        what: "an order",
        detail: String::new(),
        remedy: "",
        rate_limited: true,
        unknown_account: false,
    };
    let waits = |error| {
        (1..=5)
            .map(|n| backoff(RETRY_FIRST, n, error, 0.0).as_secs())
            .collect::<Vec<_>>()
    };
    assert_eq!(waits(&plain), [120, 240, 480, 960, 1920]);
    assert_eq!(waits(&limited), [3600; 5]);
    assert_eq!(backoff(RETRY_FIRST, u32::MAX, &plain, 0.0), RETRY_MAX);
    assert_eq!(backoff(RETRY_FIRST, 1, &plain, 1.0).as_secs(), 150);
}

#[tokio::test]
async fn a_certificate_for_other_names_or_from_another_directory_is_replaced_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path(), &Fake::new(""));
    assert_eq!(keeper.due_unix_s(0.0), None, "there is none");
    keep(&keeper.issuer.store, &["relay.example"], 2090);
    assert!(keeper.due_unix_s(0.0).unwrap() > unix_s());
    keep(
        &keeper.issuer.store,
        &["relay.example", "more.example"],
        2090,
    );
    assert_eq!(keeper.due_unix_s(0.0), None);
    let staging = Store::new(dir.path(), "https://staging.example/dir");
    keep(&staging, &["relay.example"], 2090);
    assert_eq!(keeper.due_unix_s(0.0), None);
    keep(&keeper.issuer.store, &["relay.example"], 2021);
    assert!(
        keeper.due_unix_s(0.0).unwrap() < unix_s(),
        "an expired one is due"
    );
}

#[tokio::test]
async fn what_is_kept_is_served_and_one_that_is_damaged_keeps_no_node_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), DIRECTORY);
    keep(&store, &["relay.example"], 2090);
    let certificates = Certificates::load(&config(), dir.path(), "test").unwrap();
    assert!(!certificates.certificate().self_signed);
    std::fs::write(certificate_path(dir.path()), "-----BEGIN").unwrap();
    certificates.refresh().unwrap_err();
    assert!(!certificates.certificate().self_signed, "the old one stays");
    let certificates = Certificates::load(&config(), dir.path(), "test").unwrap();
    assert!(certificates.certificate().self_signed);
}

/// One attempt at an order, and what it says.
async fn said(fake: &Fake) -> String {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path(), fake);
    let said = keeper.renew().await.unwrap_err().to_string();
    assert_eq!(
        keeper.certificates.acme(),
        AcmeCounters {
            issued: 0,
            failed: 1
        }
    );
    assert!(
        keeper.certificates.certificate().self_signed,
        "what was served stays"
    );
    let answers: &Answers = &keeper.issuer.answers;
    assert!(
        answers.certificate(Some("relay.example")).is_none(),
        "the order is closed"
    );
    said
}

#[tokio::test]
async fn an_authority_that_cannot_be_reached_is_said_with_its_url() {
    let fake = Fake::new("");
    fake.is_unreachable(true);
    let said = said(&fake).await;
    assert!(
        said.contains(DIRECTORY)
            && said.contains("connection refused")
            && said.contains("tls.acme.ca_file"),
        "{said}"
    );
}

#[tokio::test]
async fn what_the_authority_refuses_is_said_in_its_words_and_with_a_remedy() {
    for (path, kind, remedy) in [
        (
            "/account",
            "externalAccountRequired",
            "tls.acme.external_account",
        ),
        ("/account", "invalidContact", "tls.acme.contact"),
        ("/order", "rejectedIdentifier", "tls.acme.domains"),
        ("/order", "invalidProfile", "tls.acme.profile"),
        ("/order", "rateLimited", "staging"),
        ("/finalize", "badCSR", "tries again"),
    ] {
        let fake = Fake::new("");
        fake.refuses(path, kind);
        let said = said(&fake).await;
        assert!(
            said.contains("the authority'sown words") && said.contains(remedy),
            "{kind}: {said}"
        );
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_verified_is_named_with_what_the_authority_saw() {
    let problem = json!({ "type": "urn:ietf:params:acme:error:connection", "detail": "Timeout during connect" });
    for authorization in [
        fake::authorization("invalid", &json!([fake::challenge("invalid", &problem)])),
        fake::authorization("pending", &json!([fake::challenge("invalid", &problem)])),
    ] {
        let fake = Fake::new("");
        fake.says("/authz", 200, authorization);
        fake.says("/order/1", 200, json!({
            "status": "invalid", "authorizations": ["https://ca.example/authz"], "finalize": "https://ca.example/finalize",
        }));
        let said = said(&fake).await;
        assert!(
            said.contains("relay.example by tls-alpn-01: Timeout during connect"),
            "{said}"
        );
        assert!(said.contains("TCP port 443"), "{said}");
    }
    // One that has looked before it answers.
    let quick = Fake::new("");
    let seen = json!({ "type": "urn:ietf:params:acme:error:dns", "detail": "no such host" });
    let pending = json!([fake::challenge("pending", &json!(null))]);
    quick.says("/authz", 200, fake::authorization("pending", &pending));
    quick.says("/challenge", 200, fake::challenge("invalid", &seen));
    let said = said(&quick).await;
    assert!(
        said.contains("no such host; let relay.example lead to this node in DNS"),
        "{said}"
    );
    let fake = Fake::new("");
    fake.says("/authz", 200, fake::authorization("pending", &json!([])));
    let said = self::said(&fake).await;
    assert!(
        said.contains("does not offer tls-alpn-01 for relay.example"),
        "{said}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_ours_is_neither_kept_nor_served() {
    let said = said(&Fake::new(&somebodys())).await;
    assert!(
        said.contains("cannot be used") && said.contains("is not the key of the certificate"),
        "{said}"
    );
    assert!(
        self::said(&Fake::new("nothing"))
            .await
            .contains("holds no certificate")
    );
}

#[tokio::test]
async fn an_authority_is_asked_for_nothing_that_could_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("");
    let keeper = keeper(dir.path(), &fake);
    std::fs::write(dir.path().join("acme"), "in the way").unwrap();
    let said = keeper.renew().await.unwrap_err().to_string();
    assert!(
        said.contains("cannot be written") && said.contains("node.data_dir"),
        "{said}"
    );
    assert_eq!(fake.asked("/dir"), 0);
}

#[tokio::test]
async fn an_account_is_made_once_and_anew_when_the_authority_has_forgotten_it() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("");
    fake.refuses("/order", "rateLimited");
    let keeper = keeper(dir.path(), &fake);
    keeper.renew().await.unwrap_err();
    keeper.renew().await.unwrap_err();
    assert_eq!(fake.asked("/account"), 1);
    fake.refuses("/order", "accountDoesNotExist");
    keeper.renew().await.unwrap_err();
    keeper.renew().await.unwrap_err();
    assert_eq!(fake.asked("/account"), 2);
}

#[tokio::test]
async fn the_renewal_goes_on_after_failures_and_asks_again_when_the_authority_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("");
    fake.is_unreachable(true);
    let keeper = keeper(dir.path(), &fake);
    let certificates = keeper.certificates.clone();
    let running = tokio::spawn(keeper.run());
    let failed = |times| {
        let certificates = certificates.clone();
        async move {
            while certificates.acme().failed < times {
                sleep(Duration::from_millis(1)).await;
            }
        }
    };
    failed(3).await;
    fake.is_unreachable(false);
    let before = certificates.acme().failed;
    failed(before + 2).await;
    assert!(fake.asked("/finalize") >= 1);
    running.abort();
}

#[tokio::test]
async fn the_key_of_an_external_account_is_base64url() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path(), &Fake::new(""));
    keeper.issuer.config.external_account = Some(config::ExternalAccount {
        key_id: "k".to_owned(),
        hmac_key: config::Secret::new("no base64!"),
    });
    let said = keeper.renew().await.unwrap_err().to_string();
    assert!(said.contains("hmac_key is not base64url"), "{said}");
}

#[test]
fn a_node_without_acme_knows_nothing_of_an_authority_s_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Certificates::load(&config::Tls::default(), dir.path(), "test").unwrap();
    let acme = Certificates::load(&config(), dir.path(), "test").unwrap();
    let knows = |certificates: &Certificates| {
        certificates
            .server
            .alpn_protocols
            .iter()
            .any(|name| name == ACME_TLS)
    };
    assert_eq!((knows(&plain), knows(&acme)), (false, true));
}
