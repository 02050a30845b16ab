//! RFC 6062, from the client's side.

use sterna_stun::attr::ConnectionId;

use super::*;

/// A client on a stream whose allocation relays TCP.
fn with_tcp() -> Bench {
    let mut bench = Bench::with_link(Link::Stream);
    let options = AllocateOptions {
        relayed: Relayed::Tcp,
        ..AllocateOptions::default()
    };
    bench.client.allocate(bench.now, options).unwrap();
    let challenged = bench.sent_one();
    let transport = challenged.message().find::<RequestedTransport>();
    assert_eq!(transport, Ok(Some(RequestedTransport::TCP)));
    bench.give(&challenged.error(401, Some("nonce-1")));
    let signed = bench.sent_one();
    bench.give(&signed.success(600));
    assert!(matches!(bench.events()[..], [Event::Allocated(_)]));
    bench
}

fn attempt(peer: &str, connection_id: u32) -> Vec<u8> {
    let mut out = [0; 100];
    let method = Method::CONNECTION_ATTEMPT;
    let id = TransactionId([9; 12]);
    let mut writer = MessageWriter::new(&mut out, Class::Indication, method, id).unwrap();
    writer.attr(&XorPeerAddress(addr(peer))).unwrap();
    writer.attr(&ConnectionId(connection_id)).unwrap();
    let len = writer.finish();
    out[..len].to_vec()
}

#[test]
fn a_connect_names_the_peer_and_brings_its_id() {
    let mut bench = with_tcp();
    bench.client.connect(bench.now, addr(PEER)).unwrap();
    let asked = bench.sent_one();
    assert_eq!(asked.method(), Method::CONNECT);
    assert!(asked.is_signed());
    let peer = asked.message().find::<XorPeerAddress>();
    assert_eq!(peer, Ok(Some(XorPeerAddress(addr(PEER)))));
    bench.give(&asked.answer(Class::Success, true, |writer| {
        writer.attr(&ConnectionId(77)).unwrap();
    }));
    let (peer, connection_id) = (addr(PEER), 77);
    assert_eq!(
        bench.events(),
        [Event::Connected {
            peer,
            connection_id
        }]
    );
}

#[test]
fn a_peer_that_is_not_reached_ends_no_allocation() {
    let mut bench = with_tcp();
    for code in [403, 446, 447] {
        bench.client.connect(bench.now, addr(PEER)).unwrap();
        let asked = bench.sent_one();
        bench.give(&asked.error(code, None));
        let [Event::Failed { error, .. }] = bench.events()[..] else {
            panic!("not reported");
        };
        assert_eq!(error, ClientError::Refused(code));
    }
    assert!(bench.client.relayed_addr().is_some());
}

#[test]
fn a_connect_without_an_id_in_its_answer_has_failed() {
    let mut bench = with_tcp();
    bench.client.connect(bench.now, addr(PEER)).unwrap();
    let asked = bench.sent_one();
    bench.give(&asked.answer(Class::Success, true, |_| {}));
    let [Event::Failed { error, .. }] = bench.events()[..] else {
        panic!("not reported");
    };
    assert_eq!(error, ClientError::BadAnswer);
}

#[test]
fn an_allocation_of_datagrams_connects_nobody() {
    let mut bench = Bench::with_link(Link::Stream).allocated();
    let refused = bench.client.connect(bench.now, addr(PEER));
    assert_eq!(refused, Err(ClientError::NoAllocation));
    assert_eq!(
        bench.give(&attempt(PEER, 1)),
        Received::Ignored(Ignored::UnknownPeer)
    );
}

#[test]
fn only_a_permitted_peer_is_announced() {
    let mut bench = with_tcp();
    assert_eq!(
        bench.give(&attempt(PEER, 5)),
        Received::Ignored(Ignored::UnknownPeer)
    );
    bench.client.permit(bench.now, &[addr(PEER).ip()]).unwrap();
    let asked = bench.sent_one();
    bench.give(&asked.success(600));
    bench.events();
    assert_eq!(bench.give(&attempt(PEER, 5)), Received::Attempt);
    let (peer, connection_id) = (addr(PEER), 5);
    assert_eq!(
        bench.events(),
        [Event::ConnectionAttempt {
            peer,
            connection_id
        }]
    );
}

#[test]
fn another_connection_binds_the_id_after_a_challenge_of_its_own() {
    let mut bench = Bench::with_link(Link::Stream);
    bench.client.bind_connection(bench.now, 77).unwrap();
    let challenged = bench.sent_one();
    bench.give(&challenged.error(401, Some("nonce-2")));
    let asked = bench.sent_one();
    assert_eq!(asked.method(), Method::CONNECTION_BIND);
    assert_eq!(
        asked.message().find::<ConnectionId>(),
        Ok(Some(ConnectionId(77)))
    );
    assert!(asked.is_signed());
    bench.give(&asked.answer(Class::Success, true, |_| {}));
    assert_eq!(
        bench.events(),
        [Event::ConnectionBound { connection_id: 77 }]
    );
    assert_eq!(bench.client.poll_timeout(), None, "nothing is left to do");
}

#[test]
fn a_connection_that_controls_an_allocation_binds_nothing() {
    let mut bench = with_tcp();
    assert_eq!(
        bench.client.bind_connection(bench.now, 1),
        Err(ClientError::AlreadyAllocated)
    );
}
