//! Reservations: ports held for whoever shows the token (RFC 8656 §7.2, EVEN-PORT with R = 1).

use std::{net::SocketAddr, sync::Mutex};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{lock, quota::Holder};

/// A RESERVATION-TOKEN.
pub(crate) type Token = [u8; 8];

/// A held port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The relayed transport address, as the node knows it; its socket is held by the driver and
    /// its place in the port table is claimed.
    pub(crate) addr: SocketAddr,
    /// Who it counts for. Only the same account may come for it.
    pub(crate) holder: Holder,
}

/// The reservations of the node. Each counts for its holder's quota, which bounds them.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: Mutex<HashMap<Token, Reservation, FixedState>>,
}

impl Reservations {
    /// Files a reservation; false if the token is taken, which chance does not do.
    pub(crate) fn insert(&self, token: Token, reservation: Reservation) -> bool {
        let mut held = lock(&self.held);
        let free = !held.contains_key(&token);
        if free {
            held.insert(token, reservation);
        }
        free
    }

    /// Takes the reservation of `token` out, if `account` is the one that made it.
    pub(crate) fn take(&self, token: &Token, account: &str) -> Option<Reservation> {
        let mut held = lock(&self.held);
        if *held.get(token)?.holder.account != *account {
            return None;
        }
        held.remove(token)
    }

    /// Takes the reservation of `token` out because its time is over.
    pub(crate) fn expire(&self, token: &Token) -> Option<Reservation> {
        lock(&self.held).remove(token)
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.held).len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::registry::quota::SourcePrefix;

    #[test]
    fn a_token_serves_once_and_only_its_own_account() {
        let reservations = Reservations::default();
        let holder = Holder {
            account: "ann".into(),
            prefix: SourcePrefix::of("198.51.100.1".parse().unwrap()),
            allocations_max: None,
        };
        let reservation = Reservation {
            addr: "192.0.2.1:50001".parse().unwrap(),
            holder,
        };
        assert!(reservations.insert([7; 8], reservation.clone()));
        assert!(!reservations.insert([7; 8], reservation.clone()));
        assert_eq!(reservations.take(&[8; 8], "ann"), None);
        assert_eq!(reservations.take(&[7; 8], "ben"), None);
        assert_eq!(reservations.take(&[7; 8], "ann"), Some(reservation));
        assert_eq!(reservations.take(&[7; 8], "ann"), None);
        assert_eq!(reservations.expire(&[7; 8]), None);
    }
}
