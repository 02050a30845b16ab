//! Permissions: one IP address each (RFC 8656 §9).
//!
//! Only CreatePermission and ChannelBind install and refresh them; traffic never does.

use std::net::IpAddr;

use crate::{policy::Permitted, tick::Tick};

/// What lets packets pass between a client and one peer address, whatever the port.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Permission {
    pub(crate) ip: IpAddr,
    pub(crate) expires: Tick,
    /// What the policy said when the permission was installed, or when the policy changed.
    pub(crate) permitted: Permitted,
}

/// The permissions of one allocation, in the order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    sorted: Vec<Permission>,
}

impl Permissions {
    /// The permission of an address, if it is alive. One binary search.
    #[inline]
    pub(crate) fn live(&self, ip: IpAddr, now: Tick) -> Option<Permission> {
        let place = self.place(ip).ok()?;
        let permission = self.sorted[place];
        (permission.expires > now).then_some(permission)
    }

    /// Installs or refreshes a permission; tells whether it is new.
    pub(crate) fn install(&mut self, permission: Permission) -> bool {
        match self.place(permission.ip) {
            Ok(place) => {
                self.sorted[place] = permission;
                false
            }
            Err(place) => {
                self.sorted.insert(place, permission);
                true
            }
        }
    }

    /// Forgets those that have expired, so that they count for no cap.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.sorted.retain(|permission| permission.expires > now);
    }

    /// Forgets all but those that `keep` is for.
    pub(crate) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.sorted.retain(|permission| keep(permission.ip));
    }

    /// Asks `judge` about each; forgets those for which it says nothing. Returns how many.
    pub(crate) fn rejudge(&mut self, judge: impl Fn(IpAddr) -> Option<Permitted>) -> usize {
        let before = self.sorted.len();
        self.sorted
            .retain_mut(|permission| match judge(permission.ip) {
                Some(permitted) => {
                    permission.permitted = permitted;
                    true
                }
                None => false,
            });
        before - self.sorted.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn live_len(&self, now: Tick) -> usize {
        self.sorted
            .iter()
            .filter(|permission| permission.expires > now)
            .count()
    }

    fn place(&self, ip: IpAddr) -> Result<usize, usize> {
        self.sorted
            .binary_search_by(|permission| permission.ip.cmp(&ip))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn permission(ip: &str, expires_s: u32) -> Permission {
        Permission {
            ip: ip.parse().unwrap(),
            expires: Tick::default().plus_s(expires_s),
            permitted: Permitted {
                own: false,
                allowed: false,
            },
        }
    }

    #[test]
    fn a_permission_lives_up_to_its_end_and_not_at_it() {
        let mut permissions = Permissions::default();
        let ip = "192.0.2.9".parse().unwrap();
        assert!(permissions.install(permission("192.0.2.9", 300)));
        assert!(permissions.live(ip, Tick::default().plus_s(299)).is_some());
        assert!(permissions.live(ip, Tick::default().plus_s(300)).is_none());
        assert!(
            !permissions.install(permission("192.0.2.9", 600)),
            "refreshed, not new"
        );
        assert!(permissions.live(ip, Tick::default().plus_s(300)).is_some());
    }

    #[test]
    fn the_dead_are_swept_and_the_condemned_are_forgotten() {
        let mut permissions = Permissions::default();
        for (ip, expires_s) in [("192.0.2.3", 1), ("192.0.2.1", 9), ("192.0.2.2", 9)] {
            permissions.install(permission(ip, expires_s));
        }
        assert_eq!(
            (
                permissions.len(),
                permissions.live_len(Tick::default().plus_s(5))
            ),
            (3, 2)
        );
        permissions.sweep(Tick::default().plus_s(5));
        assert_eq!(permissions.len(), 2);
        let allowed = Permitted {
            own: true,
            allowed: true,
        };
        let first: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(
            permissions.rejudge(|ip| (ip == first).then_some(allowed)),
            1
        );
        assert_eq!(
            permissions.live(first, Tick::default()).unwrap().permitted,
            allowed
        );
    }
}
