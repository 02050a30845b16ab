//! Where a client may go, and which of its 5-tuples counts.

use super::*;

// RFC 8016 §3.2.2: "The TURN server MUST continue receiving and processing data on the old 5-tuple
// and MUST continue transmitting data on the old-5 tuple until it receives a Send Indication or
// ChannelData message from the client on the new 5-tuple".
#[test]
fn the_old_five_tuple_goes_on_until_data_comes_from_the_new_one() {
    for by_indication in [false, true] {
        let mut node = Node::default();
        let mut mobile = node.mobile(Caller::alice());
        let here = mobile.caller.clone();
        let mut there = node.relocate(&mut mobile, moved(&here, ELSEWHERE));
        assert_eq!(node.heard_by(&mobile), here.client);
        assert!(is_to_peer(&node.sends(&here)));
        // Requests on the new one do not make the break either.
        assert_eq!(node.permit(&mut there, PEER), 0);
        assert_eq!(node.refresh(&mut there, 600), Ok(600));
        assert_eq!(node.heard_by(&mobile), here.client);

        let verdict = if by_indication {
            let packet = there.indication(Method::SEND, |writer| {
                writer.attr(&XorPeerAddress(PEER.parse().expect("ok")))?;
                writer.attr(&Data(b"x"))
            });
            node.send(&there, &packet)
        } else {
            node.sends(&there)
        };
        assert!(is_to_peer(&verdict));
        assert_eq!(node.heard_by(&mobile), there.client);
        assert_eq!(
            node.dropped(&here, &[0x40, 0, 0, 1, 0, 0, 0, 0]),
            DropReason::NoAllocation
        );
        let mut here = here;
        assert_eq!(node.refresh(&mut here, 600), Err(437));
        assert_eq!(node.server().counters().moves_completed, 1);
        assert_eq!(node.refresh(&mut there, 0), Ok(0));
        node.assert_nothing_is_left();
    }
}

// A client that only listens has to say so: a channel that is not bound reaches no peer.
#[test]
fn data_that_goes_nowhere_makes_the_break_as_well() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let there = node.relocate(&mut mobile, moved(&Caller::alice(), ELSEWHERE));
    assert_eq!(
        node.dropped(&there, &[0x4f, 0xff, 0, 0]),
        DropReason::NoChannel
    );
    assert_eq!(node.heard_by(&mobile), there.client);
}

#[test]
fn a_client_may_move_on_before_it_has_sent_anything() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let home = mobile.caller.clone();
    let second = node.relocate(&mut mobile, moved(&home, ELSEWHERE));
    let third = node.relocate(&mut mobile, moved(&home, "192.88.98.9:9000"));
    assert_eq!(node.heard_by(&mobile), home.client);
    assert!(is_to_peer(&node.sends(&second)), "in between, and good");
    assert_eq!(node.heard_by(&mobile), second.client);
    assert!(!is_to_peer(&node.sends(&home)));
    assert!(is_to_peer(&node.sends(&third)));
    assert_eq!(node.heard_by(&mobile), third.client);
    assert!(!is_to_peer(&node.sends(&second)));
}

#[test]
fn a_client_may_come_back_to_where_it_was() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let home = mobile.caller.clone();
    let away = node.relocate(&mut mobile, moved(&home, ELSEWHERE));
    // Before it has sent from there:
    let home = node.relocate(&mut mobile, home);
    assert!(!is_to_peer(&node.sends(&away)));
    assert_eq!(node.heard_by(&mobile), home.client);
    // And after:
    let away = node.relocate(&mut mobile, away);
    assert!(is_to_peer(&node.sends(&away)));
    let home = node.relocate(&mut mobile, home);
    assert_eq!(node.heard_by(&mobile), away.client);
    assert!(is_to_peer(&node.sends(&home)));
    assert_eq!(node.heard_by(&mobile), home.client);
}

#[test]
fn five_tuples_that_were_moved_to_and_not_used_do_not_pile_up() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let mut places = Vec::new();
    for port in 0..=u16::try_from(FIVE_TUPLES_WAITING_MAX).expect("few") {
        let place = moved(&Caller::alice(), &format!("192.88.98.7:{}", 7000 + port));
        places.push(node.relocate(&mut mobile, place));
    }
    assert!(!is_to_peer(&node.sends(&places[0])), "forgotten");
    assert!(is_to_peer(&node.sends(&places[1])));
    assert!(is_to_peer(&node.sends(&places[3])));
    assert_eq!(node.refresh(&mut places[3], 0), Ok(0));
    node.assert_nothing_is_left();
}

#[test]
fn a_five_tuple_that_has_an_allocation_takes_no_second_one() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    let mut there = moved(&mobile.caller, ELSEWHERE);
    node.allocate(&mut there);
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 437);
    let mut other = node.mobile(moved(&mobile.caller, "192.88.98.9:9000"));
    let mut fourth = node.relocate(&mut other, moved(&mobile.caller, "192.88.98.10:9000"));
    assert_eq!(node.resume(&mut fourth, &mobile.ticket).code(), 437);
    assert_eq!(node.allocate_with(&mut fourth, |_| Ok(())), Err(437));
}

#[test]
fn a_move_extends_the_lifetime_and_a_lifetime_of_zero_ends_it() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    node.pass_s(500);
    let mut there = moved(&mobile.caller, ELSEWHERE);
    let answer = node.ask(&mut there, Method::REFRESH, |writer| {
        writer.attr(&Lifetime(1200))?;
        writer.attr(&MobilityTicket(&mobile.ticket))
    });
    assert_eq!(answer.find(), Some(Lifetime(1200)));
    let ticket = ticket_of(&answer).expect("a ticket");
    let mut third = moved(&there, "192.88.98.9:9000");
    let answer = node.ask(&mut third, Method::REFRESH, |writer| {
        writer.attr(&Lifetime(0))?;
        writer.attr(&MobilityTicket(&ticket))
    });
    assert_eq!(
        (answer.find(), ticket_of(&answer)),
        (Some(Lifetime(0)), None)
    );
    node.assert_nothing_is_left();
}

#[test]
fn a_move_that_asks_for_the_wrong_family_moves_nothing() {
    let mut node = Node::default();
    let mobile = node.mobile(Caller::alice());
    let mut there = moved(&mobile.caller, ELSEWHERE);
    let answer = node.ask(&mut there, Method::REFRESH, |writer| {
        writer.attr(&RequestedAddressFamily(AddressFamily::Ipv6))?;
        writer.attr(&MobilityTicket(&mobile.ticket))
    });
    assert_eq!(answer.code(), 443);
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 0);
}

// RFC 8016 §3.1.2: "from one address family to another".
#[test]
fn a_client_moves_from_one_address_family_to_the_other() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let v6 = Caller::new("[2a00:1::5]:4000", "alice", "alice's");
    let there = node.relocate(&mut mobile, v6);
    assert!(is_to_peer(&node.sends(&there)));
    assert_eq!(node.heard_by(&mobile), there.client);
}
