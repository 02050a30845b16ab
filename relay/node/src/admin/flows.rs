//! The flow relay's part of the admin listener: who is here, and taking back what was granted.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use sterna_flow::{FlowView, Link, Revoke, SessionId, SessionView};
use utoipa::ToSchema;

use super::Admin;
use super::problem::Problem;
use super::views::Ended;

/// Sessions and flows that one answer lists at most; `total` counts all.
const LISTED_MAX: usize = 1000;

/// The flow relay.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Flows {
    /// The node's identity.
    node: String,
    /// The node's X25519 key, which devices shake hands with.
    noise_key: String,
    /// Sessions, in the order of their names, the first thousand.
    sessions: Vec<Session>,
    /// How many there are in all.
    sessions_total: usize,
    /// Flow ends, in the order of their sessions, the first thousand.
    flows: Vec<Flow>,
    /// How many there are in all.
    flows_total: usize,
}

/// A session of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    /// Its name: 16 hexadecimal digits.
    #[schema(example = "1f00c0ffee000001")]
    id: String,
    /// `udp`, `quic` or `wss`.
    rung: &'static str,
    /// The device's address on the `udp` rung.
    addr: Option<String>,
    /// Its tenant.
    tenant: String,
    /// The device's public key.
    device: String,
    /// The device's registration.
    device_id: String,
    /// The ticket that admits it.
    ticket: String,
    /// When that expires, in seconds since 1970.
    ticket_expires: u64,
    /// Whether peers reach the device through it.
    active: bool,
    /// How long it has lived.
    age_s: u64,
    /// How long nothing valid was heard.
    idle_s: u64,
    /// The longest payload that it takes.
    payload_max: u16,
    /// Its open flows.
    flows: usize,
    /// Packets of the device that were relayed.
    packets: u64,
    /// Payload bytes of those.
    bytes: u64,
    /// Packets of and for the device that were dropped.
    dropped: u64,
}

/// One end of a flow.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Flow {
    /// The number that the device uses: 6 hexadecimal digits.
    number: String,
    /// The session whose end it is.
    session: String,
    /// The device at this end.
    device: String,
    /// The device at the other end.
    peer: String,
    /// What is known of that.
    state: &'static str,
    /// The longest payload of a frame between them.
    payload_max: u16,
    /// Packets of this end's device that were relayed.
    packets: u64,
    /// Payload bytes of those.
    bytes: u64,
}

/// Lists the sessions and flows of the flow relay.
#[utoipa::path(get, path = "/flows", security(("token" = [])), responses(
    (status = 200, body = Flows),
    (status = 401, description = "The token is missing or wrong.", body = Problem),
    (status = 404, description = "The flow relay is off.", body = Problem),
))]
pub(super) async fn list_flows(State(admin): State<Admin>) -> Result<Json<Flows>, Problem> {
    let Some((identity, mut views)) = admin.node.flows().await else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "the flow relay is off: flow.ticket_keys is empty",
        ));
    };
    views.sessions.sort_unstable_by_key(|view| view.session);
    views
        .flows
        .sort_unstable_by_key(|view| (view.session, view.flow));
    let (sessions_total, flows_total) = (views.sessions.len(), views.flows.len());
    views.sessions.truncate(LISTED_MAX);
    views.flows.truncate(LISTED_MAX);
    Ok(Json(Flows {
        node: identity.node.to_string(),
        noise_key: identity.noise_key.to_string(),
        sessions: views.sessions.into_iter().map(Session::from).collect(),
        sessions_total,
        flows: views.flows.into_iter().map(Flow::from).collect(),
        flows_total,
    }))
}

/// Ends sessions of the flow relay, and keeps what is revoked from coming back.
#[utoipa::path(delete, path = "/flows/{kind}/{id}", security(("token" = [])),
    params(
        ("kind" = String, Path, description = "`session` (which may come again), `ticket`, `device` (a registration), `key` (a device's public key) or `tenant`."),
        ("id" = String, Path, description = "Its name, as GET /flows shows it."),
    ),
    responses(
        (status = 200, body = Ended),
        (status = 400, description = "That is no name of that kind.", body = Problem),
        (status = 401, description = "The token is missing or wrong.", body = Problem),
    ))]
pub(super) async fn revoke_flows(
    State(admin): State<Admin>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<Ended>, Problem> {
    let what = parse(&kind, &id).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error))?;
    Ok(Json(Ended {
        ended: admin.node.revoke_flows(what).await,
    }))
}

fn parse(kind: &str, id: &str) -> Result<Revoke, String> {
    let wrong = |error: sterna_control_api::ParseIdError| error.to_string();
    match kind {
        "session" => session(id)
            .map(Revoke::Session)
            .ok_or_else(|| "expected a session: 16 hexadecimal digits".to_owned()),
        "ticket" => id.parse().map(Revoke::Ticket).map_err(wrong),
        "device" => id.parse().map(Revoke::Device).map_err(wrong),
        "key" => id.parse().map(Revoke::DeviceKey).map_err(wrong),
        "tenant" => id.parse().map(Revoke::Tenant).map_err(wrong),
        _ => Err("what is revoked is a session, ticket, device, key or tenant".to_owned()),
    }
}

fn session(id: &str) -> Option<SessionId> {
    let digits = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(id, 16).ok().filter(|_| digits)?;
    Some(SessionId(number.to_be_bytes()))
}

impl From<SessionView> for Session {
    fn from(view: SessionView) -> Self {
        let addr = match view.link {
            Link::Udp { addr, .. } => Some(addr.to_string()),
            Link::Stream(_) => None,
        };
        Self {
            id: view.session.to_string(),
            rung: view.rung.as_str(),
            addr,
            tenant: view.tenant.to_string(),
            device: view.device.to_string(),
            device_id: view.device_id.to_string(),
            ticket: view.ticket.to_string(),
            ticket_expires: view.expires,
            active: view.active,
            age_s: view.age.as_secs(),
            idle_s: view.idle.as_secs(),
            payload_max: view.payload_max,
            flows: view.flows,
            packets: view.traffic.packets,
            bytes: view.traffic.bytes,
            dropped: view.drops.iter().map(|(_, packets)| packets).sum(),
        }
    }
}

impl From<FlowView> for Flow {
    fn from(view: FlowView) -> Self {
        Self {
            number: view.flow.to_string(),
            session: view.session.to_string(),
            device: view.device.to_string(),
            peer: view.peer.to_string(),
            state: view.state.as_str(),
            payload_max: view.payload_max,
            packets: view.traffic.packets,
            bytes: view.traffic.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_has_a_kind_and_a_name_of_that_kind() {
        let session = SessionId([0x1F, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            parse("session", "1f00000000000001"),
            Ok(Revoke::Session(session))
        );
        assert!(parse("tenant", "ff").is_ok());
        for (kind, id) in [
            ("session", "1f"),
            ("ticket", "x"),
            ("key", "AAAA"),
            ("flow", "1"),
        ] {
            assert!(parse(kind, id).is_err(), "{kind} {id}");
        }
    }
}
