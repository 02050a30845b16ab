//! Keys, their documents, and the file that is shipped.

use std::path::Path;

use sterna_daemon::config::{defaults_toml, explain, markdown, overview};
use sterna_daemon::documents;

use super::*;

#[test]
fn keys_that_need_a_restart_are_told_from_those_that_do_not() {
    let old = Config::default();
    let mut new = old.clone();
    new.turn.relay_ports = "50000-50010".parse().unwrap();
    new.peers.deny.push("192.0.2.0/24".parse().unwrap());
    assert_eq!(old.restart_needed(&new), ["turn.relay_ports"]);
}

#[test]
fn every_field_has_a_line_in_the_table_of_keys_and_nothing_else_has() {
    let mut fields = Vec::new();
    let value = serde_json::to_value(Config::default()).unwrap();
    for (section, entries) in value.as_object().unwrap() {
        fields.extend(
            entries
                .as_object()
                .unwrap()
                .keys()
                .map(|name| format!("{section}.{name}")),
        );
    }
    let mut known: Vec<String> = TABLE.keys().map(|key| key.path.to_owned()).collect();
    fields.sort();
    known.sort();
    assert_eq!(fields, known);
    for section in TABLE.sections {
        let at_home = |key: &layered::Key| key.section() == section.name;
        assert!(section.keys.iter().all(at_home), "{}", section.name);
    }
}

#[test]
fn the_printed_defaults_parse_back_to_the_defaults() {
    let parsed: Config = toml::from_str(&defaults_toml::<Config>()).unwrap();
    assert_eq!(parsed, Config::default());
}

#[test]
fn every_key_explains_itself() {
    for key in TABLE.keys() {
        let text = explain::<Config>(key.path).unwrap();
        assert!(text.contains(key.meaning) && text.contains(&TABLE.variable(key)));
    }
    assert!(explain::<Config>("turn.relm").is_none());
    assert!(overview::<Config>().contains("turn.relay_ports"));
}

#[test]
fn the_configuration_that_is_shipped_is_valid_and_warns_of_its_secret() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sterna.toml");
    let config = Config::load(Some(&path), std::iter::empty(), &[]).unwrap();
    assert!(
        config
            .warnings()
            .iter()
            .any(|warning| warning.contains("auth.secrets"))
    );
}

#[test]
fn documents_config_is_current() {
    documents::assert_current("CONFIG.md", &markdown::<Config>());
}
