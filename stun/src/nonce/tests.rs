use super::*;

const NOW: u64 = 1_800_000_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn ends() -> (SocketAddr, SocketAddr) {
    (addr("192.0.2.1:40000"), addr("198.51.100.1:3478"))
}

fn keys() -> NonceKeys {
    NonceKeys::new(NonceKey::new(1, &[1; 32]), None)
}

const BOTH: Features = Features {
    password_algorithms: true,
    username_anonymity: true,
};

#[test]
fn a_nonce_has_33_characters_and_begins_with_cookie_and_feature_bits() {
    let (client, server) = ends();
    let cases = [
        (Features::NONE, "obMatJos2AAAA"),
        (
            Features {
                password_algorithms: true,
                username_anonymity: false,
            },
            "obMatJos2gAAB",
        ),
        (
            Features {
                password_algorithms: false,
                username_anonymity: true,
            },
            "obMatJos2QAAC",
        ),
        (BOTH, "obMatJos2wAAD"),
    ];
    for (features, prefix) in cases {
        let nonce = keys().issue(client, server, NOW, features);
        assert_eq!(nonce.as_bytes().len(), 33);
        assert!(nonce.as_bytes().starts_with(prefix.as_bytes()), "{nonce:?}");
        assert!(nonce.as_bytes().iter().all(u8::is_ascii_graphic));
        assert_eq!(Features::of(nonce.as_bytes()), Some(features));
        let check = keys().check(nonce.as_bytes(), client, server, NOW);
        assert_eq!(check, Check::Valid(features));
    }
}

// RFC 8489 §9.2.4: "The server MUST NOT choose the same NONCE for two requests unless they have
// the same source IP address and port."
#[test]
fn two_client_addresses_or_ports_never_get_the_same_nonce_nor_can_use_each_others() {
    let (client, server) = ends();
    let nonce = keys().issue(client, server, NOW, BOTH);
    let others = [
        addr("192.0.2.1:40001"),
        addr("192.0.2.2:40000"),
        addr("[2001:db8::1]:40000"),
    ];
    for other in others {
        assert_ne!(keys().issue(other, server, NOW, BOTH), nonce);
        assert_eq!(
            keys().check(nonce.as_bytes(), other, server, NOW),
            Check::Stale
        );
    }
    let elsewhere = addr("198.51.100.2:3478");
    assert_eq!(
        keys().check(nonce.as_bytes(), client, elsewhere, NOW),
        Check::Stale
    );
}

#[test]
fn a_nonce_lives_for_the_window_and_not_longer() {
    let (client, server) = ends();
    let nonce = keys().issue(client, server, NOW, BOTH);
    let check = |at: u64| keys().check(nonce.as_bytes(), client, server, at);
    assert_eq!(check(NOW + WINDOW_S), Check::Valid(BOTH));
    assert_eq!(check(NOW + WINDOW_S + BUCKET_S), Check::Stale);
    assert_eq!(check(NOW - FUTURE_SKEW_S), Check::Valid(BOTH));
    assert_eq!(check(NOW - FUTURE_SKEW_S - BUCKET_S), Check::Stale);
}

#[test]
fn a_nonce_does_not_come_back_to_life_when_its_minute_comes_round() {
    let (client, server) = ends();
    let nonce = keys().issue(client, server, NOW, BOTH);
    let round_later = NOW + (1 << 16) * BUCKET_S;
    assert_eq!(
        keys().check(nonce.as_bytes(), client, server, round_later),
        Check::Stale
    );
}

// RFC 8489 §9.2.1: an attacker who takes the feature bits away shall not go undetected.
#[test]
fn no_character_of_a_nonce_can_be_changed() {
    let (client, server) = ends();
    let nonce = keys().issue(client, server, NOW, BOTH);
    for at in 0..NONCE_BYTES {
        for other in [b'A', b'Q', b'g', b'/', b' ', 0xFF] {
            let mut changed = nonce;
            changed.0[at] = other;
            if changed != nonce {
                let check = keys().check(changed.as_bytes(), client, server, NOW);
                assert_eq!(check, Check::Stale, "{at} {other}");
            }
        }
    }
    assert_eq!(
        keys().check(&nonce.0[..32], client, server, NOW),
        Check::Stale
    );
    assert_eq!(
        keys().check(&nonce.0[13..], client, server, NOW),
        Check::Stale
    );
    assert_eq!(keys().check(b"", client, server, NOW), Check::Stale);
}

#[test]
fn the_previous_key_is_accepted_and_the_one_before_it_is_not() {
    let (client, server) = ends();
    let mut keys = keys();
    let first = keys.issue(client, server, NOW, BOTH);
    keys.rotate(NonceKey::new(2, &[2; 32]));
    let second = keys.issue(client, server, NOW, BOTH);
    assert_ne!(first, second);
    assert_eq!(
        keys.check(first.as_bytes(), client, server, NOW),
        Check::Valid(BOTH)
    );
    keys.rotate(NonceKey::new(3, &[3; 32]));
    assert_eq!(
        keys.check(first.as_bytes(), client, server, NOW),
        Check::Stale
    );
    assert_eq!(
        keys.check(second.as_bytes(), client, server, NOW),
        Check::Valid(BOTH)
    );
}

#[test]
fn a_node_with_the_same_keys_accepts_anothers_nonces() {
    let (client, server) = ends();
    let nonce = keys().issue(client, server, NOW, BOTH);
    let other = NonceKeys::new(NonceKey::new(2, &[2; 32]), Some(NonceKey::new(1, &[1; 32])));
    assert_eq!(
        other.check(nonce.as_bytes(), client, server, NOW),
        Check::Valid(BOTH)
    );
    let stranger = NonceKeys::new(NonceKey::new(1, &[9; 32]), None);
    assert_eq!(
        stranger.check(nonce.as_bytes(), client, server, NOW),
        Check::Stale
    );
}

#[test]
fn time_near_its_ends_does_not_overflow() {
    let (client, server) = ends();
    for at in [
        0,
        1,
        BUCKET_S * 40_000,
        u64::MAX - FUTURE_SKEW_S * BUCKET_S,
        u64::MAX,
    ] {
        let nonce = keys().issue(client, server, at, BOTH);
        assert_eq!(
            keys().check(nonce.as_bytes(), client, server, at),
            Check::Valid(BOTH)
        );
    }
}

#[test]
fn the_features_of_any_servers_nonce_can_be_read() {
    // The vector of RFC 8489 §B.1, which has a USERHASH, counts from the right (erratum 6290).
    let published = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";
    let anonymity = Features {
        username_anonymity: true,
        ..Features::NONE
    };
    assert_eq!(Features::of(published), Some(anonymity));
    // The example of RFC 8656 §20, which has PASSWORD-ALGORITHMS, counts from the left.
    let published = b"obMatJos2gAAAadl7W7PeDU4hKE72jda";
    let algorithms = Features {
        password_algorithms: true,
        ..Features::NONE
    };
    assert_eq!(Features::of(published), Some(algorithms));
    assert_eq!(Features::of(b"obMatJos2AAAA"), Some(Features::NONE));
    // Bits that nobody has assigned mean nothing.
    assert_eq!(Features::of(b"obMatJos2P//8"), Some(Features::NONE));
    assert_eq!(Features::of(b"f//499k954d6OL34oL9FSTvy64sA"), None);
    assert_eq!(Features::of(b"obMatJos2AA"), None);
    assert_eq!(Features::of(b"obMatJos2\0\0\0\0"), None);
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(
        format!("{:?}", NonceKey::new(7, &[0x41; 32])),
        "NonceKey(7, …)"
    );
}
