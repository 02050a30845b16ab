#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use sterna_stun::{
    access_token::{SessionToken, TOKEN_BYTES_MAX, TokenAlgorithm, TokenKey},
    attr::{
        AccessToken, AttributeType, ConnectionId, Lifetime, MobilityTicket, Nonce,
        PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, ThirdPartyAuthorization,
        UnknownAttributes, Username,
    },
    integrity::Key,
    message::Method,
    nonce::Features,
};

use crate::{
    EndReason, Event, OAuth, OAuthKey, ServerConfig, TokenRefusal, Transport,
    testing::{Answer, Caller, Node, START_UNIX_S, edited},
};

const SERVER_NAME: &str = "turn.test";

fn key(kid: &str) -> OAuthKey {
    let (algorithm, bytes) = match kid {
        "north" => (TokenAlgorithm::A256Gcm, &[1; 32][..]),
        _ => (TokenAlgorithm::A128Gcm, &[2; 16][..]),
    };
    OAuthKey {
        kid: kid.into(),
        key: TokenKey::new(algorithm, bytes).unwrap(),
        not_before_unix_s: 0,
        not_after_unix_s: None,
    }
}

fn oauth(keys: &[OAuthKey]) -> Arc<OAuth> {
    Arc::new(OAuth::new(SERVER_NAME, "sterna.test", keys.to_vec()))
}

fn node() -> Node {
    Node::new(
        1,
        edited(|config| config.oauth = oauth(&[key("north"), key("south")])),
    )
}

fn config(edit: impl FnOnce(&mut ServerConfig)) -> Node {
    Node::new(
        1,
        edited(|config| {
            config.oauth = oauth(&[key("north")]);
            edit(config);
        }),
    )
}

/// Somebody whom an authorisation server gave a token and its session key.
#[derive(Clone)]
struct Bearer {
    caller: Caller,
    token: Vec<u8>,
}

impl Bearer {
    fn new(kid: &str, session_key: u8, issued_unix_s: u64, lifetime_s: u32) -> Self {
        let caller = Caller::new("203.0.113.40:40000", kid, "");
        let token = Vec::new();
        let mut bearer = Self { caller, token };
        bearer.renew(kid, session_key, issued_unix_s, lifetime_s);
        bearer
    }

    /// Gets another token.
    fn renew(&mut self, kid: &str, session_key: u8, issued_unix_s: u64, lifetime_s: u32) {
        let session_key = Key::new(&[session_key; 20]);
        let token = SessionToken::new(&session_key, issued_unix_s, lifetime_s).unwrap();
        let mut out = [0; TOKEN_BYTES_MAX];
        let len = key(kid).key.seal(SERVER_NAME, &[9; 12], &token, &mut out);
        self.caller.name = kid.to_owned();
        self.caller.mac = session_key.sha1();
        self.caller.mac_sha256 = session_key.sha256();
        self.token = out[..len].to_vec();
    }

    fn allocate(&mut self, node: &mut Node) -> Answer {
        let token = self.token.clone();
        node.ask(&mut self.caller, Method::ALLOCATE, |writer| {
            writer.attr(&RequestedTransport::UDP)?;
            writer.attr(&AccessToken(&token))
        })
    }

    fn refresh(&mut self, node: &mut Node, lifetime_s: u32) -> Answer {
        let token = self.token.clone();
        node.ask(&mut self.caller, Method::REFRESH, |writer| {
            writer.attr(&Lifetime(lifetime_s))?;
            writer.attr(&AccessToken(&token))
        })
    }
}

fn granted(answer: &Answer) -> Result<u32, u16> {
    match answer.find::<Lifetime>() {
        Some(Lifetime(lifetime_s)) if answer.is_success() => Ok(lifetime_s),
        _ => Err(answer.code()),
    }
}

fn refused(node: &Node, refusal: TokenRefusal) -> u64 {
    let mut refused = node.server().counters().tokens_refused();
    refused.find(|(reason, _)| *reason == refusal).unwrap().1
}

#[test]
fn a_token_makes_an_allocation_and_its_session_key_signs_what_follows() {
    for kid in ["north", "south"] {
        let mut node = node();
        let mut bearer = Bearer::new(kid, 7, START_UNIX_S, 3600);
        let answer = bearer.allocate(&mut node);
        assert_eq!(granted(&answer), Ok(600));
        assert!(bearer.caller.is_answered_by(&answer));
        // RFC 7635 §9: ACCESS-TOKEN is in Allocate and Refresh only.
        let caller = &mut bearer.caller;
        assert_eq!(node.permit(caller, "192.175.48.1:0"), 0);
        assert_eq!(node.bind(caller, 0x4000, "192.175.48.1:5000"), 0);
        assert_eq!(node.refresh(caller, 700), Ok(700), "without a token, too");
        assert_eq!(granted(&bearer.refresh(&mut node, 0)), Ok(0));
        assert_eq!(node.server().counters().tokens_accepted, 2);
        node.assert_nothing_is_left();
    }
}

#[test]
fn one_token_makes_many_allocations_and_quotas_count_them_together() {
    let mut node = config(|config| config.limits.allocations_per_user_max = 2);
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    for (port, outcome) in [(1, Ok(600)), (2, Ok(600)), (3, Err(486))] {
        bearer.caller.client.addr.set_port(port);
        bearer.caller.nonce.clear();
        assert_eq!(granted(&bearer.allocate(&mut node)), outcome);
    }
    let mut other = Bearer::new("north", 8, START_UNIX_S, 3600);
    assert_eq!(granted(&other.allocate(&mut node)), Ok(600));
    let accounts: Vec<_> = node.server().allocations(node.now).collect();
    assert_eq!(accounts[0].account, accounts[1].account);
    assert_ne!(accounts[0].account, accounts[2].account);
    assert!(accounts[0].account.starts_with("north#"));
}

// RFC 7635 §9: what is granted is at most the token's lifetime, and what is left of it.
#[test]
fn nothing_is_granted_beyond_the_end_of_the_token() {
    let mut node = node();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 100);
    assert_eq!(granted(&bearer.allocate(&mut node)), Ok(100));
    node.pass_s(45);
    assert_eq!(granted(&bearer.refresh(&mut node, 600)), Ok(60));
    assert_eq!(node.refresh(&mut bearer.caller, 600), Ok(60));
    node.pass_s(61);
    assert_eq!(
        node.server().allocation_count(),
        0,
        "it ended with its token"
    );
    assert_eq!(granted(&bearer.allocate(&mut node)), Err(401));
    assert_eq!(refused(&node, TokenRefusal::OutOfTime), 1);
}

#[test]
fn a_401_for_an_expired_token_says_where_to_get_another() {
    let mut node = node();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S - 200, 100);
    node.challenge(&mut bearer.caller);
    let answer = bearer.allocate(&mut node);
    assert_eq!(answer.code(), 401);
    let name = answer.find::<ThirdPartyAuthorization<'_>>().unwrap();
    assert_eq!(name.0, SERVER_NAME);
    assert!(answer.find::<Nonce<'_>>().is_some());
}

// RFC 7635 §9: "The client MUST use the new token to refresh existing allocations", whatever key
// sealed it.
#[test]
fn a_new_token_takes_over_when_it_refreshes_an_allocation() {
    let mut node = node();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 100);
    bearer.allocate(&mut node);
    let account = node.server().allocations(node.now).next().unwrap().account;
    node.pass_s(90);
    let mut old = bearer.clone();
    bearer.renew("south", 8, START_UNIX_S + 90, 3600);
    assert_eq!(
        node.permit(&mut bearer.caller, "192.175.48.1:0"),
        401,
        "a key that no token has brought"
    );
    assert_eq!(granted(&bearer.refresh(&mut node, 600)), Ok(600));
    assert_eq!(node.permit(&mut bearer.caller, "192.175.48.1:0"), 0);
    // A repeated packet with the old one does not bring the old key back.
    old.caller.next_transaction = bearer.caller.next_transaction;
    assert_eq!(granted(&old.refresh(&mut node, 600)), Ok(15));
    assert_eq!(node.permit(&mut bearer.caller, "192.175.48.1:0"), 0);
    assert_eq!(node.permit(&mut old.caller, "192.175.48.1:0"), 401);
    let kept = node.server().allocations(node.now).next().unwrap().account;
    assert_eq!(kept, account, "it counts for whom it was made");
}

#[test]
fn another_bearer_at_the_same_address_is_refused_with_441() {
    let mut node = node();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    bearer.allocate(&mut node);
    let mut other = Bearer::new("north", 8, START_UNIX_S, 3600);
    other.caller.next_transaction += 100;
    assert_eq!(other.allocate(&mut node).code(), 437);
    let token = other.token.clone();
    let peer = sterna_stun::attr::XorPeerAddress("192.175.48.1:0".parse().unwrap());
    let answer = node.ask(&mut other.caller, Method::CREATE_PERMISSION, |writer| {
        writer.attr(&peer)?;
        writer.attr(&AccessToken(&token))
    });
    assert_eq!(answer.code(), 441);
    let mut alice = Caller::new("203.0.113.40:40000", "alice", "alice's");
    alice.next_transaction += 200;
    assert_eq!(node.refresh(&mut alice, 600), Err(441));
}

#[test]
fn whatever_is_wrong_with_a_token_is_401_and_counted() {
    let mut node = node();
    let good = Bearer::new("north", 7, START_UNIX_S, 3600);
    let mut attempt = |edit: &dyn Fn(&mut Bearer)| {
        let mut bearer = good.clone();
        bearer.caller.client.addr.set_port(40_001);
        edit(&mut bearer);
        assert_eq!(bearer.allocate(&mut node).code(), 401);
    };
    attempt(&|bearer| bearer.caller.name = "west".into());
    attempt(&|bearer| bearer.caller.name = "alice".into());
    attempt(&|bearer| bearer.token.clear());
    attempt(&|bearer| bearer.token.truncate(20));
    attempt(&|bearer| bearer.token.resize(600, 0));
    attempt(&|bearer| bearer.token[1] = 16);
    attempt(&|bearer| bearer.token[30] ^= 1);
    attempt(&|bearer| bearer.caller.name = "south".into());
    attempt(&|bearer| bearer.caller.mac = Key::new(&[8; 20]).sha1());
    attempt(&|bearer| bearer.renew("north", 7, START_UNIX_S + 4000, 3600));
    attempt(&|bearer| bearer.renew("north", 7, START_UNIX_S - 3605, 3600));
    attempt(&|bearer| bearer.renew("north", 7, START_UNIX_S, 0));
    let refused: Vec<u64> = node
        .server()
        .counters()
        .tokens_refused()
        .map(|(_, count)| count)
        .collect();
    assert_eq!(refused, [2, 4, 2, 3, 1]);
    node.assert_nothing_is_left();
}

#[test]
fn a_key_opens_tokens_in_its_own_time_only_and_sessions_go_on() {
    let mut first = key("north");
    first.not_after_unix_s = Some(START_UNIX_S + 50);
    let mut second = key("south");
    second.not_before_unix_s = START_UNIX_S + 50;
    let mut node = Node::new(1, edited(|config| config.oauth = oauth(&[first, second])));
    let mut north = Bearer::new("north", 7, START_UNIX_S, 3600);
    let mut south = Bearer::new("south", 8, START_UNIX_S, 3600);
    south.caller.client.addr.set_port(40_001);
    assert_eq!(granted(&south.allocate(&mut node)), Err(401));
    assert_eq!(granted(&north.allocate(&mut node)), Ok(600));
    node.pass_s(50);
    assert_eq!(granted(&south.allocate(&mut node)), Ok(600));
    assert_eq!(granted(&north.refresh(&mut node, 600)), Err(401));
    assert_eq!(node.refresh(&mut north.caller, 600), Ok(600));
    assert_eq!(refused(&node, TokenRefusal::UnknownKey), 2);
}

#[test]
fn a_key_that_is_removed_or_replaced_takes_its_sessions_along_and_no_others() {
    let mut node = node();
    let mut north = Bearer::new("north", 7, START_UNIX_S, 3600);
    let mut south = Bearer::new("south", 8, START_UNIX_S, 3600);
    let mut alice = Caller::alice();
    south.caller.client.addr.set_port(40_001);
    north.allocate(&mut node);
    south.allocate(&mut node);
    node.allocate(&mut alice);
    node.reconfigure(|config| config.oauth = oauth(&[key("south"), key("east")]));
    assert_eq!(node.server().allocation_count(), 2);
    assert_eq!(granted(&north.refresh(&mut node, 600)), Err(401));
    assert_eq!(granted(&south.refresh(&mut node, 600)), Ok(600));
    let mut replaced = key("north");
    replaced.kid = "south".into();
    node.reconfigure(|config| config.oauth = oauth(&[replaced]));
    assert_eq!(node.server().allocation_count(), 1);
    assert_eq!(node.refresh(&mut alice, 600), Ok(600));
    let reasons = node.events.iter().filter_map(|event| match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [EndReason::UserRemoved; 2]);
}

// RFC 7635 §7: "If a STUN server receives an ACCESS-TOKEN attribute unexpectedly" it answers 420.
#[test]
fn without_keys_a_token_is_an_unknown_attribute() {
    let mut node = Node::default();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    let answer = bearer.allocate(&mut node);
    assert_eq!(answer.code(), 420);
    let unknown = answer.find::<UnknownAttributes>().unwrap();
    assert!(unknown.iter().eq([AttributeType::ACCESS_TOKEN]));
    let mut alice = Caller::alice();
    let answer = node.ask(&mut alice, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&AccessToken(&[0, 12]))
    });
    assert_eq!(answer.code(), 420);
    assert!(answer.bytes.len() * 10 <= 22 * 128);
}

#[test]
fn sha256_and_a_hidden_key_name_go_with_a_token_too() {
    let mut node = config(|config| config.secrets.clear());
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    bearer.caller.modern = true;
    bearer.caller.client.transport = Transport::Tcp;
    node.challenge(&mut bearer.caller);
    assert!(bearer.caller.features().username_anonymity);
    let answer = bearer.allocate(&mut node);
    assert_eq!(granted(&answer), Ok(600));
    assert!(bearer.caller.is_answered_by(&answer));
    assert_eq!(node.permit(&mut bearer.caller, "192.175.48.1:0"), 0);
    // The same session, signed in the older way.
    bearer.caller.modern = false;
    assert_eq!(node.permit(&mut bearer.caller, "192.175.48.1:0"), 0);
    let (caller, token) = (bearer.caller.clone(), bearer.token.clone());
    let packet = bearer.caller.unsigned(Method::REFRESH, |writer| {
        writer.attr(&AccessToken(&token))?;
        writer.attr(&Username("north"))?;
        writer.attr(&Realm(&caller.realm))?;
        writer.attr(&Nonce(&caller.nonce))?;
        writer.attr(&PasswordAlgorithms::SHA256_MD5)?;
        writer.attr(&PasswordAlgorithm::MD5)?;
        writer.integrity_sha256(&caller.mac_sha256)
    });
    let answer = node.answer(&bearer.caller, &packet);
    assert!(answer.is_success());
    assert!(
        answer
            .message()
            .has(AttributeType::MESSAGE_INTEGRITY_SHA256)
    );
}

/// The 401 to an unsigned Allocate of some length.
fn challenge_of(node: &mut Node, software_bytes: usize, fingerprint: bool) -> (usize, Answer) {
    let mut caller = Caller::alice();
    caller.fingerprint = fingerprint;
    let software = "s".repeat(software_bytes);
    let packet = caller.unsigned(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        if software_bytes > 0 {
            writer.attr(&sterna_stun::attr::Software(&software))?;
        }
        Ok(())
    });
    (packet.len(), node.answer(&caller, &packet))
}

#[test]
fn a_401_over_udp_names_the_server_within_the_amplification_budget() {
    for realm_bytes in [1, 6, 12, 13, 24] {
        for name_bytes in [1, 8, 12, 13, 20, 40, 128] {
            let mut node = config(|config| {
                config.realm = "r".repeat(realm_bytes).into();
                let name = "n".repeat(name_bytes);
                config.oauth = Arc::new(OAuth::new(&name, &config.realm, [key("north")]));
            });
            for software_bytes in [0, 4, 12, 40, 128] {
                for fingerprint in [false, true] {
                    let (len, answer) = challenge_of(&mut node, software_bytes, fingerprint);
                    assert!(
                        answer.bytes.len() * 2 <= len * 7,
                        "{} for {len}",
                        answer.bytes.len()
                    );
                    let nonce = answer.find::<Nonce<'_>>().unwrap();
                    let announced = Features::of(nonce.0).unwrap().password_algorithms;
                    let offered = answer.find::<PasswordAlgorithms<'_>>().is_some();
                    assert_eq!(announced, offered);
                    // A request of 80 bytes has room for any name that fits a token request.
                    let named = answer.find::<ThirdPartyAuthorization<'_>>().is_some();
                    assert!(named || len < 80 || name_bytes > 40);
                }
            }
        }
    }
}

#[test]
fn the_smallest_allocate_is_told_of_a_short_name_instead_of_sha256() {
    let mut node = config(|config| {
        config.realm = "sterna".into();
        config.oauth = Arc::new(OAuth::new("sterna", "sterna", [key("north")]));
    });
    let (len, answer) = challenge_of(&mut node, 0, false);
    assert_eq!((len, answer.bytes.len()), (28, 92));
    assert!(answer.find::<ThirdPartyAuthorization<'_>>().is_some());
    assert!(answer.find::<PasswordAlgorithms<'_>>().is_none());
    let (len, answer) = challenge_of(&mut node, 0, true);
    assert_eq!((len, answer.bytes.len()), (36, 112));
    assert!(answer.find::<PasswordAlgorithms<'_>>().is_some());
}

#[test]
fn a_401_over_tcp_has_everything_and_a_438_names_nobody() {
    let mut node = config(|config| {
        config.oauth = Arc::new(OAuth::new(&"n".repeat(200), "sterna.test", [key("north")]));
    });
    let mut caller = Caller::alice().over(Transport::Tcp, 7);
    let packet = caller.unsigned(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    let answer = node.answer(&caller, &packet);
    assert!(answer.find::<ThirdPartyAuthorization<'_>>().is_some());
    assert!(answer.find::<PasswordAlgorithms<'_>>().is_some());
    node.challenge(&mut caller);
    node.pass_s(4000);
    let packet = caller.signed(Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)
    });
    let answer = node.answer(&caller, &packet);
    assert_eq!(answer.code(), 438);
    assert!(answer.find::<ThirdPartyAuthorization<'_>>().is_none());
}

#[test]
fn an_operator_ends_one_tokens_sessions_or_all_of_a_key() {
    let mut node = node();
    for (session_key, port) in [(7, 1), (7, 2), (8, 3)] {
        let mut bearer = Bearer::new("north", session_key, START_UNIX_S, 3600);
        bearer.caller.client.addr.set_port(port);
        assert_eq!(granted(&bearer.allocate(&mut node)), Ok(600));
    }
    let account = node.server().allocations(node.now).next().unwrap().account;
    let revoke = |node: &mut Node, name: &str| {
        let now = node.now;
        let ended = node.servers[0].revoke(now, &crate::Revoke::User(name.to_owned()));
        node.settle(0);
        ended
    };
    assert_eq!(revoke(&mut node, &account), 2);
    assert_eq!(revoke(&mut node, "south"), 0);
    assert_eq!(revoke(&mut node, "north"), 1);
    node.assert_nothing_is_left();
}

// Anybody on the way can read a ticket, and anybody may have a token: of two tokens nobody knows
// that they are one client's, but for the client that shows the second one where the first one is.
#[test]
fn a_ticket_moves_an_allocation_under_the_token_in_use_and_no_other() {
    let mut node = node();
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    let token = bearer.token.clone();
    let answer = node.ask(&mut bearer.caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::UDP)?;
        writer.attr(&MobilityTicket(b""))?;
        writer.attr(&AccessToken(&token))
    });
    let ticket = answer.find::<MobilityTicket<'_>>().unwrap().0.to_vec();
    let takes_along = |node: &mut Node, bearer: &Bearer| {
        let mut caller = bearer.caller.clone();
        caller.client.addr = "192.88.98.7:7000".parse().unwrap();
        caller.nonce.clear();
        node.ask(&mut caller, Method::REFRESH, |writer| {
            writer.attr(&MobilityTicket(&ticket))?;
            writer.attr(&AccessToken(&bearer.token))
        })
        .code()
    };
    let mut thief = Bearer::new("north", 8, START_UNIX_S, 3600);
    thief.caller.next_transaction += 1000;
    assert_eq!(takes_along(&mut node, &thief), 441);
    // The client's own second token counts once it has been shown where the client is.
    let mut renewed = bearer.clone();
    renewed.renew("north", 9, START_UNIX_S, 3600);
    assert_eq!(takes_along(&mut node, &renewed), 441);
    assert_eq!(granted(&renewed.refresh(&mut node, 600)), Ok(600));
    assert_eq!(takes_along(&mut node, &bearer), 441);
    assert_eq!(takes_along(&mut node, &renewed), 0);
}

// Under the name of a key alone, whoever has any token of it could come for what others wait for.
#[test]
fn a_connection_to_a_peer_is_bound_under_the_token_that_it_was_made_under() {
    let mut node = config(|config| config.tcp_allocations = true);
    let mut bearer = Bearer::new("north", 7, START_UNIX_S, 3600);
    bearer.caller = bearer.caller.clone().over(Transport::Tcp, 70);
    let token = bearer.token.clone();
    let answer = node.ask(&mut bearer.caller, Method::ALLOCATE, |writer| {
        writer.attr(&RequestedTransport::TCP)?;
        writer.attr(&AccessToken(&token))
    });
    assert_eq!(answer.code(), 0);
    let (_, id) = node.connect_now(&mut bearer.caller, "192.175.48.1:5000");
    let bind = |node: &mut Node, bearer: &Bearer, route| {
        let mut caller = bearer.caller.again(route, 0);
        node.ask(&mut caller, Method::CONNECTION_BIND, |writer| {
            writer.attr(&ConnectionId(id))?;
            writer.attr(&AccessToken(&bearer.token))
        })
        .code()
    };
    let thief = Bearer::new("north", 8, START_UNIX_S, 3600);
    assert_eq!(bind(&mut node, &thief, 81), 441);
    assert_eq!(bind(&mut node, &bearer, 82), 0);
}
