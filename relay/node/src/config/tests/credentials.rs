//! Who may relay, and where to.

use super::*;

const KEY_256: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

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
fn cidr_host_bits_are_cut_and_one_address_is_a_range() {
    let config = from_sets(&["auth.users=alice:x", "peers.deny=10.1.2.3/8,192.0.2.7"]).unwrap();
    let shown: Vec<_> = config.peers.deny.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32"]);
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
