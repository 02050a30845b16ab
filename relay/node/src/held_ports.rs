//! Sockets that are bound for a reservation and not yet anybody's (RFC 8656 §7.2, EVEN-PORT).
//!
//! The node holds them, not a worker: whichever worker receives the Allocate request with the
//! RESERVATION-TOKEN adopts the socket, so that no session is ever served across workers. A held
//! socket is bound and never read; the kernel bounds what early packets may pile up in it.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;

/// Held sockets by the address that they are bound to; as many as the registry has reservations.
#[derive(Debug, Default)]
pub struct HeldPorts {
    sockets: Mutex<HashMap<SocketAddr, UdpSocket>>,
}

impl HeldPorts {
    /// Holds a socket until it is taken or dropped.
    pub fn hold(&self, addr: SocketAddr, socket: UdpSocket) {
        self.lock().insert(addr, socket);
    }

    /// Takes the socket of a reservation; `None` when it has lapsed. Dropping it frees the port.
    pub fn take(&self, addr: SocketAddr) -> Option<UdpSocket> {
        self.lock().remove(&addr)
    }

    /// How many are held now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, UdpSocket>> {
        // A panic between two map calls cannot leave the map half-changed.
        self.sockets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
