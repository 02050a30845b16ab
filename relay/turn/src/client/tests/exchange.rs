//! Requests and their answers: the 401 dance, proof, repetition, order.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_binding_tells_the_mapped_address() {
    let mut bench = Bench::new();
    bench.client.binding(bench.now).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        (request.method(), request.bytes.len()),
        (Method::BINDING, 20)
    );
    assert_eq!(bench.give(&request.success(0)), Received::Answer);
    assert_eq!(bench.events(), [Event::Mapped { addr: addr(MAPPED) }]);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_401_is_answered_by_the_same_request_signed() {
    let mut bench = Bench::new();
    bench
        .client
        .allocate(bench.now, AllocateOptions::default())
        .unwrap();
    let first = bench.sent_one();
    assert!(!first.is_signed());
    assert_eq!(
        first.message().find().unwrap(),
        Some(RequestedTransport::UDP)
    );
    bench.give(&first.error(401, Some("nonce-1")));

    let second = bench.sent_one();
    assert!(second.is_signed());
    assert_ne!(first.id(), second.id());
    assert_eq!(second.message().find().unwrap(), Some(Username(USER)));
    assert_eq!(second.message().find().unwrap(), Some(Nonce(b"nonce-1")));
    bench.give(&second.success(600));
    let allocated = Allocated {
        relayed: addr(RELAYED),
        relayed_second: None,
        refused: None,
        mapped: addr(MAPPED),
        lifetime: Duration::from_secs(600),
        reservation_token: None,
        is_mobile: false,
    };
    assert_eq!(bench.events(), [Event::Allocated(allocated)]);
    assert_eq!(bench.client.relayed_addr(), Some(addr(RELAYED)));
}

#[test]
fn a_second_401_means_that_the_credentials_are_wrong() {
    let mut bench = Bench::new();
    bench
        .client
        .allocate(bench.now, AllocateOptions::default())
        .unwrap();
    for _ in 0..2 {
        let request = bench.sent_one();
        bench.give(&request.error(401, Some("nonce-1")));
    }
    let request = Request::Allocate(AllocateOptions::default());
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::Unauthorized
        }]
    );
    assert_eq!((bench.sent().len(), bench.client.poll_timeout()), (0, None));
}

#[test]
fn a_438_is_answered_with_the_new_nonce_but_not_for_ever() {
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    for nonce in ["nonce-2", "nonce-3", "nonce-4"] {
        let request = bench.sent_one();
        bench.give(&request.error(438, Some(nonce)));
    }
    let request = bench.sent_one();
    assert_eq!(request.message().find().unwrap(), Some(Nonce(b"nonce-4")));
    bench.give(&request.error(438, Some("nonce-5")));
    let request = Request::Refresh {
        lifetime: None,
        family: None,
    };
    assert_eq!(
        bench.events(),
        [Event::Failed {
            request,
            error: ClientError::StaleNonces
        }]
    );
    assert_eq!(bench.sent().len(), 0);
}

#[test]
fn an_answer_that_does_not_prove_itself_is_ignored() {
    // RFC 8489 §9.2.5: "If the integrity check fails, or if both MESSAGE-INTEGRITY and
    // MESSAGE-INTEGRITY-SHA256 are absent, the processing depends on the transport protocol …
    // the response MUST be discarded, as if it had never been received."
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    let request = bench.sent_one();
    let forged = request.answer(Class::Success, false, |writer| {
        writer.attr(&Lifetime(9)).unwrap();
    });
    assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
    let forged = request.answer(Class::Error, false, |writer| {
        writer
            .attr(&ErrorCode {
                code: 437,
                reason: "",
            })
            .unwrap();
    });
    assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
    assert_eq!(bench.give(&request.success(600)), Received::Answer);
    assert_eq!(
        bench.events(),
        [Event::Refreshed {
            lifetime: Duration::from_secs(600)
        }]
    );
}

#[test]
fn a_lost_request_is_repeated_bit_for_bit() {
    let mut bench = Bench::new();
    bench.client.binding(bench.now).unwrap();
    let first = bench.sent_one();
    assert!((bench.sleep() - 0.5).abs() < 1e-6);
    assert!((bench.sleep() - 1.5).abs() < 1e-6);
    assert_eq!(bench.sent_one().bytes, first.bytes);
    bench.give(&first.success(0));
    assert_eq!(bench.events(), [Event::Mapped { addr: addr(MAPPED) }]);
    // The answer to the repetition: nobody waits for it any more.
    assert_eq!(
        bench.give(&first.success(0)),
        Received::Ignored(Ignored::UnknownTransaction)
    );
    assert_eq!(bench.events(), []);
}

#[test]
fn a_request_that_is_never_answered_fails_after_39_5_seconds() {
    for link in [Link::Datagram, Link::Stream] {
        let mut bench = Bench::with_link(link);
        bench.client.binding(bench.now).unwrap();
        let mut sends = bench.sent().len();
        let mut last = 0.0;
        while bench.client.poll_timeout().is_some() {
            last = bench.sleep();
            sends += bench.sent().len();
        }
        assert!((last - 39.5).abs() < 1e-6);
        assert_eq!(sends, if link == Link::Stream { 1 } else { 7 });
        let request = Request::Binding;
        assert_eq!(
            bench.events(),
            [Event::Failed {
                request,
                error: ClientError::TimedOut
            }]
        );
    }
}

#[test]
fn answers_may_come_in_any_order() {
    let mut bench = Bench::new().allocated();
    let peers = [ip("192.0.2.1"), ip("192.0.2.2")];
    bench.client.permit(bench.now, &peers[..1]).unwrap();
    bench.client.bind_channel(bench.now, addr(PEER)).unwrap();
    bench.client.permit(bench.now, &peers[1..]).unwrap();
    let mut requests = bench.sent();
    requests.reverse();
    for request in &requests {
        assert_eq!(bench.give(&request.success(0)), Received::Answer);
    }
    assert_eq!(
        bench.events(),
        [
            Event::Permitted {
                peers: [peers[1]].into()
            },
            Event::ChannelBound {
                number: 0x4000,
                peer: addr(PEER)
            },
            Event::Permitted {
                peers: [peers[0]].into()
            },
        ]
    );
}

#[test]
fn a_challenge_that_overtakes_another_does_no_harm() {
    let mut bench = Bench::new().allocated();
    bench.client.permit(bench.now, &[ip("192.0.2.1")]).unwrap();
    bench.client.permit(bench.now, &[ip("192.0.2.2")]).unwrap();
    let [first, second] = bench.sent().try_into().unwrap();
    bench.give(&second.error(438, Some("nonce-3")));
    bench.give(&first.error(438, Some("nonce-2")));
    for request in bench.sent() {
        bench.give(&request.success(0));
    }
    assert_eq!(bench.events().len(), 2);
}

#[test]
fn an_even_port_with_its_neighbour_returns_a_token_and_the_token_is_used_alone() {
    let mut bench = Bench::new();
    let port = PortWish::EvenAndNext;
    let options = AllocateOptions {
        port,
        ..AllocateOptions::default()
    };
    bench.client.allocate(bench.now, options).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(EvenPort { reserve_next: true })
    );
    bench.give(&request.success(600));
    let [Event::Allocated(allocated)] = bench.events()[..] else {
        panic!("an allocation");
    };
    let token = allocated.reservation_token.unwrap();

    let mut bench = Bench::new();
    let port = PortWish::Reserved(token);
    let options = AllocateOptions {
        port,
        ..AllocateOptions::default()
    };
    bench.client.allocate(bench.now, options).unwrap();
    let request = bench.sent_one();
    assert_eq!(
        request.message().find().unwrap(),
        Some(ReservationToken(token))
    );
    assert_eq!(request.message().find::<EvenPort>().unwrap(), None);
}
