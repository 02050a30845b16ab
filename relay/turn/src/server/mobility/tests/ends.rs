//! Quotas, expiry, revocation and draining of what has moved.

use super::*;

// coturn's fixes: a resumed session that is not counted lets a user have as many as it likes.
#[test]
fn a_mobility_resume_dodges_no_quota() {
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.allocations_per_user_max = 2;
            config.limits.allocations_per_prefix_max = 2;
        }),
    );
    let mut first = node.mobile(Caller::alice());
    let home = first.caller.clone();
    let there = node.relocate(&mut first, moved(&home, ELSEWHERE));
    assert!(is_to_peer(&node.sends(&there)));
    assert_eq!(node.registry.usage().allocations, 1, "once, wherever it is");
    assert_eq!(node.registry.usage().prefixes, 1);
    let mut second = node.mobile(home.clone());
    // The account is full, wherever it asks from.
    for addr in ["203.0.113.77:4000", "192.88.98.99:4000", "198.18.9.9:4000"] {
        let mut third = moved(&home, addr);
        assert_eq!(node.allocate_with(&mut third, |_| Ok(())), Err(486));
    }
    // So is a source prefix, whoever moves to it: bob's one, and one of alice's that moves there.
    node.allocate(&mut moved(&Caller::bob(), "192.88.98.50:4000"));
    let mut crowded = moved(&home, "192.88.98.51:4000");
    assert_eq!(node.resume(&mut crowded, &second.ticket).code(), 486);
    assert_eq!(node.heard_by(&second), home.client);
    // A refused move costs nothing: the ticket is as good as before.
    let free = node.relocate(&mut second, moved(&home, "198.18.9.9:4000"));
    assert!(is_to_peer(&node.sends(&free)));
    assert_eq!(node.registry.usage().allocations, 3);
    node.pass_s(600);
    node.assert_nothing_is_left();
}

#[test]
fn a_time_limited_name_moves_until_its_time_is_over() {
    let mut node = Node::default();
    let name = format!("{}:carol", START_UNIX_S + 1000);
    let password = rest_password(b"north", &name);
    let mut mobile = node.mobile(Caller::new("203.0.113.30:1000", &name, &password));
    let home = mobile.caller.clone();
    let there = node.relocate(&mut mobile, moved(&home, ELSEWHERE));
    node.pass_s(590);
    let mut there = there;
    assert_eq!(node.refresh(&mut there, 3600), Ok(3600));
    node.pass_s(410);
    let mut third = moved(&there, "192.88.98.9:9000");
    assert_eq!(node.resume(&mut third, &mobile.ticket).code(), 401);
    assert_eq!(
        node.refresh(&mut there, 600),
        Ok(600),
        "where it is, it stays"
    );
}

#[test]
fn a_drained_node_lets_its_clients_move() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    node.servers[0].drain(true);
    let there = node.relocate(&mut mobile, moved(&Caller::alice(), ELSEWHERE));
    assert!(is_to_peer(&node.sends(&there)));
}

#[test]
fn revocation_finds_a_session_wherever_it_has_moved() {
    let mut node = Node::default();
    let stream = Caller::alice().over(Transport::Tls, 70);
    let mut mobile = node.mobile(stream);
    let here = mobile.caller.client;
    let there = moved(&mobile.caller, ELSEWHERE).over(Transport::Tcp, 71);
    let there = node.relocate(&mut mobile, there);
    let user = Revoke::User("alice".into());
    assert_eq!(node.servers[0].revoke(node.now, &user), 1);
    node.settle(0);
    assert_eq!(node.closed_streams, [here, there.client]);
    let mut third = moved(&there, "192.88.98.9:9000").over(Transport::Udp, 0);
    assert_eq!(node.resume(&mut third, &mobile.ticket).code(), 437);
    node.assert_nothing_is_left();
}

#[test]
fn expiry_takes_tickets_and_five_tuples_with_it() {
    let mut node = Node::default();
    let mut mobile = node.mobile(Caller::alice());
    let mut there = node.relocate(&mut mobile, moved(&Caller::alice(), ELSEWHERE));
    node.pass_s(600);
    node.assert_nothing_is_left();
    assert_eq!(node.resume(&mut there, &mobile.ticket).code(), 437);
    assert_eq!(
        node.dropped(&there, &[0x40, 0, 0, 0]),
        DropReason::NoAllocation
    );
}
