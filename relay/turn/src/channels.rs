//! Channels: a number for a peer, four bytes instead of a whole indication (RFC 8656 §12).
//!
//! A binding lives longer than the permission that comes with it. Each channel keeps the end of
//! its permission beside its own, so that the data path asks in one place.

use std::net::{IpAddr, SocketAddr};

use crate::{policy::Permitted, tick::Tick};

/// So few channels lie closer together than the index that would find one of them.
const GLANCE: usize = 4;

/// One binding.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) peer: SocketAddr,
    pub(crate) expires: Tick,
    /// The end of the permission of the peer's address.
    pub(crate) permission_expires: Tick,
    pub(crate) number: u16,
    pub(crate) permitted: Permitted,
}

/// Number and peer are not bound to each other and at least one is bound otherwise.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundOtherwise;

/// The channels of one allocation, in the order of their numbers, and of their peers.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_number: Vec<Channel>,
    /// Places in `by_number`, in the order of the peers there.
    by_peer: Vec<u16>,
}

impl Channels {
    /// The channel of a number, if its binding is alive. One binary search.
    #[inline]
    pub(crate) fn live_by_number(&self, number: u16, now: Tick) -> Option<&Channel> {
        let channel = &self.by_number[self.place(number).ok()?];
        (channel.expires > now).then_some(channel)
    }

    /// The channel of a peer, if its binding is alive. A glance at few, a binary search of many.
    #[inline]
    pub(crate) fn live_by_peer(&self, peer: SocketAddr, now: Tick) -> Option<&Channel> {
        let channel = if self.by_number.len() <= GLANCE {
            self.by_number.iter().find(|channel| channel.peer == peer)?
        } else {
            &self.by_number[usize::from(self.by_peer[self.rank(peer).ok()?])]
        };
        (channel.expires > now).then_some(channel)
    }

    /// Tells whether `number` and `peer` are bound to each other (true) or both free (false).
    ///
    /// Expired bindings must have been swept before.
    pub(crate) fn is_bound(&self, number: u16, peer: SocketAddr) -> Result<bool, BoundOtherwise> {
        match (self.place(number), self.rank(peer)) {
            (Err(_), Err(_)) => Ok(false),
            (Ok(place), Ok(rank)) if place == usize::from(self.by_peer[rank]) => Ok(true),
            _ => Err(BoundOtherwise),
        }
    }

    /// Binds or refreshes a channel; `is_bound` has said that this is in order.
    pub(crate) fn bind(&mut self, channel: Channel) {
        match self.place(channel.number) {
            Ok(place) => self.by_number[place] = channel,
            Err(place) => {
                self.by_number.insert(place, channel);
                self.index();
            }
        }
    }

    /// A permission was installed or refreshed: its channels live on with it.
    pub(crate) fn permit(&mut self, ip: IpAddr, expires: Tick) {
        for channel in &mut self.by_number {
            if channel.peer.ip() == ip {
                channel.permission_expires = expires;
            }
        }
    }

    /// Forgets those that have expired, so that number and peer are free again.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.retain(|channel| channel.expires > now);
    }

    /// Forgets all but those whose peers `keep` is for.
    pub(crate) fn retain_peers(&mut self, keep: impl Fn(SocketAddr) -> bool) {
        self.retain(|channel| keep(channel.peer));
    }

    /// Asks `judge` about each; forgets those for which it says nothing. Returns how many.
    pub(crate) fn rejudge(&mut self, judge: impl Fn(SocketAddr) -> Option<Permitted>) -> usize {
        self.retain(|channel| match judge(channel.peer) {
            Some(permitted) => {
                channel.permitted = permitted;
                true
            }
            None => false,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(crate) fn live_len(&self, now: Tick) -> usize {
        self.by_number
            .iter()
            .filter(|channel| channel.expires > now)
            .count()
    }

    fn retain(&mut self, keep: impl FnMut(&mut Channel) -> bool) -> usize {
        let before = self.by_number.len();
        self.by_number.retain_mut(keep);
        let gone = before - self.by_number.len();
        if gone > 0 {
            self.index();
        }
        gone
    }

    /// Sorts the peers anew: bindings are rare, packets are not.
    fn index(&mut self) {
        self.by_peer.clear();
        // There are 4,096 channel numbers.
        self.by_peer
            .extend((0..u16::MAX).take(self.by_number.len()));
        self.by_peer
            .sort_unstable_by_key(|place| self.by_number[usize::from(*place)].peer);
    }

    fn place(&self, number: u16) -> Result<usize, usize> {
        self.by_number
            .binary_search_by_key(&number, |channel| channel.number)
    }

    fn rank(&self, peer: SocketAddr) -> Result<usize, usize> {
        self.by_peer
            .binary_search_by(|place| self.by_number[usize::from(*place)].peer.cmp(&peer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn channel(number: u16, peer: &str, expires_s: u32) -> Channel {
        Channel {
            peer: peer.parse().unwrap(),
            expires: Tick::default().plus_s(expires_s),
            permission_expires: Tick::default().plus_s(expires_s),
            number,
            permitted: Permitted {
                own: false,
                allowed: false,
            },
        }
    }

    #[test]
    fn a_channel_is_found_by_number_and_by_peer_until_it_expires() {
        let mut channels = Channels::default();
        for (number, peer) in [
            (0x4003, "192.0.2.1:9"),
            (0x4001, "192.0.2.3:9"),
            (0x4002, "192.0.2.2:9"),
        ] {
            channels.bind(channel(number, peer, 600));
        }
        let now = Tick::default();
        for (number, peer) in [
            (0x4003, "192.0.2.1:9"),
            (0x4001, "192.0.2.3:9"),
            (0x4002, "192.0.2.2:9"),
        ] {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!(channels.live_by_number(number, now).unwrap().peer, peer);
            assert_eq!(channels.live_by_peer(peer, now).unwrap().number, number);
            assert!(channels.live_by_peer(peer, now.plus_s(600)).is_none());
        }
        assert!(channels.live_by_number(0x4000, now).is_none());
        assert!(
            channels
                .live_by_peer("192.0.2.1:10".parse().unwrap(), now)
                .is_none()
        );
    }

    #[test]
    fn many_channels_are_found_by_peer_as_few_are() {
        let mut channels = Channels::default();
        for n in 0..3 * GLANCE {
            let number = 0x4000 + u16::try_from(n * 7 % (3 * GLANCE)).unwrap();
            channels.bind(channel(number, &format!("192.0.2.1:{number}"), 600));
            for bound in channels.by_number.clone() {
                let found = channels.live_by_peer(bound.peer, Tick::default()).unwrap();
                assert_eq!(
                    (found.number, found.peer.port()),
                    (bound.number, bound.number)
                );
            }
        }
    }

    #[test]
    fn number_and_peer_must_be_bound_to_each_other_or_both_be_free() {
        let mut channels = Channels::default();
        let (one, two, three): (SocketAddr, SocketAddr, SocketAddr) = (
            "192.0.2.1:9".parse().unwrap(),
            "192.0.2.2:9".parse().unwrap(),
            "192.0.2.3:9".parse().unwrap(),
        );
        channels.bind(channel(0x4001, "192.0.2.1:9", 600));
        channels.bind(channel(0x4002, "192.0.2.2:9", 600));
        assert_eq!(channels.is_bound(0x4001, one), Ok(true));
        assert_eq!(channels.is_bound(0x4003, three), Ok(false));
        assert_eq!(channels.is_bound(0x4001, two), Err(BoundOtherwise));
        assert_eq!(channels.is_bound(0x4001, three), Err(BoundOtherwise));
        assert_eq!(channels.is_bound(0x4003, one), Err(BoundOtherwise));
        channels.sweep(Tick::default().plus_s(600));
        assert_eq!(channels.is_bound(0x4001, two), Ok(false));
        assert_eq!(channels.len(), 0);
    }

    #[test]
    fn a_permission_carries_all_channels_of_its_address() {
        let mut channels = Channels::default();
        channels.bind(channel(0x4001, "192.0.2.1:9", 300));
        channels.bind(channel(0x4002, "192.0.2.1:10", 300));
        channels.bind(channel(0x4003, "192.0.2.2:9", 300));
        channels.permit("192.0.2.1".parse().unwrap(), Tick::default().plus_s(500));
        let ends = [0x4001, 0x4002, 0x4003].map(|number| {
            channels
                .live_by_number(number, Tick::default())
                .unwrap()
                .permission_expires
        });
        assert_eq!(ends, [500, 500, 300].map(|end| Tick::default().plus_s(end)));
    }
}
