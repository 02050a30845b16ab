//! Two replicas of the control service on one PostgreSQL: devices on different ones signal to each
//! other, either answers every call, and one dies without anybody noticing more than a reconnect.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use common::control::{Control, device_of, fresh_key, node_of};
use common::postgres::Postgres;
use common::{SOON, report, skip, wait_for};
use sterna_control_api::access::{NewEnrolmentKey, NewJoinToken};
use sterna_control_api::credentials::TicketRequest;
use sterna_control_api::device::{Behaviour, NatReport};
use sterna_control_api::node::{DesiredState, Heartbeat, NodeStatus, PatchNode, ReportedState};
use sterna_control_api::signal::{FromDevice, PunchOrder, ToDevice};
use sterna_control_api::{DeviceId, GroupId, NodeId, TenantId};
use sterna_control_client::{CallError, Caller, ControlClient, Socket};
use tokio::runtime::Runtime;

/// Devices that call all the time while a replica dies.
const CALLERS: usize = 8;

#[test]
fn devices_on_different_replicas_meet_and_a_replica_that_dies_is_hardly_noticed() {
    let test = "devices_on_different_replicas_meet_and_a_replica_that_dies_is_hardly_noticed";
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(reason) => return skip(test, &reason),
    };
    let database = server.database("control").unwrap();
    let mut one = Control::start(&database, None);
    let other = Control::start(&database, Some(&one.key_file()));
    let runtime = Runtime::new().unwrap();
    let replicas = Replicas {
        administrator: one.administrator(),
        clients: [
            one.client(Caller::Anonymous),
            other.client(Caller::Anonymous),
        ],
    };
    let enrolment = runtime.block_on(replicas.enrolment_key());
    runtime.block_on(replicas.any_replica_answers_for_a_node());
    let (mut here, mut there) = runtime.block_on(async {
        let here = replicas.connect(0, &enrolment).await;
        let there = replicas.connect(1, &enrolment).await;
        (here, there)
    });
    runtime.block_on(meet(&mut here, &mut there));

    let load = Load::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let caller = replicas
                .clone()
                .call(number, enrolment.clone(), load.clone());
            runtime.spawn(caller)
        })
        .collect();
    let some_calls = |since: u32| {
        wait_for("calls under load", 3 * SOON, || {
            (load.calls.load(Ordering::Relaxed) >= since + 200).then_some(())
        });
    };
    some_calls(0);
    one.kill();
    some_calls(load.calls.load(Ordering::Relaxed));
    load.over.store(true, Ordering::Relaxed);
    for caller in callers {
        runtime.block_on(caller).unwrap();
    }
    // Who was on the dead replica connects to the other; whom it met is still there.
    runtime.block_on(async {
        let gone = async { while here.socket.next().await.is_ok() {} };
        let in_time = tokio::time::timeout(SOON, gone).await;
        in_time.expect("the end of the connection");
        here.socket = here.client_of(&replicas, 1).socket().await.unwrap();
        meet(&mut here, &mut there).await;
    });
    report(&format!(
        "{} calls through two replicas, one killed: {} were made again at the other, none was refused",
        load.calls.load(Ordering::Relaxed),
        load.again.load(Ordering::Relaxed),
    ));
}

/// Both replicas, and who may do anything.
#[derive(Clone)]
struct Replicas {
    administrator: Caller,
    clients: [ControlClient; 2],
}

/// A device, connected to one of them.
struct Connected {
    key: sterna_control_api::SigningKey,
    id: DeviceId,
    socket: Socket,
}

impl Connected {
    fn client_of(&self, replicas: &Replicas, replica: usize) -> ControlClient {
        replicas.clients[replica].with_caller(Caller::Device(self.key.clone()))
    }

    /// The next message of those that tell of each other.
    async fn next(&mut self) -> ToDevice {
        loop {
            let next = tokio::time::timeout(SOON, self.socket.next());
            match next.await.expect("a message").unwrap() {
                ToDevice::NetmapChanged { .. } | ToDevice::RelayMapChanged { .. } => {}
                told => return told,
            }
        }
    }

    /// Sends until it is delivered: that the other is connected may have to get about first.
    async fn send_until_heard(&mut self, other: &mut Self, payload: &str) {
        let mut tries = 0..100;
        loop {
            let id = tries.next().expect("a message that arrives");
            let signal = FromDevice::Signal {
                to: other.id,
                id,
                payload: payload.to_owned(),
            };
            self.socket.send(&signal).await.unwrap();
            tokio::select! {
                told = other.next() => {
                    let expected = ToDevice::Signal {
                        from: self.id,
                        payload: payload.to_owned(),
                    };
                    assert_eq!(told, expected);
                    return;
                }
                told = self.next() => {
                    assert!(matches!(told, ToDevice::Undelivered { .. }), "{told:?}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Signals to and fro, a long one too, and an attempt to punch that both are told of alike.
async fn meet(here: &mut Connected, there: &mut Connected) {
    here.send_until_heard(there, "Y2FsbCBtZQ").await;
    there.send_until_heard(here, "SSBkbw").await;
    // Longer than a notification of PostgreSQL's.
    here.send_until_heard(there, &"QUJD".repeat(2_500)).await;

    let nat = |mapping, filtering| NatReport {
        mapping,
        filtering,
        udp: Some(true),
        port_preserving: Some(false),
        ..NatReport::default()
    };
    let open = nat(
        Behaviour::EndpointIndependent,
        Behaviour::EndpointIndependent,
    );
    let strict = nat(
        Behaviour::EndpointIndependent,
        Behaviour::AddressAndPortDependent,
    );
    // The first tells what it knows; with what the second tells, both are told.
    let punch = |with: DeviceId, nat: &NatReport| FromDevice::Punch {
        with,
        nat: nat.clone(),
    };
    here.socket.send(&punch(there.id, &open)).await.unwrap();
    let (_, _) = (punched(here).await, punched(there).await);
    there.socket.send(&punch(here.id, &strict)).await.unwrap();
    let (ours, theirs) = (punched(here).await, punched(there).await);
    assert_eq!(ours.0, theirs.0, "one attempt");
    assert_eq!([ours.1, theirs.1], [PunchOrder::Second, PunchOrder::First]);
}

async fn punched(device: &mut Connected) -> (u64, PunchOrder) {
    match device.next().await {
        ToDevice::Punch { attempt, order, .. } => (attempt, order),
        other => panic!("{other:?}"),
    }
}

/// What the callers under load have done.
#[derive(Clone, Default)]
struct Load {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    again: Arc<AtomicU32>,
}

impl Replicas {
    fn administrator(&self, replica: usize) -> ControlClient {
        self.clients[replica].with_caller(self.administrator.clone())
    }

    async fn enrolment_key(&self) -> String {
        let key = NewEnrolmentKey {
            tenant: TenantId(1),
            groups: vec![GroupId(1)],
            tags: Vec::new(),
            uses_max: 0,
            ttl_s: 3600,
            note: String::new(),
        };
        let made = self.administrator(0).make_enrolment_key(&key).await;
        made.unwrap().token
    }

    /// A token made at one lets a node in at the other; a heartbeat at one is seen at the other; a
    /// command at one is obeyed through the other.
    async fn any_replica_answers_for_a_node(&self) {
        let token = NewJoinToken {
            region: "default".to_owned(),
            uses_max: 1,
            ttl_s: 3600,
            note: String::new(),
        };
        let token = self.administrator(0).make_join_token(&token).await.unwrap();
        let key = fresh_key();
        let node = node_of(&key);
        let by = |replica: usize| self.clients[replica].with_caller(Caller::Node(key.clone()));
        let registered = by(1).register_node(&node, Some(&token.token)).await;
        registered.unwrap();
        let (second, token) = (fresh_key(), Some(token.token.as_str()));
        let client = self.clients[0].with_caller(Caller::Node(second.clone()));
        let spent = client.register_node(&node_of(&second), token).await;
        assert!(matches!(spent, Err(CallError::Refused(_))), "{spent:?}");

        let mut heartbeat = Heartbeat {
            orders: 0,
            state: ReportedState::Ready,
            reachable: true,
            load: 1,
            allocations: 0,
            sessions: 0,
            dropped: 0,
            relayed_bytes: 0,
        };
        self.until(&node.identity, 0, by(1), &mut heartbeat, NodeStatus::Ready)
            .await;
        let drain = PatchNode {
            state: Some(DesiredState::Draining),
            limits: None,
        };
        let patched = self
            .administrator(0)
            .patch_node(&node.identity, &drain)
            .await;
        patched.unwrap();
        self.until(
            &node.identity,
            1,
            by(1),
            &mut heartbeat,
            NodeStatus::Draining,
        )
        .await;
        let forgotten = self.administrator(1).forget_node(&node.identity).await;
        forgotten.unwrap();
    }

    /// Heartbeats through one client until a replica sees the node as that.
    async fn until(
        &self,
        node: &NodeId,
        replica: usize,
        client: ControlClient,
        heartbeat: &mut Heartbeat,
        status: NodeStatus,
    ) {
        let seen = async {
            loop {
                client.heartbeat(node, heartbeat).await.unwrap();
                let view = self.administrator(replica).node(node).await;
                // That it has registered has to get about as well.
                if view.is_ok_and(|view| view.status == status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, seen).await;
        in_time.unwrap_or_else(|_| panic!("replica {replica} never saw {status:?}"));
    }

    async fn connect(&self, replica: usize, enrolment: &str) -> Connected {
        let key = fresh_key();
        let client = self.clients[replica].with_caller(Caller::Device(key.clone()));
        let registered = client
            .register_device(&device_of(&key), Some(enrolment))
            .await;
        Connected {
            key,
            id: registered.unwrap().id,
            socket: client.socket().await.unwrap(),
        }
    }

    /// A device that asks for tickets and its netmap, at one replica after the other, and makes a call
    /// that found nobody again at the other.
    async fn call(self, number: usize, enrolment: String, load: Load) {
        let key = fresh_key();
        let by = |replica: usize| self.clients[replica].with_caller(Caller::Device(key.clone()));
        let clients = [by(0), by(1)];
        let device = device_of(&key);
        let enrolled = clients[1].register_device(&device, Some(&enrolment)).await;
        let id = enrolled.unwrap().id;
        let mut dead = [false; 2];
        for turn in number.. {
            if load.over.load(Ordering::Relaxed) {
                return;
            }
            let at = if dead[turn % 2] {
                (turn + 1) % 2
            } else {
                turn % 2
            };
            if let Err(error) = some_call(&clients[at], &id, turn).await {
                // Nobody is there: never an answer that refuses.
                assert!(matches!(error, CallError::Unreachable(_)), "{error}");
                dead[at] = true;
                load.again.fetch_add(1, Ordering::Relaxed);
                let other = &clients[(at + 1) % 2];
                some_call(other, &id, turn).await.unwrap();
            }
            load.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn some_call(client: &ControlClient, id: &DeviceId, turn: usize) -> Result<(), CallError> {
    if turn.is_multiple_of(2) {
        let request = TicketRequest::default();
        client.relay_ticket(&request).await.map(drop)
    } else {
        client.netmap(id, None).await.map(drop)
    }
}
