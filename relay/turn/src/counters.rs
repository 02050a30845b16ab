//! What the machine counts: plain integers of one worker, read by whoever runs it.

use crate::{DropReason, EndReason, TokenRefusal};

/// Packets and payload bytes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many packets.
    pub packets: u64,
    /// How many bytes of payload, without headers.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// The STUN methods that the machine counts by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// RFC 8489 §2.
    Binding,
    /// RFC 8656 §7.
    Allocate,
    /// RFC 8656 §8.
    Refresh,
    /// RFC 8656 §10.
    CreatePermission,
    /// RFC 8656 §12.
    ChannelBind,
    /// RFC 8656 §11, an indication.
    Send,
    /// RFC 6062 §5.2.
    Connect,
    /// RFC 6062 §5.4.
    ConnectionBind,
}

impl Method {
    /// Every method, in the order of its index.
    pub const ALL: [Self; 8] = [
        Self::Binding,
        Self::Allocate,
        Self::Refresh,
        Self::CreatePermission,
        Self::ChannelBind,
        Self::Send,
        Self::Connect,
        Self::ConnectionBind,
    ];

    /// The stable name used in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Allocate => "allocate",
            Self::Refresh => "refresh",
            Self::CreatePermission => "create_permission",
            Self::ChannelBind => "channel_bind",
            Self::Send => "send",
            Self::Connect => "connect",
            Self::ConnectionBind => "connection_bind",
        }
    }
}

/// What became of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A success response, or an indication whose payload was relayed.
    Success,
    /// An error response.
    Error,
    /// Silence; the reason is among the drops.
    Dropped,
}

impl Outcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Success, Self::Error, Self::Dropped];

    /// The stable name used in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}

/// The error codes that the machine sends.
pub(crate) const ERROR_CODES: [u16; 16] = [
    300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 508,
];

/// What one machine has counted since it was made.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    messages: [[u64; Outcome::ALL.len()]; Method::ALL.len()],
    errors: [u64; ERROR_CODES.len()],
    drops: Drops,
    ends: [u64; EndReason::ALL.len()],
    tokens_refused: [u64; TokenRefusal::ALL.len()],
    /// Requests whose access token was opened and whose MAC was right.
    pub tokens_accepted: u64,
    /// Payload taken from clients for peers and sent on.
    pub to_peers: Traffic,
    /// Payload taken from peers for clients and sent on.
    pub to_clients: Traffic,
    /// The part of `to_peers` that went to another client of this node, in process.
    pub in_process: Traffic,
    /// Packets handed to another worker of this node; the rest of `in_process` stayed here.
    pub to_workers: u64,
    /// Bytes of STUN answers.
    pub reply_bytes: u64,
    /// Allocations made.
    pub allocated: u64,
    /// The part of `allocated` that was made with a key by MD5, as clients before RFC 8489 do.
    pub allocated_md5: u64,
    /// The part of `allocated` that was made with a key by SHA-256.
    pub allocated_sha256: u64,
    /// The part of `allocated` that has a relayed address of each family.
    pub allocated_dual: u64,
    /// Dual allocations that were met in part (ADDRESS-ERROR-CODE).
    pub allocated_in_part: u64,
    /// Halves of dual allocations that ended while the other one lived on.
    pub halves_ended: u64,
    /// Successes repeated for a retransmitted Allocate.
    pub allocate_repeated: u64,
    /// Permissions installed, refreshes not included.
    pub permissions_installed: u64,
    /// Channels bound, refreshes not included.
    pub channels_bound: u64,
    /// Ports that were passed over because somebody else holds them.
    pub ports_skipped: u64,
    /// Relay sockets that could not be opened for want of descriptors or slots.
    pub ports_exhausted: u64,
    /// Ports reserved by EVEN-PORT.
    pub reservations_made: u64,
    /// Reserved ports that nobody came for.
    pub reservations_expired: u64,
    /// Allocations made with a mobility ticket.
    pub allocated_mobile: u64,
    /// Moves to another 5-tuple that were granted.
    pub moves_granted: u64,
    /// Answers to such requests that were repeated.
    pub moves_repeated: u64,
    /// Moves whose client has sent data from its new 5-tuple, or closed the old one.
    pub moves_completed: u64,
    /// Moves that were refused, for whatever reason.
    pub moves_refused: u64,
    /// Packets of clients that moved, handed to the worker that has their allocation.
    pub moved_to_workers: u64,
    /// Permissions and channels ended by a change of policy.
    pub peers_revoked: u64,
    /// Requests beyond the allocations of the node.
    pub allocations_refused_total: u64,
    /// Requests beyond the allocations of an account.
    pub allocations_refused_user: u64,
    /// Requests beyond the allocations of a source prefix.
    pub allocations_refused_prefix: u64,
    /// Requests beyond the permissions of an allocation.
    pub permissions_refused: u64,
    /// Requests beyond the channels of an allocation.
    pub channels_refused: u64,
    /// Requests beyond the new peers of an allocation in a second.
    pub new_peers_refused: u64,
    /// Requests for an allocation that were sent to another server (300).
    pub redirected: u64,
    /// ICMP errors of peers' sides that clients were told.
    pub icmp_relayed: u64,
    /// Requests for an allocation while the node drains.
    pub refused_draining: u64,
    /// The part of `allocated` that relays TCP connections (RFC 6062).
    pub allocated_tcp: u64,
    /// TCP connections to peers that were made for a Connect.
    pub peers_connected: u64,
    /// TCP connections to peers that could not be made.
    pub peers_not_connected: u64,
    /// TCP connections of peers that were accepted and announced.
    pub peers_accepted: u64,
    /// TCP connections of peers without a permission, closed at once.
    pub peers_without_permission: u64,
    /// TCP connections that were refused, to or from peers, for a cap.
    pub peer_connections_refused: u64,
    /// TCP connections to peers that a client has bound.
    pub peers_bound: u64,
    /// TCP connections to peers that nobody bound in time.
    pub peers_unbound: u64,
    /// Bindings answered from another address or port (CHANGE-REQUEST).
    pub discovery_changed: u64,
    /// Bindings answered to another port of the client (RESPONSE-PORT).
    pub discovery_redirected: u64,
    /// Bindings answered with PADDING.
    pub discovery_padded: u64,
}

/// An array of its own type, since `Default` stops at 32 elements.
#[derive(Clone, Debug)]
struct Drops([u64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl Counters {
    /// Packets dropped, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.dropped(reason)))
    }

    /// Packets dropped for one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize]
    }

    /// Messages by method and outcome.
    pub fn messages(&self) -> impl Iterator<Item = (Method, Outcome, u64)> + '_ {
        Method::ALL.into_iter().flat_map(move |method| {
            Outcome::ALL
                .into_iter()
                .map(move |outcome| (method, outcome, self.count(method, outcome)))
        })
    }

    /// Messages of one method with one outcome.
    #[must_use]
    pub fn count(&self, method: Method, outcome: Outcome) -> u64 {
        self.messages[method as usize][outcome as usize]
    }

    /// Error responses by code.
    pub fn errors(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        ERROR_CODES.into_iter().zip(self.errors)
    }

    /// Allocations ended, by reason.
    pub fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        EndReason::ALL.into_iter().zip(self.ends)
    }

    /// Access tokens refused, by reason.
    pub fn tokens_refused(&self) -> impl Iterator<Item = (TokenRefusal, u64)> + '_ {
        TokenRefusal::ALL.into_iter().zip(self.tokens_refused)
    }

    pub(crate) fn count_token(&mut self, refusal: TokenRefusal) {
        self.tokens_refused[refusal as usize] += 1;
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops.0[reason as usize] += 1;
    }

    pub(crate) fn count_message(&mut self, method: Method, outcome: Outcome) {
        self.messages[method as usize][outcome as usize] += 1;
    }

    pub(crate) fn count_error(&mut self, code: u16) {
        let place = ERROR_CODES.iter().position(|known| *known == code);
        debug_assert!(place.is_some(), "{code} is not among ERROR_CODES");
        if let Some(place) = place {
            self.errors[place] += 1;
        }
    }

    pub(crate) fn count_end(&mut self, reason: EndReason) {
        self.ends[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_match_the_lists() {
        for (index, method) in Method::ALL.iter().enumerate() {
            assert_eq!(*method as usize, index);
        }
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
        for (index, refusal) in TokenRefusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
        }
        for (index, reason) in EndReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn what_is_counted_is_what_is_read() {
        let mut counters = Counters::default();
        counters.count_drop(DropReason::NoPermission);
        counters.count_message(Method::Refresh, Outcome::Error);
        counters.count_error(437);
        counters.count_end(EndReason::Released);
        assert_eq!(counters.dropped(DropReason::NoPermission), 1);
        assert_eq!(counters.drops().map(|(_, n)| n).sum::<u64>(), 1);
        assert_eq!(counters.messages().map(|(_, _, n)| n).sum::<u64>(), 1);
        assert!(counters.errors().any(|pair| pair == (437, 1)));
        assert!(counters.ends().any(|pair| pair == (EndReason::Released, 1)));
    }
}
