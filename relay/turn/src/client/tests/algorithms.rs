//! The choice of a password algorithm, and who tries to take it away (RFC 8489 §9.2.5).

use sterna_stun::attr::{AttributeType, PasswordAlgorithm, PasswordAlgorithms, UserHash};
use sterna_stun::credentials::{long_term_key_sha256, userhash};
use sterna_stun::integrity::KeyedSha256;

use super::*;
use crate::testing::{self, Node, edited};
use crate::{Transport, Verdict};

const OFFERING: &str = "obMatJos2gAABnonce";
const OFFERING_AND_HIDING: &str = "obMatJos2wAADnonce";
const LIST: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

fn sha256() -> KeyedSha256 {
    long_term_key_sha256(USER, REALM, "secret").sha256()
}

/// A 401 or 438 with this nonce and list.
fn challenge(request: &Seen, code: u16, nonce: &str, list: Option<&[u8]>) -> Vec<u8> {
    request.answer(Class::Error, false, |writer| {
        writer.attr(&ErrorCode { code, reason: "" }).unwrap();
        writer.attr(&Realm(REALM)).unwrap();
        writer.attr(&Nonce(nonce.as_bytes())).unwrap();
        if let Some(list) = list {
            writer
                .raw(AttributeType::PASSWORD_ALGORITHMS, list)
                .unwrap();
        }
    })
}

/// The success of an Allocate, signed by `sign`.
fn allocated(request: &Seen, sign: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
    request.answer(Class::Success, false, |writer| {
        writer.attr(&XorRelayedAddress(addr(RELAYED))).unwrap();
        writer.attr(&XorMappedAddress(addr(MAPPED))).unwrap();
        writer.attr(&Lifetime(600)).unwrap();
        sign(writer);
    })
}

/// A client that has asked for an allocation, and its first request.
fn asked() -> (Bench, Seen) {
    let mut bench = Bench::new();
    let options = AllocateOptions::default();
    bench.client.allocate(bench.now, options).unwrap();
    let request = bench.sent_one();
    (bench, request)
}

fn failure(bench: &mut Bench) -> ClientError {
    let [Event::Failed { error, .. }] = bench.events()[..] else {
        panic!("a failure");
    };
    error
}

// RFC 8489 §9.2.5: "If the response contains a PASSWORD-ALGORITHMS attribute, and this attribute
// contains at least one algorithm that is supported by the client, then the request MUST contain a
// PASSWORD-ALGORITHM attribute with the first algorithm supported on the list."
#[test]
fn sha256_is_chosen_where_it_is_offered_and_the_list_goes_back_as_it_came() {
    let (mut bench, first) = asked();
    bench.give(&challenge(&first, 401, OFFERING, Some(LIST)));
    let second = bench.sent_one();
    let message = second.message();
    assert_eq!(message.find().unwrap(), Some(Username(USER)));
    let list = message.find::<PasswordAlgorithms<'_>>().unwrap();
    assert_eq!(list, Some(PasswordAlgorithms::SHA256_MD5));
    let choice = message.find::<PasswordAlgorithm<'_>>().unwrap();
    assert_eq!(choice, Some(PasswordAlgorithm::SHA256));
    assert_eq!(sha256().verify(&message), Ok(()));
    assert!(!message.has(AttributeType::MESSAGE_INTEGRITY));
    let success = allocated(&second, |writer| {
        writer.integrity_sha256(&sha256()).unwrap();
    });
    assert_eq!(bench.give(&success), Received::Answer);
    assert!(matches!(bench.events()[..], [Event::Allocated(_)]));
}

#[test]
fn the_first_known_algorithm_of_the_list_is_chosen() {
    let list = b"\0\x09\0\x01x\0\0\0\0\x01\0\0\0\x02\0\0";
    let (mut bench, first) = asked();
    bench.give(&challenge(&first, 401, OFFERING, Some(list)));
    let second = bench.sent_one();
    let message = second.message();
    let choice = message.find::<PasswordAlgorithm<'_>>().unwrap();
    assert_eq!(choice, Some(PasswordAlgorithm::MD5));
    let raw = message
        .attributes()
        .find(|raw| raw.type_ == AttributeType::PASSWORD_ALGORITHMS);
    assert_eq!(raw.unwrap().value, list);
    let md5 = long_term_key_md5(USER, REALM, "secret");
    assert_eq!(md5.sha256().verify(&message), Ok(()));
}

// Ibid.: "If the response contains a PASSWORD-ALGORITHMS attribute, and this attribute does not
// contain any algorithm that is supported by the client, then the client MUST NOT retry the request
// with a new transaction."
#[test]
fn an_offer_of_nothing_that_is_known_ends_the_attempt() {
    let unknown: &[u8] = &[0, 9, 0, 0];
    for (list, error) in [
        (unknown, ClientError::NoPasswordAlgorithm),
        (&[], ClientError::NoPasswordAlgorithm),
        (&[0, 2, 0], ClientError::BadAnswer),
    ] {
        let (mut bench, first) = asked();
        bench.give(&challenge(&first, 401, OFFERING, Some(list)));
        assert_eq!(failure(&mut bench), error);
        assert_eq!(bench.sent().len(), 0);
    }
}

// Ibid.: "If so and the "nonce cookie" has the STUN Security Feature "Password algorithms" bit set
// to 1 but no PASSWORD-ALGORITHMS attribute is present, then the client MUST NOT retry the request
// with a new transaction."
#[test]
fn an_offer_that_is_announced_and_missing_is_a_bid_down_and_ends_the_attempt() {
    for nonce in [
        OFFERING,
        OFFERING_AND_HIDING,
        "obMatJos2gAAA",
        "obMatJos2AAAB",
    ] {
        let (mut bench, first) = asked();
        bench.give(&challenge(&first, 401, nonce, None));
        assert_eq!(failure(&mut bench), ClientError::BidDown);
        assert_eq!(bench.sent().len(), 0);
    }
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    let request = bench.sent_one();
    bench.give(&challenge(&request, 438, OFFERING, None));
    assert_eq!(failure(&mut bench), ClientError::BidDown);
}

// Ibid.: for all other responses with such a nonce, "the response MUST be ignored."
#[test]
fn any_other_answer_with_such_a_nonce_is_ignored() {
    let mut bench = Bench::new().allocated();
    bench.client.refresh(bench.now).unwrap();
    let request = bench.sent_one();
    let answer = request.answer(Class::Success, true, |writer| {
        writer.attr(&Nonce(OFFERING.as_bytes())).unwrap();
        writer.attr(&Lifetime(600)).unwrap();
    });
    assert_eq!(bench.give(&answer), Received::Ignored(Ignored::Unproven));
}

#[test]
fn an_answer_by_any_other_mac_than_was_asked_for_is_ignored() {
    let key = long_term_key_sha256(USER, REALM, "secret");
    let md5 = long_term_key_md5(USER, REALM, "secret");
    let (mut bench, first) = asked();
    bench.give(&challenge(&first, 401, OFFERING, Some(LIST)));
    let second = bench.sent_one();
    let by_sha1 = allocated(&second, |writer| {
        writer.integrity_sha1(&key.sha1()).unwrap();
    });
    let by_md5 = allocated(&second, |writer| {
        writer.integrity_sha256(&md5.sha256()).unwrap();
    });
    let by_both = allocated(&second, |writer| {
        writer.integrity_sha1(&md5.sha1()).unwrap();
        writer.integrity_sha256(&md5.sha256()).unwrap();
    });
    for forged in [by_sha1, by_md5, by_both] {
        assert_eq!(bench.give(&forged), Received::Ignored(Ignored::Unproven));
    }
}

// Ibid.: "If the "nonce cookie" is present and has the STUN Security Feature "Username anonymity"
// bit set to 1, then the USERHASH attribute MUST be used; else, the USERNAME attribute MUST be
// used."
#[test]
fn the_name_is_hashed_where_the_nonce_says_so() {
    for (nonce, list) in [(OFFERING_AND_HIDING, Some(LIST)), ("obMatJos2QAAC", None)] {
        let (mut bench, first) = asked();
        bench.give(&challenge(&first, 401, nonce, list));
        let second = bench.sent_one();
        let hash = UserHash(userhash(USER, REALM));
        assert_eq!(second.message().find().unwrap(), Some(hash));
        assert!(!second.message().has(AttributeType::USERNAME));
    }
}

// Ibid.: "If the response is an error response with an error code of 400 (Bad Request) and does not
// contain either the MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 attribute, then the response
// MUST be discarded, as if it were never received."
#[test]
fn a_400_without_integrity_is_as_if_it_was_never_received() {
    let (mut bench, first) = asked();
    let bad_request = |request: &Seen, signed| {
        request.answer(Class::Error, signed, |writer| {
            let (code, reason) = (400, "");
            writer.attr(&ErrorCode { code, reason }).unwrap();
        })
    };
    let ignored = Received::Ignored(Ignored::Unproven);
    assert_eq!(bench.give(&bad_request(&first, false)), ignored);
    bench.give(&first.error(401, Some("nonce-1")));
    let second = bench.sent_one();
    assert_eq!(bench.give(&bad_request(&second, false)), ignored);
    assert_eq!(bench.give(&bad_request(&second, true)), Received::Answer);
    assert_eq!(failure(&mut bench), ClientError::Refused(400));
    // A Binding goes without credentials, and so does its answer.
    bench.client.binding(bench.now).unwrap();
    let binding = bench.sent_one();
    assert_eq!(bench.give(&bad_request(&binding, false)), Received::Answer);
}

#[test]
fn an_answer_is_held_against_what_its_own_request_was_signed_with() {
    let mut bench = Bench::new().allocated();
    bench.client.permit(bench.now, &[ip("192.0.2.1")]).unwrap();
    bench.client.permit(bench.now, &[ip("192.0.2.2")]).unwrap();
    let [first, second] = bench.sent().try_into().unwrap();
    // The server begins to offer SHA-256 between the two.
    bench.give(&challenge(&second, 438, OFFERING, Some(LIST)));
    assert_eq!(bench.give(&first.success(0)), Received::Answer);
    let again = bench.sent_one();
    assert_eq!(sha256().verify(&again.message()), Ok(()));
}

/// The client of this crate and its server, by every way that the server can be configured.
#[test]
fn client_and_server_agree_on_what_is_offered() {
    for (offers, secrets, transport) in [
        (true, false, Transport::Udp),
        (true, true, Transport::Udp),
        (true, false, Transport::Tcp),
        (false, false, Transport::Udp),
    ] {
        let mut node = Node::new(
            1,
            edited(|config| {
                config.password_algorithms = offers;
                if !secrets {
                    config.secrets = Vec::new();
                }
            }),
        );
        let link = match transport {
            Transport::Udp => Link::Datagram,
            _ => Link::Stream,
        };
        let credentials = Credentials {
            username: "alice".into(),
            password: "alice's".into(),
        };
        let config = ClientConfig::new(link, Some(credentials));
        let mut client = TurnClient::new(config, [3; 32]);
        let mut caller = testing::Caller::alice();
        if transport == Transport::Tcp {
            caller = caller.over(transport, 1);
        }
        let mut exchange = |client: &mut TurnClient| {
            while let Some(packet) = client.poll_transmit() {
                let packet = packet.to_vec();
                assert_eq!(node.send(&caller, &packet), Verdict::Handled);
                while let Some(answer) = node.answers.pop_front() {
                    let received = client.handle_packet(node.now, &answer.bytes);
                    assert_eq!(received, Received::Answer);
                }
            }
            node.now
        };
        let now = exchange(&mut client);
        client.allocate(now, AllocateOptions::default()).unwrap();
        exchange(&mut client);
        assert!(matches!(client.poll_event(), Some(Event::Allocated(_))));
        client.bind_channel(now, addr("8.8.8.8:5000")).unwrap();
        exchange(&mut client);
        assert!(matches!(
            client.poll_event(),
            Some(Event::ChannelBound { .. })
        ));
        client.release(now).unwrap();
        exchange(&mut client);
        assert_eq!(client.poll_event(), Some(Event::Ended(EndReason::Released)));
        let counters = node.server().counters();
        let made = (counters.allocated_md5, counters.allocated_sha256);
        assert_eq!(made, if offers { (0, 1) } else { (1, 0) });
    }
}
