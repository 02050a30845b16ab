//! The signature over a node's orders: what the node believes after a restart without the control
//! service.

use crate::envelope::{Envelope, EnvelopeError, Kind};
use crate::id::NodeId;
use crate::key::{KeySet, SigningKey};
use crate::limits::ORDERS_BYTES_MAX;
use crate::node::{Orders, SignedOrders};

const ENVELOPE: Kind = Kind {
    context: b"sterna node orders 1\0",
    bytes_max: ORDERS_BYTES_MAX,
};

/// Why orders are refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OrdersError {
    /// They are longer than any orders.
    #[error("the orders are too large")]
    TooLarge,
    /// They are not well formed.
    #[error("the orders are not well formed")]
    Malformed,
    /// No key of the set has signed them.
    #[error("the orders are signed by a key that is not known")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the orders' signature is wrong")]
    BadSignature,
    /// They are another node's.
    #[error("the orders are another node's")]
    Node,
    /// They are older than ones that were seen before.
    #[error("the orders are older than those in use")]
    Older,
}

impl From<EnvelopeError> for OrdersError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooLarge => Self::TooLarge,
            EnvelopeError::Malformed => Self::Malformed,
            EnvelopeError::UnknownKey => Self::UnknownKey,
            EnvelopeError::BadSignature => Self::BadSignature,
        }
    }
}

impl Orders {
    /// Signs the orders.
    ///
    /// # Errors
    /// [`OrdersError::TooLarge`] where no node would read them.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedOrders, OrdersError> {
        let Envelope {
            body,
            key_id,
            signature,
        } = ENVELOPE.seal(self, key)?;
        Ok(SignedOrders {
            orders: body,
            key_id,
            signature,
        })
    }
}

impl SignedOrders {
    /// Verifies the signature and reads the orders.
    ///
    /// `seen` is the newest version that the node has followed; older orders are refused, the same
    /// ones are not.
    ///
    /// # Errors
    /// The first reason that applies, in the order of [`OrdersError`].
    pub fn verify(&self, keys: &KeySet, node: &NodeId, seen: u64) -> Result<Orders, OrdersError> {
        let envelope = Envelope {
            body: self.orders.as_str(),
            key_id: self.key_id.as_str(),
            signature: self.signature.as_str(),
        };
        let orders: Orders = ENVELOPE.open(&envelope, keys)?;
        if orders.node != *node {
            return Err(OrdersError::Node);
        }
        if orders.version < seen {
            return Err(OrdersError::Older);
        }
        Ok(orders)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::Fleet;
    use crate::node::{DesiredState, NodeLimits, Revocations};
    use crate::text;

    const NODE: NodeId = NodeId([1; 32]);

    fn key() -> SigningKey {
        SigningKey::from_seed(&[42; 32])
    }

    fn orders() -> Orders {
        Orders {
            version: 5,
            node: NODE,
            fleet: Fleet::new("example").unwrap(),
            issued: 1_700_000_000,
            state: DesiredState::Ready,
            turn_secrets: vec!["secret".to_owned()],
            keys: vec![key().verifying_key()],
            revocations: Revocations::default(),
            limits: NodeLimits::default(),
        }
    }

    fn verify(signed: &SignedOrders, node: NodeId, seen: u64) -> Result<Orders, OrdersError> {
        let keys = KeySet::new([key().verifying_key()]).unwrap();
        signed.verify(&keys, &node, seen)
    }

    #[test]
    fn signed_orders_are_read_again_after_they_have_lain_on_a_disk() {
        let text = serde_json::to_string(&orders().sign(&key()).unwrap()).unwrap();
        let travelled: SignedOrders = serde_json::from_str(&text).unwrap();
        assert_eq!(verify(&travelled, NODE, 5), Ok(orders()));
    }

    #[test]
    fn each_way_in_which_orders_are_wrong_has_its_own_reason() {
        let signed = orders().sign(&key()).unwrap();
        assert_eq!(verify(&signed, NODE, 6), Err(OrdersError::Older));
        assert_eq!(verify(&signed, NodeId([2; 32]), 0), Err(OrdersError::Node));
        let mut forged = signed.clone();
        forged.orders = text::encode(b"{}");
        assert_eq!(verify(&forged, NODE, 0), Err(OrdersError::BadSignature));
        forged.signature = "short".to_owned();
        assert_eq!(verify(&forged, NODE, 0), Err(OrdersError::Malformed));
        forged.orders = "A".repeat(ORDERS_BYTES_MAX + 1);
        assert_eq!(verify(&forged, NODE, 0), Err(OrdersError::TooLarge));
        let stranger = orders().sign(&SigningKey::from_seed(&[1; 32])).unwrap();
        assert_eq!(verify(&stranger, NODE, 0), Err(OrdersError::UnknownKey));
    }

    #[test]
    fn a_relay_map_is_no_orders_though_the_same_key_signs_both() {
        let bytes = serde_json::to_vec(&orders()).unwrap();
        let signature = key().sign(&[b"sterna relay map 1\0".as_slice(), &bytes].concat());
        let crossed = SignedOrders {
            orders: text::encode(&bytes),
            key_id: key().id().to_string(),
            signature: text::encode(&signature),
        };
        assert_eq!(verify(&crossed, NODE, 0), Err(OrdersError::BadSignature));
    }
}
