use crate::{
    AllocationId, EndReason, Event, Revoke, Transport, WorkerId,
    testing::{Caller, Node},
};

fn view(node: &Node) -> Vec<crate::AllocationView> {
    node.server().allocations(node.now).collect()
}

#[test]
fn one_allocation_is_revoked_by_its_name_and_the_name_serves_once() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    node.allocate(&mut alice);
    node.allocate(&mut bob);
    let id = view(&node)[0].id;
    let revoke = Revoke::Allocation(id);
    assert_eq!(node.servers[0].revoke(node.now, &revoke), 1);
    node.settle(0);
    assert_eq!(node.refresh(&mut alice, 600), Err(437));
    assert_eq!(node.refresh(&mut bob, 600), Ok(600));
    // Its place is taken again; the old name does not mean the new one.
    node.allocate(&mut alice);
    assert_eq!(view(&node)[0].id.index(), id.index());
    assert_eq!(node.servers[0].revoke(node.now, &revoke), 0);
    let elsewhere = AllocationId::new(WorkerId(9), 1, 0);
    assert_eq!(
        node.servers[0].revoke(node.now, &Revoke::Allocation(elsewhere)),
        0
    );
}

#[test]
fn all_sessions_of_an_account_are_revoked_and_their_connections_closed() {
    let mut node = Node::default();
    let mut udp = Caller::alice();
    let mut tls = Caller::alice().over(Transport::Tls, 6);
    let mut bob = Caller::bob();
    for caller in [&mut udp, &mut tls, &mut bob] {
        node.allocate(caller);
    }
    assert_eq!(
        node.servers[0].revoke(node.now, &Revoke::User("alice".into())),
        2
    );
    node.settle(0);
    assert_eq!(node.closed_streams, [tls.client]);
    assert_eq!(node.open.len(), 1);
    let revoked = node.events.iter().filter(|event| {
        matches!(
            event,
            Event::Ended {
                reason: EndReason::Revoked,
                ..
            }
        )
    });
    assert_eq!(revoked.count(), 2);
    node.refresh(&mut bob, 0).expect("released");
    node.assert_nothing_is_left();
}

#[test]
fn a_view_tells_what_an_operator_wants_to_know() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
    node.send(&alice, &[0x40, 0, 0, 3, 1, 2, 3]);
    node.pass_s(10);
    let view = &view(&node)[0];
    assert_eq!(
        (view.client, &*view.account, view.relayed),
        (alice.client, "alice", relayed)
    );
    assert_eq!((view.age.as_secs(), view.expires_in.as_secs()), (10, 590));
    assert_eq!((view.permissions, view.channels), (1, 1));
    assert_eq!((view.to_peers.packets, view.to_peers.bytes), (1, 3));
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_allocation() {
    let mut node = Node::default();
    let mut tcp = Caller::alice().over(Transport::Tcp, 6);
    node.allocate(&mut tcp);
    node.servers[0].handle_stream_closed(node.now, Caller::bob().client);
    assert_eq!(node.server().allocation_count(), 1);
    node.servers[0].handle_stream_closed(node.now, tcp.client);
    node.settle(0);
    assert!(node.closed_streams.is_empty(), "it is closed already");
    node.assert_nothing_is_left();
}
