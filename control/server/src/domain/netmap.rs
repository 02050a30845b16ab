//! Who may talk to whom.

use sterna_control_api::device::Peer;

use super::DeviceRecord;

/// Tells whether two devices may talk: both registered, of one tenant, and sharing a group.
#[must_use]
pub fn may_talk(one: &DeviceRecord, other: &DeviceRecord) -> bool {
    one.id != other.id
        && one.tenant == other.tenant
        && !one.revoked
        && !other.revoked
        && one.groups.iter().any(|group| other.groups.contains(group))
}

/// What a device is told of the others at `now`, in the order of their ids.
#[must_use]
pub fn peers(
    device: &DeviceRecord,
    others: &[DeviceRecord],
    now: u64,
    is_online: impl Fn(&DeviceRecord) -> bool,
) -> Vec<Peer> {
    let told = others.iter().filter(|other| may_talk(device, other));
    let mut peers: Vec<Peer> = told
        .map(|other| Peer {
            id: other.id,
            name: other.name.clone(),
            device_key: other.device_key,
            previous_key: other.previous_key(now),
            overlay: other.overlay(),
            home: other.home.clone(),
            online: is_online(other),
        })
        .collect();
    peers.sort_by_key(|peer| peer.id);
    peers
}

#[cfg(test)]
mod tests {
    use sterna_control_api::device::NatReport;
    use sterna_control_api::{DeviceId, DeviceIdentity, DeviceKey, GroupId, RelayKey, TenantId};

    use super::*;
    use crate::domain::device::PreviousKeys;

    fn device(number: u8, tenant: u64, groups: &[u32]) -> DeviceRecord {
        DeviceRecord {
            id: DeviceId([number; 16]),
            tenant: TenantId(tenant),
            identity: DeviceIdentity([number; 32]),
            device_key: DeviceKey([number; 32]),
            relay_key: RelayKey([number; 32]),
            previous: None,
            name: format!("device-{number}"),
            platform: "linux".to_owned(),
            version: "1".to_owned(),
            groups: groups.iter().copied().map(GroupId).collect(),
            tags: Vec::new(),
            overlay_place: number.into(),
            revoked: false,
            registered: 1,
            last_seen: 1,
            counter: 0,
            home: String::new(),
            nat: NatReport::default(),
            paths: Vec::new(),
        }
    }

    #[test]
    fn devices_of_one_tenant_that_share_a_group_may_talk_and_no_others() {
        let one = device(1, 1, &[1, 2]);
        assert!(may_talk(&one, &device(2, 1, &[2, 3])));
        assert!(!may_talk(&one, &device(2, 1, &[3])), "no group in common");
        assert!(!may_talk(&one, &device(2, 1, &[])), "no group at all");
        assert!(!may_talk(&one, &device(2, 2, &[1, 2])), "another tenant");
        assert!(!may_talk(&one, &one), "itself");
        let mut revoked = device(2, 1, &[1]);
        revoked.revoked = true;
        assert!(!may_talk(&one, &revoked));
        assert!(!may_talk(&revoked, &one));
    }

    #[test]
    fn a_device_is_told_of_its_peers_in_order_with_the_keys_that_count() {
        let mut rotated = device(3, 1, &[1]);
        rotated.previous = Some(PreviousKeys {
            device_key: DeviceKey([9; 32]),
            relay_key: RelayKey([9; 32]),
            until: 100,
        });
        let others = [
            rotated,
            device(2, 1, &[1]),
            device(4, 1, &[5]),
            device(1, 1, &[1]),
        ];
        let me = device(1, 1, &[1]);
        let told = peers(&me, &others, 99, |other| other.id == DeviceId([2; 16]));
        let ids: Vec<_> = told.iter().map(|peer| peer.id.0[0]).collect();
        assert_eq!(ids, [2, 3]);
        assert_eq!([told[0].online, told[1].online], [true, false]);
        assert_eq!(told[1].previous_key, Some(DeviceKey([9; 32])));
        let later = peers(&me, &others, 100, |_| false);
        assert_eq!(later[1].previous_key, None);
    }
}
