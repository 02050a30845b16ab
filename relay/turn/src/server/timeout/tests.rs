use std::time::Duration;

use crate::{
    Server,
    limits::TIMEOUT_BATCH_MAX,
    testing::{Caller, Node},
};

#[test]
fn the_next_deadline_is_the_earliest_end() {
    let mut node = Node::default();
    assert_eq!(node.server().poll_timeout(), None);
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    let start = node.now;
    node.allocate(&mut alice);
    node.refresh(&mut alice, 3000).expect("granted");
    assert_eq!(
        node.server().poll_timeout(),
        Some(start + Duration::from_secs(3000))
    );
    node.pass_s(5);
    node.allocate(&mut bob);
    assert_eq!(
        node.server().poll_timeout(),
        Some(start + Duration::from_secs(605))
    );
    node.refresh(&mut bob, 0).expect("released");
    assert_eq!(
        node.server().poll_timeout(),
        Some(start + Duration::from_secs(3000))
    );
}

#[test]
fn many_ends_at_once_are_spread_over_several_calls() {
    let mut node = Node::default();
    node.config.limits.allocations_per_user_max = 0;
    node.config.limits.allocations_per_prefix_max = 0;
    node.reconfigure(|_| ());
    let count = TIMEOUT_BATCH_MAX + 10;
    for n in 0..count {
        node.pass(Duration::from_millis(5)); // within the budget of unauthenticated answers
        node.allocate(&mut Caller::new(
            &format!("203.0.113.10:{}", 1 + n),
            "alice",
            "alice's",
        ));
    }
    node.now += Duration::from_secs(700);
    let now = node.now;
    node.servers[0].handle_timeout(now);
    assert_eq!(node.server().allocation_count(), 10);
    assert!(
        node.server().poll_timeout().is_some_and(|due| due <= now),
        "wants to be called again"
    );
    node.servers[0].handle_timeout(now);
    node.settle(0);
    assert_eq!(
        node.servers
            .iter()
            .map(Server::allocation_count)
            .sum::<usize>(),
        0
    );
    node.assert_nothing_is_left();
}
