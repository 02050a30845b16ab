#![allow(clippy::unwrap_used)]
use sterna_daemon::config::{Kind, defaults_toml, markdown};
use sterna_daemon::documents;

use super::*;

fn load(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.toml");
    std::fs::write(&path, text).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(Some(&path), env, &sets)
}

#[test]
fn a_flag_goes_over_the_environment_over_the_file_over_the_default() {
    let file = "[heartbeat]\ninterval_s = 7\n[control]\nfleet = \"of-file\"\n";
    let env = [
        ("STERNA_CONTROL_FLEET", "of-env"),
        ("STERNA_CONTROL_LIMITS_WEBSOCKETS_MAX", "100"),
        ("STERNA_CONTROL_JOIN_TOKEN", "a node's"),
    ];
    let config = load(file, &env, &["control.fleet=of-flag"]).unwrap();
    assert_eq!(config.heartbeat.interval_s, 7);
    assert_eq!(config.control.fleet.as_str(), "of-flag");
    assert_eq!(config.limits.websockets_max, 100);
    assert_eq!(config.control.listen.port(), DEFAULT_PORT);
}

#[test]
fn everything_that_is_wrong_is_named_at_once_with_its_place_and_the_nearest_key() {
    let file = "[control]\nlisen = \"127.0.0.1:1\"\n[heartbeat]\ninterval_s = \"often\"\n[datbase]\nurl = \"x\"\n";
    let env = [("STERNA_CONTROL_FLEEET", "x")];
    let error = load(file, &env, &["limits.websockets_max=0"]).unwrap_err();
    let text = error.to_string();
    for part in [
        "control.toml:2: control.lisen: no such key; the nearest is control.listen",
        "control.toml:4: heartbeat.interval_s",
        "control.toml:5: datbase: no such section; the nearest is [database]",
        "STERNA_CONTROL_FLEEET: no such key; the nearest is STERNA_CONTROL_FLEET",
        "--set limits.websockets_max=…: limits.websockets_max: 0 is out of range; write a whole number from 1",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn plain_http_is_refused_beyond_loopback_unless_a_proxy_ends_tls() {
    let open = "control.listen=0.0.0.0:8478";
    assert!(load("", &[], &[open]).is_err());
    assert!(load("", &[], &[open, "control.insecure_http=true"]).is_ok());
    assert!(load("", &[], &["control.tls_key=key.pem"]).is_err());
}

#[test]
fn the_defaults_that_are_printed_are_read_back_as_the_defaults() {
    assert_eq!(
        load(&defaults_toml::<Config>(), &[], &[]).unwrap(),
        Config::default()
    );
}

#[test]
fn each_field_has_a_key_and_each_key_a_field() {
    let mut given = Config::default();
    given.control.tls_certificate = Some("a".into());
    given.control.tls_key = Some("b".into());
    given.database.key_file = Some("c".into());
    let table = toml::Table::try_from(given).unwrap();
    let mut fields: Vec<_> = table
        .iter()
        .flat_map(|(section, values)| {
            let names = values.as_table().unwrap().keys();
            names.map(move |name| format!("{section}.{name}"))
        })
        .collect();
    let mut keys: Vec<_> = Config::TABLE
        .keys()
        .map(|key| key.path.to_owned())
        .collect();
    fields.sort();
    keys.sort();
    assert_eq!(fields, keys);
}

#[test]
fn a_default_lies_within_what_its_key_allows() {
    let table = toml::Table::try_from(Config::default()).unwrap();
    for key in Config::TABLE.keys() {
        if let Kind::Number(min, max) = key.kind {
            let value = table[key.section()][key.name()].as_integer().unwrap();
            assert!(
                (min..=max).contains(&u64::try_from(value).unwrap()),
                "{}",
                key.path
            );
        }
    }
}

#[test]
fn the_password_of_the_database_is_shown_by_nothing() {
    let config = load("", &[], &["database.url=postgres://a:secret@localhost/b"]).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert!(!serde_json::to_string(&config).unwrap().contains("secret"));
    assert_eq!(config.database_url(), "postgres://a:secret@localhost/b");
}

#[test]
fn documents_control_config_is_current() {
    documents::assert_current("CONTROL_CONFIG.md", &markdown::<Config>());
}
