//! How long things may take, and how many may wait.

use std::time::Duration;

use sterna_flow::Rung;

/// Words of the user that wait for the keeper.
pub const ORDERS_MAX: usize = 64;
/// Packets that wait for a link.
pub const COMMANDS_MAX: usize = 1024;
/// Packets that wait to be fetched by the user.
pub const RECEIVED_MAX: usize = 4096;
/// Events that wait to be fetched by the user; later ones are lost.
pub const EVENTS_MAX: usize = 256;
/// Words of links that wait for the keeper.
pub const REPORTS_MAX: usize = 1024;
/// Frames that wait for the writer of a WebSocket, or of QUIC's control stream.
pub const FRAMES_MAX: usize = 256;

/// How long a connection may take before the handshake of the flow relay begins.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often a better rung is tried, where [`Timing`] does not say otherwise.
pub const CLIMB_EVERY: Duration = Duration::from_secs(60);
/// How often the device looks whether its address has changed.
pub const ADDRESS_LOOK: Duration = Duration::from_millis(500);
/// How long an old link goes on after a new one has taken over: what is on its way still arrives.
pub const OLD_LINK_LIFE: Duration = Duration::from_secs(2);
/// The first pause after every rung of a node has failed; each further one is twice as long.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest time over which a node may spread the devices that it sends away.
pub const SPREAD_MAX: Duration = Duration::from_secs(300);
/// A TCP connection that is acknowledged nothing for so long is given up.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than the best rung each is tried.
#[must_use]
pub const fn head_start(rung: Rung) -> Duration {
    match rung {
        Rung::Udp => Duration::ZERO,
        Rung::Quic => Duration::from_millis(150),
        Rung::Wss => Duration::from_millis(500),
    }
}

/// The times that a user may have reasons to set.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a better rung than the one in use is tried.
    pub climb_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            climb_every: CLIMB_EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_a_better_rung_is_found_within_seventy_seconds() {
        // The climb itself: the slowest connection, and the handshake of the flow relay.
        let found = Timing::default().climb_every + CONNECT_MAX + Duration::from_secs(5);
        assert!(found <= Duration::from_secs(70));
    }
}
