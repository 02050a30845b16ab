//! What lets a device use the nodes: TURN credentials and relay tickets. Neither costs SQL.

use std::net::{IpAddr, SocketAddr};

use rand::RngExt as _;
use sterna_control_api::credentials::{
    IceServer, TicketIssued, TicketRequest, TurnCredentials, TurnRequest,
};
use sterna_control_api::node::{NodeStatus, Services};
use sterna_control_api::{Groups, RateClass, Ticket, TicketId};
use sterna_stun::credentials::rest_password;
use tracing::error;

use super::callers::Device;
use super::refusal::Refusal;
use super::view::View;
use super::{Service, texts};
use crate::metrics::CREDENTIALS;

/// The port that URIs need not name (RFC 7064 §3.2, RFC 7065 §3.2).
const STUN_PORT: u16 = 3478;
const TURNS_PORT: u16 = 5349;

impl Service {
    /// TURN credentials of a device, or of a user of an application.
    pub(crate) fn turn_credentials(
        &self,
        device: Option<&Device>,
        request: &TurnRequest,
    ) -> Result<TurnCredentials, Refusal> {
        texts::note("user", &request.user)?;
        let user = match device {
            Some(device) if request.user.is_empty() => device.record.id.to_string(),
            Some(_) => {
                return Err(Refusal::malformed(
                    "user: a device gets credentials for itself only; leave it out",
                ));
            }
            None => {
                texts::name("user", &request.user)?;
                request.user.clone()
            }
        };
        let view = self.view.load();
        if !request.region.is_empty() && view.region(&request.region).is_none() {
            return Err(Refusal::malformed("region: there is none of this code"));
        }
        let ttl_s = lasting(request.ttl_s, self.config.credentials.turn_ttl_s)?;
        let expires = self.now() + u64::from(ttl_s);
        let username = format!("{expires}:{user}");
        let password = rest_password(view.turn.as_bytes(), &username);
        let urls = self.uris(&view, &request.region);
        if urls.turn.is_empty() {
            return Err(Refusal::unavailable("no node is ready; try again"));
        }
        self.metrics.count(CREDENTIALS, &["turn"]);
        Ok(TurnCredentials {
            ice_servers: vec![
                IceServer {
                    urls: urls.stun,
                    username: None,
                    credential: None,
                },
                IceServer {
                    urls: urls.turn,
                    username: Some(username),
                    credential: Some((*password).clone()),
                },
            ],
            expires,
        })
    }

    /// A relay ticket of a device, out of what is known of it.
    pub(crate) fn relay_ticket(
        &self,
        device: &Device,
        request: &TicketRequest,
    ) -> Result<TicketIssued, Refusal> {
        let record = &device.record;
        if self.is_revoked(record) {
            return Err(Refusal::gone());
        }
        let ttl_s = lasting(request.ttl_s, self.config.credentials.ticket_ttl_s)?;
        let now = self.now();
        let failed = |what: &str| {
            error!(device = %record.id, what, "a ticket cannot be made");
            Refusal::internal()
        };
        let ticket = Ticket {
            tenant: record.tenant,
            ticket_id: TicketId(rand::random()),
            device_id: record.id,
            device_key: record.device_key,
            relay_key: record.relay_key,
            not_before: now,
            expires: now + u64::from(ttl_s),
            rate: RateClass::default(),
            audience: self.config.control.fleet,
            groups: Groups::new(&record.groups).map_err(|_| failed("groups"))?,
        };
        let text = ticket.issue_text(&self.view.load().signing);
        self.metrics.count(CREDENTIALS, &["ticket"]);
        Ok(TicketIssued {
            ticket: text.map_err(|_| failed("lifetime"))?,
            id: ticket.ticket_id,
            expires: ticket.expires,
        })
    }

    /// The URIs of the nearest ready nodes: of the region that was asked for first, then of others,
    /// each drawn by its region's weight and what load it has left.
    fn uris(&self, view: &View, region: &str) -> Uris {
        let mut rng = rand::rng();
        let mut drawn: Vec<(bool, f64, Services)> = Vec::new();
        self.live.each(self.now(), |node, status| {
            if status != NodeStatus::Ready {
                return;
            }
            let load = node.heartbeat.as_ref().map_or(0, |last| last.report.load);
            let weight = view.region(&node.region).map_or(1, |region| region.weight);
            let left = f64::from(weight.max(1)) * f64::from(101 - load.min(100));
            // Efraimidis and Spirakis (2006): the greatest u^(1/w) is a draw by weight.
            let draw = rng.random::<f64>().ln() / left;
            drawn.push((node.region == region, draw, node.services.clone()));
        });
        drawn.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        drawn.truncate(self.config.credentials.turn_nodes_max as usize);
        let mut uris = Uris::default();
        for (_, _, services) in &drawn {
            uris.add(services);
        }
        uris
    }
}

#[derive(Default)]
struct Uris {
    stun: Vec<String>,
    turn: Vec<String>,
}

impl Uris {
    fn add(&mut self, services: &Services) {
        for addr in &services.stun {
            let host = host(*addr, STUN_PORT);
            self.stun.push(format!("stun:{host}"));
            self.turn.push(format!("turn:{host}?transport=udp"));
            self.turn.push(format!("turn:{host}?transport=tcp"));
        }
        for addr in &services.turns {
            // A certificate is made out to a name.
            let host = match services.host.as_str() {
                "" => host(*addr, TURNS_PORT),
                name if addr.port() == TURNS_PORT => name.to_owned(),
                name => format!("{name}:{}", addr.port()),
            };
            let uri = format!("turns:{host}?transport=tcp");
            if !self.turn.contains(&uri) {
                self.turn.push(uri);
            }
        }
    }
}

fn host(addr: SocketAddr, default: u16) -> String {
    match (addr.ip(), addr.port()) {
        (IpAddr::V4(ip), port) if port == default => ip.to_string(),
        (IpAddr::V6(ip), port) if port == default => format!("[{ip}]"),
        _ => addr.to_string(),
    }
}

/// How long something lasts: as asked, up to what the configuration says.
fn lasting(wanted_s: u32, max_s: u32) -> Result<u32, Refusal> {
    if wanted_s == 0 {
        return Ok(max_s);
    }
    texts::within("ttl_s", wanted_s.into(), 1, max_s.into())?;
    Ok(wanted_s)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn uris_have_the_form_that_browsers_take() {
        let mut uris = Uris::default();
        uris.add(&Services {
            stun: vec![
                "192.0.2.1:3478".parse().unwrap(),
                "[2001:db8::1]:3479".parse().unwrap(),
            ],
            turns: vec![
                "192.0.2.1:5349".parse().unwrap(),
                "[2001:db8::1]:5349".parse().unwrap(),
                "192.0.2.1:443".parse().unwrap(),
            ],
            host: "eu-1.example".to_owned(),
            ..Services::default()
        });
        assert_eq!(uris.stun, ["stun:192.0.2.1", "stun:[2001:db8::1]:3479"]);
        assert_eq!(
            uris.turn,
            [
                "turn:192.0.2.1?transport=udp",
                "turn:192.0.2.1?transport=tcp",
                "turn:[2001:db8::1]:3479?transport=udp",
                "turn:[2001:db8::1]:3479?transport=tcp",
                "turns:eu-1.example?transport=tcp",
                "turns:eu-1.example:443?transport=tcp",
            ]
        );
    }

    #[test]
    fn what_is_asked_for_lasts_no_longer_than_it_may() {
        assert_eq!(lasting(0, 60).unwrap(), 60);
        assert_eq!(lasting(59, 60).unwrap(), 59);
        assert_eq!(lasting(61, 60).unwrap_err().status(), 400);
    }
}
