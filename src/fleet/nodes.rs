//! `sterna nodes …`: what nodes there are, and what they should do.

use clap::{Args, Subcommand};
use sterna_control_api::NodeId;
use sterna_control_api::node::{DesiredState, NodeLimits, NodeView, PatchNode};
use sterna_control_client::Filter;

use super::table::{from_now, list, or_none};
use super::{Service, ServiceArgs, word};
use crate::Failure;

/// `sterna nodes …`
#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// Lists the nodes.
    #[command(after_help = "Example:\n  sterna nodes list --region eu --state ready")]
    List(ListArgs),
    /// Shows a node: what it reported, where it is reached, what it may carry.
    #[command(after_help = "Example:\n  sterna nodes show eu-1")]
    Show(NodeArgs),
    /// Drains a node: it leaves the relay map, asks devices to move, and ends when the last session has.
    #[command(after_help = "Example:\n  sterna nodes drain eu-1")]
    Drain(NodeArgs),
    /// Cordons a node: it takes no new sessions and keeps those that it has.
    #[command(after_help = "Example:\n  sterna nodes cordon eu-1")]
    Cordon(NodeArgs),
    /// Lets a node serve again.
    #[command(after_help = "Example:\n  sterna nodes activate eu-1")]
    Activate(NodeArgs),
    /// Forgets a node: it is told nothing any more, and comes back with a new join token only.
    #[command(after_help = "Example:\n  sterna nodes forget eu-1")]
    Forget(NodeArgs),
    /// Caps what a node takes, below its own configuration.
    #[command(
        after_help = "Example:\n  sterna nodes limits eu-1 --allocations 2000 --flow-sessions 500"
    )]
    Limits(LimitsArgs),
}

/// Which nodes.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Of this region.
    #[arg(long, value_name = "CODE")]
    region: Option<String>,
    /// In this state.
    #[arg(long, value_name = "STATE", value_parser = ["ready", "unproved", "cordoned", "draining", "lost"])]
    state: Option<String>,
    /// With this in the name.
    #[arg(long, short, value_name = "TEXT")]
    q: Option<String>,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which node.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The node's name, or its id.
    #[arg(allow_hyphen_values = true)]
    node: String,
    #[command(flatten)]
    control: ServiceArgs,
}

/// Which node, and its caps.
#[derive(Args, Debug)]
pub(crate) struct LimitsArgs {
    /// The node's name, or its id.
    #[arg(allow_hyphen_values = true)]
    node: String,
    /// TURN allocations at a time; 0 leaves it to the node. What is not named stays as it is.
    #[arg(long, value_name = "NUMBER", required_unless_present = "flow_sessions")]
    allocations: Option<u32>,
    /// Flow sessions at a time; 0 leaves it to the node.
    #[arg(long, value_name = "NUMBER")]
    flow_sessions: Option<u32>,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(command: &NodesCommand) -> Result<(), Failure> {
    match command {
        NodesCommand::List(args) => show_all(args).await,
        NodesCommand::Show(args) => {
            let service = args.control.service()?;
            let node = find(&service, &args.node).await?;
            service.print_one(&node, lines)
        }
        NodesCommand::Drain(args) => {
            let told = "is draining: it leaves the relay map, its devices move, and it ends when the last session has";
            set(args, DesiredState::Draining, told).await
        }
        NodesCommand::Cordon(args) => {
            let told = "is cordoned: it takes no new sessions and keeps those that it has";
            set(args, DesiredState::Cordoned, told).await
        }
        NodesCommand::Activate(args) => {
            let told = "serves again: it is in the relay map once its own probe comes back";
            set(args, DesiredState::Ready, told).await
        }
        NodesCommand::Forget(args) => forget(args).await,
        NodesCommand::Limits(args) => limit(args).await,
    }
}

async fn show_all(args: &ListArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let filter = Filter {
        region: args.region.clone(),
        state: args.state.clone(),
        q: args.q.clone(),
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.nodes(&filter).await;
    let nodes = service.all(&filter, None, page).await?;
    let header = [
        "name",
        "region",
        "status",
        "load",
        "allocations",
        "sessions",
        "version",
        "seen",
        "id",
    ];
    service.print_list(
        &nodes,
        "no nodes (`sterna token join` makes a token that lets one join)",
        &header,
        |node| {
            let said = |value: fn(&sterna_control_api::node::Heartbeat) -> String| {
                node.reported.as_ref().map_or("-".to_owned(), value)
            };
            vec![
                node.name.clone(),
                node.region.clone(),
                status(node),
                said(|said| format!("{} %", said.load)),
                said(|said| said.allocations.to_string()),
                said(|said| said.sessions.to_string()),
                node.version.clone(),
                from_now(node.last_seen),
                node.id.to_string(),
            ]
        },
    )
}

/// What it is, and what it should be where that is something else.
fn status(node: &NodeView) -> String {
    let (is, should_be) = (word(&node.status), word(&node.desired));
    let follows = is == should_be || (should_be == "ready" && is == "unproved");
    if follows || is == "lost" {
        is
    } else {
        format!("{is}, to be {should_be}")
    }
}

fn lines(node: &NodeView) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("name", node.name.clone()),
        ("id", node.id.to_string()),
        ("region", node.region.clone()),
        ("status", status(node)),
        ("version", node.version.clone()),
        ("seen", from_now(node.last_seen)),
        ("registered", from_now(node.registered)),
        ("workers", node.capacity.workers.to_string()),
        ("relay ports", node.capacity.relay_ports.to_string()),
        ("allocations cap", or_none(node.limits.allocations_max)),
        ("flow sessions cap", or_none(node.limits.flow_sessions_max)),
    ];
    let services = &node.services;
    let served = [
        ("stun, turn", &services.stun),
        ("turns", &services.turns),
        ("flow udp", &services.udp),
        ("flow quic", &services.quic),
        ("flow wss", &services.wss),
    ];
    for (name, addrs) in served {
        if !addrs.is_empty() {
            lines.push((name, list(addrs)));
        }
    }
    if !services.host.is_empty() {
        lines.push(("tls name", services.host.clone()));
    }
    if let Some(said) = &node.reported {
        lines.extend([
            ("reports", word(&said.state)),
            (
                "reachable",
                if said.reachable { "yes" } else { "no" }.to_owned(),
            ),
            ("load", format!("{} %", said.load)),
            ("allocations", said.allocations.to_string()),
            ("sessions", said.sessions.to_string()),
            ("dropped", format!("{} packets", said.dropped)),
            ("relayed", format!("{} bytes", said.relayed_bytes)),
            ("orders", format!("version {}", said.orders)),
        ]);
    }
    lines
}

/// A node by its id, or by its name.
async fn find(service: &Service, given: &str) -> Result<NodeView, Failure> {
    if let Ok(id) = given.parse::<NodeId>() {
        return service.got(service.client.node(&id).await);
    }
    let filter = Filter {
        q: Some(given.to_owned()),
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.nodes(&filter).await;
    let nodes = service.all(&filter, None, page).await?;
    let found = nodes.into_iter().find(|node| node.name == given);
    found.ok_or_else(|| {
        Failure::Failed(format!(
            "there is no node {given}; `sterna nodes list` shows those that there are"
        ))
    })
}

async fn set(args: &NodeArgs, state: DesiredState, told: &str) -> Result<(), Failure> {
    let patch = PatchNode {
        state: Some(state),
        limits: None,
    };
    let service = args.control.service()?;
    let node = find(&service, &args.node).await?;
    let node = service.got(service.client.patch_node(&node.id, &patch).await)?;
    service.print_done(&format!("{} {told}", node.name), &node)
}

async fn forget(args: &NodeArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let node = find(&service, &args.node).await?;
    service.got(service.client.forget_node(&node.id).await)?;
    let told = format!(
        "{} is forgotten; it comes back with a new join token only (`sterna token join --region {}`)",
        node.name, node.region
    );
    service.print_done(&told, &node)
}

async fn limit(args: &LimitsArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let node = find(&service, &args.node).await?;
    let patch = PatchNode {
        state: None,
        limits: Some(NodeLimits {
            allocations_max: args.allocations.unwrap_or(node.limits.allocations_max),
            flow_sessions_max: args.flow_sessions.unwrap_or(node.limits.flow_sessions_max),
        }),
    };
    let node = service.got(service.client.patch_node(&node.id, &patch).await)?;
    let told = format!(
        "{} takes at most these: allocations {}, flow sessions {}",
        node.name,
        or_none(node.limits.allocations_max),
        or_none(node.limits.flow_sessions_max)
    );
    service.print_done(&told.replace("none", "as configured"), &node)
}
