use std::sync::Arc;

use sterna_stun::credentials::{long_term_key_md5, rest_password};

use crate::{
    DropReason, EndReason, Event, Transport, Users, Verdict,
    testing::{Caller, Node, START_UNIX_S},
};

fn users(names: &[(&str, &str)]) -> Arc<Users> {
    Arc::new(Users::new("sterna.test", names.iter().copied()))
}

fn ended(node: &Node) -> Vec<(String, EndReason)> {
    let of = |event: &Event| match event {
        Event::Ended {
            account, reason, ..
        } => Some((account.to_string(), *reason)),
        _ => None,
    };
    node.events.iter().filter_map(of).collect()
}

#[test]
fn a_new_policy_revokes_permissions_and_channels_and_leaves_the_rest() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    let relayed = node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "8.8.8.8:5000"), 0);
    assert_eq!(node.bind(&mut alice, 0x4001, "8.8.4.4:5000"), 0);
    node.replace_policy(|policy| policy.deny = vec!["8.8.8.0/24".parse().expect("ok")]);
    let packet = |number: u8| [0x40, number, 0, 1, 7];
    assert_eq!(node.dropped(&alice, &packet(0)), DropReason::NoChannel);
    assert!(matches!(
        node.send(&alice, &packet(1)),
        Verdict::ToPeer { .. }
    ));
    let inward = node.peer_sends(0, relayed, "8.8.8.8:5000", 1);
    assert_eq!(inward, Verdict::Drop(DropReason::NoPermission));
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 403);
    assert_eq!(node.server().counters().peers_revoked, 2);
    node.replace_policy(|_| ());
    assert_eq!(node.permit(&mut alice, "8.8.8.8:1"), 0);
}

#[test]
fn the_sessions_of_a_removed_user_end_and_nobody_elses() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    let (name, port) = (format!("{}:carol", START_UNIX_S + 100), 30);
    let mut carol = Caller::new(
        &format!("203.0.113.30:{port}"),
        &name,
        &rest_password(b"north", &name),
    );
    for caller in [&mut alice, &mut bob, &mut carol] {
        node.allocate(caller);
    }
    node.reconfigure(|config| config.users = users(&[("bob", "bob's")]));
    assert_eq!(ended(&node), [("alice".into(), EndReason::UserRemoved)]);
    assert_eq!(node.refresh(&mut alice, 600), Err(401));
    assert_eq!(node.refresh(&mut bob, 600), Ok(600));
    assert_eq!(node.refresh(&mut carol, 600), Ok(600));
}

#[test]
fn a_changed_password_counts_from_the_next_request() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.reconfigure(|config| config.users = users(&[("alice", "better")]));
    assert_eq!(node.server().allocation_count(), 1, "the session goes on");
    assert_eq!(node.refresh(&mut alice, 600), Err(401));
    alice.mac = long_term_key_md5("alice", "sterna.test", "better").sha1();
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
}

#[test]
fn secrets_are_rolled_over_without_ending_a_session() {
    let mut node = Node::default();
    let name = format!("{}:carol", START_UNIX_S + 100);
    let signed = |secret: &str| rest_password(secret.as_bytes(), &name);
    let mut carol = Caller::new("203.0.113.30:1", &name, &signed("south"));
    node.allocate(&mut carol);
    let secrets = |list: &[&str]| list.iter().map(|secret| (*secret).into()).collect();
    for list in [&["east", "north", "south"][..], &["east", "south"]] {
        node.reconfigure(|config| config.secrets = secrets(list));
        assert_eq!(node.refresh(&mut carol, 600), Ok(600), "{list:?}");
    }
    carol.set_password(&signed("east"));
    assert_eq!(
        node.refresh(&mut carol, 600),
        Ok(600),
        "the same name, signed anew"
    );
    node.reconfigure(|config| config.secrets = secrets(&["west", "east"]));
    assert_eq!(node.refresh(&mut carol, 600), Ok(600));
    assert_eq!(node.server().allocation_count(), 1);
}

#[test]
fn a_secret_that_is_removed_takes_its_sessions_along_and_no_others() {
    let mut node = Node::default();
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    let mut make = |user: &str, secret: &str, addr: &str| {
        let name = format!("{}:{user}", START_UNIX_S + 100);
        let password = rest_password(secret.as_bytes(), &name);
        let mut caller = Caller::new(addr, &name, &password);
        node.allocate(&mut caller);
        caller
    };
    let mut carol = make("carol", "south", "203.0.113.30:1");
    let mut dave = make("dave", "north", "203.0.113.31:1");
    node.reconfigure(|config| config.secrets = vec!["east".into(), "north".into()]);
    assert_eq!(ended(&node), [("carol".into(), EndReason::UserRemoved)]);
    assert_eq!(node.refresh(&mut carol, 600), Err(401));
    assert_eq!(node.refresh(&mut dave, 600), Ok(600));
    node.reconfigure(|config| config.secrets.clear());
    assert_eq!(
        ended(&node),
        [
            ("carol".into(), EndReason::UserRemoved),
            ("dave".into(), EndReason::UserRemoved)
        ]
    );
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
}

#[test]
fn closing_an_open_relay_ends_what_nobody_signed_for() {
    let mut node = Node::default();
    node.reconfigure(|config| config.open_relay = true);
    let mut nobody = Caller::alice().over(Transport::Tcp, 8);
    let packet = nobody.unsigned(sterna_stun::message::Method::ALLOCATE, |writer| {
        writer.attr(&sterna_stun::attr::RequestedTransport::UDP)
    });
    assert!(node.answer(&nobody, &packet).is_success());
    node.reconfigure(|config| config.open_relay = false);
    assert_eq!(ended(&node), [(String::new(), EndReason::UserRemoved)]);
    assert_eq!(node.closed_streams, [nobody.client]);
    node.assert_nothing_is_left();
}

#[test]
fn new_limits_hold_for_what_comes() {
    let mut node = Node::default();
    node.allocate(&mut Caller::alice());
    node.reconfigure(|config| config.limits.allocations_max = 1);
    assert_eq!(node.allocate_with(&mut Caller::bob(), |_| Ok(())), Err(508));
    assert_eq!(node.server().allocation_count(), 1);
}
