//! The keys and tickets of the tests, all from a device's number.

use sterna_control_api::{
    DeviceId, DeviceKey, Fleet, GroupId, Groups, RateClass, SigningKey, TenantId, Ticket, TicketId,
};

use crate::Secret;

/// The wall clock of all tests at their start.
pub(crate) const UNIX_S: u64 = 1_700_000_000;

pub(crate) fn fleet() -> Fleet {
    Fleet::new("test").expect("a fleet's name")
}

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

pub(crate) fn node_secret() -> Secret {
    Secret::new([77; 32])
}

pub(crate) fn device_key(name: u8) -> DeviceKey {
    DeviceKey([name; 32])
}

pub(crate) fn device_secret(name: u8) -> Secret {
    Secret::new([name.wrapping_add(100); 32])
}

/// A ticket that a test may change before it is signed.
pub(crate) fn ticket(name: u8) -> Ticket {
    Ticket {
        tenant: TenantId(1),
        ticket_id: TicketId(u64::from(name)),
        device_id: DeviceId([name; 16]),
        device_key: device_key(name),
        relay_key: device_secret(name).public(),
        not_before: UNIX_S,
        expires: UNIX_S + 3600,
        rate: RateClass::default(),
        audience: fleet(),
        groups: Groups::new(&[GroupId(7)]).expect("one group"),
    }
}
