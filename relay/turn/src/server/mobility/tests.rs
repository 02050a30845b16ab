use std::net::SocketAddr;

use sterna_stun::{
    attr::{
        AddressFamily, AttributeType, Data, Lifetime, MobilityTicket, RequestedAddressFamily,
        XorPeerAddress,
    },
    credentials::rest_password,
    message::Method,
};

use crate::{
    Client, DropReason, EndReason, Event, Revoke, Transport, Verdict,
    limits::{AWAY_MAX_S, FIVE_TUPLES_WAITING_MAX, TICKET_RETENTION_S},
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

const PEER: &str = "8.8.8.8:5000";
const ELSEWHERE: &str = "192.88.98.7:7000";

/// A client with an allocation that has a channel to [`PEER`], and its ticket.
struct Mobile {
    caller: Caller,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

impl Node {
    fn mobile(&mut self, mut caller: Caller) -> Mobile {
        let answer = self.ask_for_ticket(&mut caller);
        let relayed = answer
            .find::<sterna_stun::attr::XorRelayedAddress>()
            .expect("an allocation")
            .0;
        assert_eq!(self.bind(&mut caller, 0x4000, PEER), 0);
        Mobile {
            caller,
            relayed,
            ticket: ticket_of(&answer).expect("a ticket"),
        }
    }

    fn ask_for_ticket(&mut self, caller: &mut Caller) -> Answer {
        self.ask(caller, Method::ALLOCATE, |writer| {
            writer.attr(&sterna_stun::attr::RequestedTransport::UDP)?;
            writer.attr(&MobilityTicket(b""))
        })
    }

    fn resume(&mut self, caller: &mut Caller, ticket: &[u8]) -> Answer {
        self.ask(caller, Method::REFRESH, |writer| {
            writer.attr(&MobilityTicket(ticket))
        })
    }

    /// Moves, and returns the caller at its new place.
    fn relocate(&mut self, mobile: &mut Mobile, to: Caller) -> Caller {
        let mut to = to;
        let answer = self.resume(&mut to, &mobile.ticket);
        assert_eq!(answer.code(), 0);
        mobile.ticket = ticket_of(&answer).expect("a new ticket");
        to
    }

    fn sends(&mut self, caller: &Caller) -> Verdict {
        self.send(caller, &[0x40, 0, 0, 2, 1, 2])
    }

    /// Where a packet of the peer goes.
    fn heard_by(&mut self, mobile: &Mobile) -> Client {
        let worker = mobile.caller.worker;
        match self.peer_sends(worker, mobile.relayed, PEER, 10) {
            Verdict::ToClient { client, .. } => client,
            other => panic!("{other:?}"),
        }
    }
}

fn ticket_of(answer: &Answer) -> Option<Vec<u8>> {
    answer
        .find::<MobilityTicket<'_>>()
        .map(|ticket| ticket.0.to_vec())
}

/// The same person at another address.
fn moved(caller: &Caller, addr: &str) -> Caller {
    let mut moved = caller.clone();
    moved.client.addr = addr.parse().expect("an address");
    moved.nonce.clear();
    moved
}

fn is_to_peer(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::ToPeer { .. })
}

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

// What follows has three workers: the packets of the new 5-tuple come to another one.

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
