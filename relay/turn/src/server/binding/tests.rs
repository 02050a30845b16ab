use sterna_stun::{
    attr::{AttributeType, ErrorCode, UnknownAttributes, UseCandidate, XorMappedAddress},
    message::Method,
};

use crate::{
    DropReason, Outcome, Transport, Verdict,
    testing::{Answer, Caller, Node, edited},
};

fn bind(node: &mut Node, caller: &mut Caller) -> (usize, Answer) {
    let packet = caller.unsigned(Method::BINDING, |_| Ok(()));
    (packet.len(), node.answer(caller, &packet))
}

// The amplification budget: 1.6 times the request.
#[test]
fn a_udp_binding_is_answered_with_the_mapped_address_and_nothing_else() {
    let mut node = Node::default();
    let mut caller = Caller::alice();
    let (asked, answer) = bind(&mut node, &mut caller);
    assert_eq!((asked, answer.bytes.len()), (20, 32));
    assert_eq!(answer.types(), [AttributeType::XOR_MAPPED_ADDRESS]);
    assert_eq!(answer.find(), Some(XorMappedAddress(caller.client.addr)));
    let mut v6 = Caller::new("[2620:99::1]:7", "", "");
    let (asked, answer) = bind(&mut node, &mut v6);
    assert_eq!(
        (asked, answer.bytes.len()),
        (20, 44),
        "IPv6 addresses are 12 bytes longer"
    );
}

#[test]
fn a_fingerprint_is_answered_with_a_fingerprint() {
    let mut node = Node::default();
    let mut caller = Caller::alice();
    caller.fingerprint = true;
    let (asked, answer) = bind(&mut node, &mut caller);
    assert_eq!((asked, answer.bytes.len()), (28, 40));
    assert_eq!(
        answer.types(),
        [
            AttributeType::XOR_MAPPED_ADDRESS,
            AttributeType::FINGERPRINT
        ]
    );
    let mut packet = caller.unsigned(Method::BINDING, |_| Ok(()));
    let last = packet.len() - 1;
    packet[last] ^= 1;
    assert_eq!(
        node.dropped(&caller, &packet),
        DropReason::FingerprintMismatch
    );
    assert_eq!(
        sterna_stun::fingerprint::check(&answer.message()),
        sterna_stun::fingerprint::Fingerprint::Valid
    );
}

#[test]
fn a_stream_is_told_the_software_too() {
    let mut node = Node::default();
    let mut caller = Caller::alice().over(Transport::Tls, 3);
    let (_, answer) = bind(&mut node, &mut caller);
    assert_eq!(
        answer.types(),
        [AttributeType::XOR_MAPPED_ADDRESS, AttributeType::SOFTWARE]
    );
}

#[test]
fn the_attributes_of_a_connectivity_check_are_understood() {
    let mut node = Node::default();
    let mut caller = Caller::alice();
    let packet = caller.unsigned(Method::BINDING, |writer| {
        writer.raw(AttributeType::PRIORITY, &[0, 0, 0, 1])?;
        writer.attr(&UseCandidate)
    });
    assert!(node.answer(&caller, &packet).is_success());
}

// The amplification budget: 2.2 times the request at most.
#[test]
fn unknown_required_attributes_are_420_and_listed() {
    for count in 1..=10_u16 {
        let mut node = Node::default();
        let mut caller = Caller::alice();
        let packet = caller.unsigned(Method::BINDING, |writer| {
            (0..count).try_for_each(|n| writer.raw(AttributeType(0x7f00 + n), &[]))
        });
        let answer = node.answer(&caller, &packet);
        assert_eq!(answer.find::<ErrorCode<'_>>().expect("an error").code, 420);
        let unknown = answer.find::<UnknownAttributes>().expect("a list");
        let expected: Vec<_> = (0..count.min(8))
            .map(|n| AttributeType(0x7f00 + n))
            .collect();
        assert_eq!(unknown.iter().collect::<Vec<_>>(), expected);
        assert!(answer.bytes.len() * 5 <= packet.len() * 11, "{count}");
    }
}

#[test]
fn behaviour_discovery_is_unknown_while_it_is_not_served() {
    for type_ in [
        AttributeType::CHANGE_REQUEST,
        AttributeType::PADDING,
        AttributeType::RESPONSE_PORT,
    ] {
        let mut node = Node::default();
        let mut caller = Caller::alice();
        let packet = caller.unsigned(Method::BINDING, |writer| writer.raw(type_, &[0, 0, 0, 0]));
        assert_eq!(node.answer(&caller, &packet).code(), 420);
    }
}

#[test]
fn a_binding_indication_is_never_answered() {
    let mut node = Node::default();
    let mut caller = Caller::alice();
    let packet = caller.indication(Method::BINDING, |_| Ok(()));
    assert_eq!(node.send(&caller, &packet), Verdict::Handled);
    assert!(node.answers.is_empty());
    assert_eq!(
        node.server()
            .counters()
            .count(crate::Method::Binding, Outcome::Success),
        1
    );
    let unknown = caller.indication(Method::BINDING, |writer| {
        writer.raw(AttributeType(0x7fff), &[])
    });
    assert_eq!(
        node.dropped(&caller, &unknown),
        DropReason::UnknownAttribute
    );
}

#[test]
fn strangers_bindings_share_the_bucket_of_their_prefix() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.unauthenticated_replies_per_prefix_per_s = 1;
        }),
    );
    let mut caller = Caller::alice();
    bind(&mut node, &mut caller);
    let packet = caller.unsigned(Method::BINDING, |_| Ok(()));
    assert_eq!(
        node.dropped(&caller, &packet),
        DropReason::UnauthenticatedRate
    );
}

#[test]
fn what_is_not_stun_or_comes_from_port_zero_is_dropped() {
    let mut node = Node::default();
    let mut caller = Caller::alice();
    let packet = caller.unsigned(Method::BINDING, |_| Ok(()));
    assert_eq!(node.dropped(&caller, &[]), DropReason::Malformed);
    assert_eq!(node.dropped(&caller, &[0xff; 40]), DropReason::NotStun);
    assert_eq!(node.dropped(&caller, &packet[..19]), DropReason::Malformed);
    assert_eq!(
        node.dropped(&caller, &[&packet[..], &[0; 4]].concat()),
        DropReason::Malformed
    );
    caller.client.addr.set_port(0);
    assert_eq!(node.dropped(&caller, &packet), DropReason::SourcePortZero);
}
