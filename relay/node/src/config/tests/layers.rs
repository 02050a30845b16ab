//! Which layer wins, and what is said of what none of them may hold.

use std::path::Path;

use super::*;

#[test]
fn flags_go_over_the_environment_which_goes_over_the_file_which_goes_over_defaults() {
    let (_dir, path) = file(&format!(
        "{USER}[turn]\nrealm = \"file\"\nsoftware = \"file\"\nlifetime_max_s = 700\n"
    ));
    let env = [
        ("STERNA_TURN_REALM", "env"),
        ("STERNA_TURN_SOFTWARE", "env"),
        ("PATH", "/bin"),
    ];
    let env = env
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(Some(&path), env, &["turn.realm=flag".to_owned()]).unwrap();
    assert_eq!(config.turn.realm, "flag");
    assert_eq!(config.turn.software, "env");
    assert_eq!(config.turn.lifetime_max_s, 700);
    assert_eq!(config.turn.relay_ports, PortRange::default());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let said = refusal("[turn]\n\nrelm = \"x\"");
    assert!(
        said.contains("node.toml:3: turn.relm: no such key; the nearest is turn.realm"),
        "{said}"
    );
    let said = refusal("[trun]\nrealm = \"x\"");
    assert!(
        said.contains("node.toml:1: trun: no such section; the nearest is [turn]"),
        "{said}"
    );
    let said = refusal("realm = \"x\"");
    assert!(
        said.contains("keys stand in a section; the nearest is turn.realm"),
        "{said}"
    );
    let said = refusal("[turn]\nusers = []");
    assert!(said.contains("the nearest is auth.users"), "{said}");
}

#[test]
fn an_unknown_flag_or_variable_is_an_error_too() {
    let said = from_sets(&["turn.relay_port=1-2"]).unwrap_err().to_string();
    assert!(
        said.contains(
            "--set turn.relay_port=…: turn.relay_port: no such key; the nearest is turn.relay_ports"
        ),
        "{said}"
    );
    let env = [("STERNA_TURN_REALMS".to_owned(), "x".to_owned())];
    let said = Config::load(None, env.into_iter(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("STERNA_TURN_REALMS: no such key; the nearest is STERNA_TURN_REALM"),
        "{said}"
    );
}

#[test]
fn variables_of_container_platforms_and_of_other_commands_are_left_alone() {
    let env = [
        ("STERNA_SERVICE_HOST", "10.0.0.1"),
        ("STERNA_SERVICE_PORT", "3478"),
        ("STERNA_SERVICE_PORT_TURN", "3478"),
        ("STERNA_PORT", "udp://10.0.0.1:3478"),
        ("STERNA_PORT_3478_UDP", "udp://10.0.0.1:3478"),
        ("STERNA_PORT_3478_UDP_ADDR", "10.0.0.1"),
        ("STERNA_CONFIG", "/etc/sterna/node.toml"),
        ("STERNA_BENCH_SECRET", "of the load generator"),
        ("STERNA_AUTH_USERS", "alice:wonderland"),
    ];
    let env = env
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(None, env, &[]).unwrap();
    assert_eq!(config.auth.users[0].name, "alice");
}

#[test]
fn no_key_looks_like_a_variable_of_a_container_platform() {
    for key in TABLE.keys() {
        let env = [(TABLE.variable(key), "\u{1}".to_owned())];
        let config = Config::read(None, env.into_iter(), &[]);
        assert!(
            config != Ok(Config::default()),
            "{} is ignored",
            TABLE.variable(key)
        );
    }
}

#[test]
fn every_mistake_is_reported_at_once_where_it_stands() {
    let said = refusal(
        "[turn]\nrelay_ports = \"0-0\"\n[peers]\ndeny = [\"10.0.0.0/33\"]\n[limits]\ntcp_connections_max = \"many\"",
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains(":2: turn.relay_ports: port 0 is below 1024")),
        "{said}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line
                .contains(":4: peers.deny: \"10.0.0.0/33\" is not an address range; write")),
        "{said}"
    );
    assert!(
        lines.iter().any(
            |line| line.contains(":6: limits.tcp_connections_max: invalid type")
                && line.contains("a whole number from 1")
        ),
        "{said}"
    );
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    let said = from_sets(&["auth.users=alice:x", "turn.lifetime_max_s=599"])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains(
            "turn.lifetime_max_s: 599 is out of range; write a whole number from 600 to 86400"
        ),
        "{said}"
    );
    let said = from_sets(&["limits.allocations_max=-1"])
        .unwrap_err()
        .to_string();
    assert!(said.contains("limits.allocations_max"), "{said}");
}

#[test]
fn a_user_with_a_misspelt_field_is_refused() {
    let said = refusal("[auth]\nusers = [{ name = \"alice\", pasword = \"x\" }]");
    assert!(
        said.contains(":2: auth.users: unknown field `pasword`"),
        "{said}"
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let said = refusal("[turn]\nrealm = \"x\nsoftware = 1");
    assert!(said.contains("node.toml:2: not TOML"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let said = Config::load(
        Some(Path::new("does/not/exist.toml")),
        std::iter::empty(),
        &[],
    )
    .unwrap_err()
    .to_string();
    assert!(
        said.contains("does/not/exist.toml: cannot be read"),
        "{said}"
    );
}

#[test]
fn secrets_never_appear_in_what_is_shown() {
    let config = from_sets(&[
        "auth.users=alice:hunter22",
        "auth.secrets=hunter22",
        "admin.token=hunter22",
    ])
    .unwrap();
    assert!(!config.redacted().to_string().contains("hunter22"));
    assert!(!format!("{config:?}").contains("hunter22"));
    let said = from_sets(&["auth.secret=hunter22"])
        .unwrap_err()
        .to_string();
    assert!(!said.contains("hunter22"), "{said}");
}
