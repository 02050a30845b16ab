#![allow(clippy::unwrap_used)]
use std::{net::SocketAddr, sync::Arc};

use sterna_stun::credentials::rest_password;

use crate::{
    DropReason, Policy, PolicyConfig, Rules, ServerConfig, Transport, UserRules, Verdict,
    testing::{Caller, Node, START_UNIX_S, edited},
};

/// The usual policy with other lists.
fn policy(config: &ServerConfig, deny: &[&str], allow: &[&str]) -> Arc<Policy> {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Arc::new(Policy::new(&PolicyConfig {
        deny: nets(deny),
        allow: nets(allow),
        own_pairs: config.listeners.clone(),
        relay_addresses: config.listeners.iter().map(SocketAddr::ip).collect(),
        ..PolicyConfig::default()
    }))
}

/// Everybody is denied 8.8.8.0/24; alice also 9.9.9.0/24, and may reach 10.1.0.0/16.
fn config() -> ServerConfig {
    edited(|config| {
        config.policy = policy(config, &["8.8.8.0/24"], &[]);
        let rules = UserRules {
            policy: Some(policy(
                config,
                &["8.8.8.0/24", "9.9.9.0/24"],
                &["10.1.0.0/16", "8.8.8.8/32", "198.51.100.1/32"],
            )),
            ..UserRules::default()
        };
        config.rules = Arc::new(Rules::new([("alice", rules.clone()), ("carol", rules)]));
    })
}

fn carol() -> Caller {
    let name = format!("{}:carol", START_UNIX_S + 1000);
    Caller::new("203.0.113.30:1", &name, &rest_password(b"north", &name))
}

#[test]
fn an_accounts_own_lists_narrow_and_widen_what_everybody_may_reach() {
    let mut node = Node::new(1, config());
    let (mut alice, mut bob, mut carol) = (Caller::alice(), Caller::bob(), carol());
    for caller in [&mut alice, &mut bob, &mut carol] {
        node.allocate(caller);
    }
    for caller in [&mut alice, &mut carol] {
        assert_eq!(node.permit(caller, "10.1.2.3:0"), 0);
        assert_eq!(
            node.bind(caller, 0x4000, "10.1.2.3:80"),
            0,
            "as `allow` has it"
        );
        assert_eq!(node.permit(caller, "10.2.2.3:0"), 403);
        assert_eq!(node.permit(caller, "9.9.9.9:0"), 403);
        assert_eq!(node.bind(caller, 0x4001, "9.9.9.9:5000"), 403);
        assert_eq!(
            node.permit(caller, "8.8.8.8:0"),
            403,
            "the node's deny stands"
        );
    }
    assert_eq!(node.permit(&mut bob, "10.1.2.3:0"), 403);
    assert_eq!(node.permit(&mut bob, "9.9.9.9:0"), 0);
    assert_eq!(node.permit(&mut bob, "8.8.8.8:0"), 403);
}

#[test]
fn no_rule_of_an_account_opens_the_nodes_own_listeners() {
    let mut node = Node::new(1, config());
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    assert_eq!(node.bind(&mut alice, 0x4000, "198.51.100.1:3478"), 403);
    assert_eq!(node.permit(&mut alice, "198.51.100.1:0"), 0);
    let send = alice.indication(sterna_stun::message::Method::SEND, |writer| {
        let peer = "198.51.100.1:3478".parse().unwrap();
        writer.attr(&sterna_stun::attr::XorPeerAddress(peer))?;
        writer.attr(&sterna_stun::attr::Data(&[7]))
    });
    assert_eq!(node.dropped(&alice, &send), DropReason::PeerPortDenied);
    assert_eq!(node.permit(&mut alice, "[2002:a01:203::1]:0"), 443);
}

#[test]
fn new_rules_cut_what_lives_of_the_account_and_of_nobody_else() {
    let mut node = Node::default();
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    for caller in [&mut alice, &mut bob] {
        node.allocate(caller);
        assert_eq!(node.bind(caller, 0x4000, "9.9.9.9:5000"), 0);
    }
    let narrowed = config();
    node.reconfigure(|config| config.rules = Arc::clone(&narrowed.rules));
    let packet = [0x40, 0, 0, 1, 7];
    assert_eq!(node.dropped(&alice, &packet), DropReason::NoChannel);
    assert!(matches!(node.send(&bob, &packet), Verdict::ToPeer { .. }));
    assert_eq!(node.server().counters().peers_revoked, 2);
    node.reconfigure(|config| config.rules = Arc::default());
    assert_eq!(node.bind(&mut alice, 0x4000, "9.9.9.9:5000"), 0);
}

#[test]
fn an_account_may_have_limits_of_its_own() {
    let rules = UserRules {
        allocations_max: Some(1),
        session_packets_per_s: Some(2),
        session_bytes_per_s: Some(0),
        ..UserRules::default()
    };
    let mut node = Node::new(
        1,
        edited(|config| {
            config.limits.session_bytes_per_s = 1;
            config.rules = Arc::new(Rules::new([("alice", rules)]));
        }),
    );
    let (mut alice, mut bob) = (Caller::alice(), Caller::bob());
    for caller in [&mut alice, &mut bob] {
        node.allocate(caller);
        assert_eq!(node.bind(caller, 0x4000, "9.9.9.9:5000"), 0);
    }
    let packet = [0x40, 0, 0, 3, 7, 7, 7];
    let mut dropped = |caller: &Caller, reason| {
        let before = node.server().counters().dropped(reason);
        for _ in 0..20 {
            node.send(caller, &packet);
        }
        node.server().counters().dropped(reason) - before
    };
    assert!(dropped(&alice, DropReason::SessionPacketRate) > 0);
    assert_eq!(dropped(&alice, DropReason::SessionByteRate), 0);
    assert!(dropped(&bob, DropReason::SessionByteRate) > 0);
    assert_eq!(dropped(&bob, DropReason::SessionPacketRate), 0);
    let mut again = Caller::new("203.0.113.11:1", "alice", "alice's");
    assert_eq!(node.allocate_with(&mut again, |_| Ok(())), Err(486));
    node.allocate(&mut Caller::new("203.0.113.21:1", "bob", "bob's"));
}

#[test]
fn tcp_connections_pass_at_the_rate_of_their_account_and_a_reload_changes_it() {
    let rules = |bytes_per_s| {
        let alice = UserRules {
            session_bytes_per_s: Some(bytes_per_s),
            ..UserRules::default()
        };
        Arc::new(Rules::new([("alice", alice)]))
    };
    let mut node = Node::new(
        1,
        edited(|config| {
            config.tcp_allocations = true;
            config.limits.session_bytes_per_s = 1;
            config.rules = rules(5);
        }),
    );
    let rate_of = |node: &mut Node, mut caller: Caller| {
        let relayed = node.allocate_tcp(&mut caller).unwrap();
        node.meters[&node.listener_of(relayed)].clone()
    };
    let alice = rate_of(&mut node, Caller::alice().over(Transport::Tcp, 1));
    let bob = rate_of(&mut node, Caller::bob().over(Transport::Tcp, 2));
    assert_eq!((alice.bytes_per_s(), bob.bytes_per_s()), (5, 1));
    node.reconfigure(|config| {
        config.limits.session_bytes_per_s = 0;
        config.rules = rules(7);
    });
    assert_eq!((alice.bytes_per_s(), bob.bytes_per_s()), (7, 0));
}
