//! The requests, each signed for the moment at which the plan sends it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use serde::Serialize;
use sterna_control_api::credentials::TurnRequest;
use sterna_control_api::signature::{self, Freshness, Target};
use sterna_control_api::{NodeId, SigningKey};
use sterna_control_client::ControlClient;

use super::fleet::{Fleet, device, heartbeat, new_key, node};
use super::plan::{Plan, Scenario};

/// A request as k6 sends it.
#[derive(Serialize)]
pub(super) struct Signed {
    method: &'static str,
    path: String,
    headers: BTreeMap<&'static str, String>,
    body: String,
    /// The device that messages go to, of a WebSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// When the plan begins.
pub(super) struct Clock {
    begins_ms: u64,
}

impl Clock {
    pub(super) fn now() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            begins_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What is signed.
struct Draft<'a> {
    method: &'static str,
    path: String,
    body: String,
    token: Option<&'a str>,
    freshness: Freshness,
}

/// All requests of a scenario, in the order in which they are sent.
pub(super) fn all(
    scenario: Scenario,
    plan: &Plan,
    fleet: &Fleet,
    service: &ControlClient,
    clock: &Clock,
) -> Vec<Signed> {
    let authority = service.url().split_once("://").map_or("", |(_, host)| host);
    let requests = plan
        .times_ms()
        .into_iter()
        .enumerate()
        .map(|(number, after_ms)| {
            let at_ms = clock.begins_ms + after_ms;
            let member =
                (!fleet.members.is_empty()).then(|| &fleet.members[number % fleet.members.len()]);
            let key = member.map_or_else(new_key, |member| member.key.clone());
            let draft = draft(scenario, &key, fleet, at_ms, number);
            let mut signed = sign(&key, authority, draft, at_ms / 1000);
            if scenario == Scenario::Signalling {
                // Pairs: each talks to the other.
                let other = fleet.members.get(number ^ 1).and_then(|other| other.device);
                signed.to = other.map(|other| other.to_string());
            }
            signed
        });
    requests.collect()
}

fn draft<'a>(
    scenario: Scenario,
    key: &SigningKey,
    fleet: &'a Fleet,
    at_ms: u64,
    number: usize,
) -> Draft<'a> {
    // Grows from request to request of one key, whatever the plan.
    let counter = Freshness::Counter(at_ms * 1000 + number as u64 % 1000);
    let reads = |path: &str| Draft {
        method: "GET",
        path: format!("/api/v1/{path}"),
        body: String::new(),
        token: None,
        freshness: counter,
    };
    let posts = |path: String, body: String| Draft {
        method: "POST",
        path: format!("/api/v1/{path}"),
        body,
        token: None,
        freshness: counter,
    };
    let registers = |path: &str, body: String| Draft {
        token: Some(fleet.token(number)),
        freshness: nonce(),
        ..posts(path.to_owned(), body)
    };
    match scenario {
        Scenario::Registration => registers("nodes/register", json(&node(key))),
        Scenario::Devices => registers("device/register", json(&device(key))),
        Scenario::Heartbeats => {
            let id = NodeId(key.verifying_key().to_bytes());
            posts(format!("nodes/{id}/heartbeat"), json(&heartbeat(number)))
        }
        Scenario::RelayMap => reads("relay-map"),
        Scenario::Credentials => {
            posts("turn-credentials".to_owned(), json(&TurnRequest::default()))
        }
        Scenario::Signalling => reads("ws"),
    }
}

fn sign(key: &SigningKey, authority: &str, draft: Draft<'_>, created: u64) -> Signed {
    let authorization = draft.token.map(|token| format!("Bearer {token}"));
    let target = Target {
        method: draft.method,
        authority,
        path: &draft.path,
        query: "",
        authorization: authorization.as_deref().unwrap_or_default(),
        body: draft.body.as_bytes(),
    };
    let proof = signature::sign(key, &target, created, draft.freshness);
    let headers = [
        ("signature-input", Some(proof.signature_input)),
        ("signature", Some(proof.signature)),
        ("content-digest", proof.content_digest),
        ("authorization", authorization),
        (
            "content-type",
            (!draft.body.is_empty()).then(|| "application/json".to_owned()),
        ),
    ];
    Signed {
        method: draft.method,
        path: draft.path,
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
        body: draft.body,
        to: None,
    }
}

fn nonce() -> Freshness {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    Freshness::Nonce(bytes)
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fleet::Member;
    use super::super::plan::Profile;
    use super::*;
    use sterna_control_api::DeviceId;
    use sterna_control_client::{Caller, Options};

    /// What the service does with what k6 sends.
    fn verify(signed: &Signed, now: u64) -> signature::Claims {
        let header = |name: &str| signed.headers.get(name).map(String::as_str);
        let target = Target {
            method: signed.method,
            authority: "127.0.0.1:8478",
            path: &signed.path,
            query: "",
            authorization: header("authorization").unwrap_or_default(),
            body: signed.body.as_bytes(),
        };
        let (input, proof) = (header("signature-input"), header("signature"));
        signature::verify(
            &target,
            input.unwrap(),
            proof.unwrap(),
            header("content-digest"),
            now,
        )
        .unwrap()
    }

    #[test]
    fn every_request_is_signed_for_its_moment_and_counters_grow() {
        let service = ControlClient::new(
            "http://127.0.0.1:8478",
            Caller::Anonymous,
            &Options::default(),
        )
        .unwrap();
        let member = || Member {
            key: new_key(),
            device: Some(DeviceId([1; 16])),
        };
        let fleet = Fleet {
            tokens: vec!["sterna-join-1.a.b".to_owned()],
            members: vec![member(), member(), member(), member()],
        };
        let clock = Clock {
            begins_ms: 1_700_000_000_000,
        };
        for scenario in [
            Scenario::Registration,
            Scenario::Heartbeats,
            Scenario::Devices,
            Scenario::RelayMap,
            Scenario::Credentials,
            Scenario::Signalling,
        ] {
            let plan = Plan::new(scenario, Profile::Smoke);
            let requests = all(scenario, &plan, &fleet, &service, &clock);
            let mut last = BTreeMap::new();
            for (signed, after_ms) in requests.iter().zip(plan.times_ms()) {
                let claims = verify(signed, 1_700_000_000 + after_ms / 1000);
                assert_eq!(claims.created, 1_700_000_000 + after_ms / 1000);
                if let Freshness::Counter(count) = claims.freshness {
                    let before = last.insert(claims.key, count);
                    assert!(before.is_none_or(|before| before < count), "{scenario:?}");
                }
            }
            assert_eq!(requests.len(), plan.times_ms().len());
        }
    }
}
