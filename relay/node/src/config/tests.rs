#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    (dir, path)
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    let (_dir, path) = file(text);
    Config::load(Some(&path), std::iter::empty(), &[])
}

fn from_sets(sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(None, std::iter::empty(), &sets)
}

fn refusal(text: &str) -> String {
    from_file(&format!("{text}\n")).unwrap_err().to_string()
}

const USER: &str = "[auth]\nusers = [{ name = \"alice\", password = \"wonderland\" }]\n";

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
    for key in keys::KEYS {
        let env = [(key.variable(), "\u{1}".to_owned())];
        let config = Config::read(None, env.into_iter(), &[]);
        assert!(
            config != Ok(Config::default()),
            "{} is ignored",
            key.variable()
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
fn port_ranges_that_cannot_relay_are_refused_with_the_remedy() {
    for (range, words) in [
        ("0-0", "below 1024"),
        ("100-2000", "below 1024"),
        ("60000-50000", "runs backwards"),
        ("49152", "LOW-HIGH"),
    ] {
        let said = refusal(&format!("{USER}[turn]\nrelay_ports = \"{range}\""));
        assert!(
            said.contains("turn.relay_ports") && said.contains(words),
            "{range}: {said}"
        );
    }
}

#[test]
fn a_node_without_credentials_does_not_start_unless_told_that_it_is_open() {
    let said = from_sets(&[]).unwrap_err().to_string();
    assert!(
        said.contains("auth.users: there are no credentials"),
        "{said}"
    );
    let open = from_sets(&["auth.open_relay=true"]).unwrap();
    assert!(
        open.warnings()
            .iter()
            .any(|warning| warning.contains("ANYBODY"))
    );
}

#[test]
fn a_certificate_without_its_key_is_refused_and_so_is_the_reverse() {
    let said = refusal(&format!("{USER}[tls]\ncertificate = \"c.pem\""));
    assert!(
        said.contains("tls.key: there is a tls.certificate without its key"),
        "{said}"
    );
    let said = refusal(&format!("{USER}[tls]\nkey = \"k.pem\""));
    assert!(
        said.contains("tls.certificate: there is a tls.key without its certificate"),
        "{said}"
    );
}

#[test]
fn empty_secrets_passwords_and_tokens_are_refused() {
    let said = from_sets(&["auth.secrets=[\"\"]"]).unwrap_err().to_string();
    assert!(said.contains("auth.secrets: a secret is empty"), "{said}");
    let said = from_sets(&["auth.users=alice:"]).unwrap_err().to_string();
    assert!(
        said.contains("user \"alice\" has an empty password"),
        "{said}"
    );
    let said = from_sets(&["auth.users=alice:x", "admin.token="])
        .unwrap_err()
        .to_string();
    assert!(said.contains("admin.token: the token is empty"), "{said}");
}

#[test]
fn the_admin_listener_leaves_loopback_with_a_token_only() {
    let said = from_sets(&["auth.users=alice:x", "admin.listen=0.0.0.0:9478"])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("admin.listen: 0.0.0.0:9478 can be reached from other hosts"),
        "{said}"
    );
    from_sets(&[
        "auth.users=alice:x",
        "admin.listen=0.0.0.0:9478",
        "admin.token=0123456789abcdef",
    ])
    .unwrap();
}

#[test]
fn administration_is_never_on_a_turn_port() {
    let said = from_sets(&["auth.users=alice:x", "admin.listen=127.0.0.1:3478"])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("administration is never served on a TURN port"),
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
fn listeners_say_what_is_missing() {
    let said = refusal("[turn]\nlisten = [\"192.0.2.1\"]");
    assert!(
        said.contains("the port is missing, write \"192.0.2.1:3478\""),
        "{said}"
    );
    let said = refusal("[turn]\nlisten = [\"2001:db8::1\"]");
    assert!(said.contains("write \"[2001:db8::1]:3478\""), "{said}");
    let said = refusal("[turn]\nlisten = [\"localhost:3478\"]");
    assert!(said.contains("is not a listening address"), "{said}");
    let said = refusal("[turn]\nlisten = [\"[::ffff:192.0.2.1]:3478\"]");
    assert!(said.contains("write \"192.0.2.1:3478\""), "{said}");
    let said = refusal(&format!("{USER}[turn]\nlisten = []"));
    assert!(said.contains("there is nothing to listen on"), "{said}");
    let said = refusal(&format!("{USER}[turn]\ntls_listen = [\"0.0.0.0:3478\"]"));
    assert!(
        said.contains("turn.tls_listen: 0.0.0.0:3478 is listed twice"),
        "{said}"
    );
}

#[test]
fn the_alternate_address_differs_from_its_primary_in_address_and_port() {
    let faults = [
        ("192.0.2.1:3479", "both must differ"),
        ("192.0.2.2:3478", "both must differ"),
        ("0.0.0.0:3479", "does not say which address and port"),
        ("192.0.2.2:0", "does not say which address and port"),
        ("192.0.2.2", "the port is missing"),
        ("[2001:db8::2]:3479", "turn.listen names no IPv6 address"),
        ("192.0.2.2:3479\", \"192.0.2.3:3480", "keep one a family"),
    ];
    for (alternate, sentence) in faults {
        let said = refusal(&format!(
            "{USER}[turn]\nlisten = [\"192.0.2.1:3478\", \"[::]:3478\"]\nalternate_listen = [\"{alternate}\"]"
        ));
        assert!(said.contains("turn.alternate_listen"), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let said = refusal(&format!(
        "{USER}[turn]\nlisten = [\"192.0.2.1:3478\"]\nalternate_listen = [\"192.0.2.2:3479\"]\n\
         external_addresses = {{ \"192.0.2.1\" = \"203.0.113.1\", \"192.0.2.2\" = \"203.0.113.1\" }}"
    ));
    assert!(said.contains("the same address to the outside"), "{said}");
    let said = refusal(&format!(
        "{USER}[turn]\nalternate_listen = [\"192.0.2.2:3479\"]"
    ));
    assert!(
        said.contains("instead of every address of the host"),
        "{said}"
    );
}

#[test]
fn an_alternate_server_is_another_one_that_can_be_reached() {
    let faults = [
        (
            "alternate_server = [\"0.0.0.0:3478\"]",
            "turn.alternate_server",
            "no server's address",
        ),
        (
            "alternate_server = [\"192.0.2.9:0\"]",
            "turn.alternate_server",
            "no server's address",
        ),
        (
            "alternate_server = [\"192.0.2.1:3478\"]",
            "turn.alternate_server",
            "in circles",
        ),
        (
            "alternate_tls_server = [\"203.0.113.1:3478\"]",
            "turn.alternate_tls_server",
            "in circles",
        ),
        (
            "alternate_server = [\"192.0.2.9:1\", \"192.0.2.9:1\"]",
            "turn.alternate_server",
            "listed twice",
        ),
        (
            "alternate_domain = \"not a name\"",
            "turn.alternate_domain",
            "a DNS name",
        ),
        (
            "alternate_when = \"always\"",
            "turn.alternate_when",
            "names nowhere to send them",
        ),
        ("alternate_when = \"never\"", "turn.alternate_when", "full"),
    ];
    for (line, key, sentence) in faults {
        let said = refusal(&format!(
            "{USER}[turn]\nlisten = [\"192.0.2.1:3478\"]\n\
             external_addresses = {{ \"192.0.2.1\" = \"203.0.113.1\" }}\n{line}"
        ));
        assert!(said.contains(key), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let config = from_file(&format!(
        "{USER}[turn]\nalternate_server = [\"192.0.2.9:3478\"]\nalternate_when = \"always\""
    ))
    .unwrap();
    let alternates = config.turn.alternates();
    assert_eq!(alternates.servers, ["192.0.2.9:3478".parse().unwrap()]);
    assert_eq!(alternates.when, sterna_turn::RedirectWhen::Always);
}

#[test]
fn two_addresses_and_two_ports_are_four_sockets_of_discovery() {
    let config = from_file(&format!(
        "{USER}[turn]\nlisten = [\"0.0.0.0:3000\", \"192.0.2.1:3478\", \"[2001:db8::1]:3478\"]\n\
         alternate_listen = [\"[2001:db8::2]:3480\", \"192.0.2.2:3479\"]"
    ))
    .unwrap();
    let text = |set: [SocketAddr; 4]| set.map(|addr| addr.to_string());
    let sets: Vec<_> = config.turn.discovery().into_iter().map(text).collect();
    assert_eq!(
        sets,
        [
            [
                "[2001:db8::1]:3478",
                "[2001:db8::1]:3480",
                "[2001:db8::2]:3478",
                "[2001:db8::2]:3480"
            ],
            [
                "192.0.2.1:3478",
                "192.0.2.1:3479",
                "192.0.2.2:3478",
                "192.0.2.2:3479"
            ]
        ]
    );
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

#[test]
fn cidr_host_bits_are_cut_and_one_address_is_a_range() {
    let config = from_sets(&["auth.users=alice:x", "peers.deny=10.1.2.3/8,192.0.2.7"]).unwrap();
    let shown: Vec<_> = config.peers.deny.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32"]);
}

#[test]
fn external_addresses_map_within_a_family() {
    let config = from_sets(&[
        "auth.users=alice:x",
        "turn.external_addresses=10.0.0.4=192.0.2.4",
    ])
    .unwrap();
    assert_eq!(config.turn.external_addresses.len(), 1);
    let said = from_sets(&[
        "auth.users=alice:x",
        "turn.external_addresses=10.0.0.4=2001:db8::1",
    ])
    .unwrap_err()
    .to_string();
    assert!(said.contains("of different families"), "{said}");
}

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
    let mut known: Vec<String> = keys::KEYS.iter().map(|key| key.path.to_owned()).collect();
    fields.sort();
    known.sort();
    assert_eq!(fields, known);
    assert!(keys::KEYS.iter().all(|key| {
        keys::SECTIONS
            .iter()
            .any(|(section, _)| *section == key.section())
    }));
}

#[test]
fn the_printed_defaults_parse_back_to_the_defaults() {
    let parsed: Config = toml::from_str(&defaults_toml()).unwrap();
    assert_eq!(parsed, Config::default());
}

#[test]
fn every_key_explains_itself() {
    for key in keys::KEYS {
        let text = explain(key.path).unwrap();
        assert!(text.contains(key.meaning) && text.contains(&key.variable()));
    }
    assert!(explain("turn.relm").is_none());
    assert!(overview().contains("turn.relay_ports"));
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
    crate::documents::assert_current("CONFIG.md", &markdown());
}

#[test]
fn acme_is_a_table_also_by_flag_and_never_beside_files() {
    let config = from_sets(&[
        "auth.secrets=0123456789abcdef",
        "turn.tls_listen=0.0.0.0:443",
        "tls.acme={ domains = [\"relay.example\", \"192.0.2.1\"], external_account = { key_id = \"k\", hmac_key = \"tide\" } }",
    ])
    .unwrap();
    let acme = config.tls.acme.clone().unwrap();
    assert_eq!(acme.directory, DEFAULT_DIRECTORY);
    assert_eq!(acme.challenge, AcmeChallenge::TlsAlpn01);
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    assert!(!config.redacted().to_string().contains("tide"));
    for (acme, sentence) in [
        ("{}", "domains names 0 names"),
        (
            "{ domains = [\"*.example\"] }",
            "\"*.example\" is neither a host's name nor an address",
        ),
        (
            "{ domains = [\"a.example\"], directory = \"http://ca\" }",
            "is no https:// URL",
        ),
        (
            "{ domains = [\"a.example\"], http_listen = [\"0.0.0.0:80\"] }",
            "set challenge = \"http-01\"",
        ),
        (
            "{ domains = [\"a.example\"], challenge = \"dns-01\" }",
            "unknown variant",
        ),
        ("{ domain = [\"a.example\"] }", "unknown field"),
        (
            "{ domains = [\"a.example\"] }\ncertificate = \"c.pem\"\nkey = \"k.pem\"",
            "remove tls.certificate and tls.key",
        ),
    ] {
        let said = refusal(&format!("{USER}[tls]\nacme = {acme}"));
        assert!(
            said.contains("tls.acme: ") && said.contains(sentence),
            "{said}"
        );
    }
}

#[test]
fn acme_warns_where_the_authority_would_find_nobody() {
    let warning = |sets: &[&str]| {
        let sets: Vec<_> = [&["auth.secrets=0123456789abcdef"], sets].concat();
        from_sets(&sets).unwrap().warnings().concat()
    };
    let said = warning(&["tls.acme={ domains = [\"a.example\"] }"]);
    assert!(
        said.contains("TCP port 443 of a.example") && said.contains("turn.tls_listen"),
        "{said}"
    );
    let http = |listen: &str| {
        format!("tls.acme={{ domains = [\"a.example\"], challenge = \"http-01\"{listen} }}")
    };
    assert_eq!(warning(&[&http("")]), "");
    let said = warning(&[&http(", http_listen = [\"0.0.0.0:8080\"]")]);
    assert!(
        said.contains("TCP port 80") && said.contains("8080"),
        "{said}"
    );
}

const KEY_256: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn oauth_keys_are_read_with_their_times_and_never_shown() {
    let set = format!(
        "auth.oauth_keys=[{{ kid = \"north\", key = \"{KEY_256}\", not_before_unix_s = 5, not_after_unix_s = 9 }}, \
         {{ kid = \"south\", key = \"AAECAwQFBgcICQoLDA0ODw==\", algorithm = \"A128GCM\" }}]"
    );
    let config = from_sets(&[&set]).unwrap();
    let [north, south] = &config.auth.oauth_keys[..] else {
        panic!("two keys");
    };
    assert_eq!(north.algorithm, OAuthAlgorithm::A256GCM);
    assert_eq!(
        (north.not_before_unix_s, north.not_after_unix_s),
        (5, Some(9))
    );
    assert!(north.token_key().is_ok() && south.token_key().is_ok());
    assert_eq!(config.auth.server_name("sterna"), "sterna");
    for shown in [config.redacted().to_string(), format!("{config:?}")] {
        assert!(
            shown.contains("north") && !shown.contains("AAEC"),
            "{shown}"
        );
    }
}

#[test]
fn oauth_keys_that_cannot_work_are_named_without_the_key() {
    let cases = [
        (
            "{ kid = \"n\", key = \"AAEC\" }",
            "a key of A256GCM has 32 bytes, not 3",
        ),
        ("{ kid = \"n\", key = \"AA EC\" }", "is not base64"),
        ("{ kid = \"\", key = \"KEY\" }", "a kid is 1 to 508 bytes"),
        (
            "{ kid = \"alice\", key = \"KEY\" }",
            "also the name of a user",
        ),
        (
            "{ kid = \"n\", key = \"KEY\" }, { kid = \"n\", key = \"KEY\" }",
            "listed twice",
        ),
        (
            "{ kid = \"n\", key = \"KEY\", not_before_unix_s = 9, not_after_unix_s = 9 }",
            "ends before it begins",
        ),
    ];
    for (keys, complaint) in cases {
        let set = format!("auth.oauth_keys=[{}]", keys.replace("KEY", KEY_256));
        let said = from_sets(&["auth.users=alice:x", &set])
            .unwrap_err()
            .to_string();
        assert!(said.contains(complaint), "{said}");
        assert!(!said.contains("AAEC"), "{said}");
    }
}

#[test]
fn accounts_may_have_peers_and_limits_of_their_own() {
    let config = from_file(
        "[auth]\nusers = [{ name = \"alice\", password = \"x\" }]\n\
         [peers]\nusers = [{ name = \"alice\", allow = [\"10.1.2.3/16\"], session_bytes_per_s = 9 }]\n",
    )
    .unwrap();
    let [alice] = &config.peers.users[..] else {
        panic!("one account");
    };
    assert_eq!(alice.allow[0].to_string(), "10.1.0.0/16");
    assert_eq!(
        (alice.allocations_max, alice.session_bytes_per_s),
        (None, Some(9))
    );
    for rules in [
        "[{ name = \"\", deny = [\"0.0.0.0/0\"] }]",
        "[{ name = \"a\" }, { name = \"a\" }]",
        "[{ name = \"a\", allow = [\"10.0.0.0/99\"] }]",
        "[{ name = \"a\", alow = [] }]",
    ] {
        let set = format!("peers.users={rules}");
        assert!(from_sets(&["auth.users=alice:x", &set]).is_err(), "{rules}");
    }
}
