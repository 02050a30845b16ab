//! No sequence of requests, changes of policy and passing of time installs a path to a forbidden
//! peer, gives somebody another's packets, or leaves anything behind.
//!
//! The sequences are scripts of the fuzz target `authenticated`, which checks each verdict against
//! a second wording of the policy.
#![forbid(unsafe_code)]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a library to the fuzz targets")]
mod checks;

use proptest::prelude::*;

/// One step of the script: kind, argument, data.
fn step(kind: u8, argument: u8, data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(data.len()).expect("short");
    [&[kind, argument, len], data].concat()
}

fn allocate() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..4, prop::option::of((3_u8..9, 0_u8..4))).prop_map(|(client, more)| {
        let mut attributes = vec![4, 17];
        attributes.extend(
            more.into_iter()
                .flat_map(|(kind, argument)| [kind, argument]),
        );
        step(8, client, &attributes)
    })
}

/// A peer of the list, or another client's relayed address.
fn peer() -> impl Strategy<Value = [u8; 2]> {
    prop_oneof![3 => any::<u8>().prop_map(|peer| [0, peer]), 1 => (0_u8..4).prop_map(|n| [1, n])]
}

fn permit() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..4, prop::collection::vec(peer(), 1..4))
        .prop_map(|(client, peers)| step(8, client | 2 << 2, &peers.concat()))
}

fn bind() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..4, 0_u8..6, peer()).prop_map(|(client, number, peer)| {
        step(8, client | 3 << 2, &[&[2, number], &peer[..]].concat())
    })
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let send = (0_u8..4, peer())
        .prop_map(|(client, peer)| step(1, client, &[&peer[..], &[9, 5]].concat()));
    let channel =
        (0_u8..4, 0_u8..5).prop_map(|(client, number)| step(0, client, &[0x40, number, 0, 1, 7]));
    let inward = (0_u8..8, any::<u8>()).prop_map(|(port, peer)| step(2, port, &[peer; 9]));
    prop_oneof![send, channel, inward]
}

/// TCP allocations (RFC 6062): of client 3, which is on a stream; ids that it was told are bound
/// from either worker.
fn tcp() -> impl Strategy<Value = Vec<u8>> {
    let allocate = Just(step(8, 3, &[4, 6]));
    let connect = (0_u8..4, peer()).prop_map(|(client, peer)| step(8, client | 32 << 2, &peer));
    let bind = (0_u8..4).prop_map(|client| step(8, client | 48 << 2, &[]));
    let act = (0_u8..8, any::<u8>()).prop_map(|(act, peer)| step(15, act, &[peer]));
    prop_oneof![2 => allocate, 4 => connect, 3 => bind, 4 => act]
}

fn operation() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0_u8..70).prop_map(|tens| step(3, tens, &[])),
        1 => (4_u8..8, 0_u8..4).prop_map(|(kind, argument)| step(kind, argument, &[])),
        1 => (0_u8..4, 0_u8..40).prop_map(|(client, life)| step(8, client | 1 << 2, &[3, life])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_sequence_of_requests_opens_a_path_to_a_forbidden_peer(
        steps in prop::collection::vec(
            prop_oneof![
                3 => allocate(), 4 => permit(), 4 => bind(), 6 => data(), 4 => tcp(), 1 => operation()
            ],
            0..60,
        )
    ) {
        checks::authenticated(&steps.concat());
    }

    #[test]
    fn random_scripts_and_random_packets_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        checks::authenticated(&bytes);
        checks::unauthenticated(&bytes);
    }
}
