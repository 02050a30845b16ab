//! Where the node listens and what it relays from.

use std::net::SocketAddr;

use super::*;

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
