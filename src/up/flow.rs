//! The flow relay's part of a first look: its check, its lines, and what to try next.

use std::path::Path;

use serde_json::{Value, json};
use sterna_bench::flow::{Issuer, Tickets, check};
use sterna_control_api::Fleet;
use sterna_relay::config::Config;
use sterna_relay::node::Node;

use super::first_look::FirstLook;
use super::fleet;
use crate::Failure;

/// Whom the node's configuration lets in.
pub(super) struct Terms {
    fleet: Option<Fleet>,
    takes_our_tickets: bool,
}

/// What the first look has shown of the flow relay.
pub(super) enum FlowLook {
    /// It was checked.
    Checked(Box<check::Report>, Fleet),
    /// It was not, for a reason.
    LeftOut(&'static str),
}

impl Terms {
    /// The configuration's, which may have been changed by `--set`.
    pub(super) fn of(config: &Config, look: &FirstLook) -> Self {
        let ours = look.ticket_key.verifying_key().to_string();
        Self {
            fleet: config.flow.fleet.parse().ok(),
            takes_our_tickets: config.flow.ticket_keys.contains(&ours),
        }
    }

    /// Sends packets from device to device, over each rung and each pair of rungs, and leaves the
    /// node's description for devices in a file.
    pub(super) async fn check(
        self,
        node: &Node,
        look: &FirstLook,
        service: Option<&fleet::Fleet>,
    ) -> Result<FlowLook, Failure> {
        let (Some(described), Some(fleet)) = (node.relay_node(), self.fleet) else {
            return Ok(FlowLook::LeftOut("the flow relay is off"));
        };
        let text = serde_json::to_string_pretty(&described);
        let text = text.map_err(|error| Failure::Failed(error.to_string()))? + "\n";
        std::fs::write(&look.node_file, text)
            .map_err(|error| Failure::Failed(format!("{}: {error}", look.node_file.display())))?;
        if service.is_none() && !self.takes_our_tickets {
            return Ok(FlowLook::LeftOut(
                "the flow relay takes tickets of other keys only (flow.ticket_keys)",
            ));
        }
        // The check goes to the host's own addresses: not every NAT leads a packet back in.
        let inside = sterna_control_api::relay_map::Node {
            quic: node.addresses().quic.clone(),
            wss: node.addresses().wss.clone(),
            udp: match described.udp.is_empty() {
                true => Vec::new(),
                false => node.addresses().udp.clone(),
            },
            ..described
        };
        let served = [&inside.udp, &inside.quic, &inside.wss];
        let rungs = served.iter().filter(|addrs| !addrs.is_empty()).count();
        if rungs == 0 {
            return Ok(FlowLook::LeftOut("the flow relay has no listener"));
        }
        let tickets = match service {
            // Two devices a rung.
            Some(service) => service.tickets(2 * rungs).await?,
            None => Tickets::Signed {
                fleet,
                key: Box::new(look.ticket_key.clone()),
            },
        };
        let issuer = Issuer {
            node: inside,
            tickets,
        };
        let report = check::run(&issuer).await;
        let report = report
            .map_err(|error| Failure::Failed(format!("the flow relay's self-check: {error}")))?;
        Ok(FlowLook::Checked(Box::new(report), fleet))
    }
}

impl FlowLook {
    pub(super) fn is_good(&self) -> bool {
        match self {
            Self::Checked(report, _) => report.is_good(),
            Self::LeftOut(_) => true,
        }
    }

    /// The summary's lines.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Checked(report, _) => report.to_string().lines().map(str::to_owned).collect(),
            Self::LeftOut(reason) => vec![format!("flow relay: not checked, since {reason}")],
        }
    }

    /// The same for programs.
    pub(super) fn to_json(&self, look: &FirstLook) -> Value {
        match self {
            Self::Checked(report, _) => json!({
                "self_check": report, "node": look.node_file, "ticket_key": look.ticket_key_file,
            }),
            Self::LeftOut(reason) => json!({ "left_out": reason }),
        }
    }

    /// What to try by hand.
    pub(super) fn next_steps(&self, look: &FirstLook) -> Vec<String> {
        let Self::Checked(_, fleet) = self else {
            return Vec::new();
        };
        let shown = |path: &Path| path.display().to_string();
        let (key, node) = (shown(&look.ticket_key_file), shown(&look.node_file));
        vec![
            "  two devices over the flow relay, by their keys:".to_owned(),
            format!(
                "    for d in a b; do sterna token ticket --key-file {key} --fleet {fleet} --group 1 --json > $d.json; done"
            ),
            format!("    sterna client flow ping --node {node} --ticket b.json --answer &"),
            format!("    sterna client flow ping --node {node} --ticket a.json --peer b.json"),
        ]
    }
}
