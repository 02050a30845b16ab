#![allow(clippy::unwrap_used)]
use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pair(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const PUBLIC: Permitted = Permitted {
    own: false,
    allowed: false,
};

#[test]
fn the_public_internet_may_be_reached() {
    let policy = Policy::new(&PolicyConfig::default());
    assert_eq!(policy.address(ip("8.8.8.8")), Ok(PUBLIC));
    assert_eq!(policy.address(ip("2606:4700::1")), Ok(PUBLIC));
    assert_eq!(policy.peer(pair("8.8.8.8:5000")), Ok(PUBLIC));
}

// CVE-2026-27624 and its forerunners: every one of these reaches the host itself.
#[test]
fn loopback_is_refused_in_every_spelling() {
    let policy = Policy::new(&PolicyConfig {
        nat64_prefixes: vec!["2620:64::/96".parse().unwrap()],
        ..PolicyConfig::default()
    });
    for spelling in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "2002:7f00:1::",
        "2002:7f00:1::1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::0.0.0.0",
        "2620:64::127.0.0.1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2620:1::5efe:127.0.0.1",
        "2620:1::200:5efe:127.0.0.1",
        "fe80::5efe:8.8.8.8",
    ] {
        assert_eq!(policy.address(ip(spelling)), Err(Denied), "{spelling}");
    }
}

// An ISATAP address is judged by both its addresses; the outer one may as well be a host's own.
#[test]
fn what_allows_the_address_inside_isatap_opens_no_privileged_port_of_the_outer_one() {
    let isatap = "2606:4700::200:5efe:10.0.0.1";
    let with = |allow: &[&str]| {
        Policy::new(&PolicyConfig {
            allow: nets(allow),
            ..PolicyConfig::default()
        })
    };
    let at = |port| SocketAddr::new(ip(isatap), port);
    assert_eq!(with(&[]).peer(at(5000)), Err(Denied));
    let inner = with(&["10.0.0.0/24"]);
    assert_eq!(inner.peer(at(5000)), Ok(PUBLIC));
    assert_eq!(inner.peer(at(25)), Err(Denied));
    assert!(
        with(&["10.0.0.0/24", "2606:4700::/32"])
            .peer(at(25))
            .is_ok()
    );
    assert_eq!(with(&["2606:4700::/32"]).peer(at(5000)), Err(Denied));
}

#[test]
fn each_built_in_prefix_is_refused_at_both_ends_and_not_beyond() {
    let policy = Policy::new(&PolicyConfig::default());
    for text in builtin::LIST {
        let net: IpNet = text.parse().unwrap();
        assert_eq!(policy.address(net.network()), Err(Denied), "{text}");
        assert_eq!(policy.address(net.broadcast()), Err(Denied), "{text}");
    }
    for outside in [
        "1.0.0.0",
        "9.255.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.0",
    ] {
        assert_eq!(policy.address(ip(outside)), Ok(PUBLIC), "{outside}");
    }
}

#[test]
fn deny_beats_allow_and_allow_beats_the_built_in_list() {
    let policy = Policy::new(&PolicyConfig {
        deny: nets(&["10.1.0.0/16", "8.8.8.8/32", "64:ff9b::/96"]),
        allow: nets(&["10.0.0.0/8"]),
        ..PolicyConfig::default()
    });
    assert_eq!(
        policy.address(ip("10.2.0.1")),
        Ok(Permitted {
            own: false,
            allowed: true
        })
    );
    assert_eq!(policy.address(ip("10.1.0.1")), Err(Denied));
    assert_eq!(policy.address(ip("8.8.8.8")), Err(Denied));
    assert_eq!(policy.address(ip("192.168.0.1")), Err(Denied));
    assert_eq!(
        policy.address(ip("64:ff9b::8.8.4.4")),
        Err(Denied),
        "refused as it is spelled"
    );
}

#[test]
fn six_to_four_and_teredo_are_refused_even_if_allowed() {
    let policy = Policy::new(&PolicyConfig {
        allow: nets(&["::/0", "2002::/16", "2001::/32"]),
        ..PolicyConfig::default()
    });
    assert_eq!(policy.address(ip("2002:808:808::1")), Err(Denied));
    assert_eq!(policy.address(ip("2001:0:4136:e378::1")), Err(Denied));
    assert!(policy.address(ip("2001:1::1")).is_ok());
}

#[test]
fn own_relay_addresses_are_permitted_and_marked() {
    let policy = Policy::new(&PolicyConfig {
        relay_addresses: ips(&["10.0.0.5", "198.51.100.5"]),
        ..PolicyConfig::default()
    });
    for own in ["10.0.0.5", "198.51.100.5"] {
        assert_eq!(
            policy.address(ip(own)),
            Ok(Permitted {
                own: true,
                allowed: false
            })
        );
    }
    assert_eq!(policy.address(ip("::ffff:198.51.100.5")), Err(Denied));
    assert_eq!(policy.address(ip("64:ff9b::10.0.0.5")), Err(Denied));
}

#[test]
fn the_hosts_other_addresses_are_refused() {
    let policy = Policy::new(&PolicyConfig {
        host_addresses: ips(&["5.5.5.5", "2620:5::5"]),
        ..PolicyConfig::default()
    });
    for own in ["5.5.5.5", "2620:5::5", "64:ff9b::5.5.5.5", "::ffff:5.5.5.5"] {
        assert_eq!(policy.address(ip(own)), Err(Denied), "{own}");
    }
}

#[test]
fn privileged_ports_need_an_allowed_address() {
    let policy = Policy::new(&PolicyConfig {
        allow: nets(&["127.0.0.1/32"]),
        ..PolicyConfig::default()
    });
    assert_eq!(policy.peer(pair("8.8.8.8:1023")), Err(Denied));
    assert_eq!(policy.peer(pair("8.8.8.8:1024")), Ok(PUBLIC));
    assert!(policy.peer(pair("127.0.0.1:53")).is_ok());
    assert_eq!(policy.peer(pair("127.0.0.1:0")), Err(Denied));
}

#[test]
fn the_nodes_own_pairs_are_refused_even_if_allowed() {
    let policy = Policy::new(&PolicyConfig {
        allow: nets(&["0.0.0.0/0", "::/0"]),
        own_pairs: vec![
            pair("127.0.0.1:9478"),
            pair("0.0.0.0:3478"),
            pair("[::]:3478"),
        ],
        relay_addresses: ips(&["5.5.5.5"]),
        host_addresses: ips(&["6.6.6.6"]),
        ..PolicyConfig::default()
    });
    for refused in [
        "127.0.0.1:9478",
        "0.0.0.0:9478",
        "[::]:9478",
        "[::ffff:127.0.0.1]:9478",
        "127.0.0.1:3478",
        "127.9.9.9:3478",
        "5.5.5.5:3478",
        "6.6.6.6:3478",
        "[::1]:3478",
    ] {
        assert_eq!(policy.peer(pair(refused)), Err(Denied), "{refused}");
    }
    assert!(policy.peer(pair("8.8.8.8:3478")).is_ok());
    assert!(policy.peer(pair("127.0.0.1:9479")).is_ok());
}

#[test]
fn a_listener_is_refused_under_its_external_address_too() {
    let policy = Policy::new(&PolicyConfig {
        allow: nets(&["5.5.5.5/32", "10.0.0.5/32"]),
        own_pairs: vec![pair("10.0.0.5:3478")],
        relay_addresses: ips(&["10.0.0.5", "5.5.5.5"]),
        ..PolicyConfig::default()
    });
    for refused in ["10.0.0.5:3478", "5.5.5.5:3478"] {
        assert_eq!(policy.peer(pair(refused)), Err(Denied), "{refused}");
    }
    assert!(policy.peer(pair("5.5.5.5:3479")).is_ok());
}

#[test]
fn a_prefix_that_is_routed_to_the_host_is_its_own() {
    let config = PolicyConfig {
        host_prefixes: vec!["9.9.9.0/24".parse().expect("a prefix")],
        allow: vec!["9.9.9.9/32".parse().expect("a prefix")],
        ..PolicyConfig::default()
    };
    let policy = Policy::new(&config);
    let address = |text: &str| policy.address(text.parse().expect("an address"));
    assert!(address("9.9.9.1").is_err() && address("9.9.9.255").is_err());
    assert!(address("9.9.10.0").is_ok());
    assert!(address("9.9.9.9").is_ok(), "as `allow` says");
    assert!(address("::ffff:9.9.9.1").is_err());
}
