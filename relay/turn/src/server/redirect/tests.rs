use sterna_stun::{
    attr::{
        AdditionalAddressFamily, AddressFamily, AlternateDomain, AlternateServer, EvenPort,
        RequestedTransport, ReservationToken,
    },
    message::Method,
};

use super::*;
use crate::{
    Alternates, ServerConfig,
    testing::{Answer, Caller, Node, edited},
};

fn alternates(when: RedirectWhen) -> Alternates {
    Alternates {
        servers: ["192.0.2.1:3478", "[2001:db8::1]:3478"]
            .map(|addr| addr.parse().expect("an address"))
            .into(),
        tls_servers: vec!["192.0.2.1:5349".parse().expect("an address")],
        domain: "".into(),
        when,
    }
}

fn node(when: RedirectWhen, edit: impl FnOnce(&mut ServerConfig)) -> Node {
    Node::new(
        1,
        edited(|config| {
            config.alternates = alternates(when);
            edit(config);
        }),
    )
}

fn ask(node: &mut Node, caller: &mut Caller) -> Answer {
    node.ask(caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    })
}

/// Where an answer sends its client.
fn servers(answer: &Answer) -> Vec<String> {
    let message = answer.message();
    let all = message.find_all::<AlternateServer>();
    all.map(|addr| addr.expect("well formed").0.to_string())
        .collect()
}

// RFC 8489 §10: "The server MUST include at least one ALTERNATE-SERVER attribute in the error
// response, which MUST contain an IP address of the same family as the source IP address of the
// request message. The server SHOULD include an additional ALTERNATE-SERVER attribute, after the
// mandatory one, that contains an IP address of the family other than the source IP address".
#[test]
fn a_draining_node_sends_newcomers_elsewhere_and_keeps_what_it_has() {
    let mut node = node(RedirectWhen::Draining, |_| ());
    let mut alice = Caller::alice();
    node.allocate(&mut alice);
    node.servers[0].drain(true);
    let mut bob = Caller::bob();
    let answer = ask(&mut node, &mut bob);
    assert_eq!(answer.code(), 300);
    assert_eq!(servers(&answer), ["192.0.2.1:3478", "[2001:db8::1]:3478"]);
    assert!(bob.is_answered_by(&answer), "signed");
    let mut carol = Caller::new("[2620:99::1]:5000", "alice", "alice's");
    let answer = ask(&mut node, &mut carol);
    assert_eq!(servers(&answer), ["[2001:db8::1]:3478", "192.0.2.1:3478"]);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600), "it lives on");
    assert_eq!(node.server().counters().redirected, 2);
    assert_eq!(node.server().counters().refused_draining, 0);
    node.servers[0].drain(false);
    node.allocate(&mut bob);
}

#[test]
fn strangers_are_asked_for_credentials_before_they_are_sent_anywhere() {
    let mut node = node(RedirectWhen::Always, |_| ());
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let mut wrong = alice.clone();
    wrong.set_password("guessed");
    assert_eq!(ask(&mut node, &mut wrong).code(), 401);
    assert_eq!(ask(&mut node, &mut alice).code(), 300);
}

#[test]
fn an_open_relay_can_sign_nothing_and_sends_nobody_away() {
    let mut node = node(RedirectWhen::Always, |config| config.open_relay = true);
    let mut alice = Caller::alice();
    let packet = alice.unsigned(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    assert_eq!(node.answer(&alice, &packet).code(), 508);
}

#[test]
fn a_full_node_sends_newcomers_elsewhere() {
    let mut by_cap = node(RedirectWhen::Full, |config| {
        config.limits.allocations_max = 1;
    });
    by_cap.allocate(&mut Caller::alice());
    assert_eq!(ask(&mut by_cap, &mut Caller::bob()).code(), 300);

    let mut by_ports = node(RedirectWhen::Full, |config| {
        config.relay_ports = 50_000..=50_000;
    });
    let mut alice = Caller::alice();
    by_ports.allocate(&mut alice);
    let mut bob = Caller::bob();
    let answer = ask(&mut by_ports, &mut bob);
    assert_eq!(answer.code(), 300);
    assert!(bob.is_answered_by(&answer));
    assert_eq!(by_ports.refresh(&mut alice, 0), Ok(0));
    by_ports.assert_nothing_is_left();

    let mut drains_only = node(RedirectWhen::Draining, |config| {
        config.limits.allocations_max = 1;
    });
    drains_only.allocate(&mut Caller::alice());
    assert_eq!(ask(&mut drains_only, &mut Caller::bob()).code(), 508);
}

/// Somebody who has used up his share would use it up elsewhere too.
#[test]
fn a_user_beyond_his_quota_is_told_so_and_not_sent_elsewhere() {
    let mut node = node(RedirectWhen::Full, |config| {
        config.limits.allocations_per_user_max = 1;
    });
    node.allocate(&mut Caller::alice());
    let mut other = Caller::new("203.0.113.11:4000", "alice", "alice's");
    assert_eq!(ask(&mut node, &mut other).code(), 486);
}

#[test]
fn a_half_that_can_be_had_is_better_than_another_server() {
    let mut node = node(RedirectWhen::Full, |config| {
        config.limits.allocations_max = 1;
    });
    let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&AdditionalAddressFamily(AddressFamily::Ipv6))
    });
    assert!(answer.is_success());
}

#[test]
fn a_token_is_good_here_only() {
    let mut node = node(RedirectWhen::Draining, |_| ());
    let answer = node.ask(&mut Caller::alice(), Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&EvenPort { reserve_next: true })
    });
    let token = answer.find::<ReservationToken>().expect("a token");
    node.servers[0].drain(true);
    let mut other = Caller::new("203.0.113.11:4000", "alice", "alice's");
    assert_eq!(
        node.allocate_with(&mut other, |writer| writer.attr(&token)),
        Err(508)
    );
}

#[test]
fn without_a_server_of_the_clients_family_it_is_508() {
    let mut node = node(RedirectWhen::Draining, |config| {
        config.alternates.servers.truncate(1);
    });
    node.servers[0].drain(true);
    assert_eq!(ask(&mut node, &mut Caller::alice()).code(), 300);
    let mut carol = Caller::new("[2620:99::1]:5000", "alice", "alice's");
    assert_eq!(ask(&mut node, &mut carol).code(), 508);
    assert_eq!(node.server().counters().refused_draining, 1);
}

// RFC 8489 §10: "If the transaction uses TLS or DTLS, if the transaction is authenticated by a
// MESSAGE-INTEGRITY-SHA256 attribute, and if the server wants to redirect to a server that uses a
// different certificate, then it MUST include an ALTERNATE-DOMAIN attribute".
#[test]
fn the_name_of_another_certificate_is_told_to_clients_over_tls_that_know_what_it_is() {
    let mut node = node(RedirectWhen::Always, |config| {
        config.alternates.domain = "other.example".into();
    });
    let mut modern = Caller::alice().modern().over(Transport::Tls, 7);
    let answer = ask(&mut node, &mut modern);
    assert_eq!(servers(&answer), ["192.0.2.1:5349"]);
    assert_eq!(answer.find(), Some(AlternateDomain("other.example")));
    assert!(modern.is_answered_by(&answer));

    let mut over_udp = Caller::bob().modern();
    assert_eq!(
        ask(&mut node, &mut over_udp).find::<AlternateDomain<'_>>(),
        None
    );
    let mut older = Caller::bob().over(Transport::Tls, 8);
    assert_eq!(
        ask(&mut node, &mut older).code(),
        508,
        "it would check the wrong name"
    );
    node.reconfigure(|config| config.alternates.domain = "".into());
    assert_eq!(ask(&mut node, &mut older).code(), 300);
}

#[test]
fn a_retransmitted_allocate_of_a_living_allocation_is_no_newcomer() {
    let mut node = node(RedirectWhen::Draining, |_| ());
    let mut alice = Caller::alice();
    node.challenge(&mut alice);
    let packet = alice.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    assert!(node.answer(&alice, &packet).is_success());
    node.servers[0].drain(true);
    assert!(node.answer(&alice, &packet).is_success());
}
