use sterna_stun::{
    attr::{
        AttributeType, Lifetime, Nonce, Realm, RequestedTransport, UnknownAttributes, Username,
    },
    credentials::{long_term_key_md5, rest_password},
    message::{Class, Method},
    writer::{Full, MessageWriter},
};

use crate::{
    DropReason, Transport, Verdict,
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

fn carol(node_secret: &str, expiry_unix_s: u64) -> Caller {
    let name = format!("{expiry_unix_s}:carol");
    let password = rest_password(node_secret.as_bytes(), &name);
    Caller::new("203.0.113.30:40000", &name, &password)
}

fn udp(writer: &mut MessageWriter<'_>) -> Result<(), Full> {
    writer.attr(&RequestedTransport::UDP)
}

/// An Allocate whose credentials are put together by hand.
fn custom(
    node: &mut Node,
    caller: &mut Caller,
    attributes: impl FnOnce(&Caller, &mut MessageWriter<'_>) -> Result<(), Full>,
) -> Answer {
    let copy = caller.clone();
    let packet = caller.unsigned(Method::ALLOCATE, |writer| {
        udp(writer)?;
        attributes(&copy, writer)
    });
    node.answer(caller, &packet)
}

#[test]
fn no_integrity_is_401_with_realm_and_nonce() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let packet = alice.unsigned(Method::ALLOCATE, udp);
    assert_eq!(packet.len(), 28);
    let answer = node.answer(&alice, &packet);
    assert_eq!(answer.code(), 401);
    assert_eq!(
        answer.types(),
        [
            AttributeType::ERROR_CODE,
            AttributeType::REALM,
            AttributeType::NONCE,
            AttributeType::PASSWORD_ALGORITHMS
        ],
        "no SOFTWARE, no integrity, no reason phrase"
    );
    // Header 20, ERROR-CODE 8, REALM 4 + 12, NONCE 4 + 36, PASSWORD-ALGORITHMS 4 + 8.
    assert_eq!(answer.bytes.len(), 96);
    assert!(
        answer.bytes.len() * 2 <= packet.len() * 7,
        "3.5 times the request"
    );
}

#[test]
fn the_longest_realm_keeps_within_the_amplification_budget() {
    let mut node = Node::new(1, edited(|config| config.realm = "r".repeat(24).into()));
    assert_eq!(node.config.check(), Ok(()));
    let mut alice = Caller::alice();
    let allocate = alice.unsigned(Method::ALLOCATE, udp);
    let answer = node.answer(&alice, &allocate);
    assert_eq!((allocate.len(), answer.bytes.len()), (28, 96));
    let refresh = alice.unsigned(Method::REFRESH, |_| Ok(()));
    let answer = node.answer(&alice, &refresh);
    assert_eq!(
        (refresh.len(), answer.bytes.len()),
        (20, 96),
        "5 times would be 100"
    );
    assert!(
        edited(|config| config.realm = "r".repeat(25).into())
            .check()
            .is_err()
    );
}

#[test]
fn every_privileged_method_asks_for_credentials() {
    for method in [
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ] {
        let mut node = Node::default();
        let mut alice = Caller::alice();
        let packet = alice.unsigned(method, |_| Ok(()));
        assert_eq!(node.answer(&alice, &packet).code(), 401);
    }
}

// RFC 8489 §9.2.4: 400, and no realm or nonce with it.
#[test]
fn a_missing_name_realm_or_nonce_is_400() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let without_name = custom(&mut node, &mut alice, |alice, writer| {
        writer.attr(&Realm(&alice.realm))?;
        writer.attr(&Nonce(&alice.nonce))?;
        writer.integrity_sha1(&alice.mac)
    });
    let without_realm = custom(&mut node, &mut alice, |alice, writer| {
        writer.attr(&Username(&alice.name))?;
        writer.attr(&Nonce(&alice.nonce))?;
        writer.integrity_sha1(&alice.mac)
    });
    let without_nonce = custom(&mut node, &mut alice, |alice, writer| {
        writer.attr(&Username(&alice.name))?;
        writer.attr(&Realm(&alice.realm))?;
        writer.integrity_sha1(&alice.mac)
    });
    for answer in [without_name, without_realm, without_nonce] {
        assert_eq!(answer.code(), 400);
        assert_eq!(answer.types(), [AttributeType::ERROR_CODE]);
    }
}

#[test]
fn a_wrong_password_name_or_realm_is_401() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let mut wrong_password = alice.clone();
    wrong_password.mac = long_term_key_md5("alice", "sterna.test", "bob's").sha1();
    let mut unknown = alice.clone();
    unknown.name = "mallory".into();
    let mut elsewhere = alice.clone();
    elsewhere.realm = "example.org".into();
    elsewhere.mac = long_term_key_md5("alice", "example.org", "alice's").sha1();
    for mut caller in [wrong_password, unknown, elsewhere] {
        let answer = node.ask(&mut caller, Method::ALLOCATE, udp);
        assert_eq!(answer.code(), 401);
        assert!(answer.find::<Nonce<'_>>().is_some() && answer.find::<Realm<'_>>().is_some());
    }
}

// A name or realm is data, whatever it looks like.
#[test]
fn names_that_are_format_strings_are_only_unknown() {
    let mut node = Node::default();
    for name in [
        "%s%s%n",
        "{}{:?}",
        "'; DROP TABLE users; --",
        "alice\0",
        "1800009999:%n",
    ] {
        let mut caller = Caller::new("203.0.113.66:6", name, "alice's");
        assert_eq!(
            node.allocate_with(&mut caller, |_| Ok(())),
            Err(401),
            "{name}"
        );
    }
}

// RFC 8489 §9.2.4: without PASSWORD-ALGORITHM the response carries MESSAGE-INTEGRITY, even where
// the request used MESSAGE-INTEGRITY-SHA256; with both, only the latter counts.
#[test]
fn a_sha256_integrity_is_verified_and_answered_by_sha1() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let key = long_term_key_md5("alice", "sterna.test", "alice's");
    let sign = |caller: &Caller, writer: &mut MessageWriter<'_>| {
        writer.attr(&Username(&caller.name))?;
        writer.attr(&Realm(&caller.realm))?;
        writer.attr(&Nonce(&caller.nonce))
    };
    let both_wrong_second = custom(&mut node, &mut alice, |alice, writer| {
        sign(alice, writer)?;
        writer.integrity_sha1(&alice.mac)?;
        writer.integrity_sha256(&long_term_key_md5("x", "y", "z").sha256())
    });
    assert_eq!(both_wrong_second.code(), 401);
    let answer = custom(&mut node, &mut alice, |alice, writer| {
        sign(alice, writer)?;
        writer.integrity_sha256(&key.sha256())
    });
    assert!(answer.is_success());
    assert!(alice.mac.verify(&answer.message()).is_ok());
    assert!(
        !answer
            .types()
            .contains(&AttributeType::MESSAGE_INTEGRITY_SHA256)
    );
}

#[test]
fn a_stale_nonce_is_438_with_a_new_one_and_only_for_right_credentials() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let old = alice.nonce.clone();
    node.pass_s(3600 + 60);
    let answer = node.ask(&mut alice, Method::ALLOCATE, udp);
    assert_eq!(answer.code(), 438);
    assert_eq!(
        answer.types(),
        [
            AttributeType::ERROR_CODE,
            AttributeType::REALM,
            AttributeType::NONCE,
            AttributeType::PASSWORD_ALGORITHMS
        ]
    );
    let new = answer.find::<Nonce<'_>>().expect("a nonce").0.to_vec();
    assert_ne!(new, old);

    let mut wrong = alice.clone();
    wrong.mac = long_term_key_md5("alice", "sterna.test", "guess").sha1();
    assert_eq!(
        node.ask(&mut wrong, Method::ALLOCATE, udp).code(),
        401,
        "the nonce comes last"
    );

    alice.nonce = new;
    assert!(node.ask(&mut alice, Method::ALLOCATE, udp).is_success());
}

// pion, and all that is built on it, gives the same nonce to everybody.
#[test]
fn a_nonce_serves_one_address_and_port_only() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    for addr in ["203.0.113.10:40001", "203.0.113.11:40000"] {
        let mut elsewhere = alice.clone();
        elsewhere.client.addr = addr.parse().expect("ok");
        assert_eq!(node.ask(&mut elsewhere, Method::ALLOCATE, udp).code(), 438);
    }
    let mut other_server = alice.clone();
    other_server.client.server = "198.51.100.2:3478".parse().expect("ok");
    assert_eq!(
        node.ask(&mut other_server, Method::ALLOCATE, udp).code(),
        438
    );
}

// coturn until 4.15 and pion looked behind it.
#[test]
fn what_stands_behind_the_integrity_is_ignored() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let mut packet = alice.signed(Method::ALLOCATE, udp);
    // RFC 8489 §14.5: an attribute behind MESSAGE-INTEGRITY, put there by whoever likes to.
    packet.extend_from_slice(&[0, 0x0d, 0, 4, 0, 0, 0x0e, 0x10]);
    let length = u16::try_from(packet.len() - 20)
        .expect("short")
        .to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    let answer = node.answer(&alice, &packet);
    assert_eq!(
        answer.find(),
        Some(Lifetime(600)),
        "not the 3,600 s that were slipped in"
    );
}

#[test]
fn somebody_elses_allocation_is_441() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let mut bob = Caller::bob();
    bob.client = alice.client;
    assert_eq!(node.refresh(&mut bob, 0), Err(441));
    assert_eq!(node.permit(&mut bob, "8.8.8.8:1"), 441);
    assert_eq!(node.bind(&mut bob, 0x4000, "8.8.8.8:5000"), 441);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
}

#[test]
fn without_an_allocation_everything_is_437() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    assert_eq!(node.refresh(&mut alice, 600), Err(437));
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 437);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 437);
}

#[test]
fn an_unknown_required_attribute_is_420_after_authentication() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let packet = alice.unsigned(Method::ALLOCATE, |writer| {
        udp(writer)?;
        writer.raw(AttributeType(0x7ffe), &[])
    });
    assert_eq!(node.answer(&alice, &packet).code(), 401);
    let answer = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        udp(writer)?;
        writer.raw(AttributeType(0x7ffe), &[])?;
        writer.raw(AttributeType(0xfffe), b"optional")
    });
    assert_eq!(answer.code(), 420);
    let unknown = answer.find::<UnknownAttributes>().expect("a list");
    assert_eq!(unknown.iter().collect::<Vec<_>>(), [AttributeType(0x7ffe)]);
    assert!(alice.mac.verify(&answer.message()).is_ok());
}

#[test]
fn each_secret_opens_and_static_users_stand_beside_them() {
    let mut node = Node::default();
    for (port, secret) in [(1, "north"), (2, "south")] {
        let mut caller = carol(secret, START_UNIX_S + 100);
        caller.client.addr.set_port(port);
        node.allocate(&mut caller);
    }
    assert_eq!(
        node.allocate_with(&mut carol("east", START_UNIX_S + 100), |_| Ok(())),
        Err(401)
    );
    node.allocate(&mut Caller::alice());
    assert_eq!(node.server().allocation_count(), 3);
}

#[test]
fn a_time_limited_name_makes_no_allocation_once_its_time_is_over() {
    let mut node = Node::default();
    assert_eq!(
        node.allocate_with(&mut carol("north", START_UNIX_S), |_| Ok(())),
        Err(401)
    );
    assert_eq!(
        node.allocate_with(&mut carol("north", START_UNIX_S - 9), |_| Ok(())),
        Err(401)
    );
    assert!(
        node.allocate_with(&mut carol("north", START_UNIX_S + 1), |_| Ok(()))
            .is_ok()
    );
}

#[test]
fn a_living_allocation_goes_on_beyond_the_time_of_its_name() {
    let mut node = Node::default();
    let mut caller = carol("north", START_UNIX_S + 10);
    node.allocate(&mut caller);
    node.pass_s(500);
    assert_eq!(node.refresh(&mut caller, 600), Ok(600));
    assert_eq!(node.permit(&mut caller, "8.8.8.8:1"), 0);
}

#[test]
fn streams_are_told_the_software_also_when_refused() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 1);
    let packet = alice.unsigned(Method::ALLOCATE, udp);
    let answer = node.answer(&alice, &packet);
    assert!(answer.types().contains(&AttributeType::SOFTWARE));
}

#[test]
fn strangers_get_as_many_answers_as_their_prefix_may_have() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.unauthenticated_replies_per_prefix_per_s = 3;
        }),
    );
    let ask = |node: &mut Node, addr: &str| {
        let mut caller = Caller::new(addr, "alice", "alice's");
        let packet = caller.unsigned(Method::ALLOCATE, udp);
        node.send(&caller, &packet)
    };
    for port in 1..=3 {
        assert_eq!(
            ask(&mut node, &format!("203.0.113.{port}:9")),
            Verdict::Handled
        );
    }
    let refused = Verdict::Drop(DropReason::UnauthenticatedRate);
    assert_eq!(ask(&mut node, "203.0.113.200:9"), refused);
    assert_eq!(
        ask(&mut node, "203.0.114.1:9"),
        Verdict::Handled,
        "another prefix"
    );
    let mut stream = Caller::new("203.0.113.5:9", "alice", "alice's").over(Transport::Tcp, 7);
    let packet = stream.unsigned(Method::ALLOCATE, udp);
    assert_eq!(
        node.send(&stream, &packet),
        Verdict::Handled,
        "a stream has proved its address"
    );
    node.pass_s(1);
    assert_eq!(ask(&mut node, "203.0.113.200:9"), Verdict::Handled);
}

#[test]
fn an_empty_bucket_never_touches_a_living_allocation() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.unauthenticated_replies_per_prefix_per_s = 2;
        }),
    );
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let mut stranger = Caller::new("203.0.113.99:9", "x", "y");
    let packet = stranger.unsigned(Method::ALLOCATE, udp);
    while node.send(&stranger, &packet) == Verdict::Handled {}
    alice.nonce = b"stale".to_vec();
    assert_eq!(
        node.refresh(&mut alice, 600),
        Err(438),
        "told, although the bucket is empty"
    );
    let binding = alice.unsigned(Method::BINDING, |_| Ok(()));
    assert!(node.answer(&alice, &binding).is_success());
}

#[test]
fn guesses_with_a_nonce_are_limited_by_exact_address() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.failed_credentials_per_client_per_s = 2;
            config.limits.unauthenticated_replies_per_prefix_per_s = 4;
        }),
    );
    let mut guesser = Caller::new("203.0.113.66:1", "alice", "guess");
    let mut neighbour = Caller::new("203.0.113.66:2", "alice", "guess");
    node.challenge(&mut guesser);
    node.challenge(&mut neighbour);
    let guess = guesser.signed(Method::ALLOCATE, udp);
    assert_eq!(node.answer(&guesser, &guess).code(), 401);
    assert_eq!(node.answer(&guesser, &guess).code(), 401);
    assert_eq!(
        node.dropped(&guesser, &guess),
        DropReason::FailedCredentialsRate
    );
    let guess = neighbour.signed(Method::ALLOCATE, udp);
    assert_eq!(node.answer(&neighbour, &guess).code(), 401);
}

// RFC 8489 §6.3: what is not asked is not answered.
#[test]
fn a_response_or_a_foreign_indication_is_dropped() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let mut packet = alice.unsigned(Method::ALLOCATE, udp);
    for (class, reason) in [
        (Class::Success, DropReason::UnexpectedClass),
        (Class::Error, DropReason::UnexpectedClass),
        (Class::Indication, DropReason::UnexpectedClass),
    ] {
        packet[..2].copy_from_slice(&class.message_type(Method::ALLOCATE).to_be_bytes());
        assert_eq!(node.dropped(&alice, &packet), reason);
    }
    packet[..2].copy_from_slice(&Class::Request.message_type(Method(0x00d)).to_be_bytes());
    assert_eq!(node.dropped(&alice, &packet), DropReason::UnknownMethod);
}

#[test]
fn a_flood_of_old_nonces_is_not_worth_a_single_mac() {
    let mut node = Node::new(
        1,
        edited(|config| config.limits.unauthenticated_replies_per_prefix_per_s = 2),
    );
    let mut forged = Caller::new("203.0.113.66:1", "alice", "guess");
    forged.nonce = b"forged".to_vec();
    let packet = forged.signed(Method::ALLOCATE, udp);
    assert_eq!(node.answer(&forged, &packet).code(), 401);
    assert_eq!(node.answer(&forged, &packet).code(), 401);
    assert_eq!(
        node.dropped(&forged, &packet),
        DropReason::UnauthenticatedRate
    );
    // Right credentials with an old nonce are not told apart before the budget is asked.
    let mut alice = Caller::alice();
    alice.nonce = b"old".to_vec();
    let packet = alice.signed(Method::ALLOCATE, udp);
    assert_eq!(
        node.dropped(&alice, &packet),
        DropReason::UnauthenticatedRate
    );
    node.pass_s(1);
    assert_eq!(node.answer(&alice, &packet).code(), 438);
}
