//! Whoever takes part in a load: a device of ours, or a client of a DERP server.

use bytes::Bytes;
use sterna_client::relay::{Packet, Relay};
use sterna_control_api::DeviceKey;
use tokio::sync::mpsc;

use super::device::Device;
use crate::derp;

/// One that sends and receives by key.
#[derive(Debug)]
pub(crate) struct Member {
    pub(super) key: DeviceKey,
    pub(super) way: Way,
    pub(super) packets: mpsc::Receiver<Packet>,
}

/// What its packets take.
#[derive(Debug)]
pub(super) enum Way {
    Flow(Relay),
    Derp(derp::Client),
}

impl Member {
    pub(super) fn of_device(device: Device) -> Self {
        Self {
            key: device.key,
            way: Way::Flow(device.relay),
            packets: device.packets,
        }
    }

    pub(crate) fn of_derp(client: derp::Client, packets: mpsc::Receiver<Packet>) -> Self {
        Self {
            key: client.key,
            way: Way::Derp(client),
            packets,
        }
    }
}

impl Way {
    /// Sends a packet; `false` when the own path does not take it.
    pub(super) fn send(&self, to: DeviceKey, payload: &Bytes) -> bool {
        match self {
            Self::Flow(relay) => relay.send(to, Default::default(), payload).is_ok(),
            Self::Derp(client) => client.send(to, payload),
        }
    }
}
