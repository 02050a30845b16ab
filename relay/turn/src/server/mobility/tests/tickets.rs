//! Who gets a ticket, and what one is worth.

use super::*;

// RFC 8016 §3.1.2.
#[test]
fn whoever_asks_for_a_ticket_gets_one_and_nobody_else() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let answer = node.ask_for_ticket(&mut alice);
    assert_eq!(ticket_of(&answer).expect("a ticket").len(), 32);
    assert!(alice.is_answered_by(&answer));
    let mut bob = Caller::bob();
    let answer = node.ask(&mut bob, Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)
    });
    assert_eq!((answer.code(), ticket_of(&answer)), (0, None));
    let plain = node.ask(&mut alice, Method::REFRESH, |_| Ok(()));
    assert_eq!(ticket_of(&plain), None, "a Refresh that does not move");
    assert_eq!(node.registry.usage().tickets, 1);
    assert_eq!(node.refresh(&mut alice, 0), Ok(0));
    assert_eq!(node.refresh(&mut bob, 0), Ok(0));
    node.assert_nothing_is_left();
}

// RFC 8016 §3.1.2.
#[test]
fn a_ticket_in_an_allocate_is_400() {
    let mut node = Node::default();
    let refused = node.allocate_with(&mut Caller::alice(), |writer| {
        writer.attr(&MobilityTicket(&[b'A'; 32]))
    });
    assert_eq!(refused, Err(400));
    node.assert_nothing_is_left();
}

// RFC 8016 §3.1.2, §3.2.2.
#[test]
fn where_mobility_is_switched_off_it_is_405() {
    let mut node = Node::new(1, edited(|config| config.mobility = false));
    assert_eq!(node.ask_for_ticket(&mut Caller::alice()).code(), 405);
    assert_eq!(node.registry.usage().allocations, 0);
    node.reconfigure(|config| config.mobility = true);
    let mobile = node.mobile(Caller::alice());
    node.reconfigure(|config| config.mobility = false);
    let mut there = moved(&mobile.caller, ELSEWHERE);
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 405);
    assert!(is_to_peer(&node.sends(&mobile.caller)), "it goes on");
}

// RFC 8016 §5: "If (D)TLS is not used [...] and authentication also fails, then the TURN client and
// server MUST fail and not proceed with TURN mobility."
#[test]
fn on_an_open_relay_nobody_moves() {
    let mut node = Node::new(1, edited(|config| config.open_relay = true));
    for transport in [Transport::Udp, Transport::Tls] {
        let mut caller = Caller::alice().over(transport, 5);
        let packet = caller.unsigned(Method::ALLOCATE, |writer| {
            writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
            writer.attr(&MobilityTicket(b""))
        });
        assert_eq!(node.answer(&caller, &packet).code(), 405);
        let packet = caller.unsigned(Method::REFRESH, |writer| {
            writer.attr(&MobilityTicket(&[b'A'; 32]))
        });
        assert_eq!(node.answer(&caller, &packet).code(), 405);
    }
    node.assert_nothing_is_left();
}

// RFC 8016 §3.2.1, §3.2.2.
#[test]
fn a_refresh_with_a_ticket_from_the_same_five_tuple_is_400() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let mut here = mobile.caller.clone();
    assert_eq!(node.resume(&mut here, &mobile.ticket).code(), 400);
    let mut there = node.relocate(&mut mobile, moved(&here, ELSEWHERE));
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 400);
    assert_eq!(node.server().counters().moves_refused, 2);
}

// RFC 8016 §3.2.2.
#[test]
fn a_forged_ticket_is_400_and_one_whose_allocation_is_over_437() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    let mut there = moved(&mobile.caller, ELSEWHERE);
    for forged in [&b""[..], b"x", &[b'A'; 32], &[0; 600]] {
        assert_eq!(node.resume(&mut there, forged).code(), 400);
    }
    let mut altered = mobile.ticket.clone();
    altered[0] ^= 1;
    assert_eq!(node.resume(&mut there, &altered).code(), 400);
    let mut here = mobile.caller.clone();
    assert_eq!(node.refresh(&mut here, 0), Ok(0));
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 437);
    node.assert_nothing_is_left();
}

// RFC 8016 §3.2.2, §5.
#[test]
fn somebody_elses_ticket_is_441_and_wrong_credentials_are_401() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    assert_eq!(node.resume(&mut Caller::bob(), &mobile.ticket).code(), 441);
    let mut guesser = moved(&mobile.caller, ELSEWHERE);
    guesser.set_password("guessed");
    assert_eq!(node.resume(&mut guesser, &mobile.ticket).code(), 401);
    assert_eq!(node.heard_by(&mobile), mobile.caller.client);
}

// RFC 8489 §9.2: a nonce is good for the address that it was sent to, so whoever moves has received
// something there.
#[test]
fn whoever_moves_has_proved_the_new_address() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    let mut there = moved(&mobile.caller, ELSEWHERE);
    there.nonce.clone_from(&mobile.caller.nonce);
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 438);
    assert_eq!(node.heard_by(&mobile), mobile.caller.client);
}

// RFC 8016 §3.2.2: "a server must retain the old STUN MOBILITY-TICKET attribute for a period of at
// least 30 seconds to be able to recognize a retransmission".
#[test]
fn a_used_ticket_repeats_the_answer_to_where_it_was_used_for_a_while() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let used = mobile.ticket.clone();
    let mut there = node.relocate(&mut mobile, moved(&Caller::alice(), ELSEWHERE));
    assert_ne!(used, mobile.ticket);
    node.pass_s(30);
    let answer = node.resume(&mut there, &used);
    assert_eq!(ticket_of(&answer), Some(mobile.ticket.clone()));
    assert_eq!(node.server().counters().moves_repeated, 1);
    // Also once data has come from there: the answer may still be under way.
    assert!(is_to_peer(&node.sends(&there)));
    let answer = node.resume(&mut there, &used);
    assert_eq!(ticket_of(&answer), Some(mobile.ticket.clone()));
    // And never from anywhere else.
    let mut third = moved(&there, "192.88.98.9:9000");
    assert_eq!(node.resume(&mut third, &used).code(), 400);
    node.pass_s(u64::from(TICKET_RETENTION_S) - 30);
    assert_eq!(node.resume(&mut there, &used).code(), 400);
    assert_eq!(node.registry.usage().tickets, 2);
    assert_eq!(node.server().counters().moves_granted, 1);
}

#[test]
fn the_ticket_before_the_last_is_over() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let first = mobile.ticket.clone();
    let there = node.relocate(&mut mobile, moved(&Caller::alice(), ELSEWHERE));
    let _third = node.relocate(&mut mobile, moved(&there, "192.88.98.9:9000"));
    let mut there = there;
    assert_eq!(node.resume(&mut there, &first).code(), 437);
    assert_eq!(node.registry.usage().tickets, 2);
}

#[test]
fn a_repeated_allocate_gets_the_ticket_again() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let packet = alice.signed(Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
        writer.raw(AttributeType::MOBILITY_TICKET, b"")
    });
    let first = node.answer(&alice, &packet);
    assert_eq!(node.answer(&alice, &packet), first);
    assert!(ticket_of(&first).is_some());
}
