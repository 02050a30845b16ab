//! A control service of a few lines, for tests.

use sterna_control_api::node::{
    DesiredState, HeartbeatAnswer, NodeLimits, NodeRegistered, Orders, RegisterNode, Revocations,
    Services, SignedOrders,
};
use sterna_control_api::{Fleet, NodeId, RelayKey, SigningKey, VerifyingKey};

pub(super) const NODE: NodeId = NodeId([1; 32]);

/// What signs, and what it orders now.
pub(super) struct Service {
    pub(super) signer: SigningKey,
    pub(super) orders: Orders,
    pub(super) interval_s: u32,
}

impl Service {
    pub(super) fn new() -> Self {
        let signer = Self::key(7);
        let orders = Orders {
            version: 1,
            node: NODE,
            fleet: fleet(),
            issued: 1_700_000_000,
            state: DesiredState::Ready,
            turn_secrets: vec!["0123456789abcdef".to_owned()],
            keys: vec![signer.verifying_key()],
            revocations: Revocations::default(),
            limits: NodeLimits::default(),
        };
        Self {
            signer,
            orders,
            interval_s: 5,
        }
    }

    pub(super) fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    pub(super) fn keys(&self) -> Vec<VerifyingKey> {
        vec![self.signer.verifying_key()]
    }

    /// Orders something else.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders);
        self.orders.version += 1;
        self.orders.issued += 1;
    }

    pub(super) fn signed(&self) -> SignedOrders {
        self.orders
            .sign(&self.signer)
            .expect("orders of a test are short")
    }

    pub(super) fn registered(&self) -> NodeRegistered {
        NodeRegistered {
            fleet: self.orders.fleet,
            orders: self.signed(),
            keys: self.keys(),
            heartbeat_interval_s: self.interval_s,
        }
    }

    /// Answers a node that follows these orders.
    pub(super) fn beaten(&self, follows: u64) -> HeartbeatAnswer {
        HeartbeatAnswer {
            orders: (follows < self.orders.version).then(|| self.signed()),
            heartbeat_interval_s: self.interval_s,
        }
    }
}

pub(super) fn fleet() -> Fleet {
    Fleet::new("example").expect("a fleet's name")
}

/// A node on a port of its own.
pub(super) fn described(port: u16) -> RegisterNode {
    RegisterNode {
        identity: NODE,
        noise_key: RelayKey([2; 32]),
        name: "n1".to_owned(),
        region: "eu".to_owned(),
        version: "0".to_owned(),
        services: Services {
            stun: vec![std::net::SocketAddr::from(([192, 0, 2, 1], port))],
            ..Services::default()
        },
        capacity: sterna_control_api::node::Capacity::default(),
    }
}
