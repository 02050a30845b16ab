//! Orders that were verified: which ones a node follows, and which it takes next.

use sterna_control_api::node::{NodeRegistered, Orders, SignedOrders};

use sterna_control_api::{KeySet, NodeId, OrdersError, VerifyingKey};

/// The orders that the node follows, as they came, and the keys that count for what comes next.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    orders: Orders,
    signed: SignedOrders,
    /// What has verified them.
    verified_by: KeySet,
    /// What verifies the next ones.
    keys: KeySet,
}

impl Standing {
    /// Takes orders whose signature is of one of `keys`, whatever the node has followed before.
    ///
    /// # Errors
    /// [`OrdersError`], also for orders whose own keys are no set.
    pub(super) fn new(
        signed: SignedOrders,
        keys: &[VerifyingKey],
        node: &NodeId,
    ) -> Result<Self, OrdersError> {
        let keys = key_set(keys)?;
        let orders = signed.verify(&keys, node, 0)?;
        Self::of(orders, signed, keys)
    }

    /// Takes the orders of a registration.
    ///
    /// The service has proved itself by its certificate, or is on this host, so the keys that it names
    /// count, also where the node knows none of them any more: it may have been away for longer than a
    /// rotation of keys. A service that was restored from a copy counts its versions anew, and is
    /// followed where it has given its orders later than those that the node has; an old answer that
    /// somebody has kept is not.
    ///
    /// # Errors
    /// [`OrdersError`]; the node goes on with what it has.
    pub(super) fn joined(
        answer: &NodeRegistered,
        node: &NodeId,
        known: Option<&Self>,
    ) -> Result<Self, OrdersError> {
        let taken = Self::new(answer.orders.clone(), &answer.keys, node)?;
        let goes_back = known.is_some_and(|known| {
            taken.orders.version < known.orders.version
                && taken.orders.issued <= known.orders.issued
        });
        if goes_back {
            return Err(OrdersError::Older);
        }
        Ok(taken)
    }

    /// Takes the orders of a heartbeat's answer; none where they are the ones that are followed.
    ///
    /// # Errors
    /// [`OrdersError`]; the node goes on with what it has.
    pub(super) fn next(
        &self,
        signed: SignedOrders,
        node: &NodeId,
    ) -> Result<Option<Self>, OrdersError> {
        let orders = signed.verify(&self.keys, node, self.orders.version)?;
        if orders.version == self.orders.version {
            return Ok(None);
        }
        Self::of(orders, signed, self.keys.clone()).map(Some)
    }

    fn of(orders: Orders, signed: SignedOrders, verified_by: KeySet) -> Result<Self, OrdersError> {
        let keys = key_set(&orders.keys)?;
        Ok(Self {
            orders,
            signed,
            verified_by,
            keys,
        })
    }

    /// What the node is to do.
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Whether other orders ask for nothing else, whenever they were given.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let Orders {
            version,
            node,
            fleet,
            issued: _,
            state,
            turn_secrets,
            keys,
            revocations,
            limits,
        } = &self.orders;
        let theirs = &other.orders;
        (version, node, fleet, state)
            == (&theirs.version, &theirs.node, &theirs.fleet, &theirs.state)
            && (turn_secrets, keys) == (&theirs.turn_secrets, &theirs.keys)
            && (revocations, limits) == (&theirs.revocations, &theirs.limits)
    }

    /// The keys that have verified them, which need not be among their own.
    pub(super) fn verified_by(&self) -> Vec<VerifyingKey> {
        self.verified_by.iter().copied().collect()
    }

    /// As they came.
    pub(super) fn signed(&self) -> &SignedOrders {
        &self.signed
    }
}

fn key_set(keys: &[VerifyingKey]) -> Result<KeySet, OrdersError> {
    KeySet::new(keys.iter().copied()).map_err(|_| OrdersError::Malformed)
}
