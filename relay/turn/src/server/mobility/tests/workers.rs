//! Three workers: the packets of the new 5-tuple come to another one than the old one's.

use super::*;

fn across() -> (Node, Mobile, Caller) {
    let mut node = Node::new(3, crate::testing::config());
    let mut mobile = node.mobile(Caller::alice().on_worker(1));
    let there = moved(&mobile.caller, ELSEWHERE).on_worker(2);
    let there = node.relocate(&mut mobile, there);
    (node, mobile, there)
}

#[test]
fn a_client_that_comes_to_another_worker_is_served_by_the_one_it_had() {
    let (mut node, mut mobile, mut there) = across();
    assert_eq!(node.servers[2].moved_count(), 1);
    assert!(is_to_peer(&node.sends(&there)));
    assert_eq!(node.heard_by(&mobile), there.client);
    assert_eq!(node.bind(&mut there, 0x4001, "8.8.4.4:5000"), 0);
    assert_eq!(node.refresh(&mut there, 600), Ok(600));
    assert_eq!(node.allocate_with(&mut there, |_| Ok(())), Err(437));
    let counts = [0, 1, 2].map(|worker: usize| node.servers[worker].allocation_count());
    assert_eq!(counts, [0, 1, 0]);
    // A Binding needs nobody's help.
    let binding = there.unsigned(Method::BINDING, |_| Ok(()));
    let verdict = node.receive_here(2, there.client, &binding);
    assert_eq!(verdict, Verdict::Handled);
    // On to the third worker, and the second forgets it.
    let third = moved(&there, "192.88.98.9:9000").on_worker(0);
    let third = node.relocate(&mut mobile, third);
    assert!(is_to_peer(&node.sends(&third)));
    assert_eq!(
        (node.servers[2].moved_count(), node.servers[0].moved_count()),
        (0, 1)
    );
    assert_eq!(
        node.dropped(&there, &[0x40, 0, 0, 0]),
        DropReason::NoAllocation
    );
    node.allocate(&mut there);
    // And home, where nothing needs to be handed on.
    let mut home = node.relocate(&mut mobile, mobile_home());
    assert!(is_to_peer(&node.receive_here(
        1,
        home.client,
        &[0x40, 0, 0, 0]
    )));
    assert_eq!(node.servers[0].moved_count(), 0);
    assert_eq!(node.refresh(&mut home, 0), Ok(0));
    assert_eq!(node.refresh(&mut there, 0), Ok(0));
    node.assert_nothing_is_left();
}

fn mobile_home() -> Caller {
    let mut home = Caller::alice().on_worker(1);
    home.next_transaction += 1000;
    home
}

#[test]
fn a_worker_hands_on_no_longer_than_the_allocation_lives() {
    let (mut node, mobile, mut there) = across();
    assert!(is_to_peer(&node.sends(&there)));
    node.pass_s(600);
    node.assert_nothing_is_left();
    assert_eq!(node.refresh(&mut there, 600), Err(437));
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 437);
    assert_eq!(node.servers[2].moved_count(), 0);
}

#[test]
fn a_move_that_gets_lost_between_workers_leaves_nothing_behind() {
    let mut node = Node::new(3, crate::testing::config());
    let mobile = node.mobile(Caller::alice().on_worker(1));
    let mut there = moved(&mobile.caller, ELSEWHERE).on_worker(2);
    node.challenge(&mut there);
    let packet = there.signed(Method::REFRESH, |writer| {
        writer.attr(&MobilityTicket(&mobile.ticket))
    });
    let lost = node.receive_here(2, there.client, &packet);
    assert!(matches!(lost, Verdict::ToOwner { lease: Some(_), .. }));
    drop(lost);
    assert_eq!(node.servers[2].moved_count(), 0);
    // The retransmission finds its way.
    assert_eq!(node.answer(&there, &packet).code(), 0);
    assert_eq!(node.answer(&there, &packet).code(), 0);
    assert_eq!(node.servers[1].counters().moves_repeated, 1);
    assert!(is_to_peer(&node.sends(&there)));
}

#[test]
fn what_the_owner_refuses_is_not_handed_on_again() {
    let mut node = Node::new(3, crate::testing::config());
    let mobile = node.mobile(Caller::alice().on_worker(1));
    let mut bob = Caller::bob().over(Transport::Tcp, 80).on_worker(2);
    assert_eq!(node.resume(&mut bob, &mobile.ticket).code(), 441);
    assert_eq!(node.servers[2].moved_count(), 0);
    assert_eq!(node.detached, [bob.client], "its connection is the other's");
    node.allocate(&mut bob);
    assert_eq!(node.servers[2].allocation_count(), 1);
    // A 5-tuple that has an allocation there is not handed on in the first place.
    let mut alice = moved(&mobile.caller, ELSEWHERE).on_worker(2);
    node.allocate(&mut alice);
    assert_eq!(node.resume(&mut alice, &mobile.ticket).code(), 437);
    assert_eq!(node.servers[2].moved_count(), 0);
}

#[test]
fn a_five_tuple_goes_to_one_owner_only() {
    let (mut node, _mobile, mut there) = across();
    let other = node.mobile(Caller::alice().on_worker(0));
    assert_eq!(node.resume(&mut there, &other.ticket).code(), 437);
    assert!(is_to_peer(&node.sends(&there)));
}

#[test]
fn what_is_handed_on_too_late_is_dropped() {
    let (mut node, mobile, there) = across();
    let late = node.receive_here(2, there.client, &[0x40, 0, 0, 0]);
    let mut home = mobile.caller.clone();
    assert_eq!(node.refresh(&mut home, 0), Ok(0));
    assert_eq!(
        node.hand_on(late, &[0x40, 0, 0, 0]),
        Verdict::Drop(DropReason::NoAllocation)
    );
    node.assert_nothing_is_left();
}

#[test]
fn the_owner_learns_of_the_end_of_a_stream_that_came_to_another_worker() {
    let mut node = Node::new(3, crate::testing::config());
    let mut mobile = node.mobile(Caller::alice().on_worker(1));
    let there = moved(&mobile.caller, ELSEWHERE)
        .over(Transport::Tls, 80)
        .on_worker(2);
    let there = node.relocate(&mut mobile, there);
    assert!(is_to_peer(&node.sends(&there)));
    node.servers[2].handle_stream_closed(node.now, there.client);
    node.settle(2);
    assert_eq!(node.servers[2].moved_count(), 0);
    node.pass_s(u64::from(AWAY_MAX_S));
    node.assert_nothing_is_left();
}

#[test]
fn a_stream_that_came_to_another_worker_is_let_go_of_when_all_answers_are_out() {
    let mut node = Node::new(3, crate::testing::config());
    let mut mobile = node.mobile(Caller::alice().on_worker(1));
    let there = moved(&mobile.caller, ELSEWHERE)
        .over(Transport::Tls, 80)
        .on_worker(2);
    let mut there = node.relocate(&mut mobile, there);
    assert!(is_to_peer(&node.sends(&there)));
    assert_eq!(node.refresh(&mut there, 0), Ok(0));
    assert_eq!(node.detached, [there.client]);
    node.assert_nothing_is_left();
}
