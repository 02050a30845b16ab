//! Sessions and flows, for whoever wants to see them.

use std::time::Duration;

use sterna_control_api::{DeviceId, DeviceKey, TenantId, TicketId};

use super::Relay;
use super::session::{Session, Stage};
use crate::time::Tick;
use crate::{DropReason, FlowNumber, Link, PeerState, Rung, SessionId, Traffic};

/// A session, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// What carries it.
    pub rung: Rung,
    /// The way to its device.
    pub link: Link,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its device.
    pub device: DeviceKey,
    /// The device's registration.
    pub device_id: DeviceId,
    /// The ticket that admits it.
    pub ticket: TicketId,
    /// When that expires, in seconds since 1970.
    pub expires: u64,
    /// Whether peers reach the device through it.
    pub active: bool,
    /// How long it has lived.
    pub age: Duration,
    /// How long nothing valid was heard.
    pub idle: Duration,
    /// The longest payload that it takes.
    pub payload_max: u16,
    /// How many flow ends it has.
    pub flows: usize,
    /// Data of the device that was relayed.
    pub traffic: Traffic,
    /// What was dropped of and for it.
    pub drops: Vec<(DropReason, u64)>,
}

/// A flow's end, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// The number that the device uses.
    pub flow: FlowNumber,
    /// Whose end it is.
    pub session: SessionId,
    /// The device at this end.
    pub device: DeviceKey,
    /// The device at the other end.
    pub peer: DeviceKey,
    /// What is known of it.
    pub state: PeerState,
    /// The longest payload of a frame between them.
    pub payload_max: u16,
    /// Data that this end's device sent and that was relayed.
    pub traffic: Traffic,
}

impl Relay {
    pub(super) fn view_session(session: &Session, now: Tick) -> SessionView {
        SessionView {
            session: session.me.id,
            rung: session.rung,
            link: session.link,
            tenant: session.ticket.tenant,
            device: session.ticket.device_key,
            device_id: session.ticket.device_id,
            ticket: session.ticket.ticket_id,
            expires: session.ticket.expires,
            active: session.stage == Stage::Active,
            age: now.since(session.began),
            idle: now.since(session.last_valid),
            payload_max: session.payload_max,
            flows: session.ends.len(),
            traffic: session.traffic,
            drops: session.drops.met(),
        }
    }

    pub(super) fn view_flows(&self) -> impl Iterator<Item = FlowView> + '_ {
        self.ends.iter().filter_map(|end| {
            let session = self.sessions.get(end.session as usize)?;
            Some(FlowView {
                flow: end.number,
                session: session.me.id,
                device: session.ticket.device_key,
                peer: end.key,
                state: end.state,
                payload_max: end.payload_max,
                traffic: end.traffic,
            })
        })
    }
}
