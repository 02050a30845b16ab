//! What must hold for any bytes: checks for the fuzzer, and for the replay of its corpus.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sterna_control_api::access::{
    Login, NewApiToken, NewEnrolmentKey, NewJoinToken, NewUser, PatchUser,
};
use sterna_control_api::credentials::{TicketIssued, TicketRequest, TurnCredentials, TurnRequest};
use sterna_control_api::device::{
    DeviceMetrics, DeviceRegistered, NatReport, Netmap, RegisterDevice, RotateDeviceKey,
};
use sterna_control_api::node::{
    Heartbeat, HeartbeatAnswer, NodeRegistered, Orders, PatchNode, RegisterNode, SignedOrders,
};
use sterna_control_api::problem::Problem;
use sterna_control_api::rotation::RotateKeys;
use sterna_control_api::signal::{FromDevice, ToDevice};
use sterna_control_api::signature::{self, Freshness, Target};
use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, KeySet, NodeId, RelayMap, SignedRelayMap, SigningKey, Ticket,
    TicketId, VerifyingKey,
};

/// Verifies any bytes as a ticket, and any text as a relay map. Nothing verifies under a key that
/// has signed nothing, and a ticket that is read is issued the same again.
pub fn signed(data: &[u8]) {
    let key = SigningKey::from_seed(&[42; 32]);
    let strangers = SigningKey::from_seed(&[43; 32]);
    let keys = KeySet::new([strangers.verifying_key()]).expect("one key");
    let fleet = Fleet::new("example").expect("a name");
    assert!(Ticket::verify(data, &keys, &fleet, 1_700_000_000, 0).is_err());
    if let Ok((ticket, _)) = Ticket::read_unverified(data) {
        let again = ticket.issue(&key).expect("a lifetime that was read");
        assert_eq!(Ticket::read_unverified(&again), Ok((ticket, key.id())));
    }
    if let Ok(map) = serde_json::from_slice::<SignedRelayMap>(data) {
        assert!(map.verify(&keys, &fleet, 1_700_000_000, 0).is_err());
    }
    if let Ok(orders) = serde_json::from_slice::<SignedOrders>(data) {
        assert!(orders.verify(&keys, &NodeId([1; 32]), 0).is_err());
    }
}

/// The time at which requests are verified.
const NOW: u64 = 1_700_000_000;

/// Verifies any headers, and signs any request. The data are lines: `signature-input`, `signature`,
/// `content-digest`, method, authority, path, query, `authorization`, and the body as what is left.
///
/// A signature that verifies does so for the very request only; what we sign verifies, whatever the
/// request is, unless it cannot be signed at all.
pub fn requests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(9, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (input, signature, digest) = (next(), next(), next());
    let target = Target {
        method: next(),
        authority: next(),
        path: next(),
        query: next(),
        authorization: next(),
        body: next().as_bytes(),
    };
    let digest = (!digest.is_empty()).then_some(digest);
    if let Ok(claims) = signature::verify(&target, input, signature, digest, NOW) {
        assert!(claims.created.abs_diff(NOW) <= 60);
        let path = format!("{}/x", target.path);
        let moved = Target {
            path: &path,
            ..target
        };
        assert!(signature::verify(&moved, input, signature, digest, NOW).is_err());
    }
    let key = SigningKey::from_seed(&[42; 32]);
    let made = signature::sign(&key, &target, NOW, Freshness::Counter(data.len() as u64));
    let digest = made.content_digest.as_deref();
    let verified = signature::verify(&target, &made.signature_input, &made.signature, digest, NOW);
    let ascii = |text: &str| text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    let texts = [
        target.method,
        target.authority,
        target.path,
        target.query,
        target.authorization,
    ];
    let signable = texts.iter().all(|text| ascii(text))
        && texts.iter().map(|text| text.len()).sum::<usize>() <= 8192;
    assert_eq!(verified.is_ok(), signable);
}

/// Reads any bytes as everything that comes over the control service's HTTP and WebSockets, from
/// callers or to them: what is read can be written, and is read as the same again.
pub fn messages(data: &[u8]) {
    macro_rules! each {
        ($($message:ty),* $(,)?) => {$( again::<$message>(data); )*};
    }
    each!(
        FromDevice,
        ToDevice,
        RegisterDevice,
        DeviceRegistered,
        NatReport,
        Netmap,
        DeviceMetrics,
        RotateDeviceKey,
        RegisterNode,
        NodeRegistered,
        Heartbeat,
        HeartbeatAnswer,
        Orders,
        PatchNode,
        RelayMap,
        TurnRequest,
        TurnCredentials,
        TicketRequest,
        TicketIssued,
        Login,
        NewUser,
        PatchUser,
        NewApiToken,
        NewEnrolmentKey,
        NewJoinToken,
        RotateKeys,
        Problem,
    );
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    name::<DeviceId>(text);
    name::<DeviceKey>(text);
    name::<NodeId>(text);
    name::<TicketId>(text);
    name::<Fleet>(text);
    name::<VerifyingKey>(text);
}

fn again<T: Serialize + DeserializeOwned + PartialEq>(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&message).expect("what was read can be written");
        let read = serde_json::from_slice::<T>(&text).expect("what was written can be read");
        assert!(read == message, "{}", String::from_utf8_lossy(&text));
    }
}

/// A name in a path or a query.
fn name<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        let again = name.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == name), "{text}");
    }
}
