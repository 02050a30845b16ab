//! Connections that break, before or after their client has moved.

use super::*;

// RFC 8016 §3.2.2: "or a message from the client to close the old connection".
#[test]
fn the_old_streams_end_is_not_the_end_of_a_moved_allocation() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice().over(Transport::Tls, 70));
    let old = mobile.caller.client;
    let there = moved(&mobile.caller, ELSEWHERE).over(Transport::Udp, 0);
    let there = node.relocate(&mut mobile, there);
    assert_eq!(node.heard_by(&mobile), old);
    node.servers[0].handle_stream_closed(node.now, old);
    node.settle(0);
    assert_eq!(
        node.heard_by(&mobile),
        there.client,
        "without a word from it"
    );
    assert!(is_to_peer(&node.sends(&there)));
    assert_eq!(node.detached, [old]);
    // And back to a stream, whose end before its first word is nothing either.
    let tcp = moved(&there, ELSEWHERE).over(Transport::Tcp, 71);
    let tcp = node.relocate(&mut mobile, tcp);
    node.servers[0].handle_stream_closed(node.now, tcp.client);
    node.settle(0);
    assert_eq!(node.heard_by(&mobile), there.client);
    assert!(!is_to_peer(&node.sends(&tcp)));
}

// Break before make: the connection is lost before the client knows.
#[test]
fn a_client_with_a_ticket_may_come_back_after_its_connection_is_lost() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice().over(Transport::Tcp, 70));
    let old = mobile.caller.client;
    node.servers[0].handle_stream_closed(node.now, old);
    node.settle(0);
    node.pass_s(u64::from(AWAY_MAX_S) - 1);
    assert_eq!(node.server().allocation_count(), 1);
    let there = moved(&mobile.caller, ELSEWHERE).over(Transport::Tcp, 71);
    let there = node.relocate(&mut mobile, there);
    assert_eq!(node.heard_by(&mobile), there.client, "it has no other");
    node.pass_s(u64::from(AWAY_MAX_S));
    assert!(is_to_peer(&node.sends(&there)));
    node.servers[0].handle_stream_closed(node.now, there.client);
    node.settle(0);
    node.pass_s(u64::from(AWAY_MAX_S));
    node.assert_nothing_is_left();
}

#[test]
fn without_a_ticket_the_streams_end_is_the_allocations() {
    let mut node = Node::default();
    let mut alice = Caller::alice().over(Transport::Tcp, 70);
    node.allocate(&mut alice);
    node.servers[0].handle_stream_closed(node.now, alice.client);
    node.settle(0);
    node.assert_nothing_is_left();
    assert!(node.events.iter().any(|event| matches!(
        event,
        Event::Ended {
            reason: EndReason::StreamClosed,
            ..
        }
    )));
}
