//! What must be refreshed, and when (RFC 8656 §8, §9 and §12).
//!
//! An allocation lives as long as the server said; permissions live for 300 s, and a channel's
//! permission with them, although the channel itself would live for 600 s. Traffic refreshes none
//! of them. Each item here is refreshed [`REFRESH_AHEAD`] before its end.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use sterna_stun::attr::AddressFamily;

use super::config::AllocateOptions;
use super::limits::{
    CHANNELS_MAX, PERMISSION_LIFETIME, PERMISSION_SETS_MAX, REFRESH_AHEAD, UPKEEP_PAUSE,
};
use super::mobility::Ticket;

/// First channel number (RFC 8656 §12).
const CHANNEL_FIRST: u16 = 0x4000;

/// A living allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) relayed: SocketAddr,
    /// That of the other family, of a dual allocation.
    pub(super) relayed_second: Option<SocketAddr>,
    pub(super) options: AllocateOptions,
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    /// Until the server forgets it.
    pub(super) expires_at: Instant,
    pub(super) upkeep: Upkeep,
    /// Set by a Refresh with lifetime 0.
    pub(super) releasing: bool,
    /// To move with.
    pub(super) ticket: Option<Ticket>,
    /// A move is asked for: nothing else is, since the server would not know the new path.
    pub(super) moving: bool,
}

impl Allocation {
    pub(super) fn new(
        now: Instant,
        relayed: SocketAddr,
        relayed_second: Option<SocketAddr>,
        options: AllocateOptions,
        lifetime: Duration,
    ) -> Self {
        Self {
            relayed,
            relayed_second,
            options,
            permissions: Permissions::default(),
            channels: Channels::default(),
            expires_at: now + lifetime,
            upkeep: Upkeep::after(now, lifetime),
            releasing: false,
            ticket: None,
            moving: false,
        }
    }

    pub(super) fn refreshed(&mut self, now: Instant, lifetime: Duration) {
        self.expires_at = now + lifetime;
        self.upkeep = Upkeep::after(now, lifetime);
    }

    /// The relayed addresses, the first one first.
    pub(super) fn relayed_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.relayed).chain(self.relayed_second)
    }

    /// The relayed address of a family.
    pub(super) fn relayed_of(&self, family: AddressFamily) -> Option<SocketAddr> {
        self.relayed_addrs()
            .find(|relayed| AddressFamily::of(relayed.ip()) == family)
    }

    /// Forgets one half of a dual allocation and what belonged to it; the address that is gone.
    pub(super) fn split_off(&mut self, family: AddressFamily) -> Option<SocketAddr> {
        let gone = self.relayed_of(family)?;
        let other = self.relayed_addrs().find(|relayed| *relayed != gone)?;
        (self.relayed, self.relayed_second) = (other, None);
        self.permissions.forget(family);
        self.channels.forget(family);
        Some(gone)
    }

    /// Whether data of `peer` is wanted, and data to it allowed. One look-up.
    pub(super) fn is_permitted(&self, peer: IpAddr) -> bool {
        self.permissions.granted.contains(&peer) || self.channels.peers.contains(&peer)
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Instant {
        // What is being given back is not kept up: only its end is waited for.
        if self.releasing || self.moving {
            return self.expires_at;
        }
        let refreshes = std::iter::once(&self.upkeep);
        let refreshes = refreshes
            .chain(self.permissions.sets.iter().map(|set| &set.upkeep))
            .chain(self.channels.list.iter().map(|channel| &channel.upkeep))
            .filter_map(Upkeep::due);
        refreshes.fold(self.expires_at, Instant::min)
    }
}

/// Where one item stands between two refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// Nothing to do until then.
    Due(Instant),
    /// A request for it is on its way.
    Asked,
    /// Refused for good.
    Over,
}

impl Upkeep {
    /// The state right after a success that gave `lifetime`: due [`REFRESH_AHEAD`] before the end,
    /// and halfway for lifetimes too short for that.
    pub(super) fn after(now: Instant, lifetime: Duration) -> Self {
        let wait = lifetime.saturating_sub(REFRESH_AHEAD).max(lifetime / 2);
        Self::Due(now + wait)
    }

    /// The state after an unanswered request.
    pub(super) fn unanswered(now: Instant) -> Self {
        Self::Due(now + UPKEEP_PAUSE)
    }

    fn due(&self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(*at),
            Self::Asked | Self::Over => None,
        }
    }

    /// True once when it has become due: the caller makes the request.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|at| at <= now);
        if due {
            *self = Self::Asked;
        }
        due
    }
}

/// The permissions by CreatePermission: a set that was asked for together is refreshed together.
#[derive(Debug, Default)]
pub(super) struct Permissions {
    pub(super) sets: Vec<PermissionSet>,
    granted: HashSet<IpAddr>,
}

#[derive(Debug)]
pub(super) struct PermissionSet {
    pub(super) peers: Box<[IpAddr]>,
    pub(super) upkeep: Upkeep,
}

impl Permissions {
    pub(super) fn is_full(&self) -> bool {
        self.sets.len() >= PERMISSION_SETS_MAX
    }

    /// Notes a success. True when the set is new.
    pub(super) fn grant(&mut self, now: Instant, peers: &[IpAddr]) -> bool {
        let upkeep = Upkeep::after(now, PERMISSION_LIFETIME);
        if let Some(set) = self.find(peers) {
            set.upkeep = upkeep;
            return false;
        }
        self.granted.extend(peers);
        self.sets.push(PermissionSet {
            peers: peers.into(),
            upkeep,
        });
        true
    }

    /// Forgets a set that the server refuses to keep.
    pub(super) fn revoke(&mut self, peers: &[IpAddr]) {
        self.sets.retain(|set| *set.peers != *peers);
        self.recount();
    }

    /// Forgets the peers of a family: what is left of a set is kept up without them.
    fn forget(&mut self, family: AddressFamily) {
        for set in &mut self.sets {
            let mut peers = set.peers.to_vec();
            peers.retain(|peer| AddressFamily::of(*peer) != family);
            set.peers = peers.into();
        }
        self.sets.retain(|set| !set.peers.is_empty());
        self.recount();
    }

    fn recount(&mut self) {
        self.granted = self
            .sets
            .iter()
            .flat_map(|set| set.peers.iter().copied())
            .collect();
    }

    pub(super) fn find(&mut self, peers: &[IpAddr]) -> Option<&mut PermissionSet> {
        self.sets.iter_mut().find(|set| *set.peers == *peers)
    }
}

/// The channels. Numbers are given out in order and never given to another peer, since a server
/// keeps a number bound for a while after the client has stopped refreshing it.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Index: number − 0x4000.
    pub(super) list: Vec<Channel>,
    by_peer: HashMap<SocketAddr, u16>,
    /// Addresses of bound channels: each has a permission.
    peers: HashSet<IpAddr>,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    pub(super) peer: SocketAddr,
    pub(super) is_bound: bool,
    pub(super) upkeep: Upkeep,
}

impl Channels {
    /// The number for a peer, now or before; `None` when all are used.
    pub(super) fn reserve(&mut self, peer: SocketAddr) -> Option<u16> {
        if let Some(number) = self.by_peer.get(&peer) {
            return Some(*number);
        }
        if self.list.len() >= CHANNELS_MAX {
            return None;
        }
        let offset = u16::try_from(self.list.len()).ok()?;
        let number = CHANNEL_FIRST + offset;
        self.list.push(Channel {
            number,
            peer,
            is_bound: false,
            upkeep: Upkeep::Asked,
        });
        self.by_peer.insert(peer, number);
        Some(number)
    }

    pub(super) fn find(&mut self, number: u16) -> Option<&mut Channel> {
        let index = number.checked_sub(CHANNEL_FIRST)?;
        self.list.get_mut(usize::from(index))
    }

    /// Notes a success. True when the channel was not usable before.
    pub(super) fn bound(&mut self, now: Instant, number: u16) -> bool {
        let Some(channel) = self.find(number) else {
            return false;
        };
        // The permission ends before the channel does (300 s, 600 s).
        channel.upkeep = Upkeep::after(now, PERMISSION_LIFETIME);
        let is_new = !std::mem::replace(&mut channel.is_bound, true);
        let peer = channel.peer.ip();
        self.peers.insert(peer);
        is_new
    }

    /// Notes that the server refuses to keep a channel.
    pub(super) fn refused(&mut self, number: u16) {
        let Some(channel) = self.find(number) else {
            return;
        };
        channel.is_bound = false;
        channel.upkeep = Upkeep::Over;
        let bound = self.list.iter().filter(|channel| channel.is_bound);
        self.peers = bound.map(|channel| channel.peer.ip()).collect();
    }

    /// Forgets the channels to peers of a family.
    fn forget(&mut self, family: AddressFamily) {
        for place in 0..self.list.len() {
            let Channel { number, peer, .. } = self.list[place];
            if AddressFamily::of(peer.ip()) == family {
                self.refused(number);
            }
        }
    }

    /// Number of the usable channel to `peer`. One look-up.
    pub(super) fn number_of(&self, peer: SocketAddr) -> Option<u16> {
        let number = *self.by_peer.get(&peer)?;
        self.peer_of(number).map(|_| number)
    }

    /// Peer of a usable channel. One index.
    pub(super) fn peer_of(&self, number: u16) -> Option<SocketAddr> {
        let index = number.checked_sub(CHANNEL_FIRST)?;
        let channel = self.list.get(usize::from(index))?;
        channel.is_bound.then_some(channel.peer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
    fn anytime() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_refresh_is_due_a_minute_before_the_end_or_halfway_of_a_short_life() {
        let now = anytime();
        let due = |lifetime_s| {
            Upkeep::after(now, Duration::from_secs(lifetime_s))
                .due()
                .unwrap()
                - now
        };
        assert_eq!(due(600).as_secs(), 540);
        assert_eq!(due(3600).as_secs(), 3540);
        assert_eq!(due(100).as_secs(), 50);
        assert_eq!(due(0).as_secs(), 0);
    }

    #[test]
    fn a_channel_number_is_never_given_to_another_peer() {
        let mut channels = Channels::default();
        let [first, second] = ["192.0.2.1:9", "192.0.2.2:9"].map(|peer| peer.parse().unwrap());
        assert_eq!(channels.reserve(first), Some(0x4000));
        channels.bound(anytime(), 0x4000);
        assert_eq!(channels.number_of(first), Some(0x4000));
        channels.refused(0x4000);
        assert_eq!(channels.number_of(first), None);
        assert_eq!(channels.reserve(second), Some(0x4001));
        assert_eq!(channels.reserve(first), Some(0x4000));
    }

    #[test]
    fn there_are_4096_channels_and_no_more() {
        let mut channels = Channels::default();
        for port in 0..0x1000 {
            assert_eq!(
                channels.reserve(([192, 0, 2, 1], port).into()),
                Some(0x4000 + port)
            );
        }
        assert_eq!(channels.reserve(([192, 0, 2, 2], 1).into()), None);
    }
}
